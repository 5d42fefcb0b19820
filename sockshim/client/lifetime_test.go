package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"opentoe/sockshim/server"
)

// network is where a test's sockets come from: the kernel or a TOE.
type network struct {
	addr   string
	listen func(addr string) (net.Listener, error)
	dial   func(addr string) (net.Conn, error)
}

func kernelNet() network {
	return network{
		addr:   "127.0.0.1:0",
		listen: func(addr string) (net.Listener, error) { return net.Listen("tcp", addr) },
		dial:   func(addr string) (net.Conn, error) { return net.Dial("tcp", addr) },
	}
}

func toeNet(t *testing.T, workers int) (network, *server.Server) {
	srv, cfg := serveOn(t, workers, nil)
	near, far := dial(t, cfg), dial(t, cfg)
	return network{
		addr:   toeAddr + ":0",
		listen: func(addr string) (net.Listener, error) { return near.Listen("tcp", addr) },
		dial: func(addr string) (net.Conn, error) {
			return far.DialContext(context.Background(), "tcp", addr)
		},
	}, srv
}

// outcome names what an operation has come to.
func outcome(n int, err error) string {
	var errno unix.Errno
	switch {
	case err == nil && n > 0:
		return "data"
	case err == nil:
		return "ok"
	case errors.Is(err, io.EOF):
		return "EOF"
	case errors.As(err, &errno):
		return unix.ErrnoName(errno)
	}
	return err.Error()
}

