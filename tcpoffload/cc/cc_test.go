package cc

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/vtime"
)

const mss = 1000

// round acknowledges one window in pieces of two segments, during one round trip, and returns the
// time after it.
func round(s *State, now vtime.Time, rtt vtime.Duration) vtime.Time {
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
		var s State
		s.Init(a, 10, mss, 1)
		require.Equal(t, uint32(10*mss), s.Cwnd)
		now := vtime.Time(0)
		for want := uint32(20 * mss); want <= 320*mss; want *= 2 {
			now = round(&s, now, 10*vtime.Millisecond)
			require.Equal(t, want, s.Cwnd, a.String())
		}
	}
}

func TestSlowStartStopsAtThreshold(t *testing.T) {
	var s State
	s.Init(Reno, 10, mss, 1)
	s.Ssthresh = 12 * mss
	s.OnAck(&Sample{Acked: 10 * mss, MSS: mss})
	require.Equal(t, uint32(12*mss), s.Cwnd)
}

func TestRenoGrowsOneSegmentARound(t *testing.T) {
	var s State
	s.Init(Reno, 10, mss, 1)
	s.Ssthresh = 10 * mss
	for n := uint32(11); n < 30; n++ {
		round(&s, 0, vtime.Millisecond)
		require.InDelta(t, n*mss, s.Cwnd, mss)
	}
}

func TestRenoLossAndTimeout(t *testing.T) {
	var s State
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
	var s State
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
	var s State
	s.Init(Cubic, 1000, mss, 1)
	s.OnLoss(1000*mss, mss)
	require.Equal(t, uint32(700*mss), s.Ssthresh)
	s.OnRecovered(mss)
	k := math.Cbrt(300 / 0.4)
	now, start := vtime.Time(vtime.Second), vtime.Time(vtime.Second)
	for range 150 {
		now = round(&s, now, rtt)
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
	var s State
	s.Init(Cubic, 100, mss, 1)
	s.OnLoss(100*mss, mss)
	s.OnRecovered(mss)
	require.Equal(t, uint32(100*mss), s.cubic.wMax)
	s.OnLoss(70*mss, mss)
	require.Equal(t, uint32(70*mss*17/20), s.cubic.wMax)
}

// TestCubicIsRenoFriendly: on a short path the window grows at least as W_est does (§4.3).
func TestCubicIsRenoFriendly(t *testing.T) {
	var s State
	s.Init(Cubic, 20, mss, 1)
	s.OnLoss(20*mss, mss)
	s.OnRecovered(mss)
	now := vtime.Time(vtime.Second)
	for range 40 {
		now = round(&s, now, vtime.Millisecond)
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
		var s State
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
