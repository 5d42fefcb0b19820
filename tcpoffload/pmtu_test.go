package tcpoffload

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/cc"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// icmp lets an ICMP error arrive that quotes sequence number sq.
func (s *script) icmp(k ICMPKind, sq uint32, mtu int64) CallResult {
	return s.call(Call{Kind: CallICMP, Handle: s.h, Flow: s.flow, Seq: s.iss.Add(sq), ICMP: k, Value: mtu})
}

func TestTooBigShrinksSegmentsAndSendsThemAgain(t *testing.T) {
	for _, set := range []wire.OptionSet{wire.OptMSS, sackOptions, sackOptions | wire.OptTimestamps} {
		s := newScript(t, nil)
		s.passive(set, SocketOptions{})
		s.send(4 * mss)
		s.skip()
		cwnd := s.info().Cwnd
		s.ok(s.icmp(ICMPTooBig, 1, 1000))
		eff := uint32(1000 - 40)
		if set&wire.OptTimestamps != 0 {
			eff -= tsOptLen
		}
		info := s.info()
		require.Equal(t, eff, info.SndMSS)
		require.Equal(t, uint16(1000), info.PathMTU)
		require.Equal(t, cwnd, info.Cwnd, "not for want of capacity")
		// Everything again, in segments that pass.
		at := uint32(1)
		for at < 1+4*mss {
			require.NotEmpty(t, s.segs)
			g := s.segs[0]
			s.segs = s.segs[1:]
			require.True(t, g.DF)
			require.Equal(t, at, uint32(g.Seq-s.iss))
			require.LessOrEqual(t, g.Len, eff)
			at += g.Len
		}
		s.quiet()
		s.in(wire.ACK, 1, 0, at)
		require.Zero(t, s.info().CAState)
		require.GreaterOrEqual(t, s.info().Cwnd, cwnd)
		s.send(6 * mss)
		require.Equal(t, eff, s.segs[0].Len)
		require.Zero(t, s.e.MIB().Timeouts)
	}
}

func TestTooBigIsChecked(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{})
	require.Equal(t, CallInvalid, s.icmp(ICMPTooBig, 1, 1000), "nothing is in flight")
	s.send(2 * mss)
	s.skip()
	require.Equal(t, CallInvalid, s.icmp(ICMPTooBig, 0, 1000), "before SND.UNA")
	require.Equal(t, CallInvalid, s.icmp(ICMPTooBig, 1+2*mss, 1000), "SND.NXT")
	require.Equal(t, CallInvalid, s.icmp(ICMPTooBig, 1, 1500), "no smaller than what is in force")
	require.Equal(t, CallInvalid, s.icmp(ICMPTooBig, 1, 60), "no IPv4 link is so small")
	require.Equal(t, CallInvalid, s.icmp(99, 1, 0))
	require.Equal(t, uint64(5), s.e.MIB().ICMPIgnored)
	require.Equal(t, uint32(mss), s.info().SndMSS)
	s.quiet()
	f := s.flow
	f.RemotePort++
	require.Equal(t, CallNoConnection, s.call(Call{Kind: CallICMP, Flow: f, Seq: s.iss, ICMP: ICMPTooBig, Value: 1000}))
}

// A router that does not say takes the next plateau; one that claims a tiny link gets no tiny packets but
// may cut ours.
func TestTooBigWithoutOrWithAbsurdMTU(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{})
	s.send(2 * mss)
	s.skip()
	s.ok(s.icmp(ICMPTooBig, 1, 0))
	require.Equal(t, uint16(1492), s.info().PathMTU)
	s.ok(s.icmp(ICMPTooBig, 1, 0))
	require.Equal(t, uint16(1006), s.info().PathMTU)
	s.skip()
	s.ok(s.icmp(ICMPTooBig, 1, 100))
	require.Equal(t, uint16(552), s.info().PathMTU)
	require.NotEmpty(t, s.segs)
	for _, g := range s.segs {
		require.False(t, g.DF)
	}
	require.Equal(t, CallInvalid, s.icmp(ICMPTooBig, 1, 300), "DF is off: nobody can mean it")
}

func TestTooBigIPv6(t *testing.T) {
	s := newScript(t, nil)
	s.flow.Local, s.flow.Remote = wire.Addr{0: 0x20, 15: 1}, wire.Addr{0: 0x20, 15: 2}
	s.passive(wire.OptMSS, SocketOptions{})
	s.send(3000)
	s.skip()
	require.Equal(t, uint32(1440), s.info().SndMSS)
	require.Equal(t, CallInvalid, s.icmp(ICMPTooBig, 1, 0))
	s.ok(s.icmp(ICMPTooBig, 1, 1400))
	require.Equal(t, uint32(1340), s.info().SndMSS)
	s.ok(s.icmp(ICMPTooBig, 1, 600))
	require.Equal(t, uint32(1220), s.info().SndMSS, "every IPv6 path takes 1280")
	require.Equal(t, CallInvalid, s.icmp(ICMPTooBig, 1, 600))
}

