package tcpoffload

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/seq"
	"opentoe/tcpoffload/wire"
)

// noQuick ends the quick acknowledgments at the start of a connection.
func (s *script) noQuick() { s.option(OptionQuickAck, 0) }

func TestDelayedAck(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{})
	s.noQuick()
	s.in(wire.ACK, 1, mss, 1)
	s.quiet()
	s.in(wire.ACK, 1+mss, mss, 1)
	s.expect(wire.ACK, 1, 0, 1+2*mss) // every second full segment
	s.in(wire.ACK, 1+2*mss, 100, 1)
	s.wait(39 * ms)
	s.quiet()
	s.wait(2 * ms)
	s.expect(wire.ACK, 1, 0, 101+2*mss)
	require.Equal(t, uint64(1), s.e.MIB().DelayedAcks)

	s.in(wire.ACK, 101+2*mss, 10, 1)
	s.send(5) // data takes the ACK along
	s.expect(wire.ACK|wire.PSH, 1, 5, 111+2*mss)
	s.wait(100 * ms)
	s.quiet()
}

func TestQuickAcksAtStart(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{})
	for i := range uint32(quickAcks) {
		s.in(wire.ACK, 1+i*100, 100, 1)
		s.expect(wire.ACK, 1, 0, 101+i*100)
	}
	s.in(wire.ACK, 1+quickAcks*100, 100, 1)
	s.quiet()
}

// TestDuplicateEndsDelaying: a peer that sends text again, because our ACK was lost or because it does not wait for a
// delayed one, has the next ACKs at once. Else a peer with a short timeout and a window of one segment would
// time out at every one.
func TestDuplicateEndsDelaying(t *testing.T) {
	for name, again := range map[string]uint32{"not acknowledged": 1, "acknowledged": 0} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t, nil)
			s.passive(wire.OptMSS, SocketOptions{})
			s.noQuick()
			at := uint32(1)
			for range 2 {
				s.in(wire.ACK, at, 100, 1)
				at += 100
				s.wait(50 * ms)
				s.expect(wire.ACK, 1, 0, at)
			}
			s.noQuick()
			s.in(wire.ACK, at, 100, 1)
			at += 100
			s.quiet()
			if again == 0 {
				s.wait(50 * ms)
				s.expect(wire.ACK, 1, 0, at)
			}
			s.in(wire.ACK, at-100, 100, 1)
			s.expect(wire.ACK, 1, 0, at)
			for range quickAcks {
				s.in(wire.ACK, at, 100, 1)
				at += 100
				s.expect(wire.ACK, 1, 0, at)
			}
			s.in(wire.ACK, at, 100, 1)
			s.quiet()
		})
	}
}

func TestBurstGivesOneAck(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{})
	for i := range uint32(8) {
		g := s.seg(wire.ACK, 1+i*mss, mss, 1)
		require.Equal(t, DropNone, s.e.Arrive(s.now, &g, s.out))
	}
	s.collect()
	s.expect(wire.ACK, 1, 0, 1+8*mss)
	s.quiet()
}

