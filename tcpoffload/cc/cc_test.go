package cc

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/vtime"
)

const mss = 1000

// control returns the control of a connection by itself.
func control() Control { return Of(new(State), new(Model)) }

// round acknowledges one window in pieces of two segments, during one round trip, and returns the
// time after it.
func round(s Control, now vtime.Time, rtt vtime.Duration) vtime.Time {
	window := s.Cwnd
	pieces := max(window/(2*mss), 1)
	for range pieces {
		now = now.Add(rtt / vtime.Duration(pieces))
		s.OnAck(&Sample{Now: now, Acked: window / pieces, Delivered: window / pieces, MSS: mss, SRTT: rtt, CwndLimited: true})
	}
	return now
}

func TestSlowStartDoubles(t *testing.T) {
	for _, a := range []Algorithm{Reno, Cubic, DCTCP} {
		s := control()
		s.Init(a, 10, mss, 1)
		require.Equal(t, uint32(10*mss), s.Cwnd)
		now := vtime.Time(0)
		for want := uint32(20 * mss); want <= 320*mss; want *= 2 {
			now = round(s, now, 10*vtime.Millisecond)
			require.Equal(t, want, s.Cwnd, a.String())
		}
	}
}

func TestSlowStartStopsAtThreshold(t *testing.T) {
	s := control()
	s.Init(Reno, 10, mss, 1)
	s.Ssthresh = 12 * mss
	s.OnAck(&Sample{Acked: 10 * mss, Prior: 10 * mss, MSS: mss})
	require.Equal(t, uint32(12*mss), s.Cwnd)
}

// A window that the sender does not use up grows in slow start while it is less than twice what was in flight.
func TestSlowStartStopsAtTwiceTheFlight(t *testing.T) {
	for _, c := range []struct {
		prior, acked, want uint32
		limited            bool
	}{
		{5, 5, 10, false},
		{6, 2, 12, false},
		{5, 5, 15, true},
	} {
		s := control()
		s.Init(Reno, 10, mss, 1)
		ack := Sample{Acked: c.acked * mss, Prior: c.prior * mss, MSS: mss, CwndLimited: c.limited}
		s.OnAck(&ack)
		require.Equal(t, c.want*mss, s.Cwnd, "%+v", c)
		if !c.limited && c.want > 10 {
			ack.Prior -= c.acked * mss
			s.OnAck(&ack)
			require.Equal(t, c.want*mss, s.Cwnd, "twice what was in flight")
		}
	}
}

func TestRenoGrowsOneSegmentARound(t *testing.T) {
	s := control()
	s.Init(Reno, 10, mss, 1)
	s.Ssthresh = 10 * mss
	for n := uint32(11); n < 30; n++ {
		round(s, 0, vtime.Millisecond)
		require.InDelta(t, n*mss, s.Cwnd, mss)
	}
}

func TestRenoLossAndTimeout(t *testing.T) {
	s := control()
	s.Init(Reno, 20, mss, 1)
	s.OnLoss(16*mss, mss)
	require.Equal(t, uint32(8*mss), s.Ssthresh)
	s.OnRecovered(mss)
	require.Equal(t, uint32(8*mss), s.Cwnd)
	s.OnRTO(8*mss, mss, false)
	require.Equal(t, [2]uint32{mss, 4 * mss}, [2]uint32{s.Cwnd, s.Ssthresh})
	s.OnRTO(mss, mss, true)
	require.Equal(t, uint32(4*mss), s.Ssthresh, "the same segment timed out again")
	s.OnLoss(1, mss)
	require.Equal(t, uint32(2*mss), s.Ssthresh, "at least two segments")
}

func TestIdle(t *testing.T) {
	s := control()
	s.Init(Cubic, 100, mss, 1)
	s.OnIdle(10 * mss)
	require.Equal(t, uint32(10*mss), s.Cwnd)
	s.OnIdle(50 * mss)
	require.Equal(t, uint32(10*mss), s.Cwnd, "never upwards")
}

