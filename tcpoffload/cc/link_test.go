package cc

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/vtime"
)

const mbps = 1_000_000

// share returns part of the path's bandwidth-delay product.
func (p *path) share(octets uint64) float64 { return float64(octets) / float64(p.bdp()) }

// TestUtilisation: every algorithm fills a path with a buffer of one bandwidth-delay product.
func TestUtilisation(t *testing.T) {
	for a := range Algorithm(NumAlgorithms) {
		t.Run(a.String(), func(t *testing.T) {
			p := newPath(50*mbps, 20*vtime.Millisecond, 1)
			f := p.add(a, 1448)
			p.run(3 * vtime.Second)
			p.forget()
			p.run(20 * vtime.Second)
			t.Logf("%.3f of the rate, queue %.2f BDP, at most %.2f, %d recoveries", f.goodput(),
				p.share(p.meanQueue()), p.share(p.queueMax), f.recoveries)
			require.Greater(t, f.goodput(), 0.95)
			require.Zero(t, f.timeouts)
			require.GreaterOrEqual(t, f.Cwnd, 2*f.mss)
		})
	}
}

// TestHyStartOnDeepBuffer: slow start ends before the queue overflows, with the pipe full.
func TestHyStartOnDeepBuffer(t *testing.T) {
	for _, a := range []Algorithm{Reno, Cubic} {
		p := newPath(100*mbps, 40*vtime.Millisecond, 10)
		f := p.add(a, 1448)
		for f.SlowStart() && f.recoveries == 0 {
			p.run(10 * vtime.Millisecond)
		}
		require.Zero(t, f.recoveries, a.String())
		require.Greater(t, p.share(uint64(f.Cwnd)), 1.0, a.String())
		require.Equal(t, f.hystart.rounds, uint8(cssRounds), a.String())
	}
}

// TestHyStartOnCleanPath: where the round trip does not grow, slow start goes on.
func TestHyStartOnCleanPath(t *testing.T) {
	p := newPath(10_000*mbps, 40*vtime.Millisecond, 1)
	f := p.add(Cubic, 1448)
	for f.Cwnd < 4000*f.mss {
		p.run(10 * vtime.Millisecond)
		require.True(t, f.SlowStart())
		require.Zero(t, f.flags&flagCSS)
	}
	require.Less(t, p.now.Sub(f.started), 12*p.rtt, "doubles in each round trip")
}

// TestHyStartResumes: a round trip that was longer for a moment does not end slow start.
func TestHyStartResumes(t *testing.T) {
	p := newPath(10_000*mbps, 40*vtime.Millisecond, 1)
	f := p.add(Cubic, 1448)
	p.run(3 * p.rtt)
	p.rtt += 10 * vtime.Millisecond
	for f.flags&flagCSS == 0 {
		p.run(vtime.Millisecond)
	}
	p.rtt -= 10 * vtime.Millisecond
	p.run(3 * p.rtt)
	require.Zero(t, f.flags&flagCSS)
	require.True(t, f.SlowStart())
}

// TestDCTCPKeepsQueueShort: with marks from K on the queue stays near K and the link full.
func TestDCTCPKeepsQueueShort(t *testing.T) {
	p := newPath(1000*mbps, 400*vtime.Microsecond, 20)
	p.mark = 20 * 1448
	f := p.add(DCTCP, 1448)
	p.run(vtime.Second)
	p.forget()
	p.run(vtime.Second)
	t.Logf("%.3f of the rate, queue %.1f segments, at most %.1f, alpha %d/1024", f.goodput(),
		float64(p.meanQueue())/1448, float64(p.queueMax)/1448, f.dctcp.alpha>>6)
	require.Greater(t, f.goodput(), 0.98)
	require.Less(t, p.queueMax, 2*p.mark)
	require.Zero(t, f.recoveries)
	m, ok := f.Marks()
	require.True(t, ok)
	require.Less(t, m.Alpha, uint32(512))
}

// TestDCTCPWithoutMarksIsReno: alpha fades, losses halve the window.
func TestDCTCPWithoutMarksIsReno(t *testing.T) {
	p, q := newPath(50*mbps, 20*vtime.Millisecond, 1), newPath(50*mbps, 20*vtime.Millisecond, 1)
	f, g := p.add(DCTCP, 1448), q.add(Reno, 1448)
	p.run(10 * vtime.Second)
	q.run(10 * vtime.Second)
	require.Equal(t, g.Cwnd, f.Cwnd)
	require.Equal(t, g.delivered, f.delivered)
	require.Zero(t, f.dctcp.alpha>>6)
}

