package tcpoffload

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// sackedFlight is a connection with n segments in flight, of which every other one is SACKed from the second on, as
// far as sacked goes.
func sackedFlight(t testing.TB, n, sacked int) *script {
	s := longFat(t, n, n*3/2)
	for i := uint32(1); i < uint32(sacked); i += 6 {
		s.sack(1, 1, seqOf(i), seqOf(i+1), seqOf(i+2), seqOf(i+3), seqOf(i+4), seqOf(i+5))
		s.skip()
	}
	return s
}

// expireOnce lets time pass until timer k of the connection fires, in one call of Expire.
func (s *script) expireOnce(k TimerKind) {
	s.t.Helper()
	tcb := &s.e.conns[s.h.Index()]
	at := tcb.deadline[k]
	require.NotEqual(s.t, vtime.Never, at)
	for tcb.deadline[k] == at {
		s.now = max(s.now, s.e.NextDeadline())
		s.e.Expire(s.now, s.out)
	}
}

// TestForgettingIsSpread: a timeout that makes thousands of SACKed segments lost does not do it in one call, and in
// the meantime no octet is counted twice or forgotten; in the end all go again.
func TestForgettingIsSpread(t *testing.T) {
	const n, sacked = 8000, 6000
	s := sackedFlight(t, n, sacked)
	tcb := &s.e.conns[s.h.Index()]
	require.InDelta(t, sacked/2, float64(tcb.snd.sacked)/mss, 3)
	for tcb.rtt.timeouts < 2 {
		s.expireOnce(TimerRexmt)
		if tcb.rtt.timeouts < 2 {
			s.collect()
		}
	}
	calls := 0
	for before := float64(sacked / 2); tcb.snd.sacked > 0; calls++ {
		now := float64(tcb.snd.sacked) / mss
		require.LessOrEqual(t, before-now, float64(maxFlightWalk), "call %d", calls)
		require.NotZero(t, tcb.snd.mode&sendForget)
		before = now
		s.expireOnce(TimerReo)
	}
	require.Greater(t, calls, 3)
	require.Equal(t, uint64(1), s.e.MIB().SACKReneging)
	require.Equal(t, tcb.flight(), tcb.fl.lost, "everything goes again")
	require.Zero(t, tcb.snd.mode&sendForget)
	s.collect()
	s.skip()
	s.in(wire.ACK, 1, 0, seqOf(n))
	require.Equal(t, caOpen, tcb.ca)
}

// TestForgettingStopsWhenNothingIsLeft: timeouts of a peer that SACKs nothing take no walk, and what a peer reports
// again after it was forgotten counts again.
func TestForgettingStopsWhenNothingIsLeft(t *testing.T) {
	s := lossScript(t, sackOptions, 10)
	tcb := &s.e.conns[s.h.Index()]
	s.sack(1, 1, seqOf(4), seqOf(5))
	for tcb.rtt.timeouts < 2 {
		s.expireOnce(TimerRexmt)
	}
	require.Zero(t, tcb.snd.sacked)
	s.sack(1, 1, seqOf(4), seqOf(5))
	require.Equal(t, uint32(mss), tcb.snd.sacked)
	for tcb.rtt.timeouts < 3 {
		s.expireOnce(TimerRexmt)
	}
	require.Equal(t, uint64(2), s.e.MIB().SACKReneging)
	for tcb.rtt.timeouts < 4 {
		s.expireOnce(TimerRexmt)
	}
	require.Equal(t, uint64(2), s.e.MIB().SACKReneging, "nothing to forget")
}

// TestResendingIsSpread: a smaller path MTU makes thousands of segments lost, some at each call.
func TestResendingIsSpread(t *testing.T) {
	const n = 8000
	s := longFat(t, n, n*3/2)
	tcb := &s.e.conns[s.h.Index()]
	c := Call{Kind: CallPathMTU, Handle: s.h, Value: 1000}
	require.Equal(t, CallOK, s.e.Call(s.now, &c, s.out))
	calls := 0
	for before := float64(0); tcb.fl.oldest != 0; calls++ {
		lost := float64(tcb.fl.lost) / mss
		require.LessOrEqual(t, lost-before, float64(maxFlightWalk), "call %d", calls)
		require.NotZero(t, tcb.snd.mode&sendResend)
		before = lost
		s.expireOnce(TimerReo)
	}
	require.Greater(t, calls, 6)
	require.Equal(t, tcb.flight(), tcb.fl.lost)
	require.Zero(t, tcb.snd.mode&sendResend)
	require.Equal(t, uint32(1<<30), tcb.cc.Cwnd, "it says nothing of the capacity")
}

// BenchmarkForget is the most that one call does to forget what is SACKed: of the largest window only the last
// segment is SACKed.
func BenchmarkForget(b *testing.B) {
	const n = 1<<30/mss - 1
	s := longFat(b, n, n*3/2)
	tcb := &s.e.conns[s.h.Index()]
	s.sack(1, 1, seqOf(n-1), seqOf(n))
	require.Equal(b, uint32(mss), tcb.snd.sacked)
	b.ReportAllocs()
	for b.Loop() {
		s.e.beginForget(tcb, s.now)
	}
	b.ReportMetric(float64(n)/maxFlightWalk, "calls/window")
}
