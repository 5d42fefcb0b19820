package tcpoffload

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/cc"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

const sackOptions = wire.OptMSS | wire.OptSACKPermitted

// lossScript is a connection with n full segments in flight.
func lossScript(t *testing.T, set wire.OptionSet, n int) *script {
	s := newScript(t, func(c *Config) { c.Tunables.CC = cc.Reno; c.Tunables.InitCwnd = 20 })
	s.passive(set, SocketOptions{})
	s.send(uint64(n) * mss)
	require.Equal(t, n, s.skip())
	s.now = s.now.Add(10 * ms)
	return s
}

func seqOf(segment uint32) uint32 { return 1 + segment*mss }

func TestTimeoutBacksOffAndGivesUp(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{})
	s.send(100)
	start := s.now
	s.skip()
	rto := s.info().RTO
	require.Equal(t, 210*ms, rto, "10 ms measured, and the minimum")
	for n := range 15 {
		for len(s.segs) == 0 {
			s.wait(s.e.NextDeadline().Sub(s.now))
		}
		s.expect(wire.ACK|wire.PSH, 1, 100, 1)
		require.InDelta(t, float64(rto), float64(s.now.Sub(start)), float64(ms), "timeout %d", n)
		start = s.now
		rto = min(2*rto, 120*sec)
	}
	s.wait(200 * sec)
	s.quiet()
	require.Equal(t, ReasonTimedOut, s.action(ActFinished).Reason)
	require.Equal(t, uint64(15), s.e.MIB().Timeouts)
}

func TestKarn(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{})
	s.send(100)
	s.wait(250 * ms)
	require.Equal(t, 2, s.skip())
	before := s.info().SRTT
	s.in(wire.ACK, 1, 0, 101)
	require.Equal(t, before, s.info().SRTT, "an ambiguous ACK gives no sample")
	require.Equal(t, uint8(1), s.info().Backoff, "the timeout may be shorter than the round trip")
	s.send(200)
	s.now = s.now.Add(90 * ms)
	s.in(wire.ACK, 1, 0, 201)
	require.Equal(t, (7*before+90*ms)/8, s.info().SRTT)
	require.Zero(t, s.info().Backoff)
}

// A round trip that has become longer than the timeout is found although every segment is sent again:
// the backed-off timeout lets one be answered in time.
func TestKarnFindsALongerRoundTrip(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{})
	const rtt = 350 * ms
	for n := uint32(1); n <= 2; n++ {
		s.send(uint64(100 * n))
		s.wait(rtt)
		s.skip()
		s.in(wire.ACK, 1, 0, 1+100*n)
	}
	require.Equal(t, uint64(1), s.e.MIB().Timeouts)
	require.Greater(t, s.info().RTO, rtt)
}

// A connection that no program holds is given up sooner than others.
func TestOrphanIsGivenUp(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{})
	s.send(100)
	s.close()
	s.ok(s.call(Call{Kind: CallDetach}))
	s.wait(200 * sec)
	require.Equal(t, ReasonTimedOut, s.action(ActFinished).Reason)
	require.Equal(t, uint64(orphanRetries), s.e.MIB().Timeouts)
}

// A peer that keeps its window shut and answers every probe holds a connection only as long as a
// program does.
func TestShutWindowDoesNotHoldAnOrphan(t *testing.T) {
	for _, detached := range []bool{false, true} {
		s := newScript(t, nil)
		s.passive(wire.OptMSS, SocketOptions{})
		s.wnd = 0
		s.in(wire.ACK, 1, 0, 1)
		s.send(100)
		if detached {
			s.close()
			s.ok(s.call(Call{Kind: CallDetach}))
		}
		for end := s.now.Add(20 * vtime.Minute); s.now < end && s.e.Conns() > 0; {
			s.wait(sec)
			if s.skip() > 0 {
				s.in(wire.ACK, 1, 0, 1)
			}
		}
		if detached {
			require.Equal(t, ReasonTimedOut, s.action(ActFinished).Reason)
		} else {
			s.state(StateEstablished)
		}
	}
}