// TestCubicFollowsTheFunction compares the window with W_cubic of RFC 9438 §4.2 in floating point,
// on a path so long that the Reno-friendly region does not matter.
func TestCubicFollowsTheFunction(t *testing.T) {
	const rtt = 100 * vtime.Millisecond
	s := control()
	s.Init(Cubic, 1000, mss, 1)
	s.OnLoss(1000*mss, mss)
	require.Equal(t, uint32(700*mss), s.Ssthresh)
	s.OnRecovered(mss)
	k := math.Cbrt(300 / 0.4)
	now, start := vtime.Time(vtime.Second), vtime.Time(vtime.Second)
	for range 150 {
		now = round(s, now, rtt)
		at := float64(now.Sub(start)) / float64(vtime.Second)
		want := 0.4*math.Pow(at-k, 3) + 1000
		if want > 3000 {
			break
		}
		require.InEpsilon(t, want, float64(s.Cwnd)/mss, 0.03, "after %.1f s", at)
	}
	require.Greater(t, s.Cwnd, uint32(1000*mss), "beyond the old window after K")
}

func TestCubicFastConvergence(t *testing.T) {
	s := control()
	s.Init(Cubic, 100, mss, 1)
	s.OnLoss(100*mss, mss)
	s.OnRecovered(mss)
	require.Equal(t, uint32(100*mss), s.cubic.wMax)
	s.OnLoss(70*mss, mss)
	require.Equal(t, uint32(70*mss*17/20), s.cubic.wMax)
}

// TestCubicIsRenoFriendly: on a short path the window grows at least as W_est does (§4.3).
func TestCubicIsRenoFriendly(t *testing.T) {
	s := control()
	s.Init(Cubic, 20, mss, 1)
	s.OnLoss(20*mss, mss)
	s.OnRecovered(mss)
	now := vtime.Time(vtime.Second)
	for range 40 {
		now = round(s, now, vtime.Millisecond)
	}
	// 14 segments; α = 9/17 a round up to 20, then one a round.
	require.InDelta(t, 20+(40-6*17/9.0), float64(s.Cwnd)/mss, 3)
}

func TestCbrt(t *testing.T) {
	for _, x := range []uint64{0, 1, 7, 8, 9, 26, 27, 1e9 - 1, 1e9, 1e18, 1<<54 + 12345, math.MaxUint64} {
		r := uint64(cbrt(x))
		require.LessOrEqual(t, r*r*r, x)
		if r < 2642245 {
			require.Greater(t, (r+1)*(r+1)*(r+1), x)
		}
	}
}

func TestWindowIsBounded(t *testing.T) {
	for a := range Algorithm(NumAlgorithms) {
		s := control()
		s.Init(a, 10, 60_000, 1)
		s.Cwnd, s.Ssthresh = maxWindow-100, maxWindow/2
		now := vtime.Time(1)
		for range 2000 {
			now = now.Add(100 * vtime.Second)
			s.OnAck(&Sample{Now: now, Acked: 1 << 20, MSS: 60_000, SRTT: vtime.Second, CwndLimited: true})
			require.LessOrEqual(t, s.Cwnd, uint32(maxWindow))
		}
	}
}

// TestUndo: a spurious loss or timeout gives back all that it took.
func TestUndo(t *testing.T) {
	for a := range Algorithm(NumAlgorithms) {
		for _, timeout := range []bool{false, true} {
			p := newPath(50*mbps, 20*vtime.Millisecond, 1)
			f := p.add(a, mss)
			p.run(6 * vtime.Second)
			for f.recoverTo != 0 || a == BBR && f.bbr.phase != bbrCruise {
				p.run(vtime.Millisecond)
			}
			cwnd, ssthresh, wMax := f.Cwnd, f.Ssthresh, f.cubic.wMax
			if timeout {
				f.OnRTO(f.inFlight, mss, false)
				require.Equal(t, uint32(mss), f.Cwnd)
			} else {
				f.OnLoss(f.inFlight, mss)
			}
			f.OnUndo()
			require.Equal(t, cwnd, f.Cwnd, "%v timeout %v", a, timeout)
			require.Equal(t, ssthresh, f.Ssthresh)
			require.Equal(t, wMax, f.cubic.wMax)
			f.OnUndo()
			require.Equal(t, cwnd, f.Cwnd, "once")
		}
	}
}

// TestBBRUndoReturnsToProbing: a probe that a spurious loss cut short starts again, with the bounds it
// had.
func TestBBRUndoReturnsToProbing(t *testing.T) {
	p := newPath(50*mbps, 20*vtime.Millisecond, 2)
	f := p.add(BBR, mss)
	for f.bbr.phase != bbrUp {
		p.run(vtime.Millisecond)
	}
	l := Lost{Now: p.now, MSS: mss, Octets: 20 * mss, LostSince: 20 * mss, TxInFlight: f.inFlight, TotalDelivered: f.delivered}
	f.OnLost(&l)
	f.OnLoss(f.inFlight, mss)
	require.Equal(t, bbrDown, f.bbr.phase)
	require.Less(t, f.bbr.inflightLong, uint32(unlimited))
	f.OnUndo()
	require.Equal(t, bbrRefill, f.bbr.phase)
	require.Equal(t, uint32(unlimited), f.bbr.inflightLong)
}