func TestOutOfOrderIsPlacedAndReported(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS|wire.OptSACKPermitted, SocketOptions{})
	block := func(l, r uint32) wire.SACKBlock { return wire.SACKBlock{Left: peerISS.Add(l), Right: peerISS.Add(r)} }

	s.in(wire.ACK, 1001, 1000, 1)
	a := s.action(ActPlace)
	require.Equal(t, [3]uint64{1000, 0, 1000}, [3]uint64{a.Pos, uint64(a.Off), uint64(a.Len)})
	s.noAction(ActReadable)
	g := s.expect(wire.ACK, 1, 0, 1)
	require.Equal(t, []wire.SACKBlock{block(1001, 2001)}, g.Opt.SACK[:g.Opt.NumSACK])

	s.in(wire.ACK, 5001, 1000, 1)
	s.expect(wire.ACK, 1, 0, 1)
	s.in(wire.ACK, 3001, 1000, 1)
	g = s.expect(wire.ACK, 1, 0, 1)
	require.Equal(t, []wire.SACKBlock{block(3001, 4001), block(5001, 6001), block(1001, 2001)},
		g.Opt.SACK[:g.Opt.NumSACK], "latest first")
	s.acts = s.acts[:0]

	// The hole is filled by a segment that overlaps what is there.
	s.in(wire.ACK, 1, 1500, 1)
	a = s.action(ActPlace)
	require.Equal(t, [3]uint64{0, 0, 1500}, [3]uint64{a.Pos, uint64(a.Off), uint64(a.Len)})
	require.Equal(t, uint64(2000), s.action(ActReadable).Pos)
	g = s.expect(wire.ACK, 1, 0, 2001)
	require.Equal(t, []wire.SACKBlock{block(3001, 4001), block(5001, 6001)}, g.Opt.SACK[:g.Opt.NumSACK])

	// Octets that came before are reported as duplicate.
	require.Equal(t, DropDuplicate, s.in(wire.ACK, 1501, 500, 1))
	g = s.expect(wire.ACK, 1, 0, 2001)
	require.Equal(t, block(1501, 2001), g.Opt.SACK[0])
	require.Equal(t, DropDuplicate, s.in(wire.ACK, 3001, 1000, 1))
	require.Equal(t, block(3001, 4001), s.expect(wire.ACK, 1, 0, 2001).Opt.SACK[0])
	require.Equal(t, uint64(2), s.e.MIB().DSACKsOut)

	s.in(wire.ACK, 2001, 1000, 1)
	s.in(wire.ACK, 4001, 1000, 1)
	s.skip()
	require.Equal(t, uint64(6000), s.info().BytesReceived)
	s.in(wire.ACK, 6001, 10, 1)
	require.Zero(t, s.expect(wire.ACK, 1, 0, 6011).Opt.Set&wire.OptSACK)
}

func TestReassemblyLimit(t *testing.T) {
	const islands = 240
	s := newScript(t, func(c *Config) { c.Memory = NewMemoryOf(Sizes{Conns: 8, Listeners: 4, Ranges: islands * 5 / 4}) })
	s.passive(wire.OptMSS, SocketOptions{})
	for i := range uint32(islands) {
		require.Equal(t, DropNone, s.in(wire.ACK, 101+200*i, 100, 1))
	}
	require.Equal(t, DropReasmLimit, s.in(wire.ACK, 101+200*islands, 100, 1))
	s.acts = s.acts[:0]
	require.Equal(t, DropNone, s.in(wire.ACK, 1, 100, 1), "the hole itself is always taken")
	require.Equal(t, uint64(200), s.action(ActReadable).Pos)
}

func TestOldAndForeignSegmentsAreAcknowledged(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{})
	s.in(wire.ACK, 1, 1000, 1)
	s.skip()
	s.acts = s.acts[:0]
	require.Equal(t, DropSequence, s.in(wire.ACK, 1, 500, 1))
	s.expect(wire.ACK, 1, 0, 1001)
	require.Equal(t, DropSequence, s.in(wire.ACK, 200_000, 10, 1))
	s.expect(wire.ACK, 1, 0, 1001)
	require.Equal(t, DropSequence, s.in(wire.ACK, 1000, 0, 1), "a keepalive probe")
	s.expect(wire.ACK, 1, 0, 1001)
	require.Empty(t, s.acts)
}

func TestWindowTrimsAndShuts(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{RcvBuf: 4000})
	s.in(wire.ACK, 1, 3000, 1)
	require.Equal(t, uint16(1000), s.expect(wire.ACK, 1, 0, 3001).Wnd)
	s.acts = s.acts[:0]
	s.in(wire.ACK|wire.FIN, 3001, 1460, 1)
	require.Equal(t, uint32(1000), s.action(ActPlace).Len, "trimmed to the window")
	s.noAction(ActPeerClose)
	require.Equal(t, uint16(0), s.expect(wire.ACK, 1, 0, 4001).Wnd)
	require.Equal(t, DropWindow, s.in(wire.ACK, 4001, 1, 1), "a window probe")
	require.Equal(t, uint16(0), s.expect(wire.ACK, 1, 0, 4001).Wnd)

	// Receiver SWS avoidance: a few octets read open nothing, half of the buffer does.
	s.read(500)
	s.quiet()
	require.Equal(t, DropWindow, s.in(wire.ACK, 4001, 1, 1))
	require.Equal(t, uint16(0), s.expect(wire.ACK, 1, 0, 4001).Wnd)
	s.read(2000)
	require.Equal(t, uint16(2000), s.expect(wire.ACK, 1, 0, 4001).Wnd)
	require.Equal(t, uint64(1), s.e.MIB().WindowUpdates)
	require.Equal(t, CallInvalid, s.call(Call{Kind: CallReceived, Pos: 1000}), "backwards")
	require.Equal(t, CallInvalid, s.call(Call{Kind: CallReceived, Pos: 5000}), "beyond what came")
}