// After a handshake that had to be repeated and gave no measurement the timeout is cautious, and so is
// the first flight (RFC 6298 (5.7), RFC 5681 §3.1).
func TestLostSynMakesCautious(t *testing.T) {
	for _, c := range []struct {
		name   string
		lost   int
		opt    wire.OptionSet
		rto    vtime.Duration
		flight int
	}{
		{"none", 0, wire.OptMSS, 210 * ms, 10},
		{"one", 1, wire.OptMSS, 3 * sec, 10},
		{"two", 2, wire.OptMSS, 3 * sec, 1},
		{"one, with timestamps", 1, wire.OptMSS | wire.OptTimestamps, 210*ms + tsTick/2, 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScript(t, nil)
			s.listen(8, SocketOptions{})
			s.ts = c.opt&wire.OptTimestamps != 0
			syn := s.seg(wire.SYN, 0, 0, 0)
			syn.Opt = synOptions(c.opt)
			s.inject(syn)
			s.iss = s.segs[0].Seq
			for range c.lost {
				s.skip()
				s.wait(s.e.NextDeadline().Sub(s.now))
				for len(s.segs) == 0 {
					s.wait(ms)
				}
			}
			echo := s.segs[0].Opt.TSVal
			s.skip()
			s.now = s.now.Add(10 * ms)
			ack := s.seg(wire.ACK, 1, 0, 1)
			ack.Opt.TSEcr = echo
			s.inject(ack)
			s.h = s.action(ActPassEstablished).Handle
			require.Equal(t, c.rto, s.info().RTO)
			require.Zero(t, s.info().Backoff)
			s.send(20 * mss)
			require.Equal(t, c.flight, s.skip())
		})
	}
}

func TestTimestampsMeasureRetransmissions(t *testing.T) {
	s := newScript(t, nil)
	s.passive(allOptions, SocketOptions{})
	s.send(100)
	s.wait(250 * ms)
	require.Len(t, s.segs, 2)
	echo := s.segs[1].Opt.TSVal
	s.skip()
	s.now = s.now.Add(40 * ms)
	g := s.seg(wire.ACK, 1, 0, 101)
	g.Opt.TSEcr = echo
	before := s.info().SRTT
	s.inject(g)
	require.Greater(t, s.info().SRTT, before)
}

func TestFastRetransmitWithSACK(t *testing.T) {
	s := lossScript(t, sackOptions, 10)
	// Segments 0 and 4 are lost.
	s.sack(1, seqOf(0), seqOf(1), seqOf(2))
	s.sack(1, seqOf(0), seqOf(1), seqOf(3))
	s.quiet()
	require.Equal(t, uint8(caDisorder), s.info().CAState)
	s.sack(1, seqOf(0), seqOf(1), seqOf(4))
	s.expect(wire.ACK, seqOf(0), mss, 1)
	require.Equal(t, uint8(caRecovery), s.info().CAState)
	require.Equal(t, uint32(5*mss), s.info().Ssthresh)
	for n := uint32(6); n <= 10; n++ {
		s.sack(1, seqOf(0), seqOf(5), seqOf(n), seqOf(1), seqOf(4))
	}
	s.expect(wire.ACK, seqOf(4), mss, 1)
	s.quiet()
	s.in(wire.ACK, 1, 0, seqOf(4))
	s.in(wire.ACK, 1, 0, seqOf(10))
	require.Equal(t, uint8(caOpen), s.info().CAState)
	require.Equal(t, uint32(5*mss), s.info().Cwnd)
	m := s.e.MIB()
	require.Equal(t, [3]uint64{2, 1, 0}, [3]uint64{m.RetransSegs, m.FastRetrans, m.Timeouts})
}

func TestProportionalRateReduction(t *testing.T) {
	s := lossScript(t, sackOptions, 20)
	s.send(100 * mss)
	// The first is lost; the window halves over one round trip: one segment out for two in.
	out := 0
	for n := uint32(2); n <= 20; n++ {
		s.sack(1, seqOf(0), seqOf(1), seqOf(n))
		out += s.skip()
	}
	require.InDelta(t, 10, out, 1)
	s.in(wire.ACK, 1, 0, seqOf(20))
	require.InDelta(t, 10*mss, float64(s.info().Cwnd), mss)
}

