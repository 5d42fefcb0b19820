//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opentoe/test/lab"
)

// fallbackPorts are those of the servers of TestFallback.
const (
	webPort, redisPort, iperfPort = 80, 6379, 5201
	silentPort, mutePort          = 82, 83 // of the far host: one drops SYNs, the other never says anything
)

// TestFallback kills toed under programs that know nothing of it, twice: what was offloaded ends at once,
// everything new is the kernel's, and with the next toed it is offloaded again. nginx has two workers
// without root's rights for one port, redis waits in epoll, iperf3 in select.
func TestFallback(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	l := keptWire(t)
	far := l.FarHost
	file, runDir, err := l.WriteConfig(netdevConfig)
	require.NoError(t, err)
	d, err := l.StartToed(ctx, file, runDir)
	require.NoError(t, err)

	nginx(ctx, t, l, d, webPort, megabyte)
	serve(ctx, t, l, d, redisPort, "redis-server", "--save", "", "--protected-mode", "no", "--dir", l.Dir, "--bind", "0.0.0.0")
	serve(ctx, t, l, d, iperfPort, "iperf3", "-s")
	words, err := lab.Nginx{Name: "far", Port: webPort, Workers: 1, Docs: l.Path("docs")}.Words(l)
	require.NoError(t, err)
	farServer, err := l.Start(far, words[0], words[1:]...)
	require.NoError(t, err)
	require.NoError(t, farServer.WaitFor(ctx, func() error { return far.Listening(webPort) }))
	require.NoError(t, far.Run("nft", fmt.Sprintf("add table inet t; add chain inet t in { type filter hook input priority 0; };"+
		" add rule inet t in tcp dport %d drop", silentPort)))

	var mute net.Listener
	inside(t, far.Namespace, func() (err error) {
		mute, err = net.Listen("tcp", fmt.Sprintf(":%d", mutePort))
		return err
	})
	t.Cleanup(func() { mute.Close() })

	served := func() {
		t.Helper()
		require.NoError(t, fetch(ctx, far, toeAddr))
		out, err := far.Output(ctx, "redis-cli", "-h", toeAddr, "ping")
		require.NoError(t, err, out)
		require.Equal(t, "PONG", strings.TrimSpace(out))
		eventually(ctx, t, func() error { return far.Run("iperf3", "-c", toeAddr, "-n", "1M") }) // between two tests it does not listen
	}
	for range 2 {
		// On the TOE, all of it.
		before := offloaded(ctx, t, d)
		served()
		require.EqualValues(t, before+4, offloaded(ctx, t, d), "web, redis, and two of iperf3")

		// A read, a connect that nobody answers, and a client of the kernel are under way when toed dies.
		toed := func(name string, args ...string) *lab.Process {
			words := l.Toerun(d.Socket(), append([]string{"curl", "-sS", "-m", "110", "-o", l.Path(name)}, args...)...)
			p, err := l.Start(l.NearHost, words[0], words[1:]...)
			require.NoError(t, err)
			return p
		}
		under := []*lab.Process{
			toed("mute", fmt.Sprintf("http://%s:%d/", peerAddr, mutePort)),
			toed("silent", fmt.Sprintf("http://%s:%d/", peerAddr, silentPort)),
		}
		client, err := dialKernel(t, far, "tcp", fmt.Sprintf("%s:%d", toeAddr, redisPort))
		require.NoError(t, err)
		eventually(ctx, t, func() error { return hasSockets(ctx, d, mutePort, silentPort) })
		require.NoError(t, syscall.Kill(d.PID(), syscall.SIGKILL))
		<-d.Done()
		began := time.Now()
		for _, p := range under {
			select {
			case <-p.Done():
			case <-ctx.Done():
				require.NoError(t, ctx.Err(), "a program on the TOE hangs")
			}
		}
		require.Less(t, time.Since(began), 100*time.Second, "curl ended by its own clock")
		require.Contains(t, under[0].Text(), "reset by peer")
		require.Contains(t, under[1].Text(), "Failed to connect")
		require.NoError(t, client.SetDeadline(time.Now().Add(limit)))
		if _, err = client.Write([]byte("PING\r\n")); err == nil {
			_, err = client.in.ReadByte()
		}
		require.ErrorIs(t, err, syscall.ECONNRESET)

		// Everything new is the kernel's, with the same programs and new ones.
		served()
		require.NoError(t, l.NearHost.Run("env", "LD_PRELOAD="+filepath.Join(l.Root, "build", "libtoe_shim.so"), "TOE_SOCKET="+d.Socket(),
			"curl", "-sf", "-m", "60", "-o", l.Path("got"), "http://"+peerAddr+"/small"))

		// Another toed: the servers come back to it by themselves.
		d, err = l.StartToed(ctx, file, runDir)
		require.NoError(t, err)
		for _, port := range []int{webPort, redisPort, iperfPort} {
			eventually(ctx, t, func() error { return d.Listening(ctx, port) })
		}
	}
	served()
	require.EqualValues(t, 4, offloaded(ctx, t, d))
	// nginx' two, one for each family, and redis' and iperf3's: what processes share is there once.
	eventually(ctx, t, func() error {
		list, err := d.Sockets(ctx)
		list = slices.DeleteFunc(list, func(s lab.Socket) bool { return s.State != "LISTEN" })
		if err == nil && len(list) != 4 {
			err = fmt.Errorf("%d listeners: %v", len(list), list)
		}
		return err
	})
}

