package cc

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/vtime"
)

const mbps = 1_000_000

// TestUtilisation: every algorithm fills a path with a buffer of one bandwidth-delay product.
func TestUtilisation(t *testing.T) {
	for a := range Algorithm(NumAlgorithms) {
		t.Run(a.String(), func(t *testing.T) {
			p := newPath(50*mbps, 20*vtime.Millisecond, 1)
			f := p.add(a, 1448)
			p.run(3 * vtime.Second)
			p.forget()
			p.run(20 * vtime.Second)
			t.Logf("%.3f of the rate, queue %.2f BDP, at most %.2f, %d recoveries, cwnd %.2f BDP", f.goodput(),
				float64(p.meanQueue())/float64(p.bdp()), float64(p.queueMax)/float64(p.bdp()), f.recoveries,
				float64(f.Cwnd)/float64(p.bdp()))
			require.Greater(t, f.goodput(), 0.95)
			require.Zero(t, f.timeouts)
			require.GreaterOrEqual(t, f.Cwnd, 2*f.mss)
		})
	}
}

func TestBBRStates(t *testing.T) {
	p := newPath(50*mbps, 20*vtime.Millisecond, 10)
	f := p.add(BBR, 1448)
	p.run(300 * vtime.Millisecond)
	for i := range 40 {
		p.run(500 * vtime.Millisecond)
		_ = i
		t.Logf("%v phase %d bw %.1f Mb/s minrtt %v cwnd %.2f rate %.1f queue %.2f long %d short %d bws %d", p.now, f.bbr.phase, float64(f.bbr.bw)*8/mbps,
			f.bbr.minRTT, float64(f.Cwnd)/float64(p.bdp()), float64(f.rate)*8/mbps, float64(p.queue())/float64(p.bdp()), f.bbr.inflightLong, f.bbr.inflightShort, f.bbr.bwShort)
	}
	t.Log(f.phases)
}
