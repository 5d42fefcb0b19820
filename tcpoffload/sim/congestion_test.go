package sim_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload"
	"opentoe/tcpoffload/cc"
	"opentoe/tcpoffload/sim"
	"opentoe/tcpoffload/vtime"
)

// TestCongestionControl runs every algorithm through the engine: what it makes of a link, what it loses,
// and the longest round trip that it makes, in the second half of a long transfer.
func TestCongestionControl(t *testing.T) {
	const mbps = 1_000_000
	const delay = 10 * vtime.Millisecond
	deep := sim.LinkConfig{RateBps: 50 * mbps, Delay: delay, Queue: 1_250_000} // ten times the BDP
	shallow := sim.LinkConfig{RateBps: 50 * mbps, Delay: delay, Queue: 25_000}
	lossy := deep
	lossy.Loss = 5000
	marking := deep
	marking.MarkAt = 30_000
	for _, c := range []struct {
		name string
		algo cc.Algorithm
		ecn  tcpoffload.ECNMode
		link sim.LinkConfig
		min  float64        // Mb/s
		rtt  vtime.Duration // at the end, at most
		rxt  uint64         // segments sent again, at most
	}{
		{"bbr, deep queue", cc.BBR, 0, deep, 43, 35 * vtime.Millisecond, 0},
		{"bbr, shallow queue", cc.BBR, 0, shallow, 38, 30 * vtime.Millisecond, 700},
		{"bbr, one in two hundred lost", cc.BBR, 0, lossy, 38, 40 * vtime.Millisecond, 400},
		{"bbr, marks", cc.BBR, tcpoffload.ECNOn, marking, 38, 40 * vtime.Millisecond, 0},
		{"cubic, marks", cc.Cubic, tcpoffload.ECNOn, marking, 40, 30 * vtime.Millisecond, 0},
		{"dctcp, marks", cc.DCTCP, 0, marking, 44, 30 * vtime.Millisecond, 0},
		{"dctcp, no marks", cc.DCTCP, 0, shallow, 30, 30 * vtime.Millisecond, 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := sim.New(11)
			a, b := pair(t, w, func(cfg *tcpoffload.Config) {
				cfg.Tunables.CC = c.algo
				if c.ecn != 0 {
					cfg.Tunables.ECN = c.ecn
				}
			})
			w.Join(a, b, c.link, sim.LinkConfig{Delay: delay})
			opt := tcpoffload.SocketOptions{}
			_, r := b.Listen(80, 1, opt)
			require.Equal(t, tcpoffload.CallOK, r)
			var sink *sim.Sock
			b.OnAccept = func(s *sim.Sock) { sink = s }
			src, r := a.Connect(b, 1000, 80, opt)
			require.Equal(t, tcpoffload.CallOK, r)
			require.NoError(t, w.Run(vtime.Minute, func() bool { return src.Established }))
			src.Send(60 << 20)
			require.NoError(t, w.Run(vtime.Minute, func() bool { return sink != nil && sink.Readable >= 15<<20 }))
			start, from := w.Now(), sink.Readable
			require.NoError(t, w.Run(vtime.Minute, func() bool { return sink.Readable >= 50<<20 }))
			bps := float64(sink.Readable-from) * 8 * float64(vtime.Second) / float64(w.Now().Sub(start))
			var info tcpoffload.Info
			require.True(t, a.Engine.Info(src.Handle, w.Now(), &info))
			mib := a.Engine.MIB()
			t.Logf("%.1f Mb/s, srtt %v, cwnd %d, %d sent again, %d timeouts, pacing %.1f Mb/s, bw %.1f Mb/s",
				bps/mbps, info.SRTT, info.Cwnd, mib.RetransSegs, mib.Timeouts, float64(info.PacingRate)*8/mbps, float64(info.BBR.Bandwidth)*8/mbps)
			require.Equal(t, c.algo.String(), info.CC)
			require.InEpsilon(t, 47*mbps, info.DeliveryRate*8, 0.2)
			require.False(t, info.AppLimited)
			require.GreaterOrEqual(t, bps/mbps, c.min)
			require.LessOrEqual(t, info.SRTT, c.rtt)
			require.LessOrEqual(t, mib.RetransSegs, c.rxt)
			require.Zero(t, mib.Timeouts)
		})
	}
}