func TestRightEdgeNeverMovesBack(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS|wire.OptWindowScale, SocketOptions{})
	edge := seq.Num(0)
	pos := uint32(1)
	for i := range uint32(200) {
		n := 1 + i*37%1460
		s.in(wire.ACK, pos, n, 1)
		pos += n
		if i == 100 {
			s.option(OptionRcvBuf, 4096)
		}
		e := s.e.conns[s.h.Index()].rcv.adv
		require.True(t, edge == 0 || e.GEQ(edge))
		edge = e
	}
	require.Equal(t, DropNone, s.in(wire.ACK, pos, 100, 1), "octets before the edge are still taken")
}

func TestReceiveLimitFollowsTheProgram(t *testing.T) {
	s := newScript(t, nil)
	s.passive(allOptions, SocketOptions{})
	start := s.info().RcvLimit
	pos := uint32(1)
	for range 40 {
		for range 80 {
			s.in(wire.ACK, pos, 1448, 1)
			pos += 1448
		}
		s.now = s.now.Add(5 * ms)
		s.read(uint64(pos - 1))
		s.now = s.now.Add(5 * ms)
	}
	require.Greater(t, s.info().RcvLimit, start)
	require.LessOrEqual(t, s.info().RcvLimit, s.e.Tunables().MaxRcvBuf)
	s.skip()

	f := newScript(t, nil)
	f.passive(allOptions, SocketOptions{RcvBuf: 100_000})
	require.Equal(t, uint32(100_000), f.info().RcvLimit)
}

func TestUrgentPointer(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{})
	g := s.seg(wire.ACK|wire.URG, 1, 10, 1)
	g.Urg = 5
	s.inject(g)
	require.Equal(t, uint64(5), s.action(ActUrgent).Pos)
	require.Equal(t, uint64(10), s.action(ActReadable).Pos, "in line")
	g.Seq, g.Urg = g.Seq.Add(10), 0
	s.inject(g)
	s.noAction(ActUrgent)
}

func TestBlindAttacks(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{})
	require.Equal(t, DropBadReset, s.in(wire.RST, 100, 0, 0))
	s.expect(wire.ACK, 1, 0, 1)
	require.Equal(t, DropSequence, s.in(wire.RST, 1_000_000, 0, 0))
	s.quiet()
	require.Equal(t, DropSynInWindow, s.in(wire.SYN, 100, 0, 0))
	s.expect(wire.ACK, 1, 0, 1)
	require.Equal(t, DropBadAck, s.in(wire.ACK, 1, 10, 5000))
	s.expect(wire.ACK, 1, 0, 1)
	old := s.seg(wire.ACK, 1, 10, 0)
	old.Ack = s.iss - 100_000
	require.Equal(t, DropBadAck, s.inject(old))
	s.expect(wire.ACK, 1, 0, 1)
	require.Equal(t, DropNoAck, s.in(wire.PSH, 1, 10, 0))
	s.state(StateEstablished)
	require.Equal(t, uint64(4), s.e.MIB().ChallengeAcks)

	// The limit, and that it ends.
	for range 50 {
		s.in(wire.SYN, 100, 0, 0)
	}
	require.Equal(t, int(s.e.Tunables().ChallengeAcks)-4, s.skip())
	s.wait(sec)
	s.in(wire.SYN, 100, 0, 0)
	s.expect(wire.ACK, 1, 0, 1)

	require.Equal(t, DropNone, s.in(wire.RST, 1, 0, 0), "the exact sequence number resets")
	require.Equal(t, ReasonReset, s.action(ActFinished).Reason)
	require.Zero(t, s.e.Conns())
	require.Zero(t, s.e.MIB().CurrEstab)
	require.Equal(t, uint64(1), s.e.MIB().EstabResets)
}

