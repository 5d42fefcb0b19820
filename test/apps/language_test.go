//go:build apps

package apps

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/stretchr/testify/require"
)

var languageApps = []app{
	{name: "Python asyncio", packages: []string{"python3"}, quick: true, run: runAsyncio, remark: "Streams, TLS, a subprocess."},
	{name: "Python multiprocessing", packages: []string{"python3"}, quick: true, run: runMultiprocessing, remark: "4 processes accept from one listener; another passes connections on (`send_handle`)."},
	{name: "Go net/http", packages: nil, run: runGo, remark: "Without libc: the supervisor of `toerun`."},
	{name: "Python http.server", packages: []string{"python3"}, run: runPythonHTTP},
	{name: "Node.js", packages: []string{"nodejs"}, run: runNode, remark: "cluster: 3 workers, connections passed on by the primary, or accepted by each."},
	{name: "Java", packages: []string{"openjdk-17-jdk-headless"}, run: runJava, remark: "HttpServer with a pool of threads, and a selector."},
	{name: "Perl", packages: []string{"perl", "libhttp-daemon-perl", "libwww-perl"}, run: runPerl, remark: "A process for each connection."},
}

// program returns the name of a file beside the tests.
func (b *bench) program(name string) string {
	b.Helper()
	file, err := filepath.Abs("testdata/" + name)
	b.ok(err)
	return file
}

// getPages has HTTP clients of the far kernel get pages.
func (b *bench) getPages(url string, clients int, n int64) {
	b.Helper()
	l := b.load(url, clients, page)
	l.passes(n)
	l.end()
}

func runAsyncio(b *bench) {
	key, server := b.certificate(), b.program("asyncio_echo.py")
	everything := func(host string, run func(words ...string) string) {
		b.Helper()
		require.Equal(b, "40 connections, 10485760 octets each way\n", run("python3", server, "client", host, "7000"))
		require.Equal(b, "40 connections, 10485760 octets each way\n", run("python3", server, "client", host, "7001", key))
	}
	words := []string{"python3", server, "server", "7000", "7001", key}
	p := b.serve(7001, words...)
	b.step("40 connections at once, plain and TLS, IPv4 and IPv6", func() {
		everything(toeAddr, b.far)
		everything(toeAddr6, b.far)
	})
	b.step("asked to stop, it finishes", func() {
		b.signal(p.PID(), syscall.SIGINT)
		b.ends(p)
		require.True(b, p.Said("stopped"), p.Text())
	})
	b.step("the clients on the TOE", func() {
		b.serveFar(7001, words...)
		everything(peerAddr, b.near)
	})
}

func runMultiprocessing(b *bench) {
	b.serve(7001, "python3", b.program("processes.py"), "7000", "7001")
	for i, what := range []string{"4 processes accept", "4 processes are passed connections"} {
		b.step(what+", 200 connections, 20 at once", func() {
			out := b.far("python3", b.program("processes_client.py"), toeAddr, fmt.Sprint(7000+i), "200")
			require.Equal(b, "200 connections served by 4 processes\n", out)
		})
	}
}

func runPythonHTTP(b *bench) {
	b.write("docs/page", page)
	_, sum := b.random("docs/big", 16*megabyte)
	words := []string{"python3", "-m", "http.server", "--directory", b.Path("docs"), "--bind", "::", "8000"}
	b.serve(8000, words...)
	b.step("files to 8 clients at once, over IPv4 and IPv6", func() {
		for _, host := range []string{toeAddr, "[" + toeAddr6 + "]"} {
			b.curl("-o", b.Path("down"), "http://"+host+":8000/big")
			b.same(b.Path("down"), sum)
		}
		b.getPages("http://"+toeAddr+":8000/page", 8, 300)
	})
	b.step("urllib on the TOE", func() {
		b.serveFar(8000, words...)
		b.near("python3", "-c", "import urllib.request, sys; urllib.request.urlretrieve(*sys.argv[1:])",
			"http://"+peerAddr+":8000/big", b.Path("got"))
		b.same(b.Path("got"), sum)
	})
}

