//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"opentoe/test/lab"
)

// relayed is a lab with toed on a wire that runs through a relay; more is for toed's configuration.
func relayed(t *testing.T, mtu int, more string) (context.Context, *lab.Lab, *lab.Relay, *lab.Toed) {
	t.Helper()
	return relayedPort(t, mtu, "", more)
}

// relayedPort is relayed with more keys of the port.
func relayedPort(t *testing.T, mtu int, port, more string) (context.Context, *lab.Lab, *lab.Relay, *lab.Toed) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*limit)
	t.Cleanup(cancel)
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	name := fmt.Sprintf("%s-%s", prefix(), strings.ToLower(strings.ReplaceAll(t.Name(), "/", "-")))
	l, err := lab.New(lab.Config{Root: root, Dir: filepath.Join(os.TempDir(), name), Near: name + "-near", Far: name + "-far"})
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			showLogs(t, l)
		}
		require.NoError(t, l.Close())
	})
	r, err := l.AddRelayedWire(lab.Wire{NearIf: nearIf, FarIf: farIf, Address: peerAddr + "/24", Address6: peerAddr6 + "/64"}, mtu, 1)
	require.NoError(t, err)
	body := fmt.Sprintf("ports:\n  - {name: toe0, device: \"af_xdp:%s\", mtu: %d, addresses: [%s/24, \"%s/64\"]%s}\n%s", nearIf, mtu, toeAddr, toeAddr6, port, more)
	file, runDir, err := l.WriteConfig(body)
	require.NoError(t, err)
	d, err := l.StartToed(ctx, file, runDir)
	require.NoError(t, err)
	return ctx, l, r, d
}

// volume is how much one class of impairment moves: a gigabyte, or OPENTOE_INTEROP_MB megabytes.
func volume(t *testing.T, usual int64) int64 {
	if s := os.Getenv("OPENTOE_INTEROP_MB"); s != "" {
		n, err := strconv.ParseInt(s, 10, 64)
		require.NoError(t, err)
		return n * megabyte
	}
	return usual
}

// TestInteropImpaired moves much data over a relay that loses, reorders, duplicates, and does all of it, both
// directions and both families, against the kernel's CUBIC and BBR where it has them. Every stream is compared
// by SHA-256.
func TestInteropImpaired(t *testing.T) {
	ctx, l, r, d := relayed(t, 1500, "")
	toe, kernel := ends(t, l, d)
	for _, c := range []struct {
		name string
		i    lab.Impairment
	}{
		{"clean", lab.Impairment{}},
		{"loss", lab.Impairment{Lose: 500}},
		{"heavy loss", lab.Impairment{Lose: 10_000}},
		{"reordering", lab.Impairment{Reorder: 10_000, Depth: 20}},
		{"duplication", lab.Impairment{Duplicate: 10_000}},
		{"long", lab.Impairment{Lose: 100, Delay: 5 * time.Millisecond}},
		{"all", lab.Impairment{Lose: 1000, Reorder: 2000, Duplicate: 2000, Depth: 5}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r.Impair(c.i, c.i)
			total := volume(t, 1024*megabyte)
			const parts = 4 // version × role, each both ways
			for k := range parts {
				a, b := connectAs(ctx, t, toe, kernel, 4+2*(k%2), k/2 == 0)
				out, in := exchange(ctx, t, a, b, total/parts/2)
				t.Logf("v%d %s: out %.0f Mb/s, in %.0f Mb/s", 4+2*(k%2), role(k/2 == 0), mbits(total/parts/2, out), mbits(total/parts/2, in))
				require.NoError(t, errors.Join(a.Close(), b.Close()))
			}
		})
	}
	t.Logf("the relay forwarded %d segments, lost %d, doubled %d, held %d", r.Forwarded.Load(), r.Lost.Load(), r.Doubled.Load(), r.Late.Load())
	s, err := d.Stats(ctx)
	require.NoError(t, err)
	t.Log(interesting(s.TCP))
	offloadedOnly(ctx, t, d)
}