func TestPAWS(t *testing.T) {
	s := newScript(t, nil)
	s.passive(allOptions, SocketOptions{})
	s.now = s.now.Add(50 * ms)
	s.in(wire.ACK, 1, 100, 1)
	g := s.expect(wire.ACK, 1, 0, 101)
	require.Equal(t, s.peerTS(), g.Opt.TSEcr)

	old := s.seg(wire.ACK, 101, 100, 1)
	old.Opt.TSVal -= 10
	require.Equal(t, DropPAWS, s.inject(old))
	s.expect(wire.ACK, 1, 0, 101)
	require.Equal(t, uint64(1), s.e.MIB().PAWSDrops)

	rst := s.seg(wire.RST, 101, 0, 0)
	rst.Opt.TSVal -= 10
	none := s.seg(wire.ACK, 101, 100, 1)
	none.Opt = wire.Options{}
	require.Equal(t, DropNone, s.inject(none), "without timestamps: accepted")
	s.skip()
	s.wait(25 * 24 * 3600 * sec)
	old.Seq = old.Seq.Add(100)
	require.Equal(t, DropNone, s.inject(old), "TS.Recent is too old to be believed")
	rst.Seq = rst.Seq.Add(200)
	require.Equal(t, DropNone, s.inject(rst), "PAWS does not protect against resets")
}

func TestTSRecentIsOfTheLastAck(t *testing.T) {
	s := newScript(t, nil)
	s.passive(allOptions, SocketOptions{})
	first := s.peerTS()
	s.now = s.now.Add(10 * ms)
	s.in(wire.ACK, 1001, 100, 1) // beyond a hole: must not give TS.Recent
	require.Equal(t, first, s.expect(wire.ACK, 1, 0, 1).Opt.TSEcr)
}

func TestPushAndSegments(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{})
	s.send(3*mss + 100)
	s.expect(wire.ACK, 1, mss, 1)
	s.expect(wire.ACK, 1+mss, mss, 1)
	s.expect(wire.ACK, 1+2*mss, mss, 1)
	s.expect(wire.ACK|wire.PSH, 1+3*mss, 100, 1)
	s.in(wire.ACK, 1, 0, 101+3*mss)
	require.Equal(t, uint64(3*mss+100), s.action(ActAcked).Pos)
	require.Equal(t, CallInvalid, s.call(Call{Kind: CallSend, Pos: 5}), "backwards")
	require.Equal(t, CallInvalid, s.call(Call{Kind: CallSend, Pos: 1 << 40}), "too far ahead")
}

func TestDeviceSegments(t *testing.T) {
	s := newScript(t, func(c *Config) { c.DeviceSegments = true })
	s.passive(wire.OptMSS, SocketOptions{})
	s.option(OptionCork, 1)
	s.send(5*mss + 1)
	g := s.expect(wire.ACK|wire.PSH, 1, 5*mss, 1)
	require.Equal(t, uint16(mss), g.SegSize)
	s.quiet()
	s.option(OptionCork, 0)
	g = s.expect(wire.ACK|wire.PSH, 1+5*mss, 1, 1)
	require.Zero(t, g.SegSize)
	s.in(wire.ACK, 1, 0, 2+5*mss)
	s.send(100_000)
	total := 0
	for _, g := range s.segs {
		require.True(t, g.Len <= mss || g.SegSize == mss)
		total += int(g.Len+mss-1) / mss
	}
	require.LessOrEqual(t, total, 15, "the congestion window counts segments, not what the device gets")
}

// The device gets BurstSegs full segments at once, and never more than half of the window.
func TestDeviceBursts(t *testing.T) {
	for _, c := range []struct {
		burst uint8
		want  uint32
	}{{0, 5}, {2, 2}, {4, 4}, {9, 5}} {
		s := newScript(t, func(u *Config) { u.DeviceSegments, u.Tunables.BurstSegs = true, c.burst })
		s.passive(wire.OptMSS, SocketOptions{})
		s.send(60 * mss)
		var sent uint32
		for len(s.segs) > 0 {
			n := min(c.want*mss, 10*mss-sent)
			s.expect(s.segs[0].Flags, 1+sent, n, 1)
			sent += n
		}
		require.Equal(t, uint32(10*mss), sent)
	}
}

