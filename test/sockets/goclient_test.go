package sockets

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opentoe/sockshim/client"
)

// stack is a way for a Go program to have sockets: package net, or package client.
type stack struct {
	addr   string
	dial   func(ctx context.Context, addr string) (net.Conn, error)
	listen func(addr string) (net.Listener, error)
}

// goCase is what a Go program does and what it notes of it; the notes have to be the same on both stacks.
type goCase struct {
	*testing.T
	stack
	ctx   context.Context
	notes strings.Builder
}

// halfCloser is what connections of both stacks can do.
type halfCloser interface {
	net.Conn
	CloseRead() error
	CloseWrite() error
	SetNoDelay(bool) error
}

func (g *goCase) note(format string, args ...any) { fmt.Fprintf(&g.notes, format+"\n", args...) }

// fails notes what an error is to those who look: its text without addresses, and what it matches.
func (g *goCase) fails(what string, err error) {
	var op *net.OpError
	var errno syscall.Errno
	var timeout net.Error
	g.note("%s: failed %t, EOF %t, closed %t, deadline %t, timeout %t", what, err != nil, err == io.EOF,
		errors.Is(err, net.ErrClosed), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout())
	if errors.As(err, &op) {
		g.note("  op %s on %s, source %t, address %t", op.Op, op.Net, op.Source != nil, op.Addr != nil)
	}
	if errors.As(err, &errno) {
		g.note("  errno %s", errno.Error())
	}
	for _, c := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, c) {
			g.note("  %v", c)
		}
	}
}

func (g *goCase) listener() net.Listener {
	ln, err := g.listen(net.JoinHostPort(g.addr, "0"))
	require.NoError(g, err)
	g.Cleanup(func() { _ = ln.Close() })
	return ln
}

// pair is a connection; the first end is the one that dialled.
func (g *goCase) pair() (c, a halfCloser) {
	ln := g.listener()
	conn, err := g.dial(g.ctx, ln.Addr().String())
	require.NoError(g, err)
	accepted, err := ln.Accept()
	require.NoError(g, err)
	require.NoError(g, ln.Close())
	g.Cleanup(func() { _, _ = conn.Close(), accepted.Close() })
	return conn.(halfCloser), accepted.(halfCloser)
}

func (g *goCase) read(what string, c net.Conn, n int) {
	buf := make([]byte, n)
	got, err := io.ReadFull(c, buf)
	g.note("%s: %q", what, buf[:got])
	if err != nil {
		g.fails(what, err)
	}
}

func (g *goCase) write(what string, c net.Conn, text string) {
	n, err := c.Write([]byte(text))
	g.note("%s: %d", what, n)
	if err != nil {
		g.fails(what, err)
	}
}

