//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/test/lab"
)

// dials builds the program that makes many connections.
func dials(t *testing.T, l *lab.Lab) string {
	t.Helper()
	program := l.Path("dials")
	out, err := exec.Command("gcc", "-Wall", "-Wextra", "-Werror", "-O2", "-o", program, "testdata/dials.c").CombinedOutput()
	require.NoError(t, err, string(out))
	return program
}

// serveDials starts its server on a host; who closes first is "first" or "last" of the server.
func serveDials(ctx context.Context, t *testing.T, l *lab.Lab, h lab.Host, addr string, port int, closes string, words ...string) *lab.Process {
	t.Helper()
	words = append(words, l.Path("dials"), "serve", addr, strconv.Itoa(port), closes)
	p, err := l.Start(h, words[0], words[1:]...)
	require.NoError(t, err)
	require.NoError(t, p.WaitFor(ctx, func() error { return h.Listening(port) }))
	return p
}

// TestSequentialConnects makes connections to one server one after the other: many times as many as there are
// ports, where timestamps let a port be used again in TIME-WAIT; as many as there are ports, where they do not.
func TestSequentialConnects(t *testing.T) {
	ctx, l, d := toed(t, "af_xdp", "")
	program, toerun := dials(t, l), l.Toerun(d.Socket())
	makes := func(port, n int, closes string) error {
		words := append(toerun, program, "connect", peerAddr, strconv.Itoa(port), strconv.Itoa(n), closes)
		out, err := l.NearHost.Output(ctx, words[0], words[1:]...)
		if err == nil {
			require.Equal(t, fmt.Sprintf("%d connections\n", n), out)
		}
		return err
	}
	waits := func() uint64 {
		s, err := d.Stats(ctx)
		require.NoError(t, err)
		return s.TCP["TimeWaits"]
	}
	serveDials(ctx, t, l, l.FarHost, peerAddr, 7000, "last")
	serveDials(ctx, t, l, l.FarHost, peerAddr, 7001, "first")

	const all, some, ports = 200_000, 20_000, 60999 - 32768 + 1
	require.NoError(t, makes(7000, all, "first"))
	require.EqualValues(t, all, waits(), "the client closed first")
	require.NoError(t, makes(7001, some, "last"))
	require.EqualValues(t, all, waits(), "the server closed first")
	offloadedOnly(ctx, t, d)

	require.NoError(t, l.FarHost.Run("sysctl", "-qw", "net.ipv4.tcp_timestamps=0"))
	require.NoError(t, makes(7001, some, "last"))
	require.EqualValues(t, all, waits())
	serveDials(ctx, t, l, l.FarHost, peerAddr, 7002, "last")
	require.ErrorContains(t, makes(7002, ports+1, "first"), "connect: Cannot assign requested address")
	require.Greater(t, waits()-all, uint64(ports*9/10), "nearly all of the ports were used")
	offloadedOnly(ctx, t, d)
}

// TestReusePort has two servers share a port, and one replace the other by listening a second time.
func TestReusePort(t *testing.T) {
	ctx, l, d := toed(t, "af_xdp", "")
	start := func(name string) *lab.Process {
		docs := l.Path("docs-" + name)
		require.NoError(t, os.MkdirAll(docs, 0o755))
		require.NoError(t, os.WriteFile(docs+"/name", []byte(name), 0o644))
		words, err := lab.Nginx{Name: name, Port: 80, Workers: 2, Docs: docs, ReusePort: true}.Words(l)
		require.NoError(t, err)
		words = l.Toerun(d.Socket(), words...)
		p, err := l.Start(l.NearHost, words[0], words[1:]...)
		require.NoError(t, err)
		return p
	}
	listening := func(want int) {
		t.Helper()
		eventually(ctx, t, func() error {
			sockets, err := d.Sockets(ctx)
			n := 0
			for _, s := range sockets {
				if s.State == "LISTEN" {
					n++
				}
			}
			if err == nil && n != want {
				err = fmt.Errorf("%d listeners on the TOE, want %d", n, want)
			}
			return err
		})
	}
	answers := func() map[string]int {
		t.Helper()
		count := map[string]int{}
		for _, a := range []string{toeAddr, "[" + toeAddr6 + "]"} {
			out, err := l.FarHost.Output(ctx, "curl", "-sS", "--fail", "-H", "Connection: close", "http://"+a+"/name?[1-64]")
			require.NoError(t, err)
			for _, name := range []string{"old", "new"} {
				if n := strings.Count(out, name); n > 0 {
					count[name] += n
				}
			}
		}
		return count
	}

	old := start("old")
	listening(4) // two workers, two families
	require.Equal(t, map[string]int{"old": 128}, answers())
	start("new")
	listening(8)
	both := answers()
	require.Equal(t, 128, both["old"]+both["new"])
	require.NotZero(t, both["old"])
	require.NotZero(t, both["new"])
	require.NoError(t, old.Stop())
	listening(4)
	require.Equal(t, map[string]int{"new": 128}, answers())
	offloadedOnly(ctx, t, d)
}