func TestLimitedTransmit(t *testing.T) {
	s := newScript(t, nil)
	s.passive(sackOptions, SocketOptions{})
	s.send(20 * mss)
	require.Equal(t, 10, s.skip())
	s.sack(1, seqOf(0), seqOf(1), seqOf(2))
	s.expect(wire.ACK, seqOf(10), mss, 1)
	s.sack(1, seqOf(0), seqOf(1), seqOf(3))
	s.expect(wire.ACK, seqOf(11), mss, 1)
	s.quiet()
}

func TestNewReno(t *testing.T) {
	s := lossScript(t, wire.OptMSS, 10)
	// Segments 0 and 3 are lost.
	for range 2 {
		s.in(wire.ACK, 1, 0, seqOf(0))
	}
	s.quiet()
	s.in(wire.ACK, 1, 0, seqOf(0))
	s.expect(wire.ACK, seqOf(0), mss, 1)
	for range 5 {
		s.in(wire.ACK, 1, 0, seqOf(0))
	}
	s.quiet()
	s.in(wire.ACK, 1, 0, seqOf(3)) // partial
	s.expect(wire.ACK, seqOf(3), mss, 1)
	require.Equal(t, uint8(caRecovery), s.info().CAState)
	s.in(wire.ACK, 1, 0, seqOf(10))
	require.Equal(t, uint8(caOpen), s.info().CAState)
	require.Equal(t, uint32(5*mss), s.info().Cwnd)
	require.Equal(t, uint64(1), s.e.MIB().FastRetrans)

	// Duplicates of the ACK that ended it are echoes, not losses (RFC 6582 §4.1).
	s.send(13 * mss)
	s.skip()
	for range 4 {
		s.in(wire.ACK, 1, 0, seqOf(10))
	}
	require.Equal(t, uint64(1), s.e.MIB().FastRetrans)
}

func TestTimeoutRetransmitsInSlowStart(t *testing.T) {
	s := lossScript(t, wire.OptMSS, 8)
	s.wait(300 * ms)
	s.expect(wire.ACK, seqOf(0), mss, 1)
	s.quiet()
	require.Equal(t, uint8(caLoss), s.info().CAState)
	require.Equal(t, uint32(mss), s.info().Cwnd)
	require.Equal(t, uint32(4*mss), s.info().Ssthresh)
	s.in(wire.ACK, 1, 0, seqOf(1))
	s.expect(wire.ACK, seqOf(1), mss, 1)
	s.expect(wire.ACK, seqOf(2), mss, 1)
	s.quiet()
	s.in(wire.ACK, 1, 0, seqOf(8))
	require.Equal(t, uint8(caOpen), s.info().CAState)
}

func TestTimeoutKeepsTheScoreboardOnce(t *testing.T) {
	s := lossScript(t, sackOptions, 8)
	s.sack(1, seqOf(0), seqOf(1), seqOf(2), seqOf(5), seqOf(6))
	s.wait(400 * ms)
	require.Equal(t, uint8(caLoss), s.info().CAState)
	s.segs = s.segs[len(s.segs)-1:] // what came before was recovery without a timeout
	s.expect(wire.ACK, seqOf(0), mss, 1)
	s.in(wire.ACK, 1, 0, seqOf(2))
	for _, n := range []uint32{2, 3} { // slow start by what the ACK delivered, one segment
		s.expect(wire.ACK, seqOf(n), mss, 1)
	}
	s.in(wire.ACK, 1, 0, seqOf(4))
	s.expect(wire.ACK, seqOf(4), mss, 1)
	s.expect(wire.ACK, seqOf(6), mss, 1) // what is SACKed is not sent again
	s.expect(wire.ACK|wire.PSH, seqOf(7), mss, 1)

	r := lossScript(t, sackOptions, 3)
	r.sack(1, seqOf(0), seqOf(1), seqOf(3))
	r.wait(400 * ms)
	require.Equal(t, uint64(1), r.e.MIB().Timeouts)
	require.Equal(t, uint32(2), r.info().Sacked)
	r.wait(500 * ms)
	require.Zero(t, r.info().Sacked, "a second timeout: the peer may have reneged")
}