// A path MTU holds for later connections to the address too, and for ten minutes.
func TestPathMTUIsRemembered(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{})
	s.send(2 * mss)
	s.ok(s.icmp(ICMPTooBig, 1, 1000))
	s.in(wire.ACK, 1, 0, 1+2*mss)
	s.skip()
	open := func(host byte) uint32 {
		f := s.flow
		f.RemotePort++
		f.Remote[15] = host
		s.flow.RemotePort++
		c := Call{Kind: CallOpen, Flow: f}
		s.ok(s.e.Call(s.now, &c, s.out))
		s.collect()
		syn := s.segs[0]
		s.skip()
		require.Equal(t, uint16(mss), syn.Opt.MSS, "what we can receive is another matter")
		g := Segment{Flow: f, Flags: wire.SYN | wire.ACK, Ack: syn.Seq.Add(1), Wnd: 1000, Opt: synOptions(wire.OptMSS)}
		require.Equal(t, DropNone, s.inject(g))
		s.skip()
		var info Info
		require.True(t, s.e.Info(c.Handle, s.now, &info))
		return info.SndMSS
	}
	require.Equal(t, uint32(960), open(2))
	require.Equal(t, uint32(mss), open(3), "another address")
	s.wait(11 * vtime.Minute)
	require.Equal(t, uint32(mss), open(2))
	require.Equal(t, uint32(mss), s.info().SndMSS, "the connection itself tries again")
}

// The table of paths is bounded: newer ones displace older ones, and the newest is always found.
func TestPathTableIsBounded(t *testing.T) {
	s := newScript(t, nil)
	for i := range 3 * pathEntries {
		a := wire.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		s.now++
		s.e.rememberPath(&a, 1000, s.now)
		require.GreaterOrEqual(t, s.e.findPath(&a, s.now), 0)
	}
}

func TestOwnerKnowsThePath(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{})
	mtu := func(v int64) CallResult { return s.call(Call{Kind: CallPathMTU, Value: v}) }
	s.ok(mtu(1200))
	require.Equal(t, uint32(1160), s.info().SndMSS)
	s.ok(mtu(9000))
	require.Equal(t, uint32(mss), s.info().SndMSS, "the peer takes no more")
	s.ok(mtu(100))
	require.Equal(t, uint16(552), s.info().PathMTU)
	require.Equal(t, CallInvalid, mtu(10))
	require.Equal(t, CallInvalid, mtu(1<<20))
	s.option(OptionMaxSeg, 400)
	require.Equal(t, uint32(400), s.info().SndMSS)
	s.ok(mtu(1500))
	require.Equal(t, uint32(400), s.info().SndMSS)
}

func TestDiscoveryCanBeSwitchedOff(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{})
	s.option(OptionPMTUDiscover, 0)
	s.send(10)
	require.False(t, s.expect(wire.ACK|wire.PSH, 1, 10, 1).DF)
	require.Equal(t, CallInvalid, s.icmp(ICMPTooBig, 1, 1000))
	s.option(OptionPMTUDiscover, 1)
	s.in(wire.ACK, 1, 0, 11)
	s.send(20)
	require.True(t, s.expect(wire.ACK|wire.PSH, 11, 10, 1).DF)
}

// An error that may pass is remembered and names the reason when the connection times out.
func TestSoftErrorNamesTheReason(t *testing.T) {
	for _, heard := range []bool{false, true} {
		s := newScript(t, nil)
		s.passive(wire.OptMSS, SocketOptions{})
		s.send(100)
		s.ok(s.icmp(ICMPSoft, 1, 0))
		s.state(StateEstablished)
		want := ReasonUnreachable
		if heard {
			s.wait(ms)
			s.in(wire.ACK, 1, 0, 101)
			s.send(200)
			want = ReasonTimedOut
		}
		s.wait(30 * vtime.Minute)
		require.Equal(t, want, s.action(ActFinished).Reason)
	}
}

// Hard errors end an open, and nothing else (RFC 5927 §5.2).
func TestHardErrorEndsOnlyAnOpen(t *testing.T) {
	s := newScript(t, nil)
	s.active(SocketOptions{})
	s.ok(s.icmp(ICMPSoft, 0, 0))
	s.state(StateSynSent)
	require.Equal(t, CallInvalid, s.icmp(ICMPHard, 5, 0), "not our SYN")
	s.ok(s.icmp(ICMPHard, 0, 0))
	require.Equal(t, ReasonUnreachable, s.action(ActFinished).Reason)
	require.Zero(t, s.e.Conns())

	s = newScript(t, nil)
	s.listen(8, SocketOptions{})
	s.in(wire.SYN, 0, 0, 0)
	s.iss = s.segs[0].Seq
	require.Equal(t, CallInvalid, s.icmp(ICMPHard, 1, 0))
	require.Equal(t, CallInvalid, s.icmp(ICMPSoft, 0, 0))
	s.ok(s.icmp(ICMPHard, 0, 0))
	require.Equal(t, CallNoConnection, s.icmp(ICMPHard, 0, 0), "half open, and forgotten")

	s = newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{})
	s.send(100)
	s.ok(s.icmp(ICMPHard, 1, 0))
	s.state(StateEstablished)
}