// TestBBRStartupEndsByLoss: six places and 2 % in a round trip of recovery, and not by less; an undo
// returns to Startup.
func TestBBRStartupEndsByLoss(t *testing.T) {
	p := newPath(100*mbps, 40*vtime.Millisecond, 0.05)
	f := p.add(BBR, mss)
	for f.flags&flagFull == 0 {
		require.Less(t, p.now.Sub(f.started), 40*p.rtt)
		p.run(vtime.Millisecond)
	}
	require.Less(t, f.bbr.fullCount, uint8(bbrFullRounds), "not by the plateau")
	require.Equal(t, bbrStartup, f.bbr.undoPhase)
	f.OnUndo()
	require.Equal(t, bbrStartup, f.bbr.phase)
	require.Zero(t, f.flags&flagFull)
}

// TestMarks: a mark is taken as congestion by every algorithm, and nothing grows for a round trip.
func TestMarks(t *testing.T) {
	for a := range Algorithm(NumAlgorithms) {
		p := newPath(50*mbps, 20*vtime.Millisecond, 1)
		p.mark = p.bdp() / 4
		f := p.add(a, mss)
		p.run(2 * vtime.Second)
		p.forget()
		p.run(10 * vtime.Second)
		t.Logf("%v: %.3f of the rate, queue %.2f BDP, at most %.2f", a, f.goodput(), p.share(p.meanQueue()), p.share(p.queueMax))
		require.Zero(t, f.losses, a.String())
		require.Less(t, p.share(p.queueMax), 0.7)
		require.Greater(t, f.goodput(), 0.75)
	}
}

// TestSwitch changes the algorithm of a busy connection again and again.
func TestSwitch(t *testing.T) {
	p := newPath(50*mbps, 20*vtime.Millisecond, 1)
	f := p.add(Cubic, mss)
	p.run(5 * vtime.Second)
	for i := range 40 {
		cwnd := f.Cwnd
		f.Switch(Algorithm((i*3+1)%NumAlgorithms), p.now, f.srtt, uint64(i))
		require.Equal(t, cwnd, f.Cwnd)
		require.Equal(t, f.Algorithm() == BBR, f.PacingRate() != 0)
		p.run(300 * vtime.Millisecond)
	}
	p.forget()
	p.run(5 * vtime.Second)
	require.Greater(t, f.goodput(), 0.9)
}

// TestValidation is RFC 7661: a window that the program does not use neither grows nor stays for ever.
func TestValidation(t *testing.T) {
	for _, a := range []Algorithm{Reno, Cubic, DCTCP} {
		p := newPath(50*mbps, 20*vtime.Millisecond, 4)
		f := p.add(a, mss)
		p.run(20 * vtime.Second)
		for f.recoverTo != 0 {
			p.run(vtime.Millisecond)
		}
		f.appRate = p.rate / 20
		p.forget()
		p.run(10 * vtime.Second)
		require.NotZero(t, f.flags&flagInvalid, a.String())
		cwnd := f.Cwnd
		p.run(200 * vtime.Second)
		require.Equal(t, cwnd, f.Cwnd, "kept, and no growth")
		p.run(120 * vtime.Second)
		require.Equal(t, max(cwnd/2, f.initial), f.Cwnd, "halved after five minutes")
		require.GreaterOrEqual(t, f.Ssthresh, cwnd/4*3)

		// A loss now takes the window down to what was used.
		used := f.valid.pipeACK()
		f.lost = 0
		f.OnLoss(f.inFlight, mss)
		require.LessOrEqual(t, f.Ssthresh, max(used, 2*mss))
		f.OnLost(&Lost{Now: p.now, MSS: mss, Octets: 2 * mss})
		before := f.Ssthresh
		f.OnRecovered(mss)
		require.Equal(t, max(before-mss, 2*mss), f.Cwnd, "less half of what was sent again")
	}
}

// TestTimeoutOnce: a timeout in a fast recovery is the same congestion, not one more.
func TestTimeoutOnce(t *testing.T) {
	for _, a := range []Algorithm{Reno, Cubic, DCTCP} {
		s := control()
		s.Init(a, 100, mss, 1)
		s.OnLoss(100*mss, mss)
		ssthresh := s.Ssthresh
		s.OnRTO(80*mss, mss, false)
		require.Equal(t, ssthresh, s.Ssthresh, a.String())
		require.Equal(t, uint32(mss), s.Cwnd)
	}
}

