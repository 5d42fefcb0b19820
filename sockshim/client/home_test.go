package client_test

import (
	"context"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"opentoe/sockshim/client"
	"opentoe/sockshim/server"
	"opentoe/toe"
	"opentoe/toe/loopdev"
)

// startIn starts a toed in dir; end ends it.
func startIn(t *testing.T, dir string) (end func()) {
	dev, err := loopdev.New(loopdev.Config{Name: "toe0", Prefixes: []netip.Prefix{netip.MustParsePrefix(toeAddr + "/24")}})
	require.NoError(t, err)
	reg := toe.NewRegistry()
	require.NoError(t, reg.Register(dev))
	srv, err := server.New(server.Config{Dir: dir, Registry: reg})
	require.NoError(t, err)
	require.NoError(t, reg.RegisterSocketLayer(srv))
	require.NoError(t, reg.Activate("toe0"))
	served := make(chan error, 1)
	go func() { served <- srv.Serve(context.Background()) }()
	return func() {
		require.NoError(t, reg.Deactivate("toe0"))
		require.NoError(t, srv.Close())
		require.NoError(t, <-served)
	}
}

// TestComesHome: a program's listener and its new connections are on the TOE whenever there is a toed, and
// on the kernel all the time; an Accept that waits goes on waiting.
func TestComesHome(t *testing.T) {
	dir := t.TempDir()
	end := startIn(t, dir)
	c := dial(t, client.Config{Socket: dir + "/toed.sock"})
	ln, err := c.Listen("tcp", ":0")
	require.NoError(t, err)
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("hello"))
			_ = conn.Close()
		}
	}()
	_, port, err := net.SplitHostPort(ln.Addr().String())
	require.NoError(t, err)
	answered := func(conn net.Conn) {
		got, err := io.ReadAll(conn)
		require.NoError(t, err)
		require.Equal(t, "hello", string(got))
		require.NoError(t, conn.Close())
	}
	overKernel := func() {
		conn, err := c.DialContext(t.Context(), "tcp", "127.0.0.1:"+port)
		require.NoError(t, err)
		answered(conn)
	}
	for range 3 {
		far := dial(t, client.Config{Socket: dir + "/toed.sock"})
		var held net.Conn
		require.Eventually(t, func() bool {
			conn, err := far.DialContext(t.Context(), "tcp", toeAddr+":"+port)
			held = conn
			return err == nil
		}, time.Minute, time.Millisecond)
		require.IsType(t, &client.Conn{}, held)
		answered(held)
		overKernel()
		require.NoError(t, far.Close())

		idle, err := c.Listen("tcp", toeAddr+":0")
		require.NoError(t, err)
		conn, err := c.DialContext(t.Context(), "tcp", idle.Addr().String())
		require.NoError(t, err)
		end()
		_, err = conn.Read(make([]byte, 1))
		require.ErrorIs(t, err, unix.ECONNRESET)
		require.NoError(t, conn.Close())
		require.NoError(t, idle.Close())
		overKernel()
		end = startIn(t, dir)
	}
	end()
	require.NoError(t, ln.Close())
	require.ErrorIs(t, ln.Close(), net.ErrClosed)
}
