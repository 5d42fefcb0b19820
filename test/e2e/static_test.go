//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opentoe/test/lab"
)

// goProgram builds the net/http program, without libc.
func goProgram(t *testing.T, l *lab.Lab) string {
	t.Helper()
	bin := l.Path("gohttp")
	cmd := exec.Command("go", "build", "-o", bin, "./gohttp")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	return bin
}

// TestGoServer serves downloads and uploads of the kernel's curl by a net/http program on the TOE, and 1,000
// connections.
func TestGoServer(t *testing.T) {
	ctx, l, d := toed(t, "af_xdp", "")
	docs := l.Path("docs")
	require.NoError(t, os.MkdirAll(docs, 0o755))
	sum, err := lab.WriteRandom(filepath.Join(docs, "big"), 64*megabyte, 1)
	require.NoError(t, err)
	_, err = lab.WriteRandom(filepath.Join(docs, "small"), 1000, 2)
	require.NoError(t, err)
	bin := goProgram(t, l)
	server := serve(ctx, t, l, d, 80, bin, "serve", ":80", docs)

	for _, host := range []string{toeAddr, "[" + toeAddr6 + "]"} {
		url := "http://" + host
		curl(ctx, t, l.FarHost, "-o", l.Path("down"), url+"/big")
		require.NoError(t, lab.CheckSum(l.Path("down"), sum))
		curl(ctx, t, l.FarHost, "-o", os.DevNull, "-T", l.Path("docs", "big"), url+"/up")
		require.NoError(t, lab.CheckSum(l.Path("docs", "up"), sum))
	}
	out, err := l.FarHost.Output(ctx, bin, "many", "http://"+toeAddr+"/small", "1000", "100")
	require.NoError(t, err)
	require.Equal(t, "1000000\n", out)
	offloadedOnly(ctx, t, d)
	s, err := d.Status(ctx)
	require.NoError(t, err)
	require.GreaterOrEqual(t, s.Offloaded, uint64(1004))
	require.NoError(t, server.Stop(), "it did not end in order")
}

// TestGoClient runs a net/http client on the TOE against the kernel's server.
func TestGoClient(t *testing.T) {
	ctx, l, d := toed(t, "af_xdp", "")
	docs := l.Path("docs")
	require.NoError(t, os.MkdirAll(docs, 0o755))
	sum, err := lab.WriteRandom(filepath.Join(docs, "big"), 64*megabyte, 1)
	require.NoError(t, err)
	_, err = lab.WriteRandom(filepath.Join(docs, "small"), 1000, 2)
	require.NoError(t, err)
	bin := goProgram(t, l)
	server, err := l.Start(l.FarHost, bin, "serve", ":80", docs)
	require.NoError(t, err)
	require.NoError(t, server.WaitFor(ctx, func() error { return l.FarHost.Listening(80) }))

	run := func(args ...string) (string, error) {
		words := l.Toerun(d.Socket(), append([]string{bin}, args...)...)
		return l.NearHost.Output(ctx, words[0], words[1:]...)
	}
	for _, host := range []string{peerAddr, "[" + peerAddr6 + "]"} {
		url := "http://" + host
		_, err := run("get", url+"/big", l.Path("down"))
		require.NoError(t, err)
		require.NoError(t, lab.CheckSum(l.Path("down"), sum))
		_, err = run("put", url+"/up", l.Path("docs", "big"))
		require.NoError(t, err)
		require.NoError(t, lab.CheckSum(l.Path("docs", "up"), sum))
	}
	out, err := run("many", "http://"+peerAddr+"/small", "1000", "100")
	require.NoError(t, err)
	require.Equal(t, "1000000\n", out)
	offloadedOnly(ctx, t, d)
	_, err = run("get", "http://"+peerAddr+":81/", os.DevNull)
	require.ErrorContains(t, err, "connection refused")
}

// staticProgram compiles the C program without shared libraries.
func staticProgram(t *testing.T, l *lab.Lab) string {
	t.Helper()
	bin := l.Path("static")
	out, err := exec.Command("gcc", "-O1", "-Wall", "-Wextra", "-Werror", "-static", "-o", bin, "testdata/static.c").CombinedOutput()
	require.NoError(t, err, string(out))
	return bin
}