func TestTailLossProbe(t *testing.T) {
	s := lossScript(t, sackOptions, 5)
	start := s.now.Add(-10 * ms)
	s.in(wire.ACK, 1, 0, seqOf(2)) // the rest is lost
	for len(s.segs) == 0 {
		s.wait(ms)
	}
	require.Less(t, s.now.Sub(start), 50*ms, "long before the timeout")
	s.expect(wire.ACK|wire.PSH, seqOf(4), mss, 1)
	require.Equal(t, uint64(1), s.e.MIB().LossProbes)
	s.now = s.now.Add(10 * ms)
	s.sack(1, seqOf(2), seqOf(4), seqOf(5)) // its answer tells of the hole
	s.expect(wire.ACK, seqOf(2), mss, 1)
	s.now = s.now.Add(10 * ms)
	s.sack(1, seqOf(3), seqOf(4), seqOf(5))
	s.expect(wire.ACK, seqOf(3), mss, 1)
	s.in(wire.ACK, 1, 0, seqOf(5))
	require.Zero(t, s.e.MIB().Timeouts)
	require.Equal(t, uint8(caOpen), s.info().CAState)
}

// The answer to a probe that fills no hole echoes an old timestamp (RFC 7323 §4.3). It still is the answer to
// the probe: what went before it is lost, and goes again at once.
func TestTailLossProbeWithTimestamps(t *testing.T) {
	const mss = mss - 12
	s := newScript(t, nil)
	s.passive(allOptions, SocketOptions{})
	s.send(5 * mss)
	echo := s.segs[0].Opt.TSVal
	require.Equal(t, 5, s.skip())
	s.now = s.now.Add(10 * ms)
	ack := s.seg(wire.ACK, 1, 0, 1+mss)
	ack.Opt.TSEcr = echo
	s.inject(ack)
	for len(s.segs) == 0 {
		s.wait(ms)
	}
	s.expect(wire.ACK|wire.PSH, 1+4*mss, mss, 1)
	s.now = s.now.Add(11 * ms)
	ack = s.seg(wire.ACK, 1, 0, 1+mss)
	ack.Opt.Set |= wire.OptSACK
	ack.Opt.TSEcr, ack.Opt.NumSACK = echo, 1
	ack.Opt.SACK[0] = wire.SACKBlock{Left: s.iss.Add(1 + 4*mss), Right: s.iss.Add(1 + 5*mss)}
	s.inject(ack)
	require.Equal(t, uint8(caRecovery), s.info().CAState)
	require.Equal(t, uint32(3), s.info().Lost)
	s.expect(wire.ACK, 1+mss, mss, 1)
}

func TestTailLossProbeThatRepairsLowersTheWindow(t *testing.T) {
	for _, dsack := range []bool{true, false} {
		s := lossScript(t, sackOptions, 5)
		s.in(wire.ACK, 1, 0, seqOf(3))
		s.wait(50 * ms)
		s.expect(wire.ACK|wire.PSH, seqOf(4), mss, 1)
		cwnd := s.info().Cwnd
		if dsack {
			s.in(wire.ACK, 1, 0, seqOf(5))
			s.sack(1, seqOf(5), seqOf(4), seqOf(5))
		} else {
			s.in(wire.ACK, 1, 0, seqOf(5))
		}
		s.send(6 * mss)
		s.skip()
		s.in(wire.ACK, 1, 0, seqOf(6))
		if dsack {
			require.GreaterOrEqual(t, s.info().Cwnd, cwnd)
		} else {
			require.Less(t, s.info().Cwnd, cwnd)
		}
	}
}

func TestSpuriousTimeoutIsUndone(t *testing.T) {
	s := newScript(t, nil)
	s.passive(allOptions, SocketOptions{})
	s.send(8 * 1448)
	first := s.segs[0].Opt.TSVal
	require.Equal(t, 8, s.skip())
	cwnd := s.info().Cwnd
	s.wait(500 * ms)
	require.Equal(t, uint8(caLoss), s.info().CAState)
	s.skip()
	g := s.seg(wire.ACK, 1, 0, 1+1448)
	g.Opt.TSEcr = first // of the original, which was only late
	s.inject(g)
	require.Equal(t, uint8(caOpen), s.info().CAState)
	require.GreaterOrEqual(t, s.info().Cwnd, cwnd)
	require.Equal(t, uint64(1), s.e.MIB().SpuriousRTOs)
	s.quiet()
}