var goCases = map[string]func(g *goCase){
	"echo": func(g *goCase) {
		c, a := g.pair()
		g.write("ask", c, "question")
		g.read("asked", a, 8)
		g.write("answer", a, "answer")
		g.read("answered", c, 6)
	},
	"addresses": func(g *goCase) {
		ln := g.listener()
		conn, err := g.dial(g.ctx, ln.Addr().String())
		require.NoError(g, err)
		accepted, err := ln.Accept()
		require.NoError(g, err)
		g.note("networks %s %s %s", ln.Addr().Network(), conn.LocalAddr().Network(), accepted.RemoteAddr().Network())
		g.note("%t", conn.RemoteAddr().String() == ln.Addr().String())
		g.note("%t", conn.LocalAddr().String() == accepted.RemoteAddr().String())
		g.note("%t", accepted.LocalAddr().String() == ln.Addr().String())
		host, _, err := net.SplitHostPort(conn.LocalAddr().String())
		require.NoError(g, err)
		g.note("%t", host == g.addr)
		_, _ = conn.Close(), accepted.Close()
		g.note("after close %t", conn.RemoteAddr().String() == ln.Addr().String())
	},
	"half-close": func(g *goCase) {
		c, a := g.pair()
		g.fails("close write", c.CloseWrite())
		g.read("end", a, 1)
		g.write("other half", a, "late")
		g.read("late", c, 4)
		g.write("write after it", c, "x")
		g.fails("close write again", c.CloseWrite())
	},
	"close-read": func(g *goCase) {
		c, _ := g.pair()
		g.fails("close read", c.CloseRead())
		g.read("read", c, 1)
		g.write("write", c, "x")
	},
	"close": func(g *goCase) {
		c, a := g.pair()
		g.fails("close", c.Close())
		g.fails("close again", c.Close())
		g.read("read", c, 1)
		g.write("write", c, "x")
		g.fails("deadline", c.SetDeadline(time.Now()))
		g.fails("no delay", c.SetNoDelay(true))
		g.fails("close write", c.CloseWrite())
		g.read("peer", a, 1)
	},
	"refused": func(g *goCase) {
		ln := g.listener()
		addr := ln.Addr().String()
		require.NoError(g, ln.Close())
		_, err := g.dial(g.ctx, addr)
		g.fails("dial", err)
	},
	"dial-canceled": func(g *goCase) {
		ctx, cancel := context.WithCancel(g.ctx)
		cancel()
		_, err := g.dial(ctx, g.listener().Addr().String())
		g.fails("dial", err)
	},
	"dial-too-late": func(g *goCase) {
		ctx, cancel := context.WithDeadline(g.ctx, time.Unix(1, 0))
		defer cancel()
		_, err := g.dial(ctx, g.listener().Addr().String())
		g.note("%t", err != nil)
		var timeout net.Error
		g.note("timeout %t", errors.As(err, &timeout) && timeout.Timeout())
	},
	"bad-addresses": func(g *goCase) {
		for _, addr := range []string{"", "nonsense", g.addr, net.JoinHostPort(g.addr, "99999"), net.JoinHostPort(g.addr, "x y")} {
			_, err := g.dial(g.ctx, addr)
			g.note("%q: %t", strings.ReplaceAll(addr, g.addr, "address"), err != nil)
		}
		for _, addr := range []string{"nonsense", net.JoinHostPort(g.addr, "99999")} {
			_, err := g.listen(addr)
			g.note("%q: %t", strings.ReplaceAll(addr, g.addr, "address"), err != nil)
		}
	},
	"read-deadline": func(g *goCase) {
		c, a := g.pair()
		require.NoError(g, c.SetReadDeadline(time.Unix(1, 0)))
		g.read("passed", c, 1)
		g.read("still passed", c, 1)
		g.write("writes go on", c, "x")
		require.NoError(g, c.SetReadDeadline(time.Time{}))
		g.write("peer", a, "y")
		g.read("none", c, 1)
		require.NoError(g, c.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
		g.read("soon", c, 1)
	},
	"read-deadline-with-octets": func(g *goCase) {
		c, a := g.pair()
		g.write("peer", a, "xy")
		g.read("one", c, 1)
		require.NoError(g, c.SetReadDeadline(time.Unix(1, 0)))
		g.read("passed", c, 1)
	},
	"write-deadline": func(g *goCase) {
		c, a := g.pair()
		require.NoError(g, c.SetWriteDeadline(time.Unix(1, 0)))
		g.write("passed", c, "x")
		require.NoError(g, c.SetWriteDeadline(time.Time{}))
		g.write("none", c, "y")
		g.read("peer", a, 1)
		require.NoError(g, c.SetWriteDeadline(time.Now().Add(50*time.Millisecond)))
		_, err := c.Write(make([]byte, 64<<20)) // nobody reads
		g.fails("full", err)
	},
	"deadline-under-read": func(g *goCase) {
		c, _ := g.pair()
		go func() {
			time.Sleep(5 * time.Millisecond)
			_ = c.SetReadDeadline(time.Unix(1, 0))
		}()
		g.read("read", c, 1)
	},
	"close-under-read": func(g *goCase) {
		c, _ := g.pair()
		go func() {
			time.Sleep(5 * time.Millisecond)
			_ = c.Close()
		}()
		g.read("read", c, 1)
	},
	"close-under-write": func(g *goCase) {
		c, _ := g.pair()
		go func() {
			time.Sleep(20 * time.Millisecond)
			_ = c.Close()
		}()
		_, err := c.Write(make([]byte, 64<<20))
		g.fails("write", err)
	},
	"close-under-accept": func(g *goCase) {
		ln := g.listener()
		go func() {
			time.Sleep(5 * time.Millisecond)
			_ = ln.Close()
		}()
		_, err := ln.Accept()
		g.fails("accept", err)
		_, err = ln.Accept()
		g.fails("again", err)
		g.fails("close again", ln.Close())
	},
	"listen-twice": func(g *goCase) {
		_, err := g.listen(g.listener().Addr().String())
		g.fails("listen", err)
	},
	"listen-again": func(g *goCase) {
		ln := g.listener()
		addr := ln.Addr().String()
		require.NoError(g, ln.Close())
		again, err := g.listen(addr)
		g.fails("listen", err)
		if err == nil {
			g.note("same address %t", again.Addr().String() == addr)
			_ = again.Close()
		}
	},
	"peer-closes-with-unread": func(g *goCase) {
		c, a := g.pair()
		g.write("unread", c, "x")
		require.NoError(g, a.SetReadDeadline(time.Now().Add(patience)))
		buf := make([]byte, 2)
		g.write("marker", a, "m")
		g.read("marker", c, 1)
		_, _ = buf, a.Close() // a has octets that it has not read: a reset
		g.read("read", c, 1)
	},
	"write-to-closed-peer": func(g *goCase) {
		c, a := g.pair()
		require.NoError(g, a.Close())
		g.read("end", c, 1)
		var err error
		for err == nil {
			_, err = c.Write([]byte("x"))
		}
		g.note("broken pipe or reset %t", errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET))
		_, err = c.Write([]byte("x"))
		g.note("again %t", errors.Is(err, syscall.EPIPE))
	},
	"nothing": func(g *goCase) {
		c, a := g.pair()
		n, err := c.Read(nil)
		g.note("read %d %v", n, err)
		n, err = c.Write(nil)
		g.note("write %d %v", n, err)
		require.NoError(g, a.Close())
		n, err = c.Read(nil)
		g.note("read of the ended %d %v", n, err)
	},
	"much": func(g *goCase) {
		c, a := g.pair()
		want := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
		go func() {
			_, _ = c.Write(want)
			_ = c.CloseWrite()
		}()
		got, err := io.ReadAll(a)
		g.note("%d, the same %t, %v", len(got), bytes.Equal(got, want), err)
	},
	"copy": func(g *goCase) {
		c, a := g.pair()
		d, b := g.pair()
		go func() {
			_, _ = io.Copy(d, a) // ReadFrom or WriteTo, where there are
			_ = d.CloseWrite()
		}()
		g.write("in", c, "through two connections")
		require.NoError(g, c.CloseWrite())
		got, err := io.ReadAll(b)
		g.note("%q %v", got, err)
	},
	"buffers": func(g *goCase) {
		c, a := g.pair()
		v := net.Buffers{[]byte("one "), nil, []byte("two "), []byte("three")}
		n, err := v.WriteTo(c)
		g.note("%d %v", n, err)
		g.read("all", a, 13)
	},
	"concurrent": func(g *goCase) {
		c, a := g.pair()
		var both sync.WaitGroup
		for _, conn := range []net.Conn{c, a} {
			both.Go(func() {
				for range 200 {
					_, _ = conn.Write([]byte("0123456789"))
				}
			})
			both.Go(func() { _, _ = io.ReadFull(conn, make([]byte, 2000)) })
		}
		both.Wait()
		g.note("done")
	},
	"many": func(g *goCase) {
		ln := g.listener()
		go func() {
			for {
				conn, err := ln.Accept()
				if err != nil {
					return
				}
				go func() { _, _ = io.Copy(conn, conn); _ = conn.Close() }()
			}
		}()
		var all sync.WaitGroup
		var outcome [50]string
		for i := range outcome {
			all.Go(func() {
				conn, err := g.dial(g.ctx, ln.Addr().String())
				if err != nil {
					outcome[i] = "dial: " + err.Error()
					return
				}
				defer conn.Close()
				text := fmt.Sprint("client ", i)
				_, _ = conn.Write([]byte(text))
				_ = conn.(halfCloser).CloseWrite()
				got, err := io.ReadAll(conn)
				if string(got) != text || err != nil {
					outcome[i] = fmt.Sprintf("%q %v", got, err)
				}
			})
		}
		all.Wait()
		g.note("%q", slices.Compact(outcome[:]))
	},
}

