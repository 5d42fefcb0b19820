package client_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/nettest"
	"golang.org/x/sys/unix"

	"opentoe/sockshim/client"
	"opentoe/sockshim/server"
	"opentoe/toe"
	"opentoe/toe/loopdev"
)

const (
	toeAddr  = "10.99.0.1"
	toeAddr6 = "fd99::1"
)

// serve starts a server on a loopback device and returns it with a client's configuration.
func serve(t testing.TB, edit func(*server.Config)) (*server.Server, client.Config) {
	t.Helper()
	return serveOn(t, 1, edit)
}

// serveOn is serve on a device with so many workers.
func serveOn(t testing.TB, workers int, edit func(*server.Config)) (*server.Server, client.Config) {
	t.Helper()
	dev, err := loopdev.New(loopdev.Config{Name: "toe0", Workers: workers, Prefixes: []netip.Prefix{
		netip.MustParsePrefix(toeAddr + "/24"), netip.MustParsePrefix(toeAddr6 + "/64"),
	}})
	require.NoError(t, err)
	reg := toe.NewRegistry()
	require.NoError(t, reg.Register(dev))
	cfg := server.Config{Dir: t.TempDir(), Registry: reg}
	if edit != nil {
		edit(&cfg)
	}
	srv, err := server.New(cfg)
	require.NoError(t, err)
	require.NoError(t, reg.RegisterSocketLayer(srv))
	require.NoError(t, reg.Activate("toe0"))
	served := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { served <- srv.Serve(ctx) }()
	t.Cleanup(func() {
		_ = reg.Deactivate("toe0")
		cancel()
		require.NoError(t, <-served)
		require.NoError(t, srv.Close())
		for i, n := range srv.Counters().Violations {
			require.Zero(t, n, "violation %s", server.ViolationName(i))
		}
	})
	return srv, client.Config{Socket: srv.SocketPath(), Program: "test"}
}

func dial(t testing.TB, cfg client.Config) *client.Client {
	t.Helper()
	c, err := client.Dial(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// pair returns both ends of an offloaded connection.
func pair(t testing.TB, ln net.Listener, c *client.Client) (a, b *client.Conn) {
	t.Helper()
	type result struct {
		conn net.Conn
		err  error
	}
	got := make(chan result, 1)
	go func() {
		conn, err := ln.Accept()
		got <- result{conn, err}
	}()
	conn, err := c.DialContext(context.Background(), "tcp", ln.Addr().String())
	require.NoError(t, err)
	r := <-got
	require.NoError(t, r.err)
	require.IsType(t, &client.Conn{}, conn, "the connection is offloaded")
	return conn.(*client.Conn), r.conn.(*client.Conn)
}

func TestConn(t *testing.T) {
	_, cfg := serve(t, nil)
	c := dial(t, cfg)
	ln, err := c.Listen("tcp", toeAddr+":0")
	require.NoError(t, err)
	defer ln.Close()
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		a, b := pair(t, ln, c)
		return a, b, func() { a.Close(); b.Close() }, nil
	})
}

func TestBulkBothWays(t *testing.T) {
	srv, cfg := serve(t, nil)
	for _, addr := range []string{toeAddr, toeAddr6} {
		t.Run(addr, func(t *testing.T) {
			server, dialer := dial(t, cfg), dial(t, cfg)
			ln, err := server.Listen("tcp", net.JoinHostPort(addr, "0"))
			require.NoError(t, err)
			defer ln.Close()
			a, b := pair(t, ln, dialer)
			var wg sync.WaitGroup
			stream := func(seed uint64, from, to *client.Conn) {
				const size = 24 << 20
				var want, got [sha256.Size]byte
				var inner sync.WaitGroup
				inner.Go(func() {
					r := rand.New(rand.NewPCG(seed, 0))
					src, sum := rand.NewChaCha8([32]byte{byte(seed)}), sha256.New()
					buf := make([]byte, 300<<10)
					for left := size; left > 0; {
						n := min(left, 1+r.IntN(len(buf)))
						_, _ = src.Read(buf[:n])
						sum.Write(buf[:n])
						_, err := from.Write(buf[:n])
						require.NoError(t, err)
						left -= n
					}
					want = [sha256.Size]byte(sum.Sum(nil))
					require.NoError(t, from.CloseWrite())
				})
				inner.Go(func() {
					sum := sha256.New()
					n, err := io.Copy(sum, to)
					require.NoError(t, err)
					require.EqualValues(t, size, n)
					got = [sha256.Size]byte(sum.Sum(nil))
				})
				inner.Wait()
				require.Equal(t, want, got)
			}
			wg.Go(func() { stream(1, a, b) })
			wg.Go(func() { stream(2, b, a) })
			wg.Wait()
			require.NoError(t, a.Close())
			require.NoError(t, b.Close())
			require.NoError(t, ln.Close())
			require.NoError(t, server.Close())
			require.NoError(t, dialer.Close())
		})
	}
	idle(t, srv)
}

