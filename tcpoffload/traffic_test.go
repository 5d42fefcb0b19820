package tcpoffload

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/cc"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

func (s *script) urgent(end uint64) { s.ok(s.call(Call{Kind: CallSend, Pos: end, Urgent: true})) }

// urg takes a segment with the urgent pointer, relative to our ISS like its numbers.
func (s *script) urg(flags wire.Flags, sq, n, ack, pointer uint32) {
	s.t.Helper()
	g := s.expect(flags|wire.URG, sq, n, ack)
	require.Equal(s.t, pointer, uint32(g.Seq-s.iss)+uint32(g.Urg), "the octet after the urgent one")
}

func TestUrgentIsSentUntilAcknowledged(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{})
	s.send(100)
	s.expect(wire.ACK|wire.PSH, 1, 100, 1)
	s.urgent(110) // Nagle does not hold it
	s.urg(wire.ACK|wire.PSH, 101, 10, 1, 111)
	s.wait(250 * ms)
	s.urg(wire.ACK|wire.PSH, 1, 110, 1, 111) // all in one, with the pointer
	s.in(wire.ACK, 1, 0, 111)
	s.send(120)
	s.expect(wire.ACK|wire.PSH, 111, 10, 1) // over
}

func TestUrgentPointerSent(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS|wire.OptWindowScale, SocketOptions{})
	s.urgent(2 * mss)
	s.urg(wire.ACK, 1, mss, 1, 1+2*mss)
	s.urg(wire.ACK|wire.PSH, 1+mss, mss, 1, 1+2*mss)
	s.in(wire.ACK, 1, 0, 1+2*mss)
	s.send(2*mss + 1)
	s.expect(wire.ACK|wire.PSH, 1+2*mss, 1, 1)
	// Too far for the field: as far as it can, but not to octets that were sent before.
	s.in(wire.ACK, 1, 0, 2+2*mss)
	s.urgent(2*mss + 1 + 100_000)
	g := s.segs[0]
	require.Equal(t, uint16(65535), g.Urg)
	require.True(t, g.Flags.Has(wire.URG))
}

// A peer whose window is shut hears of urgent data at once, and again by probes.
func TestUrgentPassesAShutWindow(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{})
	s.wnd = 0
	s.in(wire.ACK, 1, 0, 1)
	s.urgent(5)
	s.urg(wire.ACK, 1, 0, 1, 6)
	s.wait(250 * ms)
	s.urg(wire.ACK, 0, 0, 1, 6)
}

// The pointer is relative to its segment: a device must not copy it to others.
func TestUrgentIsNotMultiplied(t *testing.T) {
	s := newScript(t, func(c *Config) { c.DeviceSegments = true })
	s.passive(wire.OptMSS, SocketOptions{})
	s.urgent(5 * mss)
	for range 5 {
		require.Equal(t, uint32(mss), s.segs[0].Len)
		s.segs = s.segs[1:]
	}
}

// The pointer's numbers stay comparable however much follows.
func TestUrgentReceivedAfterAWrap(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{})
	urgent := func(sq uint32) {
		g := s.seg(wire.ACK|wire.URG, sq, 10, 1)
		g.Urg = 10
		s.inject(g)
		require.Equal(t, uint64(sq)+9, s.action(ActUrgent).Pos)
		s.in(wire.ACK, sq+10, 10, 1)
	}
	urgent(1)
	c := &s.e.conns[s.h.Index()]
	require.Zero(t, c.flags&flagUrgent)
	c.rcv.up = c.rcv.nxt.Add(1 << 30) // what an old pointer looks like after 3 GiB
	urgent(21)
}

func TestNotSentLowat(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{NotSentLowat: 2 * mss})
	s.send(11 * mss)
	require.Equal(t, uint64(10*mss), s.action(ActSent).Pos, "the window took ten")
	s.skip()
	s.send(20 * mss)
	s.noAction(ActSent)
	s.in(wire.ACK, 1, 0, seqOf(5))
	s.skip()
	a := s.action(ActSent)
	require.Equal(t, s.info().BytesSent, a.Pos)
	require.Less(t, s.info().SndBufUsed-uint64(s.info().SndNxt-s.info().SndUna), uint64(2*mss))
	s.noAction(ActSent)

	s.send(60 * mss)
	s.option(OptionNotSentLowat, 0)
	s.action(ActSent) // no mark: anything is below
}