// TestCubicAndRenoShare: on a short path CUBIC is Reno's equal (RFC 9438 §4.3), on a long one it takes
// what Reno leaves.
func TestCubicAndRenoShare(t *testing.T) {
	ratio := func(rate uint64, rtt vtime.Duration) float64 {
		p := newPath(rate, rtt, 1)
		c, r := p.add(Cubic, 1448), p.add(Reno, 1448)
		p.run(20 * vtime.Second)
		p.forget()
		p.run(120 * vtime.Second)
		require.Greater(t, c.goodput()+r.goodput(), 0.95)
		return c.goodput() / r.goodput()
	}
	short, long := ratio(10*mbps, 10*vtime.Millisecond), ratio(100*mbps, 100*vtime.Millisecond)
	t.Logf("short %.2f, long %.2f", short, long)
	require.InDelta(t, 1.2, short, 0.7)
	require.Greater(t, long, 1.5)
}

// TestBBRFindsTheOperatingPoint: bandwidth and round trip to within 2 %, a queue of far less than the
// two bandwidth-delay products that the window allows, no loss, and the states in their order.
func TestBBRFindsTheOperatingPoint(t *testing.T) {
	for _, c := range []struct {
		rate uint64
		rtt  vtime.Duration
	}{
		{10 * mbps, 5 * vtime.Millisecond}, {50 * mbps, 20 * vtime.Millisecond},
		{100 * mbps, 100 * vtime.Millisecond}, {1000 * mbps, vtime.Millisecond},
	} {
		p := newPath(c.rate, c.rtt, 10)
		f := p.add(BBR, 1448)
		p.run(max(30*p.rtt, vtime.Second))
		require.NotZero(t, f.flags&flagFull)
		p.forget()
		p.run(12 * vtime.Second)
		t.Logf("%d Mb/s %v: %.3f of the rate, queue %.2f BDP, at most %.2f, phases %v", c.rate/mbps, c.rtt,
			f.goodput(), p.share(p.meanQueue()), p.share(p.queueMax), f.phases)
		probe, ok := f.Probe()
		require.True(t, ok)
		require.InEpsilon(t, p.rate, probe.Bandwidth, 0.02)
		require.InDelta(t, float64(c.rtt), float64(probe.MinRTT), float64(c.rtt)/50+float64(1448*vtime.Second)/float64(p.rate))
		require.Greater(t, f.goodput(), 0.93)
		require.Less(t, p.share(p.queueMax), 2.0)
		require.Zero(t, f.losses)
		for _, phase := range []bbrPhase{bbrDown, bbrCruise, bbrRefill, bbrUp, bbrProbeRTT} {
			require.NotZero(t, f.phases[phase], "phase %d", phase)
		}
		require.Equal(t, 1, f.phases[bbrDrain])
		require.LessOrEqual(t, f.phases[bbrProbeRTT], 3)
	}
}

// TestBBRUnderRandomLoss: below LossThresh it hardly minds, where CUBIC gives up.
func TestBBRUnderRandomLoss(t *testing.T) {
	rate := func(a Algorithm) float64 {
		p := newPath(50*mbps, 40*vtime.Millisecond, 2)
		p.loss = 10_000
		f := p.add(a, 1448)
		p.run(2 * vtime.Second)
		p.forget()
		p.run(20 * vtime.Second)
		return f.goodput()
	}
	bbr, cubic := rate(BBR), rate(Cubic)
	t.Logf("bbr %.3f, cubic %.3f", bbr, cubic)
	require.Greater(t, bbr, 0.75)
	require.Less(t, cubic, 0.3)
}

// TestBBRShallowBuffer: with a buffer of a tenth of the BDP it settles below a loss rate of 2 %.
func TestBBRShallowBuffer(t *testing.T) {
	p := newPath(100*mbps, 40*vtime.Millisecond, 0.1)
	f := p.add(BBR, 1448)
	p.run(3 * vtime.Second)
	require.NotEqual(t, uint32(unlimited), f.bbr.inflightLong)
	p.forget()
	p.run(20 * vtime.Second)
	loss := float64(f.losses) / float64(f.sent)
	t.Logf("%.3f of the rate, loss %.4f", f.goodput(), loss)
	require.Greater(t, f.goodput(), 0.8)
	require.Less(t, loss, 0.02)
}

// TestBBRFollowsTheRate: ten times more, found within a few probes; ten times less, within two cycles.
func TestBBRFollowsTheRate(t *testing.T) {
	p := newPath(10*mbps, 20*vtime.Millisecond, 20)
	f := p.add(BBR, 1448)
	p.run(2 * vtime.Second)
	p.rate *= 10
	p.run(20 * vtime.Second)
	require.InEpsilon(t, p.rate, f.bbr.bw, 0.05, "up")
	p.rate /= 10
	p.buffer /= 20
	p.run(12 * vtime.Second)
	require.InEpsilon(t, p.rate, f.bbr.bw, 0.1, "down")
	p.forget()
	p.run(5 * vtime.Second)
	require.Greater(t, f.goodput(), 0.85)
}