func TestIdleRestart(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{})
	end, pos := uint64(0), uint32(1)
	for range 6 {
		end += 60 * mss
		s.send(end)
		for n := s.skip(); n > 0; n = s.skip() {
			pos += uint32(n) * mss
			s.now = s.now.Add(ms)
			s.in(wire.ACK, 1, 0, pos)
		}
	}
	require.Greater(t, s.info().Cwnd, uint32(20*mss))
	s.wait(vtime.Duration(30) * sec)
	s.send(end + 60*mss)
	require.Equal(t, 10, s.skip(), "the restart window")
	require.Equal(t, uint64(1), s.e.MIB().IdleRestarts)
}

func TestWindowDoesNotGrowUnused(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{NoDelay: true})
	cwnd := s.info().Cwnd
	for i := range uint32(200) {
		s.send(uint64(i+1) * 100)
		s.now = s.now.Add(ms)
		s.in(wire.ACK, 1, 0, 1+(i+1)*100)
	}
	require.LessOrEqual(t, s.info().Cwnd, cwnd+100, "one ACK may pass before a round trip is measured (RFC 7661 §4.2)")
}

func TestBadSACKBlocksAreIgnored(t *testing.T) {
	s := lossScript(t, sackOptions, 5)
	s.sack(1, seqOf(0), seqOf(3), seqOf(2)) // backwards
	s.sack(1, seqOf(0), seqOf(4), seqOf(9)) // never sent
	s.sack(1, seqOf(2), seqOf(0), seqOf(1)) // DSACK
	s.sack(1, seqOf(1), seqOf(1), seqOf(2)) // of an overtaken ACK
	require.Zero(t, s.info().Sacked)
	require.Equal(t, uint64(1), s.e.MIB().DSACKsIn)
}

func TestRetransmissionOfShutWindowIsNotGivenUp(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{})
	s.send(100)
	s.skip()
	s.wnd = 0
	for range 40 {
		s.wait(60 * sec)
		s.in(wire.ACK, 1, 0, 1) // it answers, but takes nothing
	}
	s.noAction(ActFinished)
	s.wnd = 1000
	s.in(wire.ACK, 1, 0, 101)
	require.Equal(t, uint64(100), s.action(ActAcked).Pos)
}

// The retransmission of the first hole is lost too, and so is the one after it: as soon as something arrives that
// was sent with it or later it is sent again, without a timeout (RFC 8985 §6.2).
func TestLostRetransmission(t *testing.T) {
	s := lossScript(t, sackOptions, 20)
	s.send(100 * mss)
	next := uint32(20)
	sacked := func(end uint32) (again int) {
		s.now = s.now.Add(ms)
		s.sack(1, seqOf(0), seqOf(1), seqOf(end))
		for _, g := range s.segs {
			switch {
			case g.Seq == s.iss.Add(seqOf(0)):
				again++
			default:
				require.Equal(t, s.iss.Add(seqOf(next)), g.Seq)
				next++
			}
		}
		s.skip()
		return again
	}
	require.Zero(t, sacked(2))
	require.Zero(t, sacked(3))
	end := uint32(4)
	for range 3 { // the fast retransmission, and two that replace it
		with := next // the first one to leave with it or after it
		require.Equal(t, 1, sacked(end), "up to segment %d SACKed", end)
		for end++; end <= with; end++ {
			require.Zero(t, sacked(end), "up to segment %d SACKed", end)
		}
	}
	m := s.e.MIB()
	require.Equal(t, [4]uint64{3, 1, 2, 0}, [4]uint64{m.RetransSegs, m.FastRetrans, m.LostRetrans, m.Timeouts})
}

