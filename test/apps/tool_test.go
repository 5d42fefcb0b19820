//go:build apps

package apps

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/stretchr/testify/require"

	"opentoe/test/lab"
)

var toolApps = []app{
	{name: "curl", packages: []string{"curl"}, run: runCurl},
	{name: "wget", packages: []string{"wget"}, run: runWget},
	{name: "wrk", packages: []string{"wrk"}, run: runWrk},
	{name: "ab", packages: []string{"apache2-utils"}, run: runAB},
	{name: "h2load", packages: []string{"nghttp2-client"}, run: runH2load},
	{name: "iperf3", packages: []string{"iperf3"}, run: runIperf3},
	{name: "netcat", packages: []string{"netcat-openbsd"}, run: runNetcat},
	{name: "socat", packages: []string{"socat"}, quick: true, run: runSocat, remark: "A process for each connection; with `nofork` the socket becomes another program's standard input and output."},
}

// webs starts an nginx on each host, with TLS on port 443 and a file `big`, and returns that file's SHA-256.
func (b *bench) webs() (sum string) {
	b.Helper()
	key := b.certificate()
	tls := "listen 443 ssl http2; ssl_certificate " + key + "; ssl_certificate_key " + key + ";"
	near, far := b.webConfig("near", tls), b.webConfig("far", tls)
	_, sum = b.random("near/docs/big", 64*megabyte)
	b.ok(os.Link(b.Path("near/docs/big"), b.Path("far/docs/big")))
	b.serve(80, near.foreground()...)
	b.serveFar(80, far.foreground()...)
	return sum
}

func runCurl(b *bench) {
	sum := b.webs()
	get := func(args ...string) {
		b.Helper()
		b.near(append([]string{"curl", "-sS", "--fail", "-k", "-m", "100", "-o", b.Path("got")}, args...)...)
	}
	b.step("on the TOE: HTTP/1.1, TLS and HTTP/2, IPv4 and IPv6, 64 MiB down and up", func() {
		for _, url := range []string{"http://" + peerAddr, "http://[" + peerAddr6 + "]", "https://" + peerAddr} {
			get(url + "/big")
			b.same(b.Path("got"), sum)
			get("-T", b.Path("near/docs/big"), url+"/up/big")
			b.same(b.Path("far/up/big"), sum)
		}
		get("--http1.1", "https://"+peerAddr+"/big")
		b.same(b.Path("got"), sum)
	})
	b.step("200 transfers, 20 at a time", func() {
		b.near("curl", "-sS", "--fail", "-m", "100", "-Z", "--parallel-immediate", "--parallel-max", "20", "-o", b.Path("small#1"),
			"http://"+peerAddr+"/page?[1-200]")
		for i := range 200 {
			text, err := os.ReadFile(b.Path(fmt.Sprint("small", i+1)))
			b.ok(err)
			require.Equal(b, page, string(text))
		}
	})
	b.step("refused, and cut off by its own time limit", func() {
		words := b.onTOE("curl", "-sS", "http://"+peerAddr+":81")
		require.ErrorContains(b, b.NearHost.Run(words[0], words[1:]...), "exit status 7")
		words = b.onTOE("curl", "-sS", "-m", "0.3", "--limit-rate", "1k", "-o", os.DevNull, "http://"+peerAddr+"/big")
		require.ErrorContains(b, b.NearHost.Run(words[0], words[1:]...), "exit status 28")
	})
}

func runWget(b *bench) {
	sum := b.webs()
	for _, c := range []struct {
		what, host, host6 string
		run               func(words ...string) string
	}{{"on the kernel", toeAddr, toeAddr6, b.far}, {"on the TOE", peerAddr, peerAddr6, b.near}} {
		b.step(c.what+": HTTP and TLS, IPv4 and IPv6, and the rest of a file", func() {
			for _, url := range []string{"http://" + c.host, "http://[" + c.host6 + "]", "https://" + c.host} {
				c.run("wget", "-q", "--no-check-certificate", "-O", b.Path("got"), url+"/big")
				b.same(b.Path("got"), sum)
			}
			b.ok(os.Truncate(b.Path("got"), 10*megabyte))
			c.run("wget", "-q", "-c", "-O", b.Path("got"), "http://"+c.host+"/big")
			b.same(b.Path("got"), sum)
		})
	}
}

func runWrk(b *bench) {
	b.webs()
	b.step("on the kernel, 64 connections", func() { b.wrk(b.far, toeAddr) })
	b.step("on the TOE, 64 connections", func() { b.wrk(b.near, peerAddr) })
}

func (b *bench) wrk(run func(words ...string) string, host string) {
	b.Helper()
	for _, url := range []string{"http://" + host + "/page", "https://" + host + "/page"} {
		out := run("wrk", "-t", "2", "-c", "64", "-d", "2s", url)
		require.NotContains(b, out, "Socket errors")
		require.NotContains(b, out, "Non-2xx")
		require.NotContains(b, out, " 0 requests in")
	}
}

func runAB(b *bench) {
	b.webs()
	run := func(run func(words ...string) string, host string) {
		b.Helper()
		for _, more := range [][]string{nil, {"-k"}} {
			out := run(append(append([]string{"ab", "-q", "-n", "3000", "-c", "32"}, more...), "http://"+host+"/page")...)
			require.Regexp(b, `Complete requests: +3000\n`, out)
			require.Regexp(b, `Failed requests: +0\n`, out)
		}
	}
	b.step("on the kernel, with and without keep-alive", func() { run(b.far, toeAddr) })
	b.step("on the TOE, with and without keep-alive", func() { run(b.near, peerAddr) })
}

