package tcpoffload

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/wire"
)

// small is a configuration with room for few half-open connections.
func small(halfOpens int, mode SynCookieMode) func(*Config) {
	return func(c *Config) {
		c.Memory = NewMemoryOf(Sizes{Conns: 8, Listeners: 2, HalfOpens: halfOpens})
		c.Tunables.SynCookies = mode
	}
}

// half is a listener and one half-open connection to it.
func half(t *testing.T, edit func(*Config), set wire.OptionSet) *script {
	s := newScript(t, edit)
	s.listen(8, SocketOptions{})
	s.ts = set&wire.OptTimestamps != 0
	syn := s.seg(wire.SYN, 0, 0, 0)
	syn.Opt = synOptions(set)
	syn.Opt.TSVal = s.peerTS()
	require.Equal(t, DropNone, s.inject(syn))
	s.iss = s.segs[0].Seq
	s.expect(wire.SYN|wire.ACK, 0, 0, 1)
	s.state(StateSynReceived)
	return s
}

// What a connection from the SYN cache can do is what the peer offered and we granted.
func TestHalfOpenBecomesConnection(t *testing.T) {
	for _, set := range []wire.OptionSet{0, wire.OptMSS, allOptions} {
		for _, scale := range []uint8{0, 7} {
			s := newScript(t, func(c *Config) { c.Tunables.ECN = ECNPassive })
			s.listen(8, SocketOptions{NoDelay: true, Keepalive: true})
			s.ts = set&wire.OptTimestamps != 0
			syn := s.seg(wire.SYN|wire.ECE|wire.CWR, 0, 0, 0)
			syn.Opt = synOptions(set)
			syn.Opt.WScale, syn.Opt.TSVal = scale, s.peerTS()
			s.inject(syn)
			g := s.segs[0]
			require.Equal(t, wire.SYN|wire.ACK|wire.ECE, g.Flags)
			s.iss = g.Seq
			s.skip()
			s.now = s.now.Add(25 * ms)
			s.wnd = 100
			require.Equal(t, DropNone, s.in(wire.ACK, 1, 0, 1))
			s.h = s.action(ActPassEstablished).Handle
			i := s.info()
			require.Equal(t, set&wire.OptTimestamps != 0, i.Timestamps)
			require.Equal(t, set&wire.OptSACKPermitted != 0, i.SACK)
			require.True(t, i.ECN)
			require.Equal(t, 25*ms, i.SRTT)
			if set&wire.OptWindowScale != 0 {
				require.Equal(t, [2]uint8{scale, g.Opt.WScale}, [2]uint8{i.SndWscale, i.RcvWscale})
				require.Equal(t, uint32(100)<<scale, i.SndWnd)
			} else {
				require.Equal(t, uint32(100), i.SndWnd)
			}
			require.Zero(t, s.e.HalfOpens())
			require.NotZero(t, s.e.conns[s.h.Index()].flags&flagNoDelay)
		}
	}
}

// Text and FIN on the segment that completes the handshake are taken.
func TestTextOnHandshakeAckIsTaken(t *testing.T) {
	for _, mode := range []SynCookieMode{SynCookiesOff, SynCookiesAlways} {
		s := newScript(t, func(c *Config) { c.Tunables.SynCookies = mode })
		s.listen(8, SocketOptions{})
		s.in(wire.SYN, 0, 0, 0)
		s.iss = s.segs[0].Seq
		s.skip()
		require.Equal(t, DropNone, s.in(wire.ACK|wire.FIN, 1, 100, 1))
		s.h = s.action(ActPassEstablished).Handle
		require.Equal(t, uint32(100), s.action(ActPlace).Len)
		require.Equal(t, uint64(100), s.action(ActReadable).Pos)
		require.Equal(t, uint64(100), s.action(ActPeerClose).Pos)
		s.expect(wire.ACK, 1, 0, 102)
		s.state(StateCloseWait)
	}
}