// TestGoClient has Go programs use package net and package client, and demands that they notice nothing.
func TestGoClient(t *testing.T) {
	srv := toedOf(t, t.TempDir(), 3)
	c, err := client.Dial(client.Config{Socket: srv.SocketPath()})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	var dialer net.Dialer
	var config net.ListenConfig
	t.Logf("%d cases", len(goCases))
	for _, family := range []struct{ name, kernel, toe string }{{"IPv4", kernelAddr, toeAddr}, {"IPv6", kernelAddr6, toeAddr6}} {
		t.Run(family.name, func(t *testing.T) {
			for _, name := range slices.Sorted(maps.Keys(goCases)) {
				t.Run(name, func(t *testing.T) {
					ctx, cancel := context.WithTimeout(t.Context(), patience)
					defer cancel()
					notes := func(s stack) string {
						g := &goCase{T: t, stack: s, ctx: ctx}
						goCases[name](g)
						return g.notes.String()
					}
					want := notes(stack{family.kernel,
						func(ctx context.Context, addr string) (net.Conn, error) { return dialer.DialContext(ctx, "tcp", addr) },
						func(addr string) (net.Listener, error) { return config.Listen(ctx, "tcp", addr) }})
					require.Equal(t, want, notes(stack{family.toe,
						func(ctx context.Context, addr string) (net.Conn, error) { return c.DialContext(ctx, "tcp", addr) },
						func(addr string) (net.Listener, error) { return c.Listen("tcp", addr) }}))
				})
			}
		})
	}
	require.NotZero(t, srv.Counters().ActiveOpens)
}