// TestSameHost connects programs of one host: both on the TOE, or one of them; by loopback addresses and by the
// port's own. The kernel carries them all.
func TestSameHost(t *testing.T) {
	for _, mode := range []string{"netdev", "tap"} {
		t.Run(mode, func(t *testing.T) {
			ctx, l, d := besideKernel(t, mode)
			sameHost(ctx, t, l, d)
		})
	}
}

// besideKernel is a lab whose near kernel has the TOE's addresses.
func besideKernel(t *testing.T, mode string) (context.Context, *lab.Lab, *lab.Toed) {
	t.Helper()
	if mode == "tap" {
		return tapToed(t, "af_xdp", "", nil)
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	l := keptWire(t)
	file, runDir, err := l.WriteConfig(netdevConfig)
	require.NoError(t, err)
	d, err := l.StartToed(ctx, file, runDir)
	require.NoError(t, err)
	return ctx, l, d
}

func sameHost(ctx context.Context, t *testing.T, l *lab.Lab, d *lab.Toed) {
	const each = 10_000
	program, toerun := dials(t, l), l.Toerun(d.Socket())
	addresses := []string{"127.0.0.1", "::1", toeAddr, toeAddr6}
	_, sum := nginx(ctx, t, l, d, 80, 16*megabyte)
	plain, err := lab.Nginx{Name: "plain", Port: 81, Workers: 1, Docs: l.Path("docs")}.Words(l)
	require.NoError(t, err)
	_, err = l.Start(l.NearHost, plain[0], plain[1:]...)
	require.NoError(t, err)
	eventually(ctx, t, func() error { return l.NearHost.Listening(81) })

	port := 7000
	for _, c := range []struct {
		name           string
		server, client []string
		web            int
	}{
		{"both on the TOE", toerun, toerun, 80},
		{"server on the TOE", toerun, nil, 80},
		{"client on the TOE", nil, toerun, 81},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, a := range addresses {
				words := append(append([]string{}, c.client...), "curl", "-sS", "--fail", "-o", l.Path("down"),
					"http://"+net.JoinHostPort(a, strconv.Itoa(c.web))+"/big")
				_, err := l.NearHost.Output(ctx, words[0], words[1:]...)
				require.NoError(t, err, a)
				require.NoError(t, lab.CheckSum(l.Path("down"), sum), a)

				p := serveDials(ctx, t, l, l.NearHost, a, port, "last", c.server...)
				words = append(append([]string{}, c.client...), program, "connect", a, strconv.Itoa(port), strconv.Itoa(each), "first")
				_, err = l.NearHost.Output(ctx, words[0], words[1:]...)
				require.NoError(t, err, a)
				_ = p.Kill() // it serves for ever
				port++
			}
		})
	}
	t.Run("one process", func(t *testing.T) {
		self := l.Path("ends")
		out, err := exec.Command("gcc", "-O1", "-pthread", "-o", self, "../sockets/cases/ends.c").CombinedOutput()
		require.NoError(t, err, string(out))
		for _, a := range []string{"127.0.0.1", toeAddr} {
			for _, c := range []string{"half_close", "stopped", "shut_read", "reset_by_linger", "reset_by_unread"} {
				words := append(append([]string{}, toerun...), self, a, c)
				out, err := l.NearHost.Output(ctx, words[0], words[1:]...)
				require.NoError(t, err, out)
				require.Contains(t, out, "done")
			}
		}
	})
	s, err := d.Status(ctx)
	require.NoError(t, err)
	require.Zero(t, s.Offloaded, "the kernel carries them")
	require.Empty(t, s.Refused, "and that is no refusal")
	text, err := d.Toectl(ctx, "stats")
	require.NoError(t, err)
	asked := regexp.MustCompile(`declined loopback +([0-9]+)`).FindStringSubmatch(text)
	require.NotNil(t, asked)
	n, err := strconv.Atoi(asked[1])
	require.NoError(t, err)
	require.Positive(t, n)
	require.Less(t, n, each, "once a second, not for each connection")

	// And the wire is as before.
	require.NoError(t, fetch(ctx, l.FarHost, toeAddr))
}