// idle waits until nothing of any client is left.
func idle(t testing.TB, srv *server.Server) {
	t.Helper()
	require.Eventually(t, func() bool { return srv.Usage() == server.Usage{} }, waitFor, tick, "memory is given back")
}

func TestManyConnections(t *testing.T) {
	srv, cfg := serve(t, nil)
	c := dial(t, cfg)
	ln, err := c.Listen("tcp", toeAddr+":0")
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				_, _ = io.Copy(conn, conn)
				_ = conn.Close()
			})
		}
	})
	var dialers sync.WaitGroup
	for g := range 8 {
		dialers.Go(func() {
			for i := range 40 {
				conn, err := c.DialContext(context.Background(), "tcp", ln.Addr().String())
				require.NoError(t, err)
				msg := []byte(strings.Repeat(fmt.Sprintf("%d/%d ", g, i), 1+i*50))
				go func() { _, _ = conn.Write(msg) }()
				got := make([]byte, len(msg))
				_, err = io.ReadFull(conn, got)
				require.NoError(t, err)
				require.True(t, bytes.Equal(msg, got))
				require.NoError(t, conn.Close())
			}
		})
	}
	dialers.Wait()
	require.NoError(t, ln.Close())
	wg.Wait()
	require.NoError(t, c.Close())
	idle(t, srv)
	require.EqualValues(t, 320, srv.Counters().ActiveOpens)
}

func TestRefusedAndReset(t *testing.T) {
	srv, cfg := serve(t, nil)
	c := dial(t, cfg)
	_, err := c.DialContext(context.Background(), "tcp", toeAddr+":9")
	require.ErrorIs(t, err, unix.ECONNREFUSED)

	ln, err := c.Listen("tcp", toeAddr+":0")
	require.NoError(t, err)
	a, b := pair(t, ln, c)
	_, err = a.Write([]byte("left unread"))
	require.NoError(t, err)
	_, err = b.Read(make([]byte, 4))
	require.NoError(t, err)
	require.NoError(t, b.Close()) // with unread octets: a reset, as Linux does
	_, err = a.Read(make([]byte, 1))
	require.ErrorIs(t, err, unix.ECONNRESET)
	require.NoError(t, a.Close())

	a, b = pair(t, ln, c)
	require.NoError(t, a.Abort())
	_, err = b.Read(make([]byte, 1))
	require.ErrorIs(t, err, unix.ECONNRESET)
	_, err = b.Write([]byte("x"))
	require.ErrorIs(t, err, unix.EPIPE)
	require.NoError(t, b.Close())

	// A connection that nobody accepts is reset when the listener closes.
	conn, err := c.DialContext(context.Background(), "tcp", ln.Addr().String())
	require.NoError(t, err)
	require.NoError(t, ln.Close())
	_, err = conn.Read(make([]byte, 1))
	require.ErrorIs(t, err, unix.ECONNRESET)
	require.NoError(t, conn.Close())
	require.NoError(t, c.Close())
	idle(t, srv)
}

func TestKernelFallback(t *testing.T) {
	srv, cfg := serve(t, nil)
	c := dial(t, cfg)
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer plain.Close()
	conn, err := c.DialContext(context.Background(), "tcp", plain.Addr().String())
	require.NoError(t, err)
	require.IsType(t, &net.TCPConn{}, conn)
	require.NoError(t, conn.Close())

	// A wildcard listener answers on the TOE and on loopback.
	ln, err := c.Listen("tcp", ":0")
	require.NoError(t, err)
	defer ln.Close()
	_, port, err := net.SplitHostPort(ln.Addr().String())
	require.NoError(t, err)
	for _, via := range []struct {
		addr string
		want net.Conn
	}{{"127.0.0.1", &net.TCPConn{}}, {toeAddr, &client.Conn{}}, {toeAddr6, &client.Conn{}}} {
		conn, err := c.DialContext(context.Background(), "tcp", net.JoinHostPort(via.addr, port))
		require.NoError(t, err)
		require.IsType(t, via.want, conn)
		peer, err := ln.Accept()
		require.NoError(t, err)
		require.IsType(t, via.want, peer)
		_, err = peer.Write([]byte("hello"))
		require.NoError(t, err)
		require.NoError(t, peer.Close())
		got, err := io.ReadAll(conn)
		require.NoError(t, err)
		require.Equal(t, "hello", string(got))
		require.NoError(t, conn.Close())
	}
	require.NotZero(t, srv.Counters().Listens)
}