func runNode(b *bench) {
	docs := b.write("page", page)
	single := b.serve(8080, "node", b.program("server.js"), docs)
	b.step("http: pages to 8 clients at once, 16 MiB posted, over IPv4 and IPv6", func() {
		b.getPages("http://"+toeAddr+":8080/", 8, 1000)
		file, sum := b.random("big", 16*megabyte)
		for _, host := range []string{toeAddr, "[" + toeAddr6 + "]"} {
			require.Equal(b, sum, b.curl("--data-binary", "@"+file, "-H", "Content-Type: application/octet-stream", "http://"+host+":8080/"))
		}
	})
	b.step("http.get on the TOE", func() {
		b.serveFar(8080, "node", b.program("server.js"), docs)
		require.Equal(b, "100 pages\n", b.near("node", b.program("client.js"), "http://"+peerAddr+":8080/", docs))
	})
	_ = single.Stop()
	b.silent(8080)
	for _, policy := range []string{"rr", "none"} {
		b.step("cluster, NODE_CLUSTER_SCHED_POLICY="+policy+"; a worker that is killed is replaced", func() {
			p := b.serve(8080, "env", "NODE_CLUSTER_SCHED_POLICY="+policy, "node", b.program("server.js"), docs, "3")
			b.getPages("http://"+toeAddr+":8080/", 8, 500)
			workers := b.children(p.PID())
			require.Len(b, workers, 3)
			b.signal(workers[0], syscall.SIGKILL)
			b.until(func() error {
				if n := strings.Count(p.Text(), "online"); n < 4 {
					return fmt.Errorf("%d workers have come", n)
				}
				return nil
			})
			b.getPages("http://"+toeAddr+":8080/", 8, 500)
			_ = p.Stop()
			b.silent(8080)
		})
	}
}

func runJava(b *bench) {
	docs := b.write("page", page)
	words := []string{"java", "-Xmx256m", b.program("Server.java"), docs}
	b.serve(7000, words...)
	b.step("HttpServer: pages to 8 clients at once, over IPv4 and IPv6", func() {
		b.getPages("http://"+toeAddr+":8080/", 8, 500)
		b.getPages("http://["+toeAddr6+"]:8080/", 8, 500)
	})
	b.step("NIO selector: 16 connections echoed at once", func() { b.echo(b.far, toeAddr, 7000, 16) })
	b.step("HttpClient on the TOE", func() {
		b.serveFar(7000, words...)
		require.Equal(b, "100 pages\n", b.near("java", "-Xmx256m", b.program("Client.java"), "http://"+peerAddr+":8080/", docs))
	})
}

func runPerl(b *bench) {
	docs := b.write("page", page)
	words := []string{"perl", b.program("server.pl"), "8080", docs}
	b.serve(8080, words...)
	b.step("HTTP::Daemon: pages to 8 clients at once", func() { b.getPages("http://"+toeAddr+":8080/", 8, 500) })
	b.step("LWP::UserAgent on the TOE", func() {
		b.serveFar(8080, words...)
		require.Equal(b, page, b.near("perl", "-MLWP::UserAgent", "-e",
			"for (1..50) { $r = LWP::UserAgent->new(keep_alive => $_ % 2)->get($ARGV[0]); die $r->status_line unless $r->is_success } print $r->content",
			"http://"+peerAddr+":8080/"))
	})
}

// runGo runs programs that the preload library cannot reach.
func runGo(b *bench) {
	program := b.Path("gohttp")
	build := exec.CommandContext(b.ctx, "go", "build", "-o", program, "../e2e/gohttp")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(b, err, string(out))
	b.write("near/page", page)
	_, sum := b.random("near/big", 32*megabyte)
	b.folder("far", "root")
	words := func(folder string) []string { return []string{program, "serve", ":8080", b.Path(folder)} }
	everything := func(host string, run func(words ...string) string, stored string) {
		b.Helper()
		run(program, "put", "http://"+host+":8080/put", b.Path("near/big"))
		b.same(b.Path(stored, "put"), sum)
		run(program, "get", "http://"+host+":8080/put", b.Path("got"))
		b.same(b.Path("got"), sum)
		b.ok(os.Remove(b.Path("got")))
	}
	p := b.serve(8080, words("near")...)
	b.step("32 MiB up and down, pages to 8 clients at once, over IPv4 and IPv6", func() {
		for _, host := range []string{toeAddr, "[" + toeAddr6 + "]"} {
			everything(host, b.far, "near")
			b.getPages("http://"+host+":8080/page", 8, 300)
		}
	})
	b.step("graceful end", func() {
		b.signal(p.PID(), syscall.SIGTERM)
		b.ends(p)
	})
	b.step("the client on the TOE", func() {
		b.serveFar(8080, words("far")...)
		everything(peerAddr, b.near, "far")
	})
}
