//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opentoe/test/lab"
)

// TestPeers meets kernels that lack, or ask for, one thing or another, over a wire that loses a little.
func TestPeers(t *testing.T) {
	ctx, l, d := toed(t, "af_xdp", "")
	toe, kernel := ends(t, l, d)
	impair(t, l)
	impairment{lose: 5, duplicate: 5, reorder: 5}.apply(t, l)
	for _, c := range []struct {
		name        string
		set, reset  []string
		has, hasNot string // what ss says of the kernel's end
		v4only      bool
	}{
		{name: "usual", has: " ts sack ", hasNot: " ecn"},
		{"no timestamps", []string{"sysctl", "-qw", "net.ipv4.tcp_timestamps=0"}, []string{"sysctl", "-qw", "net.ipv4.tcp_timestamps=1"}, "sack", " ts ", false},
		{"no SACK", []string{"sysctl", "-qw", "net.ipv4.tcp_sack=0"}, []string{"sysctl", "-qw", "net.ipv4.tcp_sack=1"}, " ts ", " sack", false},
		{"no window scale", []string{"sysctl", "-qw", "net.ipv4.tcp_window_scaling=0"}, []string{"sysctl", "-qw", "net.ipv4.tcp_window_scaling=1"}, " ts sack", "wscale", false},
		{"asks for ECN", []string{"sysctl", "-qw", "net.ipv4.tcp_ecn=1"}, []string{"sysctl", "-qw", "net.ipv4.tcp_ecn=2"}, " ts sack", "", false},
		{"small MTU", []string{"ip", "link", "set", farIf, "mtu", "600"}, []string{"ip", "link", "set", farIf, "mtu", "1500"}, " mss:548 ", "", true},
	} {
		if c.set != nil {
			require.NoError(t, l.FarHost.Run(c.set[0], c.set[1:]...))
		}
		for _, version := range []int{4, 6} {
			if c.v4only && version == 6 {
				continue
			}
			for _, active := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s v%d %s", c.name, version, role(active)), func(t *testing.T) {
					a, b := connectAs(ctx, t, toe, kernel, version, active)
					require.NoError(t, write(b, 1))
					require.NoError(t, read(a, 1))
					ss, err := l.FarHost.Output(ctx, "ss", "-Htino", "state", "established")
					require.NoError(t, err)
					require.Contains(t, ss, c.has)
					if c.hasNot != "" {
						require.NotContains(t, ss, c.hasNot)
					}
					exchange(ctx, t, a, b, 2*megabyte)
					require.NoError(t, errors.Join(a.Close(), b.Close()))
				})
			}
		}
		if c.reset != nil {
			require.NoError(t, l.FarHost.Run(c.reset[0], c.reset[1:]...))
		}
	}
	offloadedOnly(ctx, t, d)
}

// TestSlowReaders lets each end stop reading until the other can send no more, for longer than the
// first probes of the shut window take; then everything arrives.
func TestSlowReaders(t *testing.T) {
	ctx, l, d := toed(t, "af_xdp", "tcp: {rcvbuf: 16KiB, rcvbuf_max: 64KiB}\n")
	toe, kernel := ends(t, l, d)
	impair(t, l)
	impairment{lose: 10}.apply(t, l)
	require.NoError(t, l.FarHost.Run("sysctl", "-qw", "net.ipv4.tcp_rmem=2304 4096 8192"))
	const n = 8 * megabyte
	for _, toeReads := range []bool{false, true} {
		t.Run("the TOE "+map[bool]string{false: "writes", true: "reads"}[toeReads], func(t *testing.T) {
			from, to := connect(ctx, t, toe, kernel, 4)
			if toeReads {
				from, to = to, from
			}
			done := make(chan error, 1)
			go func() { done <- put(from, n, 1) }()
			eventually(ctx, t, func() error { return probed(ctx, l, d, toeReads) })
			require.NoError(t, get(to, n, 1))
			require.NoError(t, <-done)
		})
	}
}

// probed returns nil when the window has been probed twice: by the kernel if toeReads, else by the TOE.
func probed(ctx context.Context, l *lab.Lab, d *lab.Toed, toeReads bool) error {
	if !toeReads {
		s, err := d.Stats(ctx)
		if err == nil && s.TCP["ZeroWindowProbes"] < 2 {
			err = errors.New("no probe of the kernel's window")
		}
		return err
	}
	out, err := l.FarHost.Output(ctx, "nstat", "-asz", "TcpExtTCPWinProbe")
	if err != nil {
		return err
	}
	var probes int
	for line := range strings.Lines(out) {
		_, _ = fmt.Sscanf(line, "TcpExtTCPWinProbe %d", &probes) // other lines do not match
	}
	if probes < 2 {
		return errors.New("no probe of the TOE's window")
	}
	return nil
}

// TestSimultaneousClose closes both ends at the same time, again and again, over a bad wire.
func TestSimultaneousClose(t *testing.T) {
	ctx, l, d := toed(t, "af_xdp", "")
	toe, kernel := ends(t, l, d)
	impair(t, l)
	impairment{lose: 20, duplicate: 20, reorder: 20}.apply(t, l)
	for range 30 {
		a, b := connect(ctx, t, toe, kernel, 4)
		done := make(chan error, 1)
		go func() { done <- put(b, 1000, 1) }()
		require.NoError(t, put(a, 1000, 2))
		require.NoError(t, errors.Join(get(a, 1000, 1), get(b, 1000, 2), <-done))
		require.NoError(t, errors.Join(a.Close(), b.Close()))
	}
}

