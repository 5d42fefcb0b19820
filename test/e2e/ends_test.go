//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opentoe/sockshim/client"
	"opentoe/test/lab"
)

// end is one end of the wire as a Go program sees it: the kernel's TCP, or the TOE's.
type end struct {
	ns         string
	addr, peer [2]string // IPv4, IPv6
	dial       func(ctx context.Context, addr string) (net.Conn, error)
	listen     func(ctx context.Context, addr string) (net.Listener, error)
}

// stream is what both kinds of connection can do.
type stream interface {
	net.Conn
	CloseWrite() error
}

// ends are the two ends of a wire with toed on it.
func ends(t *testing.T, l *lab.Lab, d *lab.Toed) (toe, kernel end) {
	t.Helper()
	var c *client.Client
	inside(t, l.Near, func() (err error) {
		c, err = client.Dial(client.Config{Socket: d.Socket(), Program: prefix()})
		return err
	})
	t.Cleanup(func() { _ = c.Close() })
	toe = end{
		ns: l.Near, addr: [2]string{toeAddr, toeAddr6}, peer: [2]string{peerAddr, peerAddr6},
		dial:   func(ctx context.Context, addr string) (net.Conn, error) { return c.DialContext(ctx, "tcp", addr) },
		listen: func(_ context.Context, addr string) (net.Listener, error) { return c.Listen("tcp", addr) },
	}
	return toe, kernelEnd(l.Far, toe.peer, toe.addr)
}

// kernelEnd is the kernel's TCP in namespace ns.
func kernelEnd(ns string, addr, peer [2]string) end {
	return end{
		ns: ns, addr: addr, peer: peer,
		dial: func(ctx context.Context, addr string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		},
		listen: func(ctx context.Context, addr string) (net.Listener, error) {
			return new(net.ListenConfig).Listen(ctx, "tcp", addr)
		},
	}
}

// connect opens a connection from a to b over IP version 4 or 6.
func connect(ctx context.Context, t *testing.T, a, b end, version int) (from, to stream) {
	t.Helper()
	const port = "7000"
	var ln net.Listener
	addr := net.JoinHostPort(b.addr[version/6], port)
	inside(t, b.ns, func() (err error) { ln, err = b.listen(ctx, addr); return err })
	defer ln.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		if c, err := ln.Accept(); err == nil {
			accepted <- c
		}
	}()
	from = dial(ctx, t, a, addr)
	select {
	case c := <-accepted:
		to = c.(stream)
	case <-ctx.Done():
		require.Fail(t, "nothing to accept")
	}
	t.Cleanup(func() { _, _ = from.Close(), to.Close() })
	return from, to
}

func dial(ctx context.Context, t *testing.T, a end, addr string) (c stream) {
	t.Helper()
	inside(t, a.ns, func() error {
		conn, err := a.dial(ctx, addr)
		if err == nil {
			c = conn.(stream)
		}
		return err
	})
	return c
}

// inside runs f on a thread that visits namespace ns: sockets made there stay there.
func inside(t *testing.T, ns string, f func() error) {
	t.Helper()
	require.NoError(t, lab.Host{Namespace: ns}.Inside(f))
}

// put sends n octets drawn from seed and then FIN.
func put(c stream, n int64, seed byte) error {
	_, err := io.CopyN(struct{ io.Writer }{c}, rand.NewChaCha8([32]byte{seed}), n)
	return errors.Join(err, c.CloseWrite())
}

// get demands the octets that put sends, to the end of the stream.
func get(c stream, n int64, seed byte) error {
	have, want := sha256.New(), sha256.New()
	got, err := io.Copy(have, struct{ io.Reader }{c})
	if err != nil {
		return fmt.Errorf("after %d octets: %w", got, err)
	}
	if got != n {
		return fmt.Errorf("stream ends after %d of %d octets", got, n)
	}
	_, _ = io.CopyN(want, rand.NewChaCha8([32]byte{seed}), n) // neither end fails
	if !bytes.Equal(have.Sum(nil), want.Sum(nil)) {
		return errors.New("octets differ")
	}
	return nil
}

// exchange sends n octets from a to b and then, over the other half, from b to a. It returns how
// long each took.
func exchange(ctx context.Context, t *testing.T, a, b stream, n int64) (there, back time.Duration) {
	t.Helper()
	deadline, _ := ctx.Deadline()
	require.NoError(t, errors.Join(a.SetDeadline(deadline), b.SetDeadline(deadline)))
	one := func(from, to stream, seed byte) time.Duration {
		start := time.Now()
		done := make(chan error, 1)
		go func() { done <- put(from, n, seed) }()
		err := get(to, n, seed)
		require.NoError(t, errors.Join(err, <-done))
		return time.Since(start)
	}
	return one(a, b, 1), one(b, a, 2)
}