// After idle the window is restarted before the first burst is cut.
func TestRestartBoundsBurst(t *testing.T) {
	s := newScript(t, func(u *Config) { u.DeviceSegments = true })
	s.passive(wire.OptMSS, SocketOptions{})
	s.send(10 * mss)
	s.skip()
	s.in(wire.ACK, 1, 0, 1+10*mss)
	s.send(30 * mss)
	s.skip()
	s.in(wire.ACK, 1, 0, 1+30*mss)
	require.Equal(t, uint32(40*mss), s.info().Cwnd)
	s.wait(5 * sec)
	s.send(70 * mss)
	s.expect(wire.ACK|wire.PSH, 1+30*mss, 5*mss, 1)
	s.expect(wire.ACK|wire.PSH, 1+35*mss, 5*mss, 1)
	s.quiet()
}

func TestNagle(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{})
	s.send(10)
	s.expect(wire.ACK|wire.PSH, 1, 10, 1)
	s.send(20)
	s.quiet()
	s.send(20 + mss)
	s.expect(wire.ACK, 11, mss, 1) // a full segment may go; the partial one waits
	s.quiet()
	s.in(wire.ACK, 1, 0, 11)
	s.expect(wire.ACK|wire.PSH, 11+mss, 10, 1)

	s.option(OptionNoDelay, 1)
	for i := range uint32(3) {
		s.send(uint64(20+mss) + uint64(i)*7 + 7)
		s.expect(wire.ACK|wire.PSH, 21+mss+i*7, 7, 1)
	}
}

func TestCorkAndMore(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{NoDelay: true})
	s.option(OptionCork, 1)
	s.send(mss + 10)
	s.expect(wire.ACK, 1, mss, 1)
	s.quiet()
	s.option(OptionCork, 0)
	s.expect(wire.ACK|wire.PSH, 1+mss, 10, 1)
	s.in(wire.ACK, 1, 0, 11+mss)

	s.ok(s.call(Call{Kind: CallSend, Pos: 20 + mss, More: true}))
	s.quiet()
	s.ok(s.call(Call{Kind: CallSend, Pos: 30 + mss}))
	s.expect(wire.ACK|wire.PSH, 11+mss, 20, 1)
	s.in(wire.ACK, 1, 0, 31+mss)

	// Switching Nagle's rule off sends what is held, and holds again afterwards.
	s.option(OptionCork, 1)
	s.send(35 + mss)
	s.quiet()
	s.option(OptionNoDelay, 1)
	s.expect(wire.ACK|wire.PSH, 31+mss, 5, 1)
	s.send(36 + mss)
	s.quiet()
	s.option(OptionCork, 0)
	s.expect(wire.ACK|wire.PSH, 36+mss, 1, 1)
	s.in(wire.ACK, 1, 0, 37+mss)
	s.option(OptionNoDelay, 1)
	s.option(OptionCork, 1)
	s.send(38 + mss)
	s.quiet() // with nothing held it changed nothing
	s.option(OptionCork, 0)
	s.expect(wire.ACK|wire.PSH, 37+mss, 2, 1)
	s.in(wire.ACK, 1, 0, 39+mss)

	// What is held with nothing in flight does not wait for ever.
	s.ok(s.call(Call{Kind: CallSend, Pos: 40 + mss, More: true}))
	s.wait(190 * ms)
	s.quiet()
	s.wait(20 * ms)
	s.expect(wire.ACK|wire.PSH, 39+mss, 2, 1)
}

func TestCloseSendsCorkedData(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{})
	s.option(OptionCork, 1)
	s.send(10)
	s.quiet()
	s.close()
	s.expect(wire.ACK|wire.PSH|wire.FIN, 1, 10, 1)
}

