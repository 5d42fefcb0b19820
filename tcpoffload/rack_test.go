package tcpoffload

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/cc"
	"opentoe/tcpoffload/seq"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// Segments that only come late are no loss. The first time a few may be sent again in vain; the DSACK for it, or
// the late original, teaches the reordering window (RFC 8985 §6.2 steps 3 and 4).
func TestReorderingIsNoLoss(t *testing.T) {
	for _, degree := range []uint32{3, 10, 50} {
		s := newScript(t, func(c *Config) { c.Tunables.CC, c.Tunables.InitCwnd = cc.Reno, 64 })
		s.passive(sackOptions|wire.OptWindowScale, SocketOptions{})
		at, end := uint32(0), uint64(0)
		for round := range 6 {
			end += uint64(degree+1) * mss
			s.send(end)
			before := s.e.MIB().FastRetrans
			s.skip()
			s.now = s.now.Add(10 * ms)
			// The first of the flight comes 1 ms after all others.
			for n := uint32(2); n <= degree+1; n++ {
				s.sack(1, seqOf(at), seqOf(at+1), seqOf(at+n))
			}
			s.wait(ms)
			again := s.skip()
			at += degree + 1
			s.in(wire.ACK, 1, 0, seqOf(at))
			if again > 0 {
				s.now = s.now.Add(9 * ms)
				s.sack(1, seqOf(at), seqOf(at-degree-1), seqOf(at-degree)) // both came
			}
			if round > 0 {
				require.Equal(t, before, s.e.MIB().FastRetrans, "degree %d, round %d", degree, round)
				require.Zero(t, again)
			}
			require.Equal(t, uint8(caOpen), s.info().CAState)
		}
		require.Equal(t, uint64(1), s.e.MIB().SpuriousRecoveries, "undone by DSACK")
		require.Equal(t, degree+1, s.info().Reordering, "from the begin of what came late")
		require.GreaterOrEqual(t, s.info().Cwnd, uint32(64*mss), "nothing was lost")
	}
}

// DSACKs widen the reordering window by a quarter of the round trip once in a round trip; it narrows again after
// 16 recoveries without (RFC 8985 §6.2 step 4).
func TestReorderingWindow(t *testing.T) {
	tcb := &TCB{ca: caOpen, flags: flagSACK}
	tcb.rtt.min, tcb.rtt.srtt = 40*ms, 50*ms
	tcb.snd.mss = mss
	require.Equal(t, 10*ms, tcb.reoWnd())
	tcb.fl.segs = dupThresh
	require.Zero(t, tcb.reoWnd(), "no reordering seen: three segments are enough")
	tcb.rack.reordered = 5
	require.Equal(t, 10*ms, tcb.reoWnd())
	tcb.snd.nxt = 1000
	tcb.widenReoWnd(true)
	tcb.widenReoWnd(true)
	require.Equal(t, 20*ms, tcb.reoWnd(), "once in a round trip")
	for n := range seq.Num(6) {
		tcb.snd.una, tcb.snd.nxt = 1000*(n+1), 1000*(n+2)
		tcb.widenReoWnd(true)
	}
	require.Equal(t, 50*ms, tcb.reoWnd(), "at most a smoothed round trip")
	for range reoPersist - 1 {
		tcb.rack.recoveryLeft()
	}
	require.Equal(t, 50*ms, tcb.reoWnd())
	tcb.rack.recoveryLeft()
	require.Equal(t, 10*ms, tcb.reoWnd())
}

// A burst loss in the middle and at the end of a flight is repaired without a timeout.
func TestBurstAndTailLoss(t *testing.T) {
	s := lossScript(t, sackOptions, 20)
	// Segments 3 to 8 and 16 to 19 are lost.
	s.in(wire.ACK, 1, 0, seqOf(3))
	for n := uint32(10); n <= 16; n++ {
		s.sack(1, seqOf(3), seqOf(9), seqOf(n))
	}
	got := map[uint32]bool{}
	for range 400 {
		for _, g := range s.segs {
			got[uint32(g.Seq-s.iss-1)/mss] = true
		}
		s.skip()
		s.wait(10 * ms)
		una := uint32(3)
		for una < 20 && (got[una] || una >= 9 && una < 16) {
			una++
		}
		if una == 20 {
			s.in(wire.ACK, 1, 0, seqOf(20))
			break
		}
		if una >= 9 && una < 16 || una > 16 || !got[19] {
			s.in(wire.ACK, 1, 0, seqOf(max(una, 3)))
			continue
		}
		if una == 16 && got[19] {
			s.sack(1, seqOf(16), seqOf(19), seqOf(20))
			continue
		}
		s.sack(1, seqOf(una), seqOf(9), seqOf(16))
	}
	require.Equal(t, uint8(caOpen), s.info().CAState)
	require.Zero(t, s.e.MIB().Timeouts)
}