// RFC 9293 §3.10.7.4 with RFC 5961 §3.2, §4.2 in SYN-RECEIVED.
func TestArrivalsInSynReceived(t *testing.T) {
	const challenge, reset, silence = 1, 2, 0
	for _, c := range []struct {
		name       string
		flags      wire.Flags
		sq, n, ack uint32
		tsOld      bool
		want       DropReason
		answer     int
		state      State
	}{
		{"RST at RCV.NXT", wire.RST, 1, 0, 0, false, DropNone, silence, StateClosed},
		{"RST in the window", wire.RST, 2, 0, 0, false, DropBadReset, challenge, StateSynReceived},
		{"RST beyond the window", wire.RST, 70000, 0, 0, false, DropSequence, silence, StateSynReceived},
		{"another SYN in the window", wire.SYN, 500, 0, 0, false, DropSynInWindow, challenge, StateSynReceived},
		{"another SYN outside", wire.SYN, 1 << 20, 0, 0, false, DropSequence, challenge, StateSynReceived},
		{"no ACK", 0, 1, 5, 0, false, DropNoAck, silence, StateSynReceived},
		{"an ACK of nothing sent", wire.ACK, 1, 0, 2, false, DropBadAck, reset, StateSynReceived},
		{"an ACK of nothing new", wire.ACK, 1, 0, 0, false, DropBadAck, reset, StateSynReceived},
		{"an ACK outside the window", wire.ACK, 70000, 0, 1, false, DropSequence, challenge, StateSynReceived},
		{"an old timestamp", wire.ACK, 1, 0, 1, true, DropPAWS, challenge, StateSynReceived},
		{"the SYN with ACK", wire.SYN | wire.ACK, 0, 0, 1, false, DropNone, challenge, StateEstablished},
		{"the ACK", wire.ACK, 1, 0, 1, false, DropNone, silence, StateEstablished},
		{"text with an ACK", wire.ACK, 1, 10, 1, false, DropNone, challenge, StateEstablished},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := half(t, nil, allOptions)
			g := s.seg(c.flags, c.sq, c.n, c.ack)
			if c.tsOld {
				g.Opt.TSVal -= 1000
			}
			require.Equal(t, c.want, s.inject(g))
			switch c.answer {
			case challenge:
				a := s.expect(wire.ACK, 1, 0, 1+c.n*uint32(boolInt(c.want == DropNone)))
				require.NotZero(t, a.Opt.Set&wire.OptTimestamps)
			case reset:
				s.expect(wire.RST, c.ack, 0, 0)
			}
			s.quiet()
			s.state(c.state)
		})
	}
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Half-open discovery (RFC 9293 §3.5.1): a peer that forgot its SYN resets what is left of it by the
// number that our challenge tells, and its new SYN is answered.
func TestHalfOpenDiscovery(t *testing.T) {
	s := half(t, nil, wire.OptMSS)
	require.Equal(t, DropSynInWindow, s.in(wire.SYN, 5000, 0, 0))
	g := s.expect(wire.ACK, 1, 0, 1)
	require.Equal(t, DropNone, s.inject(Segment{Flow: s.flow, Flags: wire.RST, Seq: g.Ack}))
	s.state(StateClosed)
	require.Equal(t, uint64(1), s.e.MIB().AttemptFails)
	require.Equal(t, DropNone, s.in(wire.SYN, 5000, 0, 0))
	require.Equal(t, peerISS.Add(5001), s.segs[0].Ack)
}

func TestChallengesInSynReceivedAreLimited(t *testing.T) {
	s := half(t, nil, wire.OptMSS)
	for range 100 {
		s.in(wire.RST, 2, 0, 0)
	}
	require.Equal(t, 10, s.skip())
	require.Equal(t, uint64(90), s.e.MIB().ChallengeLimited)
	s.wait(1500 * ms)
	s.expect(wire.SYN|wire.ACK, 0, 0, 1)
	s.in(wire.RST, 2, 0, 0)
	require.Equal(t, 1, s.skip(), "the SYN-ACK's timer allows more")
}