// fromPeer connects the kernel's peer to a port of the TOE.
func fromPeer(t *testing.T, l *lab.Lab, port int) *net.TCPConn {
	t.Helper()
	var c net.Conn
	require.NoError(t, l.FarHost.Inside(func() (err error) {
		c, err = net.DialTimeout("tcp", fmt.Sprintf("%s:%d", toeAddr, port), limit)
		return err
	}))
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(limit)))
	return c.(*net.TCPConn)
}

// TestStaticServer has a static server that forks serve the kernel's peers: echoes, a half-close, a reset.
func TestStaticServer(t *testing.T) {
	ctx, l, d := toed(t, "af_xdp", "")
	serve(ctx, t, l, d, 7, staticProgram(t, l), "echo", "7")
	for range 8 {
		c := fromPeer(t, l, 7)
		text := strings.Repeat("across the fork ", 1<<16)
		go func() {
			_, _ = io.WriteString(c, text) // what does not come back is missed below
			_ = c.CloseWrite()
		}()
		got, err := io.ReadAll(c)
		require.NoError(t, err)
		require.True(t, text+"end" == string(got), "%d octets came back", len(got))
	}
	c := fromPeer(t, l, 7)
	_, err := io.WriteString(c, "reset")
	require.NoError(t, err)
	_, err = io.ReadAll(c)
	require.ErrorIs(t, err, syscall.ECONNRESET)
	offloadedOnly(ctx, t, d)
}

// TestSupervisorKilled kills the supervisor: what waited returns, and its connections are reset.
func TestSupervisorKilled(t *testing.T) {
	ctx, l, d := toed(t, "af_xdp", "")
	server := serve(ctx, t, l, d, 7, staticProgram(t, l), "echo", "7")
	c := fromPeer(t, l, 7)
	_, err := io.WriteString(c, "hello")
	require.NoError(t, err)
	_, err = io.ReadFull(c, make([]byte, 5))
	require.NoError(t, err)
	pid, err := supervisor(d.Socket())
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	eventually(ctx, t, func() error {
		if !server.Said("accept: Function not implemented") {
			return errors.New("accept has not failed: " + server.Text())
		}
		return nil
	})
	_, err = c.Read(make([]byte, 1))
	require.Error(t, err)
	noSockets(ctx, t, d)
}

// TestToedKilledUnderSupervisor kills toed: programs see a reset, and others connect by the next toed.
func TestToedKilledUnderSupervisor(t *testing.T) {
	ctx, l, d := toed(t, "af_xdp", "")
	bin := staticProgram(t, l)
	docs := l.Path("docs")
	require.NoError(t, os.MkdirAll(docs, 0o755))
	peer, err := l.Start(l.FarHost, bin, "echo", "7")
	require.NoError(t, err)
	require.NoError(t, peer.WaitFor(ctx, func() error { return l.FarHost.Listening(7) }))
	words := l.Toerun(d.Socket(), bin, "wait", peerAddr, "7")
	client, err := l.Start(l.NearHost, words[0], words[1:]...)
	require.NoError(t, err)
	require.NoError(t, client.WaitFor(ctx, func() error {
		if !client.Said("connected") {
			return errors.New("not connected")
		}
		return nil
	}))
	d.Kill()
	select {
	case <-client.Done():
	case <-ctx.Done():
	}
	require.Contains(t, client.Text(), "read: Connection reset by peer")
}

// supervisor finds the process that supervises for a toed.
func supervisor(socket string) (int, error) {
	list, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return 0, err
	}
	for _, f := range list {
		text, _ := os.ReadFile(f) // the process may have ended
		if words := strings.Split(string(text), "\x00"); len(words) > 2 && words[0] == "toerun-supervisor" && words[1] == socket {
			return strconv.Atoi(filepath.Base(filepath.Dir(f)))
		}
	}
	return 0, errors.New("there is no supervisor")
}

// noSockets waits until toed has none.
func noSockets(ctx context.Context, t *testing.T, d *lab.Toed) {
	t.Helper()
	eventually(ctx, t, func() error {
		s, err := d.Sockets(ctx)
		if err == nil && len(s) > 0 {
			err = fmt.Errorf("there are still %v", s)
		}
		return err
	})
}