// Transmit does nothing without room for what it may have to tell.
func TestTransmitNeedsRoomForActions(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{})
	out := NewOutput(8, MaxCallActions)
	c := Call{Kind: CallSend, Handle: s.h, Pos: 100}
	s.ok(s.e.Call(s.now, &c, out))
	out.Actions = out.Actions[:cap(out.Actions)]
	require.Zero(t, s.e.Transmit(s.now, 8, out))
	out.Reset()
	require.Equal(t, 1, s.e.Transmit(s.now, 8, out))
}

func TestSendBufferFollowsTheWindow(t *testing.T) {
	s := newScript(t, func(c *Config) {
		c.Tunables.CC = cc.Reno
		c.Tunables.DefaultSndBuf, c.Tunables.MaxSndBuf = 16<<10, 200<<10
	})
	s.passive(wire.OptMSS|wire.OptWindowScale, SocketOptions{})
	s.send(1000 * mss)
	told := uint32(0)
	for range 10 {
		s.skip()
		s.in(wire.ACK, 1, 0, uint32(s.info().SndNxt-s.iss))
		for _, a := range s.acts {
			if a.Kind == ActSndBuf {
				require.Greater(t, a.Len, told)
				told = a.Len
			}
		}
		s.acts = s.acts[:0]
	}
	require.Equal(t, uint32(200<<10), told)
	require.Equal(t, told, s.info().SndBuf)

	s.option(OptionSndBuf, 5000)
	require.Equal(t, uint32(5000), s.info().SndBuf)
	s.in(wire.ACK, 1, 0, uint32(s.info().SndNxt-s.iss))
	s.noAction(ActSndBuf)
}

// The limit may change while the connection is open, and the peer hears of a larger window at once.
func TestReceiveLimitLive(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS|wire.OptWindowScale, SocketOptions{RcvBuf: 8 << 10})
	s.option(OptionRcvBuf, 256<<10)
	g := s.expect(wire.ACK, 1, 0, 1)
	require.InDelta(t, 256<<10, float64(uint32(g.Wnd)<<s.info().RcvWscale), float64(uint32(1)<<s.info().RcvWscale))
	s.option(OptionRcvBuf, 8<<10)
	s.quiet()
	require.InDelta(t, 256<<10, float64(s.info().RcvWnd), float64(uint32(1)<<s.info().RcvWscale), "never taken back")
}

// The round trip that timestamps tell makes the receive limit follow a sender in slow start.
func TestReceiverMeasuresByTimestamps(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS|wire.OptTimestamps, SocketOptions{})
	c := &s.e.conns[s.h.Index()]
	c.rcvRTT = rcvRTTVars{rtt: sec, at: s.now, edge: c.rcv.adv}
	s.noQuick()
	for i := range uint32(8) {
		s.now = s.now.Add(5 * ms)
		g := s.seg(wire.ACK, 1+i*1448, 1448, 1)
		g.Opt.TSEcr = c.tsVal(s.now) - 20
		s.inject(g)
	}
	require.Equal(t, 20*ms, s.info().RcvRTT)
}

// A window that grows octet by octet is not used octet by octet (RFC 9293 §3.8.6.2.1).
func TestTinyWindowsAreNotUsed(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{})
	s.wnd = 0
	s.in(wire.ACK, 1, 0, 1)
	s.send(10 * mss)
	for range 9 {
		s.wnd++
		s.in(wire.ACK, 1, 0, 1)
		s.wait(10 * ms)
	}
	s.quiet()
	s.wait(holdLimit)
	require.Equal(t, uint32(9), s.segs[0].Len, "what there is, after the override timeout")
}

// A peer that shrinks its window gets nothing new beyond it, and what is in flight is not forgotten
// (RFC 9293 §3.8.6, MUST-34).
func TestShrunkenWindow(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{})
	s.send(20 * mss)
	require.Equal(t, 10, s.skip())
	s.wnd = 2 * mss
	s.in(wire.ACK, 1, 0, 1)
	s.send(21 * mss)
	s.quiet()
	s.in(wire.ACK, 1, 0, seqOf(9))
	require.Equal(t, 1, s.skip(), "up to the new edge")
	s.wait(sec)
	require.Equal(t, seqOf(9), uint32(s.segs[0].Seq-s.iss))
}