// TestInteropOptions meets every combination of SACK, timestamps, window scaling and ECN at either end: the kernel's by
// sysctl, ours by configuration. Both sides have to agree on what both have.
func TestInteropOptions(t *testing.T) {
	t.Parallel()
	const n = 1 << 4
	for ours := range n {
		has := func(bit int) bool { return ours>>bit&1 != 0 }
		t.Run(fmt.Sprintf("sack=%t ts=%t ws=%t ecn=%t", has(0), has(1), has(2), has(3)), func(t *testing.T) {
			ecn := "off"
			if has(3) {
				ecn = "on"
			}
			ctx, l, r, d := relayed(t, 1500, fmt.Sprintf("tcp: {sack: %t, timestamps: %t, window_scaling: %t, ecn: %s}\n", has(0), has(1), has(2), ecn))
			toe, kernel := ends(t, l, d)
			for theirs := range n {
				both := ours & theirs
				require.NoError(t, l.FarHost.Run("sysctl", "-qw",
					fmt.Sprintf("net.ipv4.tcp_sack=%d", theirs&1), fmt.Sprintf("net.ipv4.tcp_timestamps=%d", theirs>>1&1),
					fmt.Sprintf("net.ipv4.tcp_window_scaling=%d", theirs>>2&1), fmt.Sprintf("net.ipv4.tcp_ecn=%d", theirs>>3&1)))
				for k := range 4 {
					r.Impair(lab.Impairment{}, lab.Impairment{}) // who loses a SYN tries again without ECN
					a, b := connectAs(ctx, t, toe, kernel, 4+2*(k%2), k/2 == 0)
					require.NoError(t, errors.Join(write(b, 1), read(a, 1)))
					r.Impair(lab.Impairment{Lose: 2000}, lab.Impairment{Lose: 2000})
					ss, err := l.FarHost.Output(ctx, "ss", "-Htino", "state", "established")
					require.NoError(t, err)
					for bit, word := range []string{" sack", " ts ", " wscale:", " ecn"} {
						require.Equal(t, both>>bit&1 != 0, strings.Contains(ss, word), "theirs %04b: %q in %s", theirs, word, ss)
					}
					exchange(ctx, t, a, b, 200_000)
					require.NoError(t, errors.Join(a.Close(), b.Close()))
				}
			}
			offloadedOnly(ctx, t, d)
		})
	}
}

// TestInteropMTU goes from the smallest to jumbo frames.
func TestInteropMTU(t *testing.T) {
	t.Parallel()
	ctx, l, r, d := relayed(t, 9000, "")
	toe, kernel := ends(t, l, d)
	r.Impair(lab.Impairment{Lose: 1000}, lab.Impairment{Lose: 1000})
	for _, mtu := range []int{576, 1280, 1500, 4000, 9000} {
		require.NoError(t, l.FarHost.Run("ip", "link", "set", farIf, "mtu", fmt.Sprint(mtu)))
		if mtu >= 1280 { // below, the kernel takes IPv6 off the interface
			require.NoError(t, l.FarHost.Run("ip", "address", "replace", peerAddr6+"/64", "dev", farIf, "nodad"))
		}
		for k := range 4 {
			if mtu < 1280 && k%2 == 1 {
				continue
			}
			t.Run(fmt.Sprintf("%d v%d %s", mtu, 4+2*(k%2), role(k/2 == 0)), func(t *testing.T) {
				a, b := connectAs(ctx, t, toe, kernel, 4+2*(k%2), k/2 == 0)
				exchange(ctx, t, a, b, 4*megabyte)
				require.NoError(t, errors.Join(a.Close(), b.Close()))
			})
		}
	}
	offloadedOnly(ctx, t, d)
}

// TestHalfClose closes one direction and goes on in the other for long, from either end.
func TestHalfClose(t *testing.T) {
	t.Parallel()
	ctx, l, r, d := relayed(t, 1500, "")
	toe, kernel := ends(t, l, d)
	r.Impair(lab.Impairment{Lose: 10_000}, lab.Impairment{Lose: 10_000})
	for _, byKernel := range []bool{false, true} {
		first, second := connect(ctx, t, toe, kernel, 4)
		if byKernel {
			first, second = second, first
		}
		require.NoError(t, first.CloseWrite())
		_, err := second.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF)
		done := make(chan error, 1)
		go func() { done <- put(second, 4*megabyte, 3) }()
		require.NoError(t, errors.Join(get(first, 4*megabyte, 3), <-done))
	}
}

// TestOneOctetAtATime writes and reads single octets, with and without Nagle, in both directions.
func TestOneOctetAtATime(t *testing.T) {
	t.Parallel()
	ctx, l, r, d := relayed(t, 1500, "")
	toe, kernel := ends(t, l, d)
	r.Impair(lab.Impairment{Lose: 5000, Reorder: 5000, Depth: 3}, lab.Impairment{Lose: 5000})
	for _, fromKernel := range []bool{false, true} {
		a, b := connect(ctx, t, toe, kernel, 4)
		if fromKernel {
			a, b = b, a
		}
		const n = 5000
		done := make(chan error, 1)
		go func() {
			for i := range n {
				if _, err := a.Write([]byte{byte(i)}); err != nil {
					done <- err
					return
				}
			}
			done <- a.CloseWrite()
		}()
		one := make([]byte, 1)
		for i := range n {
			_, err := b.Read(one)
			require.NoError(t, err)
			require.Equal(t, byte(i), one[0])
		}
		_, err := b.Read(one)
		require.ErrorIs(t, err, io.EOF)
		require.NoError(t, <-done)
	}
}

