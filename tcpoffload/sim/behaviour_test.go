package sim_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload"
	"opentoe/tcpoffload/cc"
	"opentoe/tcpoffload/sim"
	"opentoe/tcpoffload/vtime"
)

// goodput sends octets from a to b over a link and returns the bits per second that arrived.
func goodput(t *testing.T, seed uint64, algo cc.Algorithm, ab, ba sim.LinkConfig, octets uint64, opt tcpoffload.SocketOptions) (bps float64, mib *tcpoffload.MIB) {
	w := sim.New(seed)
	a, b := pair(t, w, func(c *tcpoffload.Config) { c.Tunables.CC = algo })
	w.Join(a, b, ab, ba)
	_, r := b.Listen(80, 1, opt)
	require.Equal(t, tcpoffload.CallOK, r)
	var sink *sim.Sock
	b.OnAccept = func(s *sim.Sock) { sink = s }
	src, r := a.Connect(b, 1000, 80, opt)
	require.Equal(t, tcpoffload.CallOK, r)
	require.NoError(t, w.Run(vtime.Minute, func() bool { return src.Established }))
	start := w.Now()
	src.Send(octets)
	require.NoError(t, w.Run(60*vtime.Minute, func() bool { return sink != nil && sink.Readable == octets }))
	return float64(octets) * 8 * float64(vtime.Second) / float64(w.Now().Sub(start)), a.Engine.MIB()
}

// TestGoodput holds what one connection makes of a link to lower bounds, so that a change in loss
// recovery or congestion control that costs throughput is seen.
func TestGoodput(t *testing.T) {
	const mbps = 1_000_000
	const delay = 10 * vtime.Millisecond
	clean := sim.LinkConfig{RateBps: 100 * mbps, Delay: delay, Queue: 250_000}
	small := clean
	small.Queue = 60_000
	lossy := clean
	lossy.Loss = 1000
	bad := clean
	bad.Loss = 20_000
	late := clean
	late.Reorder, late.Jitter = 10_000, vtime.Millisecond/2
	back := sim.LinkConfig{Delay: delay}
	for _, c := range []struct {
		name string
		link sim.LinkConfig
		opt  tcpoffload.SocketOptions
		algo cc.Algorithm
		min  float64 // Mb/s
		rtos uint64  // at most
	}{
		{"cubic", clean, tcpoffload.SocketOptions{}, cc.Cubic, 88, 0},
		{"reno", clean, tcpoffload.SocketOptions{}, cc.Reno, 80, 0},
		{"cubic, shallow queue", small, tcpoffload.SocketOptions{}, cc.Cubic, 75, 1},
		{"cubic, no SACK", clean, tcpoffload.SocketOptions{NoSACK: true}, cc.Cubic, 12, 1},
		{"cubic, no timestamps", clean, tcpoffload.SocketOptions{NoTimestamp: true}, cc.Cubic, 88, 0},
		{"cubic, one in a thousand lost", lossy, tcpoffload.SocketOptions{}, cc.Cubic, 25, 0},
		{"cubic, one in fifty lost", bad, tcpoffload.SocketOptions{}, cc.Cubic, 5, 2},
		{"cubic, one in a hundred late", late, tcpoffload.SocketOptions{}, cc.Cubic, 20, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			bps, mib := goodput(t, 7, c.algo, c.link, back, 40<<20, c.opt)
			t.Logf("%.1f Mb/s, %d retransmitted, %d recoveries, %d timeouts, %d probes",
				bps/mbps, mib.RetransSegs, mib.FastRetrans, mib.Timeouts, mib.LossProbes)
			require.GreaterOrEqual(t, bps/mbps, c.min)
			require.LessOrEqual(t, mib.Timeouts, c.rtos)
		})
	}
}