// A pure ACK that was overtaken is neither answered nor lost; a keepalive probe is answered.
func TestOvertakenAck(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{})
	s.noQuick()
	s.send(200)
	s.skip()
	s.in(wire.ACK, 1, 100, 1)
	require.Equal(t, DropNone, s.in(wire.ACK, 1, 0, 201))
	s.quiet()
	require.Equal(t, uint64(200), s.info().BytesAcked)
	s.wait(50 * ms)
	s.expect(wire.ACK, 201, 0, 101)
	require.Equal(t, DropSequence, s.in(wire.ACK, 100, 0, 201))
	s.expect(wire.ACK, 201, 0, 101)
	s.in(wire.ACK, 101, 100, 201)
	require.Equal(t, DropSequence, s.in(wire.RST, 150, 0, 0), "a reset must be exact")
}

func TestOvertakenAckWithOldTimestamp(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS|wire.OptTimestamps, SocketOptions{})
	s.in(wire.ACK, 1, 100, 1)
	s.skip()
	g := s.seg(wire.ACK, 50, 0, 1)
	g.Opt.TSVal -= 10
	require.Equal(t, DropPAWS, s.inject(g))
	s.quiet()
	g.Seq, g.Len = peerISS.Add(101), 10
	require.Equal(t, DropPAWS, s.inject(g))
	s.expect(wire.ACK, 1, 0, 101)
}

// SACK blocks stand beside text as far as a segment of the full size has room.
func TestSACKBesideText(t *testing.T) {
	s := newScript(t, nil)
	s.passive(sackOptions, SocketOptions{NoDelay: true})
	for i := range uint32(3) {
		s.in(wire.ACK, 1001+2000*i, 1000, 1)
	}
	s.skip()
	for _, c := range []struct{ n, blocks uint32 }{{10, 3}, {mss - 20, 2}, {mss - 12, 1}, {mss - 11, 0}, {mss, 0}} {
		end := s.info().BytesSent
		s.send(end + uint64(c.n))
		g := s.segs[0]
		require.Equal(t, c.n, g.Len)
		require.Equal(t, uint8(c.blocks), g.Opt.NumSACK, "%d octets", c.n)
		require.LessOrEqual(t, g.Len+uint32(g.Opt.Len()), uint32(mss))
		s.skip()
		s.in(wire.ACK, 1, 0, 1+uint32(end)+c.n)
	}
}

// Segments that the device merged count as what they were.
func TestMergedSegmentsCount(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{})
	g := s.seg(wire.ACK, 1, 15*1000, 1)
	g.Segs = 15
	s.inject(g)
	s.expect(wire.ACK, 1, 0, 15001)
	require.Equal(t, uint32(1000), s.info().RcvMSS)
	s.in(wire.ACK, 15001, 100, 1) // the last of the quick ones
	s.expect(wire.ACK, 1, 0, 15101)
	s.in(wire.ACK, 15101, 100, 1)
	s.quiet()
}

// After a pause longer than a timeout the sender is in slow start again: it needs ACKs at once.
func TestQuickAcksAfterAPause(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{})
	for i := range uint32(quickAcks) {
		s.in(wire.ACK, 1+i*100, 100, 1)
	}
	s.skip()
	at := uint32(1 + quickAcks*100)
	s.in(wire.ACK, at, 100, 1)
	s.quiet()
	s.wait(300 * ms)
	s.skip()
	s.in(wire.ACK, at+100, 100, 1)
	s.expect(wire.ACK, 1, 0, at+200)
}

// What the peer may hold back until the ACK comes is acknowledged when the program has read it, unless the
// program usually answers.
func TestAckAfterRead(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{})
	for i := range uint32(quickAcks) {
		s.in(wire.ACK, 1+i*100, 100, 1)
	}
	s.skip()
	s.in(wire.ACK, 1601, 50, 1)
	s.quiet()
	s.read(1650)
	s.expect(wire.ACK, 1, 0, 1651)
	s.in(wire.ACK, 1651, 50, 1)
	s.send(5)
	s.skip()
	s.in(wire.ACK, 1701, 50, 6)
	s.read(1750)
	s.quiet()
	s.wait(50 * ms)
	s.expect(wire.ACK, 6, 0, 1751)
}

// The estimate of the peer's segments follows it down: it may have found a smaller path MTU.
func TestSegmentEstimateShrinks(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{})
	at := uint32(1)
	for _, n := range []uint32{mss, mss, 600, 700, 600, 600} {
		s.in(wire.ACK, at, n, 1)
		at += n
	}
	require.Equal(t, uint32(600), s.info().RcvMSS)
}