// Without cookies the oldest half-open connection that did not answer in time gives way, and none that
// still may.
func TestEviction(t *testing.T) {
	s := newScript(t, small(4, SynCookiesOff))
	s.listen(100, SocketOptions{})
	open := func(port uint16) DropReason {
		s.flow.RemotePort = port
		d := s.in(wire.SYN, 0, 0, 0)
		s.skip()
		return d
	}
	for port := range uint16(4) {
		require.Equal(t, DropNone, open(port+1))
	}
	require.Equal(t, DropBacklog, open(5), "all are young")
	s.wait(1500 * ms)
	require.Equal(t, DropNone, open(5))
	require.Equal(t, uint64(1), s.e.MIB().SynCacheEvicted)
	s.flow.RemotePort = 1
	s.state(StateClosed)
	s.flow.RemotePort = 2
	s.state(StateSynReceived)
	require.Equal(t, 4, s.e.HalfOpens())

	// A listener's share is its backlog.
	s = newScript(t, small(100, SynCookiesOff))
	s.listen(2, SocketOptions{})
	require.Equal(t, [3]DropReason{DropNone, DropNone, DropBacklog}, [3]DropReason{open(1), open(2), open(3)})
	s.wait(1500 * ms)
	require.Equal(t, DropNone, open(3))
	s.flow.RemotePort = 1
	s.state(StateClosed)
}

// A program that closes its listener, aborts what is half-open, or looks at it.
func TestHalfOpenHandles(t *testing.T) {
	s := half(t, nil, allOptions)
	h := s.entry()
	var info Info
	require.True(t, s.e.Info(h, s.now, &info))
	require.Equal(t, [2]uint32{uint32(s.iss), uint32(peerISS.Add(1))}, [2]uint32{uint32(info.SndUna), uint32(info.RcvNxt)})
	require.Equal(t, [2]any{TimerRexmt, sec}, [2]any{info.Timer, info.TimerLeft})
	_, ok := s.e.Lookup(&s.flow)
	require.False(t, ok, "nobody owns it")
	require.True(t, s.e.Opens(&s.flow))
	require.Equal(t, CallInUse, s.call(Call{Kind: CallOpen, Flow: s.flow}))
	require.Equal(t, CallNoConnection, s.call(Call{Kind: CallSend, Handle: h, Pos: 1}))
	s.ok(s.call(Call{Kind: CallAbort, Handle: h}))
	s.expect(wire.RST|wire.ACK, 1, 0, 1)
	require.Equal(t, CallNoConnection, s.call(Call{Kind: CallAbort, Handle: h}), "a stale handle")
	require.False(t, s.e.Info(h, s.now, &info))
}

// A SYN-ACK for which Arrive finds no room is sent by the timer.
func TestSynAckWithoutRoom(t *testing.T) {
	s := newScript(t, nil)
	s.listen(8, SocketOptions{})
	s.out = NewOutput(0, 32)
	require.Equal(t, DropNone, s.in(wire.SYN, 0, 0, 0))
	s.quiet()
	s.out = NewOutput(8, 32)
	s.wait(1100 * ms)
	s.iss = s.segs[0].Seq
	s.expect(wire.SYN|wire.ACK, 0, 0, 1)
}

// A repeated SYN is answered, and then the round trip is not measured by the answer to either.
func TestRepeatedSynGivesNoRoundTrip(t *testing.T) {
	s := half(t, nil, wire.OptMSS)
	s.now = s.now.Add(10 * ms)
	require.Equal(t, DropNone, s.in(wire.SYN, 0, 0, 0))
	s.expect(wire.SYN|wire.ACK, 0, 0, 1)
	s.in(wire.ACK, 1, 0, 1)
	s.h = s.action(ActPassEstablished).Handle
	require.Zero(t, s.info().SRTT)
}