// F-RTO without timestamps and with SACK: the second ACK after the timeout tells of octets that were never sent
// again, so that the timeout was spurious (RFC 5682 §3.1).
func TestSpuriousTimeoutByFRTO(t *testing.T) {
	for _, set := range []wire.OptionSet{sackOptions, wire.OptMSS} {
		s := newScript(t, func(c *Config) { c.Tunables.CC = cc.Reno })
		s.passive(set, SocketOptions{})
		s.send(20 * mss)
		require.Equal(t, 10, s.skip())
		cwnd := s.info().Cwnd
		for s.info().CAState != uint8(caLoss) {
			s.wait(10 * ms)
		}
		sent := uint32(10)
		for _, g := range s.segs { // perhaps a probe, of new octets; then the first again
			if n := uint32(g.Seq-s.iss-1) / mss; n >= sent {
				sent = n + 1
			}
		}
		s.skip()
		s.in(wire.ACK, 1, 0, seqOf(1))
		require.NotEmpty(t, s.segs)
		for _, g := range s.segs {
			require.GreaterOrEqual(t, uint32(g.Seq-s.iss), seqOf(sent), "new octets")
		}
		s.skip()
		s.in(wire.ACK, 1, 0, seqOf(2))
		require.Equal(t, uint8(caOpen), s.info().CAState)
		require.GreaterOrEqual(t, s.info().Cwnd, cwnd)
		require.Equal(t, uint64(1), s.e.MIB().SpuriousRTOs)
		require.Equal(t, uint64(1), s.e.MIB().Timeouts)
	}
}

// A timeout that was right: the duplicate ACK after the new octets says so (RFC 5682 step 3a).
func TestTimeoutThatWasRight(t *testing.T) {
	for _, set := range []wire.OptionSet{sackOptions, wire.OptMSS} {
		s := newScript(t, func(c *Config) { c.Tunables.CC = cc.Reno })
		s.passive(set, SocketOptions{})
		s.send(20 * mss)
		s.skip()
		for s.info().CAState != uint8(caLoss) {
			s.wait(10 * ms)
		}
		s.skip()
		s.in(wire.ACK, 1, 0, seqOf(1))
		s.skip()
		if set == wire.OptMSS {
			s.in(wire.ACK, 1, 0, seqOf(1))
		} else {
			s.sack(1, seqOf(1), seqOf(11), seqOf(12))
		}
		require.Equal(t, uint8(caLoss), s.info().CAState)
		require.NotEmpty(t, s.segs)
		require.Equal(t, seqOf(1), uint32(s.segs[0].Seq-s.iss), "what is lost goes again")
		require.Zero(t, s.e.MIB().SpuriousRTOs)
		require.LessOrEqual(t, s.info().Cwnd, uint32(3*mss))
	}
}

// Every retransmission of a recovery came twice: it was needless, and the window comes back (RFC 3708).
func TestUndoByDSACK(t *testing.T) {
	s := lossScript(t, sackOptions, 10)
	cwnd := s.info().Cwnd
	s.sack(1, seqOf(0), seqOf(1), seqOf(4))
	s.expect(wire.ACK, seqOf(0), mss, 1)
	s.now = s.now.Add(ms)
	s.in(wire.ACK, 1, 0, seqOf(10)) // it was late
	require.Less(t, s.info().Cwnd, cwnd)
	s.now = s.now.Add(9 * ms)
	s.sack(1, seqOf(10), seqOf(0), seqOf(1))
	require.GreaterOrEqual(t, s.info().Cwnd, cwnd)
	require.Equal(t, uint64(1), s.e.MIB().SpuriousRecoveries)

	// A copy that the network made proves nothing.
	r := lossScript(t, sackOptions, 10)
	r.sack(1, seqOf(0), seqOf(1), seqOf(4))
	r.skip()
	r.in(wire.ACK, 1, 0, seqOf(10))
	cwnd = r.info().Cwnd
	r.sack(1, seqOf(10), seqOf(2), seqOf(4))
	r.sack(1, seqOf(10), seqOf(0), seqOf(1))
	require.Equal(t, cwnd, r.info().Cwnd)
	require.Zero(t, r.e.MIB().SpuriousRecoveries)
}

// A peer may forget what it has SACKed (RFC 2018 §8): when SACKed octets are the first in flight at a timeout,
// everything is sent again.
func TestReneging(t *testing.T) {
	s := lossScript(t, sackOptions, 4)
	s.sack(1, seqOf(0), seqOf(1), seqOf(4))
	s.expect(wire.ACK, seqOf(0), mss, 1)
	s.in(wire.ACK, 1, 0, seqOf(1)) // and not more: it has forgotten the rest
	for at := uint32(1); at < 4; at++ {
		for len(s.segs) == 0 {
			require.Less(t, s.now, vtime.Time(200*sec))
			s.wait(10 * ms)
		}
		require.Equal(t, seqOf(at), uint32(s.segs[0].Seq-s.iss))
		s.skip()
		s.now = s.now.Add(10 * ms)
		s.in(wire.ACK, 1, 0, seqOf(at+1))
	}
	require.Equal(t, uint64(1), s.e.MIB().SACKReneging)
	require.Equal(t, uint8(caOpen), s.info().CAState)
}