func TestCorkedDataLeavesAfterTheCeiling(t *testing.T) {
	s := newScript(t, func(c *Config) { c.Tunables.RTOMin = sec })
	s.passive(wire.OptMSS, SocketOptions{})
	s.option(OptionCork, 1)
	s.send(100)
	s.wait(holdLimit - ms)
	s.quiet()
	s.wait(2 * ms)
	s.expect(wire.ACK|wire.PSH, 1, 100, 1)
}

func TestUserTimeoutOutlastsTheCount(t *testing.T) {
	s := newScript(t, func(c *Config) { c.Tunables.Retries2 = 3 })
	s.passive(wire.OptMSS, SocketOptions{})
	s.option(OptionUserTimeout, int64(60*sec))
	s.send(100)
	s.wait(30 * sec)
	s.state(StateEstablished)
	s.wait(90 * sec)
	require.Equal(t, ReasonTimedOut, s.action(ActFinished).Reason)
}

// With a user timeout the count of probes does not matter, the silence does (as in Linux).
func TestUserTimeoutEndsKeepalive(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{Keepalive: true})
	s.option(OptionKeepIdle, int64(10*sec))
	s.option(OptionKeepIntvl, int64(sec))
	s.option(OptionKeepCnt, 1)
	s.option(OptionUserTimeout, int64(15*sec))
	s.wait(14 * sec)
	s.state(StateEstablished)
	require.GreaterOrEqual(t, s.skip(), 3)
	s.wait(3 * sec)
	require.Equal(t, ReasonKeepalive, s.action(ActFinished).Reason)
}

func TestUserTimeoutOption(t *testing.T) {
	s := newScript(t, func(c *Config) { c.Tunables.UTO = true })
	s.passive(wire.OptMSS, SocketOptions{})
	offer := func(sq uint32, v uint16) vtime.Duration {
		g := s.seg(wire.ACK, sq, 1, 1)
		g.Opt.Set |= wire.OptUserTimeout
		g.Opt.UserTimeout = v
		require.Equal(t, DropNone, s.inject(g))
		s.skip()
		return s.info().UserTimeout
	}
	require.Equal(t, 300*sec, offer(1, 300))
	require.Equal(t, 100*sec, offer(2, 5), "L_LIMIT")
	require.Equal(t, 60*vtime.Minute, offer(3, utoMinutes|500), "U_LIMIT")
	require.Equal(t, 60*vtime.Minute, offer(4, 0), "zero means nothing")
	s.option(OptionUserTimeout, int64(40_000*sec))
	require.Equal(t, 40_000*sec, offer(5, 200), "the program's word")
	s.send(10)
	g := s.expect(wire.ACK|wire.PSH, 1, 10, 6)
	require.Zero(t, g.Opt.Set&wire.OptUserTimeout, "told already, by an ACK")
	s.option(OptionUserTimeout, int64(20*sec))
	s.send(20)
	s.in(wire.ACK, 6, 0, 11)
	g = s.expect(wire.ACK|wire.PSH, 11, 10, 6)
	require.Equal(t, uint16(20), g.Opt.UserTimeout)
	require.Equal(t, uint16(utoMinutes|667), utoField(40_000*sec))
	require.Equal(t, 667*vtime.Minute, utoDuration(utoMinutes|667))

	s = newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{})
	require.Zero(t, offer(1, 300), "off by default")
}

// The clocks of what limits a sender add up.
func TestChronographs(t *testing.T) {
	s := newScript(t, func(c *Config) { c.Tunables.CC = cc.Reno })
	s.passive(wire.OptMSS, SocketOptions{SndBuf: 4 * mss})
	s.wait(sec)
	require.Zero(t, s.info().BusyTime, "idle")
	s.wnd = 2 * mss
	s.in(wire.ACK, 1, 0, 1)
	s.send(5 * mss)
	require.Equal(t, 2, s.skip())
	s.wait(10 * ms)
	require.Equal(t, 10*ms, s.info().RwndLimited)
	s.wnd = 65535
	s.in(wire.ACK, 1, 0, seqOf(1))
	s.wait(20 * ms)
	info := s.info()
	require.Equal(t, 10*ms, info.RwndLimited)
	require.Equal(t, 20*ms, info.SndbufLimited)
	require.Equal(t, 30*ms, info.BusyTime)
	s.in(wire.ACK, 1, 0, seqOf(4))
	s.wait(5 * ms)
	s.in(wire.ACK, 1, 0, seqOf(5))
	s.wait(sec)
	info = s.info()
	require.Equal(t, 20*ms, info.SndbufLimited)
	require.Equal(t, 35*ms, info.BusyTime)
}

