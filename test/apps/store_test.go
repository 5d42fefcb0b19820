//go:build apps

package apps

import (
	"errors"
	"fmt"
	"strings"

	"github.com/stretchr/testify/require"
)

var storeApps = []app{
	{name: "redis", packages: []string{"redis-server", "redis-tools"}, quick: true, run: runRedis},
	{name: "memcached", packages: []string{"memcached"}, run: runMemcached, remark: "4 threads."},
}

// redis starts a server on the TOE whose files are in folder name. stop returns when toed knows that it has ended.
func (b *bench) redis(name string, port int, more ...string) (stop func()) {
	b.Helper()
	dir := b.folder(name, "redis")
	words := append([]string{"redis-server", "--port", fmt.Sprint(port), "--dir", dir, "--protected-mode", "no", "--bind", "* -::*",
		"--enable-debug-command", "yes", "--appendonly", "yes", "--save", ""}, more...)
	p := b.serve(port, as("redis", words...)...)
	return func() {
		_ = p.Stop()
		b.silent(port)
	}
}

// redisCLI runs redis-cli on the far kernel.
func (b *bench) redisCLI(host string, port int, args ...string) string {
	b.Helper()
	return strings.TrimSpace(b.far(append([]string{"redis-cli", "-h", host, "-p", fmt.Sprint(port)}, args...)...))
}

// redisUntil waits until INFO has a line.
func (b *bench) redisUntil(host string, port int, section, line string) {
	b.Helper()
	b.until(func() error {
		if info := b.redisCLI(host, port, "info", section); !strings.Contains(info, line+"\r\n") {
			return errors.New(info)
		}
		return nil
	})
}

func runRedis(b *bench) {
	const port = 6379
	benchmark := func(host string, args ...string) {
		b.Helper()
		out := b.far(append([]string{"redis-benchmark", "-h", host, "-q", "-t", "set,get,lpush,lrange_100,mset", "-r", "100000"}, args...)...)
		require.Contains(b, out, "MSET", out)
	}
	stop := b.redis("redis", port)
	b.step("redis-benchmark with 50 clients, over IPv4 and IPv6, with and without pipelining", func() {
		benchmark(toeAddr, "-n", "10000", "-c", "50")
		benchmark(toeAddr6, "-n", "50000", "-c", "50", "-P", "16")
	})
	b.step("BGSAVE and AOF rewrite under load, 3 times", func() {
		for range 3 {
			load, err := b.Start(b.FarHost, "redis-benchmark", "-h", toeAddr, "-q", "-t", "set", "-r", "100000", "-n", "1000000", "-c", "20")
			b.ok(err)
			require.Contains(b, b.redisCLI(toeAddr, port, "bgsave"), "started")
			b.redisUntil(toeAddr, port, "persistence", "rdb_bgsave_in_progress:0")
			b.redisUntil(toeAddr, port, "persistence", "rdb_last_bgsave_status:ok")
			require.Contains(b, b.redisCLI(toeAddr, port, "bgrewriteaof"), "started")
			b.redisUntil(toeAddr, port, "persistence", "aof_rewrite_in_progress:0")
			b.redisUntil(toeAddr, port, "persistence", "aof_last_bgrewrite_status:ok")
			_ = load.Kill() // it has done its part
		}
	})
	follow := func(follower string, followerPort int, leader string, leaderPort int) {
		b.Helper()
		b.redisUntil(follower, followerPort, "replication", "master_link_status:up")
		benchmark(leader, "-p", fmt.Sprint(leaderPort), "-n", "2000")
		b.until(func() error {
			if a, c := b.redisCLI(leader, leaderPort, "debug", "digest"), b.redisCLI(follower, followerPort, "debug", "digest"); a != c {
				return fmt.Errorf("%s and %s", a, c)
			}
			return nil
		})
	}
	b.step("a replica on the kernel, with and without a file on the way", func() {
		for i, diskless := range []string{"yes", "no"} {
			b.redisCLI(toeAddr, port, "config", "set", "repl-diskless-sync", diskless, "repl-diskless-sync-delay", "0")
			dir := b.folder(fmt.Sprint("replica", i), "redis")
			replica := b.serveFar(port, as("redis", "redis-server", "--port", fmt.Sprint(port), "--dir", dir, "--protected-mode", "no",
				"--bind", "*", "--enable-debug-command", "yes", "--save", "",
				"--repl-diskless-sync-delay", "0", "--replicaof", toeAddr+" "+fmt.Sprint(port))...)
			follow(peerAddr, port, toeAddr, port)
			if i == 0 {
				_ = replica.Stop()
			}
		}
	})
	b.step("a replica on the TOE", func() {
		b.redis("follower", 6380, "--replicaof", peerAddr+" 6379")
		follow(toeAddr, 6380, toeAddr, port)
	})
	b.step("CLIENT LIST has the clients' addresses", func() {
		require.Contains(b, b.redisCLI(toeAddr, port, "client", "list"), "addr="+peerAddr+":")
	})
	b.step("restarted from its append-only file", func() {
		before := b.redisCLI(toeAddr, port, "debug", "digest")
		stop()
		b.redis("redis", port)
		b.until(func() error {
			if after := b.redisCLI(toeAddr, port, "debug", "digest"); after != before {
				return fmt.Errorf("%s before, %s after", before, after)
			}
			return nil
		})
	})
}

// runMemcached has clients set, get and append values, and compare them.
func runMemcached(b *bench) {
	b.serve(11211, "memcached", "-u", "memcache", "-t", "4", "-l", "0.0.0.0,::", "-p", "11211", "-U", "0", "-m", "64")
	client := b.program("memcached_client.py")
	b.step("20 clients set and get values of up to 500 KB, over IPv4 and IPv6", func() {
		for _, host := range []string{toeAddr, toeAddr6} {
			require.Equal(b, "20 clients, 2000 values\n", b.far("python3", client, host, "20"))
		}
	})
	b.step("500 idle connections beside", func() {
		require.Equal(b, "520 clients, 2000 values\n", b.far("python3", client, toeAddr, "20", "500"))
	})
	b.step("the client on the TOE", func() {
		b.serveFar(11211, "memcached", "-u", "memcache", "-t", "2", "-l", "0.0.0.0", "-p", "11211", "-U", "0", "-m", "64")
		require.Equal(b, "20 clients, 2000 values\n", b.near("python3", client, peerAddr, "20"))
	})
}