// Many holes are sent again; the first retransmission is lost, and only the retransmission of a later hole
// tells of it.
func TestLostRetransmissionSeenByLaterHoles(t *testing.T) {
	s := lossScript(t, sackOptions, 12)
	// Segments 0 to 9 are lost, and 11.
	s.sack(1, seqOf(0), seqOf(10), seqOf(11))
	s.wait(3 * ms)
	s.expect(wire.ACK, seqOf(0), mss, 1)
	s.quiet()
	require.Equal(t, uint8(caRecovery), s.info().CAState)
	s.now = s.now.Add(7 * ms)
	s.in(wire.ACK, 1, 0, seqOf(1))
	s.expect(wire.ACK, seqOf(1), mss, 1) // lost
	s.expect(wire.ACK, seqOf(2), mss, 1)
	s.now = s.now.Add(10 * ms)
	s.sack(1, seqOf(1), seqOf(2), seqOf(3), seqOf(10), seqOf(11))
	s.expect(wire.ACK, seqOf(1), mss, 1) // both left at one instant, this one first
	require.Zero(t, s.e.MIB().Timeouts)
}

// Two SACKed segments are too few to call what lies before them lost at once, but after the reordering window
// it is: no timeout is needed.
func TestFewSACKsEndTheWait(t *testing.T) {
	s := lossScript(t, sackOptions, 3)
	s.sack(1, seqOf(0), seqOf(1), seqOf(3))
	s.quiet()
	require.Equal(t, TimerReo, s.info().Timer)
	s.wait(2 * ms)
	s.quiet()
	s.wait(ms) // a quarter of the round trip
	s.expect(wire.ACK, seqOf(0), mss, 1)
	s.quiet()
	require.Equal(t, uint8(caRecovery), s.info().CAState)
	require.Less(t, s.info().Ssthresh, uint32(20*mss), "it was a loss")
	s.in(wire.ACK, 1, 0, seqOf(3))
	require.Equal(t, uint8(caOpen), s.info().CAState)
	require.Zero(t, s.e.MIB().Timeouts)
}

// The one ACK that answers a recovery is lost: a probe asks for it again.
func TestProbeInRecovery(t *testing.T) {
	s := lossScript(t, sackOptions, 10)
	s.sack(1, seqOf(0), seqOf(1), seqOf(4))
	s.expect(wire.ACK, seqOf(0), mss, 1)
	reduced := s.info().Ssthresh
	s.quiet()
	s.wait(50 * ms)
	s.expect(wire.ACK, seqOf(0), mss, 1)
	s.wait(100 * ms)
	s.quiet()
	s.sack(1, seqOf(10), seqOf(0), seqOf(1)) // it was a duplicate
	require.Equal(t, uint8(caOpen), s.info().CAState)
	require.Equal(t, reduced, s.info().Cwnd, "reduced once")
	m := s.e.MIB()
	require.Equal(t, [3]uint64{1, 0, 2}, [3]uint64{m.LossProbes, m.Timeouts, m.RetransSegs})
	s.send(11 * mss)
	require.Equal(t, 1, s.skip())
	s.in(wire.ACK, 1, 0, seqOf(11))
	s.send(12 * mss)
	require.Equal(t, 1, s.skip())
	s.in(wire.ACK, 1, 0, seqOf(12))
	require.Greater(t, m.FastPathAcks, uint64(0), "the episode is over")
}

// Duplicate ACKs of a window that is long acknowledged do not count towards the next fast retransmit, not
// even when header prediction took the ACK between.
func TestDuplicateAcksAreForgotten(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{})
	s.send(mss)
	s.in(wire.ACK, 1, 0, 1)
	s.in(wire.ACK, 1, 0, 1)
	fast := s.e.MIB().FastPathAcks
	s.in(wire.ACK, 1, 0, 1+mss)
	require.Equal(t, fast+1, s.e.MIB().FastPathAcks)
	s.send(5 * mss)
	s.skip()
	s.in(wire.ACK, 1, 0, 1+mss)
	s.in(wire.ACK, 1, 0, 1+mss)
	s.quiet()
	require.Zero(t, s.e.MIB().FastRetrans)
	s.in(wire.ACK, 1, 0, 1+mss)
	s.expect(wire.ACK, 1+mss, mss, 1)
}