func TestPolicyDeclines(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	asked := make(chan server.Query, 1)
	srv, cfg := serve(t, func(c *server.Config) {
		c.Policy = func(q *server.Query) toe.Reason {
			if q.Listen {
				return toe.Offloaded
			}
			asked <- *q
			cancel() // before the kernel is asked: the address is nobody's, no packet may leave
			return toe.ReasonPolicy
		}
	})
	c := dial(t, cfg)
	_, err := c.DialContext(ctx, "tcp", toeAddr+":80")
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, "test", (<-asked).Program)
	require.Eventually(t, func() bool { return srv.Counters().Declined[toe.ReasonPolicy] == 1 },
		10*time.Second, time.Millisecond)
}

// TestPortInUse: the TOE has ports in use that the kernel takes for free; a dial passes over them, and
// does not go to the kernel.
func TestPortInUse(t *testing.T) {
	var refuse atomic.Int32
	srv, cfg := serve(t, func(c *server.Config) {
		c.Policy = func(q *server.Query) toe.Reason {
			if !q.Listen && refuse.Add(-1) >= 0 {
				return toe.ReasonInUse
			}
			return toe.Offloaded
		}
	})
	c := dial(t, cfg)
	ln, err := c.Listen("tcp", toeAddr+":0")
	require.NoError(t, err)
	defer ln.Close()
	refuse.Store(5)
	a, b := pair(t, ln, c)
	require.NoError(t, a.Close())
	require.NoError(t, b.Close())
	require.EqualValues(t, 5, srv.Counters().PortsInUse)
	require.Zero(t, srv.Counters().Declined, "none is the kernel's")
	refuse.Store(1 << 20)
	_, err = c.DialContext(context.Background(), "tcp", ln.Addr().String())
	require.ErrorIs(t, err, unix.EADDRNOTAVAIL)
}

func TestDeadServer(t *testing.T) {
	dev, err := loopdev.New(loopdev.Config{Name: "toe0", Prefixes: []netip.Prefix{netip.MustParsePrefix(toeAddr + "/24")}})
	require.NoError(t, err)
	reg := toe.NewRegistry()
	require.NoError(t, reg.Register(dev))
	srv, err := server.New(server.Config{Dir: t.TempDir(), Registry: reg})
	require.NoError(t, err)
	require.NoError(t, reg.RegisterSocketLayer(srv))
	require.NoError(t, reg.Activate("toe0"))
	served := make(chan error, 1)
	go func() { served <- srv.Serve(context.Background()) }()
	c := dial(t, client.Config{Socket: srv.SocketPath()})
	ln, err := c.Listen("tcp", toeAddr+":0")
	require.NoError(t, err)
	a, b := pair(t, ln, c)
	read := make(chan error, 1)
	go func() {
		_, err := a.Read(make([]byte, 1))
		read <- err
	}()
	require.NoError(t, reg.Deactivate("toe0"))
	require.ErrorIs(t, <-read, unix.ECONNRESET)
	_, err = b.Write([]byte("x"))
	require.Error(t, err)
	require.NoError(t, srv.Close())
	require.NoError(t, <-served)
}

func TestUnreadListenerStaysWithinMemory(t *testing.T) {
	// One mebibyte of chunks, a connection that nobody reads: the writer has to wait, and
	// everything is delivered in the end.
	srv, cfg := serve(t, func(c *server.Config) { c.Memory = 1 << 20 })
	server, dialer := dial(t, cfg), dial(t, cfg)
	ln, err := server.Listen("tcp", toeAddr+":0")
	require.NoError(t, err)
	a, b := pair(t, ln, dialer)
	const size = 8 << 20
	go func() {
		buf := make([]byte, size)
		for i := range buf {
			buf[i] = byte(i >> 10)
		}
		_, _ = a.Write(buf)
		_ = a.CloseWrite()
	}()
	got := 0
	buf := make([]byte, 5000)
	for {
		n, err := b.Read(buf)
		for i := range n {
			require.Equal(t, byte((got+i)>>10), buf[i])
		}
		got += n
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
	}
	require.Equal(t, size, got)
	for _, end := range []io.Closer{a, b, ln, server, dialer} {
		require.NoError(t, end.Close())
	}
	idle(t, srv)
}