func TestPeerWindow(t *testing.T) {
	s := newScript(t, nil)
	s.wnd = 3000
	s.passive(wire.OptMSS, SocketOptions{})
	s.send(10_000)
	s.expect(wire.ACK, 1, mss, 1)
	s.expect(wire.ACK, 1+mss, mss, 1)
	s.quiet() // 80 octets of window: less than half of it, sender SWS avoidance
	s.wnd = 1000
	s.in(wire.ACK, 1, 0, 1+2*mss)
	s.quiet()
	s.wait(250 * ms)
	s.expect(wire.ACK, 1+2*mss, 1000, 1) // the override timer
	s.wnd = 0
	s.in(wire.ACK, 1, 0, 1001+2*mss)
	s.quiet()

	// Zero window: probes, backing off, as long as the peer answers.
	start, gap := s.now, s.info().RTO
	for range 30 {
		for len(s.segs) == 0 {
			s.wait(10 * ms)
		}
		s.expect(wire.ACK, 2*mss+1000, 0, 1)
		require.InDelta(t, float64(gap), float64(s.now.Sub(start)), float64(11*ms))
		start, gap = s.now, min(2*gap, 60*sec)
		s.in(wire.ACK, 1, 0, 1001+2*mss)
	}
	require.Equal(t, uint64(30), s.e.MIB().ZeroWindowProbes)
	s.wnd = 65535
	s.in(wire.ACK, 1, 0, 1001+2*mss)
	require.Positive(t, s.skip())
	require.Zero(t, s.info().Backoff)
}

func TestZeroWindowPeerThatDiesIsGivenUp(t *testing.T) {
	s := newScript(t, nil)
	s.wnd = 0
	s.passive(wire.OptMSS, SocketOptions{})
	s.send(100)
	s.quiet()
	s.wait(3600 * sec)
	require.Equal(t, ReasonTimedOut, s.action(ActFinished).Reason)
	require.Zero(t, s.e.Conns())
}

func TestWindowScaleIsApplied(t *testing.T) {
	s := newScript(t, nil)
	s.wnd = 100
	s.passive(allOptions, SocketOptions{})
	require.Equal(t, uint32(100<<7), s.info().SndWnd)
	s.in(wire.ACK, 1, 1000, 1)
	g := s.expect(wire.ACK, 1, 0, 1001)
	require.InDelta(t, float64(s.e.Tunables().DefaultRcvBuf-1000), float64(int(g.Wnd)<<s.info().RcvWscale), 200)
}

// A small receive buffer under a large window scale keeps a window that the peer can see.
func TestSmallBufferUnderLargeScale(t *testing.T) {
	for _, option := range []bool{false, true} {
		s := newScript(t, func(c *Config) { c.Tunables.MaxRcvBuf = maxRcvBuf })
		var opt SocketOptions
		if !option {
			opt.RcvBuf = minRcvBuf
		}
		s.passive(allOptions, opt)
		if option {
			s.option(OptionRcvBuf, minRcvBuf)
		}
		var pos uint32
		for range 200 {
			require.Equal(t, DropNone, s.in(wire.ACK, 1+pos, 1000, 1))
			pos += 1000
			s.read(uint64(pos))
		}
		require.NotZero(t, s.segs[len(s.segs)-1].Wnd)
	}
}

// A peer whose segments are small has its ACKs after two of them, not after two of the usual size.
func TestAcksOfSmallSegments(t *testing.T) {
	s := newScript(t, nil)
	s.listen(8, SocketOptions{})
	syn := s.seg(wire.SYN, 0, 0, 0)
	syn.Opt = wire.Options{Set: wire.OptMSS, MSS: 100}
	s.inject(syn)
	s.iss = s.segs[0].Seq
	s.skip()
	s.in(wire.ACK, 1, 0, 1)
	s.h = s.action(ActPassEstablished).Handle
	s.option(OptionQuickAck, 0)
	s.in(wire.ACK, 1, 100, 1)
	s.quiet()
	s.in(wire.ACK, 101, 100, 1)
	s.expect(wire.ACK, 1, 0, 201)
}

// TestFirstSendIsNoReply: octets sent, or a FIN, before anything came answer nothing: the peer's first
// segments are still acknowledged at once.
func TestFirstSendIsNoReply(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{})
	s.send(100)
	s.expect(wire.ACK|wire.PSH, 1, 100, 1)
	s.close()
	s.expect(wire.FIN|wire.ACK, 101, 0, 1)
	s.in(wire.ACK, 1, 0, 102)
	s.in(wire.ACK|wire.PSH, 1, 10, 102)
	s.expect(wire.ACK, 102, 0, 11)
}