// ends returns both ends of a connection over nw: dialed and accepted.
func ends(t *testing.T, nw network) (a, b net.Conn) {
	ln, err := nw.listen(nw.addr)
	require.NoError(t, err)
	defer ln.Close()
	a, err = nw.dial(ln.Addr().String())
	require.NoError(t, err)
	b, err = ln.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// TestEndsAsInTheKernel plays the ways in which connections end and sees the same on both.
func TestEndsAsInTheKernel(t *testing.T) {
	type halfCloser interface{ CloseWrite() error }
	buf := make([]byte, 64<<10)
	cases := map[string]func(t *testing.T, nw network) []string{
		"close with everything read": func(t *testing.T, nw network) []string {
			a, b := ends(t, nw)
			_, _ = a.Write([]byte("x"))
			_, _ = io.ReadFull(b, buf[:1])
			_ = b.Close()
			return []string{outcome(a.Read(buf))}
		},
		"close with something unread": func(t *testing.T, nw network) []string {
			a, b := ends(t, nw)
			_, _ = a.Write([]byte("xx"))
			_, _ = io.ReadFull(b, buf[:1])
			_ = b.Close()
			return []string{outcome(a.Read(buf))}
		},
		"close after shutdown, the rest is read first": func(t *testing.T, nw network) []string {
			a, b := ends(t, nw)
			_, _ = a.Write([]byte("x"))
			_ = a.(halfCloser).CloseWrite()
			_, err := io.ReadAll(b)
			got := []string{outcome(0, err)}
			_, _ = b.Write([]byte("y"))
			_ = b.Close()
			got = append(got, outcome(io.ReadFull(a, buf[:1])), outcome(a.Read(buf)))
			return append(got, outcome(0, a.Close()))
		},
		"write after the peer's close": func(t *testing.T, nw network) []string {
			a, b := ends(t, nw)
			_ = b.Close()
			got := []string{outcome(a.Read(buf))}
			_, _ = a.Write([]byte("x")) // is answered by a reset
			for {
				if _, err := a.Write([]byte("x")); err != nil {
					return append(got, outcome(0, err))
				}
			}
		},
		"closed with octets on the way": func(t *testing.T, nw network) []string {
			a, b := ends(t, nw)
			done := make(chan []string)
			go func() {
				n, err := io.Copy(io.Discard, b)
				done <- []string{outcome(int(n), err), outcome(int(n)-1<<20, nil)}
			}()
			_, err := a.Write(make([]byte, 1<<20))
			require.NoError(t, err)
			_ = a.Close()
			return <-done
		},
		"not accepted when the listener closes": func(t *testing.T, nw network) []string {
			ln, err := nw.listen(nw.addr)
			require.NoError(t, err)
			a, err := nw.dial(ln.Addr().String())
			require.NoError(t, err)
			defer a.Close()
			require.NoError(t, ln.Close())
			return []string{outcome(a.Read(buf))}
		},
		"accepted before the listener closes": func(t *testing.T, nw network) []string {
			a, b := ends(t, nw) // has closed it
			_, _ = a.Write([]byte("x"))
			return []string{outcome(io.ReadFull(b, buf[:1]))}
		},
		"dialed after the listener has closed": func(t *testing.T, nw network) (got []string) {
			for range 50 {
				ln, err := nw.listen(nw.addr)
				require.NoError(t, err)
				addr := ln.Addr().String()
				require.NoError(t, ln.Close())
				conn, err := nw.dial(addr)
				if err == nil {
					conn.Close()
				}
				got = append(got, outcome(0, err))
			}
			return got
		},
	}
	for _, workers := range []int{1, 3} {
		nw, srv := toeNet(t, workers)
		for name, play := range cases {
			t.Run(fmt.Sprintf("%d workers, %s", workers, name), func(t *testing.T) {
				want := play(t, kernelNet())
				require.Equal(t, want, play(t, nw))
			})
		}
		require.NotZero(t, srv.Counters().ActiveOpens, "nothing was offloaded")
	}
}

// TestNothingIsLeft opens and closes connections by the thousand, from both ends and by resets. Then
// no memory of the server's is in use, and it has not grown.
func TestNothingIsLeft(t *testing.T) {
	srv, cfg := serveOn(t, 2, nil)
	near, far := dial(t, cfg), dial(t, cfg)
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	ln, err := near.Listen("tcp", toeAddr+":0")
	require.NoError(t, err)
	cycle := func(i int) {
		a, b := pair(t, ln, far)
		_, err := a.Write(make([]byte, 100+i%3*20000))
		require.NoError(t, err)
		first, second := a, b
		if i%2 == 0 {
			first, second = b, a
		}
		if i%5 == 0 {
			require.NoError(t, first.Abort())
		} else {
			require.NoError(t, first.Close())
		}
		require.NoError(t, second.Close())
	}
	for i := range 500 {
		cycle(i)
	}
	before := heap()
	for i := range 1500 {
		cycle(i)
	}
	require.Less(t, heap(), before+1<<20)
	require.NoError(t, ln.Close())
	require.Eventually(t, func() bool {
		u := srv.Usage()
		return u.Sockets == 0 && u.Chunks == 0
	}, waitFor, tick, "with the clients still there")
	require.NoError(t, near.Close())
	require.NoError(t, far.Close())
	idle(t, srv)
}

// TestWorkers: the device decides which worker carries a connection, and the client finds it. A
// listener takes connections of all of them.
func TestWorkers(t *testing.T) {
	const workers, each = 3, 16
	srv, cfg := serveOn(t, workers, nil)
	near, far := dial(t, cfg), dial(t, cfg)
	ln, err := near.Listen("tcp", toeAddr+":0")
	require.NoError(t, err)
	var open []net.Conn
	for range workers * each {
		a, b := pair(t, ln, far)
		_, err := a.Write([]byte("ping"))
		require.NoError(t, err)
		buf := make([]byte, 4)
		_, err = io.ReadFull(b, buf)
		require.NoError(t, err)
		require.Equal(t, "ping", string(buf))
		open = append(open, a, b)
	}
	var on [workers]int
	for _, s := range srv.Sockets() {
		on[s.Worker]++
		if s.State == "ESTABLISHED" {
			require.EqualValues(t, s.Worker, (int(s.Local.Port())+int(s.Remote.Port()))%workers, "the device's rule")
		}
	}
	for w, n := range on {
		require.NotZero(t, n, "worker %d carries none", w)
	}
	require.EqualValues(t, workers*each, srv.Counters().ActiveOpens)
	require.NoError(t, ln.Close())
	for _, c := range open {
		require.NoError(t, c.Close())
	}
	require.NoError(t, near.Close())
	require.NoError(t, far.Close())
	idle(t, srv)
}