// longFat is a connection with n segments of one millisecond each in flight.
func longFat(t testing.TB, n int, flights int) *script {
	s := newScript(t, func(c *Config) {
		c.Tunables.CC = cc.Reno
		c.Memory = NewMemoryOf(Sizes{Conns: 2, Listeners: 1, Flights: flights})
	})
	s.passive(sackOptions, SocketOptions{})
	tcb := &s.e.conns[s.h.Index()]
	tcb.snd.wnd, tcb.snd.wndMax, tcb.cc.Cwnd = 1<<30, 1<<30, 1<<30
	for i := range n {
		s.now = s.now.Add(10 * vtime.Microsecond)
		s.send(uint64(i+1) * mss)
	}
	require.Equal(t, n, s.skip())
	s.now = s.now.Add(400 * ms)
	return s
}

// In a large window every other one of thousands of segments is lost: no ACK may take a long walk, and every hole
// is sent again once.
func TestThousandsOfHoles(t *testing.T) { thousandsOfHoles(t, 8000) }

func thousandsOfHoles(t *testing.T, n int) {
	const holes = 3000
	s := longFat(t, n, n*3/2)
	tcb := &s.e.conns[s.h.Index()]
	require.Zero(t, s.e.MIB().FlightPoolEmpty)
	again := 0
	for i := range uint32(holes) {
		s.now = s.now.Add(20 * vtime.Microsecond)
		at := 1000 + 2*i
		blocks := []uint32{seqOf(at + 1), seqOf(at + 2)}
		if i > 0 {
			blocks = append(blocks, seqOf(at-1), seqOf(at))
		}
		s.sack(1, seqOf(1000), blocks...)
		for _, g := range s.segs {
			if g.Seq.LT(s.iss.Add(seqOf(1000 + 2*holes))) {
				again++
			}
		}
		s.skip()
	}
	require.Equal(t, uint32(holes), tcb.snd.sacked/mss)
	require.InDelta(t, holes, float64(again)+float64(tcb.fl.lost)/mss, 2)
	require.Zero(t, s.e.MIB().SACKWalkLimited)
	require.Zero(t, s.e.MIB().Timeouts)
}

// When the pool is short nothing is wrong, only coarser: all octets arrive, whatever is lost.
func TestShortFlightPool(t *testing.T) {
	for flights := 1; flights <= 8; flights++ {
		s := longFat(t, 40, flights)
		got := map[uint32]bool{}
		for i := range uint32(40) {
			got[i] = i%3 != 0
		}
		una := uint32(0)
		for round := 0; una < 40; round++ {
			require.Less(t, round, 2000)
			for una < 40 && got[una] {
				una++
			}
			blocks := []uint32{}
			for i := una + 1; i < 40 && len(blocks) < 6; i++ {
				if got[i] && !got[i-1] {
					k := i
					for k < 40 && got[k] {
						k++
					}
					blocks = append(blocks, seqOf(i), seqOf(k))
				}
			}
			s.sack(1, seqOf(una), blocks...)
			s.wait(50 * ms)
			for _, g := range s.segs {
				for off := uint32(0); off < g.Len; off += mss {
					got[(uint32(g.Seq-s.iss-1)+off)/mss] = true
				}
			}
			s.skip()
		}
		require.Positive(t, s.e.MIB().FlightPoolEmpty)
		require.Equal(t, uint32(0), s.e.conns[s.h.Index()].flight())
	}
}

// Random SACK blocks, ill-ordered, overlapping, of octets never sent or long acknowledged: no ACK walks further than
// the limit, and nothing breaks.
func TestHostileSACK(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	s := longFat(t, 4000, 16000)
	limited := false
	for i := range 3000 {
		if i%5 == 0 {
			s.now = s.now.Add(vtime.Duration(rng.IntN(int(20 * ms))))
		}
		una := uint32(s.e.conns[s.h.Index()].snd.una - s.iss)
		blocks := make([]uint32, 0, 8)
		for range 1 + rng.IntN(4) {
			l := una + uint32(rng.IntN(4000*mss)) - 2000
			blocks = append(blocks, l, l+uint32(rng.IntN(1+rng.IntN(20*mss)))-100)
		}
		ack := una
		if rng.IntN(50) == 0 {
			ack += uint32(rng.IntN(3 * mss))
		}
		s.sack(1, ack, blocks...)
		s.skip()
		limited = limited || s.e.MIB().SACKWalkLimited > 0
		if _, ok := s.e.Lookup(&s.flow); !ok {
			return
		}
	}
	require.True(t, limited, "the limit was reached")
}