func runH2load(b *bench) {
	b.webs()
	run := func(run func(words ...string) string, host string) {
		b.Helper()
		for _, more := range [][]string{nil, {"--h1"}} {
			out := run(append(append([]string{"h2load", "-n", "5000", "-c", "20", "-m", "10"}, more...), "https://"+host+"/page")...)
			require.Contains(b, out, "5000 succeeded, 0 failed, 0 errored, 0 timeout")
		}
	}
	b.step("on the kernel, HTTP/2 and HTTP/1.1", func() { run(b.far, toeAddr) })
	b.step("on the TOE, HTTP/2 and HTTP/1.1", func() { run(b.near, peerAddr) })
}

func runIperf3(b *bench) {
	run := func(run func(words ...string) string, host string, args ...string) {
		b.Helper()
		var result struct {
			Error string
			End   struct {
				Received struct{ Bytes int64 } `json:"sum_received"`
			}
		}
		out := run(append([]string{"iperf3", "-c", host, "-t", "1", "--json"}, args...)...)
		b.ok(json.Unmarshal([]byte(out), &result))
		require.Empty(b, result.Error)
		require.NotZero(b, result.End.Received.Bytes)
	}
	// A server for one test each: between two tests iperf3 closes its listener and whoever waits there.
	once := func() *lab.Process { return b.serve(5201, "iperf3", "-s", "-1") }
	onceFar := func() *lab.Process { return b.serveFar(5201, "iperf3", "-s", "-1") }
	for _, c := range []struct {
		what, host, host6 string
		serve             func() *lab.Process
		run               func(words ...string) string
	}{{"server on the TOE", toeAddr, toeAddr6, once, b.far}, {"client on the TOE", peerAddr, peerAddr6, onceFar, b.near}} {
		b.step(c.what+": 1 and 8 streams, each way, both ways, by sendfile, with other sizes and options", func() {
			for _, args := range []string{"", "-P 8", "-R", "-P 8 -R", "--bidir", "-Z", "-l 1000", "-w 64K", "-M 1000", "-N", "-b 50M", "-6"} {
				host := c.host
				if args == "-6" {
					host = c.host6
				}
				server := c.serve()
				run(c.run, host, strings.Fields(args)...)
				b.ends(server)
				b.silent(5201)
			}
		})
	}
}

func runNetcat(b *bench) {
	file, sum := b.random("big", 32*megabyte)
	shell := func(command string) []string { return []string{"sh", "-c", command} }
	// One way at a time: a listening nc ends with its peer's stream, on the kernel too, whatever it still has to send.
	// serve starts one, run runs its peer.
	there, back := b.Path("there"), b.Path("back")
	transfers := func(host string, serve func(port int, words ...string) *lab.Process, run func(words ...string) string) {
		b.Helper()
		p := serve(7000, shell("exec nc -l 7000 >"+there)...)
		run(shell("nc -N " + host + " 7000 <" + file)...)
		b.ends(p)
		b.same(there, sum)
		p = serve(7000, shell("exec nc -l -N 7000 <"+file)...)
		run(shell("nc -d " + host + " 7000 >" + back)...)
		b.ends(p)
		b.same(back, sum)
	}
	b.step("listening on the TOE", func() { transfers(toeAddr, b.serve, b.far) })
	b.step("connecting from the TOE", func() { transfers(peerAddr, b.serveFar, b.near) })
	b.step("looking for open ports", func() {
		b.serve(7001, "nc", "-lk", "7001")
		out := b.far(shell("nc -zvw 10 " + toeAddr + " 7000-7002 2>&1 || true")...)
		require.Contains(b, out, "7001 port [tcp/*] succeeded")
		require.Equal(b, 2, strings.Count(out, "Connection refused"), out)
	})
}

// echo has n socats send a file through an echo server at once.
func (b *bench) echo(run func(words ...string) string, host string, port, n int) {
	b.Helper()
	file, sum := b.random("echoed", 8*megabyte)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			run("sh", "-c", fmt.Sprintf("socat -t 60 - TCP:%s:%d <%s >%s", host, port, file, b.Path(fmt.Sprint("got", i))))
		})
	}
	all.Wait()
	for i := range n {
		b.same(b.Path(fmt.Sprint("got", i)), sum)
	}
}

func runSocat(b *bench) {
	b.serve(7000, "socat", "TCP-LISTEN:7000,fork,reuseaddr,backlog=64", "EXEC:cat")
	b.serve(7001, "socat", "TCP6-LISTEN:7001,fork,reuseaddr,backlog=64,ipv6only=0", "EXEC:cat,nofork")
	b.serve(7002, "socat", "TCP-LISTEN:7002,fork,reuseaddr,backlog=64", "TCP:"+peerAddr+":7003")
	b.serveFar(7003, "socat", "TCP-LISTEN:7003,fork,reuseaddr,backlog=64", "EXEC:cat,nofork")
	b.step("16 connections at once, each echoed by a process of its own", func() { b.echo(b.far, toeAddr, 7000, 16) })
	b.step("the same with the socket as standard input and output, over IPv4 and IPv6", func() {
		b.echo(b.far, toeAddr, 7001, 16)
		b.echo(b.far, "["+toeAddr6+"]", 7001, 16)
	})
	b.step("relayed to a server across the wire", func() { b.echo(b.far, toeAddr, 7002, 8) })
	b.step("the clients on the TOE", func() { b.echo(b.near, peerAddr, 7003, 8) })
}