// TestZeroWindowForAMinute lets each end stop reading for a minute; the connection stays and goes on at once.
func TestZeroWindowForAMinute(t *testing.T) {
	t.Parallel()
	ctx, l, _, d := relayed(t, 1500, "tcp: {rcvbuf: 16KiB, rcvbuf_max: 64KiB}\n")
	toe, kernel := ends(t, l, d)
	require.NoError(t, l.FarHost.Run("sysctl", "-qw", "net.ipv4.tcp_rmem=2304 4096 8192"))
	const n = 8 * megabyte
	type pipe struct {
		to   stream
		done chan error
	}
	var pipes []pipe
	for k := range 2 {
		from, to := connect(ctx, t, toe, kernel, 4+2*k)
		if k == 1 {
			from, to = to, from
		}
		p := pipe{to, make(chan error, 1)}
		go func() { p.done <- put(from, n, 1) }()
		pipes = append(pipes, p)
	}
	select {
	case <-time.After(time.Minute): // the subject of the test, not a wait for something to happen
	case <-ctx.Done():
	}
	for _, p := range pipes {
		require.NoError(t, errors.Join(get(p.to, n, 1), <-p.done))
	}
	s, err := d.Stats(ctx)
	require.NoError(t, err)
	require.Greater(t, s.TCP["ZeroWindowProbes"], uint64(5))
}

// TestKernelCongestionControl has each algorithm of the kernel as the peer, on a wire that loses a little.
func TestKernelCongestionControl(t *testing.T) {
	t.Parallel()
	ctx, l, r, d := relayed(t, 1500, "")
	toe, kernel := ends(t, l, d)
	rule := lab.Impairment{Lose: 1000, Delay: time.Millisecond}
	r.Impair(rule, rule)
	text, err := l.FarHost.Output(ctx, "sysctl", "-n", "net.ipv4.tcp_available_congestion_control")
	require.NoError(t, err)
	require.NotEmpty(t, strings.Fields(text))
	for _, algorithm := range strings.Fields(text) {
		a, b := connect(ctx, t, toe, kernel, 4)
		raw, err := b.(*net.TCPConn).SyscallConn()
		require.NoError(t, err)
		require.NoError(t, raw.Control(func(fd uintptr) {
			err = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, algorithm)
		}))
		require.NoError(t, err)
		ss, err := l.FarHost.Output(ctx, "ss", "-Htino", "state", "established")
		require.NoError(t, err)
		require.Contains(t, ss, " "+algorithm+" ")
		out, in := exchange(ctx, t, a, b, 16*megabyte)
		t.Logf("%s: out %.0f Mb/s, in %.0f Mb/s", algorithm, mbits(16*megabyte, out), mbits(16*megabyte, in))
		require.NoError(t, errors.Join(a.Close(), b.Close()))
	}
}

// TestSimultaneousOpenWithKernel lets both ends connect to each other at the same moment.
func TestSimultaneousOpenWithKernel(t *testing.T) {
	t.Parallel()
	ctx, l, r, d := relayed(t, 1500, "")
	toe, kernel := ends(t, l, d)
	rule := lab.Impairment{Delay: 50 * time.Millisecond} // both SYNs are on the wire at the same time
	r.Impair(rule, rule)
	const port = 7100 // the only one that either end has
	for _, h := range []lab.Host{l.NearHost, l.FarHost} {
		require.NoError(t, h.Run("sysctl", "-qw", fmt.Sprintf("net.ipv4.ip_local_port_range=%d %d", port, port)))
	}
	dialed := make(chan stream, 1)
	go func() { dialed <- dial(ctx, t, kernel, net.JoinHostPort(toeAddr, strconv.Itoa(port))) }()
	a := dial(ctx, t, toe, net.JoinHostPort(peerAddr, strconv.Itoa(port)))
	b := <-dialed
	require.Equal(t, a.LocalAddr().String(), b.RemoteAddr().String())
	require.Equal(t, b.LocalAddr().String(), a.RemoteAddr().String())
	exchange(ctx, t, a, b, megabyte)
	require.NoError(t, errors.Join(a.Close(), b.Close()))
	offloadedOnly(ctx, t, d)
}