// hasSockets demands that the TOE has connections to the remote ports.
func hasSockets(ctx context.Context, d *lab.Toed, ports ...int) error {
	list, err := d.Sockets(ctx)
	for _, port := range ports {
		if err == nil && !slices.ContainsFunc(list, func(s lab.Socket) bool { return strings.HasSuffix(s.Remote, fmt.Sprintf(":%d", port)) }) {
			err = errors.New("no connection to " + net.JoinHostPort(peerAddr, fmt.Sprint(port)))
		}
	}
	return err
}

// TestLimits has programs that want more than the TOE has room for: the kernel carries the rest, they do not
// notice, and toed says why.
func TestLimits(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	l := keptWire(t)
	farServer, err := l.Start(l.FarHost, "iperf3", "-s")
	require.NoError(t, err)
	require.NoError(t, farServer.WaitFor(ctx, func() error { return l.FarHost.Listening(iperfPort) }))

	// streams is a client of many connections under the library.
	streams := func(t *testing.T, d *lab.Toed, n int) {
		t.Helper()
		eventually(ctx, t, func() error { // between two tests the server does not listen
			return l.NearHost.Run("env", "LD_PRELOAD="+filepath.Join(l.Root, "build", "libtoe_shim.so"), "TOE_SOCKET="+d.Socket(),
				"iperf3", "-c", peerAddr, "-P", fmt.Sprint(n), "-n", "100K")
		})
	}
	// served is a server under the library with as many connections at once, all of which succeed.
	served := func(t *testing.T, d *lab.Toed, n int) {
		t.Helper()
		server := serve(ctx, t, l, d, iperfPort, "iperf3", "-s")
		require.NoError(t, l.FarHost.Run("iperf3", "-c", toeAddr, "-P", fmt.Sprint(n), "-n", "100K"))
		stats, err := d.Stats(ctx)
		require.NoError(t, err)
		require.Zero(t, stats.Clients["NoSlots"], "one was reset at the end of its handshake")
		_ = server.Stop() // iperf3 calls the signal an error
	}
	for _, c := range []struct {
		name, more string
		run        func(t *testing.T, d *lab.Toed)
		refused    string // the reason
	}{
		{"slots of a server", "clients: {slots: 16}\n", func(t *testing.T, d *lab.Toed) { served(t, d, 40) }, "no-memory"},
		{"connections of a server", "tcp: {max_connections: 16}\n", func(t *testing.T, d *lab.Toed) { served(t, d, 40) }, ""},
		{"connections", "tcp: {max_connections: 16}\n", func(t *testing.T, d *lab.Toed) { streams(t, d, 40) }, "table-full"},
		{"slots", "clients: {slots: 16}\n", func(t *testing.T, d *lab.Toed) { streams(t, d, 40) }, "no-memory"},
		{"listeners", "tcp: {max_listeners: 1}\n", func(t *testing.T, d *lab.Toed) {
			server, _ := nginx(ctx, t, l, d, webPort, megabyte)
			for _, a := range []string{toeAddr, "[" + toeAddr6 + "]"} {
				require.NoError(t, fetch(ctx, l.FarHost, a))
			}
			require.NoError(t, server.Stop())
		}, "table-full"},
		{"clients", "clients: {max: 1}\n", func(t *testing.T, d *lab.Toed) {
			server := serve(ctx, t, l, d, redisPort, "redis-server", "--save", "", "--protected-mode", "no", "--dir", l.Dir)
			require.NoError(t, l.FarHost.Run("redis-cli", "-h", toeAddr, "ping"))
			streams(t, d, 2)
			stats, err := d.Stats(ctx)
			require.NoError(t, err)
			require.NotZero(t, stats.Clients["Turned"], stats.Clients)
			require.NoError(t, server.Stop())
		}, ""},
		{"processes of a server", "clients: {max: 1}\n", func(t *testing.T, d *lab.Toed) {
			server, _ := nginx(ctx, t, l, d, webPort, megabyte) // the place is the master's
			get := func(patience string) error {
				return l.FarHost.Run("curl", "-sf", "-m", patience, "-o", l.Path("got"), "http://"+toeAddr+"/small")
			}
			eventually(ctx, t, func() error { return get("0.5") })
			before := offloaded(ctx, t, d)
			for range 20 {
				require.NoError(t, get("20"))
			}
			require.Equal(t, before+20, offloaded(ctx, t, d), "workers without a place of their own go on in the master's name")
			require.NoError(t, server.Stop())
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			file, runDir, err := l.WriteConfigAs(c.name, netdevConfig+c.more)
			require.NoError(t, err)
			d, err := l.StartToed(ctx, file, runDir)
			require.NoError(t, err)
			c.run(t, d)
			s, err := d.Status(ctx)
			require.NoError(t, err)
			require.NotZero(t, s.Offloaded)
			if c.refused != "" {
				require.NotZero(t, s.Refused[c.refused], s.Refused)
				out, err := d.Toectl(ctx, "ss", "--kernel")
				require.NoError(t, err)
				require.Contains(t, out, c.refused)
			}
			require.NoError(t, d.Stop())
		})
	}
}