// TestBBRFlowsShare: two that start at different times come to similar shares.
func TestBBRFlowsShare(t *testing.T) {
	p := newPath(100*mbps, 20*vtime.Millisecond, 2)
	a := p.add(BBR, 1448)
	p.run(5 * vtime.Second)
	b := p.add(BBR, 1448)
	p.run(30 * vtime.Second)
	p.forget()
	p.run(30 * vtime.Second)
	t.Logf("%.3f and %.3f, queue %.2f BDP", a.goodput(), b.goodput(), p.share(p.meanQueue()))
	require.Greater(t, a.goodput()+b.goodput(), 0.93)
	require.InDelta(t, 1, a.goodput()/b.goodput(), 0.5)
	require.Less(t, p.share(p.meanQueue()), 2.0)
}

// TestBBRAggregation: where ACKs come in lumps the window makes up for the silence between them.
func TestBBRAggregation(t *testing.T) {
	p := newPath(50*mbps, 20*vtime.Millisecond, 10)
	p.batch = 20 * vtime.Millisecond
	f := p.add(BBR, 1448)
	p.run(2 * vtime.Second)
	p.forget()
	p.run(10 * vtime.Second)
	t.Logf("%.3f of the rate, extra %.2f BDP", f.goodput(), p.share(uint64(f.bbr.extra.max())))
	require.NotZero(t, f.bbr.extra.max())
	require.Greater(t, f.goodput(), 0.9)
}

// TestBBRApplicationLimited: a program that sends less than the path takes spoils nothing of the model,
// and idle time replaces ProbeRTT.
func TestBBRApplicationLimited(t *testing.T) {
	p := newPath(50*mbps, 20*vtime.Millisecond, 10)
	f := p.add(BBR, 1448)
	p.run(2 * vtime.Second)
	bw := f.bbr.bw
	f.appRate = p.rate / 10
	p.forget()
	p.run(4 * vtime.Second)
	require.InEpsilon(t, bw, f.bbr.max(), 0.02)
	probes := f.phases[bbrProbeRTT]
	f.silentFrom, f.silentFor = p.now, p.now.Add(8*vtime.Second)
	p.run(8*vtime.Second + 10*vtime.Millisecond)
	require.NotZero(t, f.flags&flagIdle)
	require.Equal(t, bw*bbrPacingPct/100, f.rate, "paces at exactly the bandwidth")
	p.run(vtime.Second)
	require.Equal(t, probes, f.phases[bbrProbeRTT])
}

// TestBBRStartupSlow: a program that limits the rate keeps BBR in Startup, through ProbeRTT too.
func TestBBRStartupSlow(t *testing.T) {
	p := newPath(50*mbps, 20*vtime.Millisecond, 10)
	f := p.add(BBR, 1448)
	f.appRate = p.rate / 20
	p.run(20 * vtime.Second)
	require.Zero(t, f.flags&flagFull)
	require.NotZero(t, f.phases[bbrProbeRTT])
	require.Equal(t, bbrStartup, f.bbr.phase)
}

// TestBBRTinyPath: less than one segment fits into the path; the floor of four keeps it going.
func TestBBRTinyPath(t *testing.T) {
	p := newPath(mbps/4, 10*vtime.Millisecond, 100)
	f := p.add(BBR, 1448)
	p.run(10 * vtime.Second)
	p.forget()
	p.run(20 * vtime.Second)
	require.GreaterOrEqual(t, f.Cwnd, 4*f.mss)
	require.Greater(t, f.goodput(), 0.9)
}

// TestFastPaths: nothing overflows at 100 Gb/s, 433 ms and windows of 1 GiB.
func TestFastPaths(t *testing.T) {
	for _, c := range []struct {
		rate uint64
		rtt  vtime.Duration
	}{{16_000 * mbps, 433 * vtime.Millisecond}, {100_000 * mbps, 10 * vtime.Millisecond}, {100_000 * mbps, 433 * vtime.Millisecond}} {
		for _, a := range []Algorithm{Cubic, BBR} {
			p := newPath(c.rate, c.rtt, 2)
			f := p.add(a, 65_000)
			p.run(40 * c.rtt)
			p.forget()
			p.run(10 * c.rtt)
			want := min(1, float64(maxWindow)/float64(p.bdp()))
			t.Logf("%v %d Gb/s %v: %.3f of %.3f, cwnd %d", a, c.rate/1000/mbps, c.rtt, f.goodput(), want, f.Cwnd)
			require.Greater(t, f.goodput(), 0.9*want)
			require.LessOrEqual(t, f.Cwnd, uint32(maxWindow))
		}
	}
}