// TestResetInTheMiddle resets connections while data flows, from either end.
func TestResetInTheMiddle(t *testing.T) {
	ctx, l, d := toed(t, "af_xdp", "")
	toe, kernel := ends(t, l, d)
	for _, byKernel := range []bool{true, false} {
		a, b := connect(ctx, t, toe, kernel, 4)
		victim, other := a, b
		if !byKernel {
			victim, other = b, a
		}
		done := make(chan error, 1)
		go func() { done <- put(victim, 1<<40, 1) }()
		require.NoError(t, read(other, megabyte))
		if byKernel {
			require.NoError(t, other.(*net.TCPConn).SetLinger(0))
			require.NoError(t, other.Close())
		} else {
			require.NoError(t, other.(interface{ Abort() error }).Abort())
		}
		require.ErrorIs(t, <-done, syscall.ECONNRESET)
		require.NoError(t, victim.Close())
	}
	eventually(ctx, t, func() error { return noConnections(ctx, d) })
}

func noConnections(ctx context.Context, d *lab.Toed) error {
	s, err := d.Sockets(ctx)
	if err == nil && len(s) > 0 {
		err = fmt.Errorf("toectl ss shows %v", s)
	}
	return err
}

// TestPeerVanishes takes the wire away: the program hears of it in bounded time, and toed forgets.
func TestPeerVanishes(t *testing.T) {
	ctx, l, d := toed(t, "af_xdp", "tcp: {data_retries: 3, syn_retries: 2, rto_initial: 200ms}\n")
	toe, kernel := ends(t, l, d)
	a, b := connect(ctx, t, toe, kernel, 4)
	require.NoError(t, errors.Join(write(a, 1000), read(b, 1000)))
	hole(t, l)
	require.NoError(t, write(a, 1000))
	_, err := a.Read(make([]byte, 1))
	require.ErrorIs(t, err, syscall.ETIMEDOUT)
	inside(t, toe.ns, func() error {
		_, err = toe.dial(ctx, net.JoinHostPort(peerAddr, "7000"))
		return nil
	})
	require.ErrorIs(t, err, syscall.ETIMEDOUT)
	require.NoError(t, a.Close())
	eventually(ctx, t, func() error { return noConnections(ctx, d) })
}

// hole makes the far end deaf and dumb to TCP; neighbours still resolve.
func hole(t *testing.T, l *lab.Lab) {
	t.Helper()
	impair(t, l)
	impairment{lose: 1000}.apply(t, l)
}

// TestKernelKeepalive answers the probes of a kernel that wants to know whether we live.
func TestKernelKeepalive(t *testing.T) {
	ctx, l, d := toed(t, "af_xdp", "")
	toe, kernel := ends(t, l, d)
	a, b := connect(ctx, t, toe, kernel, 4)
	require.NoError(t, b.(*net.TCPConn).SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 2}))
	before, err := d.Stats(ctx)
	require.NoError(t, err)
	eventually(ctx, t, func() error {
		s, err := d.Stats(ctx)
		if n := s.TCP["InSegs"] - before.TCP["InSegs"]; err == nil && n < 4 {
			err = fmt.Errorf("%d segments have come", n)
		}
		return err
	})
	require.NoError(t, errors.Join(write(b, 1), read(a, 1)))
}

// TestPortReuse makes many short connections from few ports of the kernel. The TOE closes first, so that
// the ports come back while it has their last connections in TIME-WAIT.
func TestPortReuse(t *testing.T) {
	ctx, l, d := toed(t, "af_xdp", "")
	toe, kernel := ends(t, l, d)
	addr := net.JoinHostPort(toeAddr, "7000")
	var ln net.Listener
	inside(t, toe.ns, func() (err error) { ln, err = toe.listen(ctx, addr); return err })
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_ = write(c, 1000) // the other end tells
			_ = c.(stream).CloseWrite()
			go func() { _, _ = io.Copy(io.Discard, c); _ = c.Close() }()
		}
	}()
	const ports = 8
	require.NoError(t, l.FarHost.Run("sysctl", "-qw", fmt.Sprintf("net.ipv4.ip_local_port_range=40000 %d", 40000+ports-1)))
	for _, timestamps := range []string{"1", "0"} {
		require.NoError(t, l.FarHost.Run("sysctl", "-qw", "net.ipv4.tcp_timestamps="+timestamps))
		before, err := d.Stats(ctx)
		require.NoError(t, err)
		for range 20 * ports {
			c := dial(ctx, t, kernel, addr)
			require.NoError(t, read(c, 1000))
			n, err := c.Read(make([]byte, 1))
			require.Equal(t, io.EOF, err, "%d octets more", n)
			require.NoError(t, c.Close())
		}
		after, err := d.Stats(ctx)
		require.NoError(t, err)
		require.Greater(t, after.TCP["TimeWaitReused"]-before.TCP["TimeWaitReused"], uint64(10*ports))
	}
}

// role names who opened a connection, as the TOE sees it.
func role(active bool) string {
	if active {
		return "active"
	}
	return "passive"
}

// connectAs opens a connection by the TOE if active, else by the kernel.
func connectAs(ctx context.Context, t *testing.T, toe, kernel end, version int, active bool) (a, b stream) {
	t.Helper()
	if active {
		a, b = connect(ctx, t, toe, kernel, version)
	} else {
		b, a = connect(ctx, t, kernel, toe, version)
	}
	return a, b
}

// write and read move n octets that do not matter.
func write(c net.Conn, n int64) error {
	_, err := c.Write(make([]byte, n))
	return err
}

func read(c net.Conn, n int64) error {
	_, err := io.CopyN(io.Discard, c, n)
	return err
}