// impair prepares the far end for [impairment]: a hole that swallows what is sent, so that the sender
// does not hear of it as it would of a drop, and a detour that takes a little longer than the wire.
func impair(t *testing.T, l *lab.Lab) {
	t.Helper()
	mac, err := l.FarHost.Output(t.Context(), "cat", "/sys/class/net/"+farIf+"/address")
	require.NoError(t, err)
	far := l.FarHost
	pair := func(name string) error {
		return errors.Join(
			far.Run("ip", "link", "add", name, "type", "veth", "peer", "name", name+"-end"),
			far.Run("ethtool", "-K", name, "tx", "off", "tso", "off", "gso", "off", "gro", "off"),
			far.Run("ip", "link", "set", name, "up"),
			far.Run("ip", "link", "set", name+"-end", "up"),
		)
	}
	require.NoError(t, errors.Join(
		pair("hole"), // nobody answers to the address at its end
		pair("detour"),
		far.Run("ip", "link", "set", "detour-end", "address", strings.TrimSpace(mac)),
		far.Run("ip", "link", "set", farIf, "gso_max_segs", "1"), // else what is lost are trains of segments
	))
}

// impairment is what befalls TCP segments at the far end, in either direction, of a thousand each.
type impairment struct{ lose, reorder, duplicate int }

func (i impairment) apply(t *testing.T, l *lab.Lab) {
	t.Helper()
	rules := fmt.Sprintf(`table netdev wire
delete table netdev wire
table netdev wire {
	chain in {
		type filter hook ingress device "%[1]s" priority 0
		%[2]s drop
		%[3]s fwd to "detour"
	}
	chain out {
		type filter hook egress device "%[1]s" priority 0
		meta mark 1 accept
		%[2]s fwd to "hole"
		%[4]s dup to "%[1]s"
		%[3]s meta mark set 1 fwd to "detour"
	}
	chain back {
		type filter hook ingress device "detour-end" priority 0
		meta mark 1 fwd to "%[1]s"
	}
}
`, farIf, some(i.lose), some(i.reorder), some(i.duplicate))
	file := l.Path("nft")
	require.NoError(t, os.WriteFile(file, []byte(rules), 0o600))
	require.NoError(t, l.FarHost.Run("nft", "-f", file))
}

// some matches that many of a thousand TCP segments, at random.
func some(permille int) string {
	if permille == 1000 {
		return "meta l4proto tcp"
	}
	return fmt.Sprintf("meta l4proto tcp numgen random mod 1000 < %d", permille)
}

// kernelWire is a wire with the kernel's TCP at both ends, to compare with. Loss counts for Reno, unlike for BBR,
// and every namespace may have it.
func kernelWire(t *testing.T) (l *lab.Lab, near, far end) {
	t.Helper()
	l = wire(t)
	for _, h := range []lab.Host{l.NearHost, l.FarHost} {
		require.NoError(t, h.Run("sysctl", "-qw", "net.ipv4.tcp_congestion_control=reno"))
	}
	require.NoError(t, errors.Join(
		l.NearHost.Run("sysctl", "-qw", "net.ipv6.conf."+nearIf+".disable_ipv6=0"),
		l.NearHost.Run("ip", "address", "add", toeAddr+"/24", "dev", nearIf),
		l.NearHost.Run("ip", "address", "add", toeAddr6+"/64", "dev", nearIf, "nodad"),
	))
	addr, peer := [2]string{toeAddr, toeAddr6}, [2]string{peerAddr, peerAddr6}
	return l, kernelEnd(l.Near, addr, peer), kernelEnd(l.Far, peer, addr)
}

// TestHeldInTimeWait: a connection that has ended while its program still has the descriptor is in TIME-WAIT all the
// same, and `toectl ss` shows it, once.
func TestHeldInTimeWait(t *testing.T) {
	ctx, l, d := toed(t, "af_xdp", "")
	toe, kernel := ends(t, l, d)
	a, b := connect(ctx, t, toe, kernel, 4)
	defer a.Close()
	require.NoError(t, a.CloseWrite())
	_, err := io.ReadAll(b)
	require.NoError(t, err)
	require.NoError(t, b.Close())
	rows := func(state string) (n int) {
		sockets, err := d.Sockets(ctx)
		require.NoError(t, err)
		for _, s := range sockets {
			if s.State == state && s.Local == a.LocalAddr().String() && s.Remote == a.RemoteAddr().String() {
				n++
			}
		}
		return n
	}
	eventually(ctx, t, func() error {
		if n := rows("TIME-WAIT"); n != 1 {
			return fmt.Errorf("%d rows in TIME-WAIT", n)
		}
		return nil
	})
	require.Equal(t, 1, rows("CLOSED"), "the program's socket")
	require.NoError(t, a.Close())
	eventually(ctx, t, func() error {
		if n := rows("CLOSED"); n != 0 {
			return fmt.Errorf("%d rows of a socket that is closed", n)
		}
		return nil
	})
	require.Equal(t, 1, rows("TIME-WAIT"))
}