func TestInfoOfTraffic(t *testing.T) {
	s := newScript(t, nil)
	s.passive(sackOptions, SocketOptions{})
	s.in(wire.ACK, 1, 100, 1)
	s.in(wire.ACK, 201, 100, 1)
	s.send(10)
	s.skip()
	s.wait(30 * ms)
	s.in(wire.ACK, 301, 0, 11)
	s.wait(30 * ms)
	info := s.info()
	require.Equal(t, [3]uint64{3, 2, 1}, [3]uint64{info.SegsIn, info.DataSegsIn, info.DataSegsOut})
	require.Equal(t, uint32(1), info.RcvOOO)
	require.Equal(t, 60*ms, info.LastDataSent)
	require.InDelta(t, float64(60*ms), float64(info.LastDataRecv), float64(3*ms))
	require.Equal(t, 30*ms, info.LastAckRecv)
	require.Equal(t, 40*ms, info.ATO)
	require.Equal(t, uint16(1500), info.PathMTU)
	require.Less(t, info.BusyTime, 31*ms)
}

func TestECNOptionBeforeTheSyn(t *testing.T) {
	s := newScript(t, nil)
	c := Call{Kind: CallOpen, Flow: s.flow}
	s.ok(s.e.Call(s.now, &c, s.out))
	o := Call{Kind: CallSetOption, Handle: c.Handle, Option: OptionECN, Value: int64(ECNOn)}
	s.ok(s.e.Call(s.now, &o, s.out))
	s.collect()
	s.iss = s.segs[0].Seq
	s.expect(ecnSetup, 0, 0, 0)
	require.Equal(t, CallInvalid, s.call(o), "too late")
}

// DCTCP needs to know of every mark: an ACK covers marked or unmarked octets, not both (RFC 8257 §3.2).
func TestDCTCPReceiver(t *testing.T) {
	s := newScript(t, nil)
	s.listen(8, SocketOptions{CC: cc.Choose(cc.DCTCP)})
	syn := s.seg(ecnSetup, 0, 0, 0)
	syn.Opt, syn.ECN = synOptions(wire.OptMSS), wire.ECT0
	s.inject(syn)
	s.iss = s.segs[0].Seq
	require.Equal(t, wire.ECT0, s.expect(wire.SYN|wire.ACK|wire.ECE, 0, 0, 1).ECN)
	s.in(wire.ACK, 1, 0, 1)
	s.h = s.action(ActPassEstablished).Handle
	s.noQuick()
	s.data(wire.ECT0, wire.ACK, 1, 100, 1)
	s.quiet()
	s.data(wire.CE, wire.ACK, 101, 100, 1)
	require.Equal(t, wire.ECT0, s.expect(wire.ACK, 1, 0, 101).ECN) // before the mark
	s.expect(wire.ACK|wire.ECE, 1, 0, 201)
	s.noQuick()
	s.data(wire.CE, wire.ACK|wire.CWR, 201, 100, 1)
	s.expect(wire.ACK|wire.ECE, 1, 0, 301) // CWR changes nothing
	s.data(wire.CE, wire.ACK, 301, 100, 1)
	s.quiet()
	s.data(wire.ECT0, wire.ACK, 401, 100, 1)
	s.expect(wire.ACK|wire.ECE, 1, 0, 401)
	s.expect(wire.ACK, 1, 0, 501)
}

// A listener's settings are those of the connections that it makes.
func TestListenerSettingsAreInherited(t *testing.T) {
	s := newScript(t, nil)
	id := s.listen(8, SocketOptions{})
	set := func(o Option, v int64) CallResult {
		return s.call(Call{Kind: CallSetOption, Listener: id, Option: o, Value: v})
	}
	s.ok(set(OptionSndBuf, 5000))
	s.ok(set(OptionNotSentLowat, 300))
	s.ok(set(OptionECN, int64(ECNOff)))
	require.Equal(t, CallInvalid, set(OptionSndBuf, 1<<40))
	require.Equal(t, CallInvalid, set(OptionNotSentLowat, -1))
	require.Equal(t, CallInvalid, set(OptionECN, 99))
	s.in(ecnSetup, 0, 0, 0)
	s.iss = s.segs[0].Seq
	s.expect(wire.SYN|wire.ACK, 0, 0, 1)
	s.in(wire.ACK, 1, 0, 1)
	s.h = s.action(ActPassEstablished).Handle
	require.Equal(t, uint32(5000), s.info().SndBuf)
	s.send(1000)
	require.Equal(t, uint64(1000), s.action(ActSent).Pos)
}