// TestCubicAfterTimeout: congestion avoidance begins with K = 0 at the present window (RFC 9438 §4.8).
func TestCubicAfterTimeout(t *testing.T) {
	s := control()
	s.Init(Cubic, 100, mss, 1)
	s.OnRTO(100*mss, mss, false)
	s.Cwnd = s.Ssthresh
	round(s, vtime.Time(vtime.Second), 10*vtime.Millisecond)
	require.Zero(t, s.cubic.k)
	require.Equal(t, uint32(70*mss), s.cubic.origin)
}

// TestCubicPausesWithTheProgram: time in which the program limited the rate does not count (§4.2).
func TestCubicPausesWithTheProgram(t *testing.T) {
	s := control()
	s.Init(Cubic, 1000, mss, 1)
	s.OnLoss(1000*mss, mss)
	s.OnRecovered(mss)
	now := round(s, vtime.Time(vtime.Second), 100*vtime.Millisecond)
	epoch := s.cubic.epoch
	s.OnRestart(now.Add(10 * vtime.Second))
	require.Equal(t, epoch.Add(10*vtime.Second), s.cubic.epoch)
}

func TestNames(t *testing.T) {
	require.Equal(t, []string{"reno", "cubic", "dctcp", "bbr"}, Names())
	for a := range Algorithm(NumAlgorithms) {
		b, ok := ParseAlgorithm(a.String())
		require.True(t, ok)
		require.Equal(t, a, b)
		require.True(t, Choose(a).Valid())
	}
	_, ok := ParseAlgorithm("vegas")
	require.False(t, ok)
	require.Equal(t, "unknown", Algorithm(NumAlgorithms).String())
	require.False(t, Choice(NumAlgorithms+1).Valid())
}

func TestWindowIsPaced(t *testing.T) {
	s := control()
	s.Init(Reno, 10, mss, 1)
	s.SetPaced(true, 10*vtime.Millisecond)
	require.Equal(t, uint64(2*10*mss*100), s.PacingRate(), "slow start: twice the window per round trip")
	s.Ssthresh = s.Cwnd
	s.SetPaced(true, 10*vtime.Millisecond)
	require.Equal(t, uint64(12*mss*100), s.PacingRate())
	s.SetMaxRate(500_000, 10*vtime.Millisecond)
	require.Equal(t, uint64(500_000), s.PacingRate())
	require.Equal(t, uint32(2*mss), s.SendQuantum(mss))
	s.SetMaxRate(0, 100*vtime.Microsecond)
	require.Zero(t, s.PacingRate(), "a short path is not paced")
	s.Cwnd = 1 << 28
	s.SetMaxRate(1<<40, vtime.Millisecond)
	require.Equal(t, uint32(maxQuantum), s.SendQuantum(mss))
}

// TestBBRWithoutSamples: loss may end Startup before there is any sample of the bandwidth, as the
// connection has no SACK. The rate stays what it was.
func TestBBRWithoutSamples(t *testing.T) {
	s := control()
	s.Init(BBR, 10, mss, 1)
	now := vtime.Time(vtime.Second)
	s.Established(now, 20*vtime.Millisecond, false)
	rate := s.PacingRate()
	for i := range 20 {
		now = now.Add(20 * vtime.Millisecond)
		s.OnLost(&Lost{Now: now, MSS: mss, Octets: mss, TxInFlight: 5 * mss, LostSince: mss})
		s.OnLoss(5*mss, mss)
		s.OnAck(&Sample{
			Now: now, MSS: mss, SRTT: 20 * vtime.Millisecond, Acked: mss, Delivered: mss, Lost: mss,
			InFlight: 4 * mss, TotalDelivered: uint64(i+1) * mss, Recovery: true,
		})
		s.OnRestart(now)
		require.Equal(t, rate, s.PacingRate())
	}
	require.NotZero(t, s.flags&flagFull)
	s.OnAck(&Sample{
		Now: now, MSS: mss, SRTT: 20 * vtime.Millisecond, Acked: mss, Delivered: mss, RTT: 20 * vtime.Millisecond,
		Interval: 20 * vtime.Millisecond, RateDelivered: 4 * mss, PriorDelivered: 17 * mss, TotalDelivered: 21 * mss,
	})
	require.InEpsilon(t, 4*mss*50, s.bbr.bw, 0.01)
}