// hole is a path that drops large packets in silence: it answers what is in s, with SACK, and returns
// how many segments passed.
func (s *script) hole(mtu uint32, rtt vtime.Duration) (passed int) {
	segs := append([]TxSegment(nil), s.segs...)
	s.skip()
	s.wait(rtt)
	for _, g := range segs {
		n := g.Len + 40
		if g.Opt.Set&wire.OptTimestamps != 0 {
			n += 12
		}
		if n > mtu {
			continue
		}
		passed++
		s.peer.arrive(uint32(g.Seq-s.iss), g.Len)
		s.peer.answer(s)
	}
	return passed
}

// sackPeer is a receiver with SACK of one hole.
type sackPeer struct{ nxt, left, right uint32 }

func (p *sackPeer) arrive(sq, n uint32) {
	switch {
	case sq <= p.nxt:
		p.nxt = max(p.nxt, sq+n)
		if p.left != 0 && p.nxt >= p.left {
			p.nxt = max(p.nxt, p.right)
			p.left, p.right = 0, 0
		}
	case p.left == 0:
		p.left, p.right = sq, sq+n
	default:
		p.left, p.right = min(p.left, sq), max(p.right, sq+n)
	}
}

func (p *sackPeer) answer(s *script) {
	if p.left == 0 {
		s.in(wire.ACK, 1, 0, p.nxt)
	} else {
		s.sack(1, p.nxt, p.left, p.right)
	}
}

// Segments that vanish without an error are made smaller after some timeouts, and larger again by probes
// as far as the path goes.
func TestBlackHoleIsFoundAndLeft(t *testing.T) {
	s := newScript(t, func(c *Config) { c.Tunables.CC = cc.Reno })
	s.passive(sackOptions, SocketOptions{})
	s.peer.nxt = 1
	s.send(1000 * mss)
	for s.e.MIB().MTUBlackHoles == 0 {
		require.Zero(t, s.hole(1300, 10*ms))
		s.wait(s.e.NextDeadline().Sub(s.now))
	}
	require.Equal(t, uint64(blackHoleTimeouts), s.e.MIB().Timeouts)
	require.Equal(t, uint32(1024), s.info().SndMSS)
	for i := 0; s.peer.nxt < 1+1000*mss; i++ {
		require.Less(t, i, 3000, "%+v %+v", s.peer, s.info())
		if s.hole(1300, 10*ms) == 0 {
			s.wait(s.e.NextDeadline().Sub(s.now))
		}
	}
	m := s.e.MIB()
	require.InDelta(t, 1300, float64(s.info().PathMTU), probeStep)
	require.LessOrEqual(t, s.info().PathMTU, uint16(1300))
	require.NotZero(t, m.MTUProbesOK)
	require.NotZero(t, m.MTUProbesLost)
	require.Equal(t, m.MTUProbes, m.MTUProbesOK+m.MTUProbesLost)
	require.Equal(t, uint64(blackHoleTimeouts), m.Timeouts)
	require.Zero(t, m.FastRetrans, "the loss of a probe is not congestion")
}

// Probing from the start begins low and ends at what the next hop takes.
func TestProbingFromTheStart(t *testing.T) {
	s := newScript(t, func(c *Config) {
		c.MTU = 9000
		c.Tunables.MTUProbing, c.Tunables.CC = MTUProbingAlways, cc.Reno
	})
	s.listen(8, SocketOptions{})
	syn := s.seg(wire.SYN, 0, 0, 0)
	syn.Opt = synOptions(sackOptions | wire.OptWindowScale)
	syn.Opt.MSS = 8960
	s.inject(syn)
	s.iss = s.segs[0].Seq
	require.Equal(t, uint16(8960), s.expect(wire.SYN|wire.ACK, 0, 0, 1).Opt.MSS)
	s.in(wire.ACK, 1, 0, 1)
	s.h = s.action(ActPassEstablished).Handle
	require.Equal(t, uint32(1024), s.info().SndMSS)
	s.peer.nxt, s.wnd = 1, 2000
	const total = 5000 * mss
	s.send(total)
	for i := 0; s.peer.nxt < 1+total; i++ {
		require.Less(t, i, 3000)
		if s.hole(9000, 10*ms) == 0 {
			s.wait(s.e.NextDeadline().Sub(s.now))
		}
	}
	require.InDelta(t, 9000, float64(s.info().PathMTU), probeStep)
	require.Zero(t, s.e.MIB().MTUProbesLost)
}

func TestProbingCanBeSwitchedOff(t *testing.T) {
	s := newScript(t, func(c *Config) { c.Tunables.MTUProbing = MTUProbingOff })
	s.passive(sackOptions, SocketOptions{})
	s.send(10 * mss)
	s.wait(20 * sec)
	require.Equal(t, uint32(mss), s.info().SndMSS)
}

func TestPlateaus(t *testing.T) {
	require.Equal(t, uint16(1492), plateau(1500))
	require.Equal(t, uint16(1006), plateau(1492))
	require.Equal(t, uint16(32000), plateau(65535))
	require.Equal(t, uint16(68), plateau(100))
}
