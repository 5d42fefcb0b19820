package tcpoffload

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

const allOptions = wire.OptMSS | wire.OptWindowScale | wire.OptSACKPermitted | wire.OptTimestamps

func TestPassiveOpenGrantsWhatWasOffered(t *testing.T) {
	for _, set := range []wire.OptionSet{0, wire.OptMSS, allOptions, wire.OptMSS | wire.OptSACKPermitted} {
		s := newScript(t, nil)
		s.listen(1, SocketOptions{})
		syn := s.seg(wire.SYN, 0, 0, 0)
		syn.Opt = synOptions(set)
		s.inject(syn)
		g := s.segs[0]
		require.Equal(t, set|wire.OptMSS, g.Opt.Set)
		require.Equal(t, uint16(1460), g.Opt.MSS)
		require.Equal(t, uint16(65535), g.Wnd)
		s.iss = g.Seq
		s.in(wire.ACK, 1, 0, 1)
		a := s.action(ActPassEstablished)
		require.Equal(t, uint64(77), a.Listener)
		s.h = a.Handle
		want := uint32(536)
		if set&wire.OptMSS != 0 {
			want = 1460
		}
		if set&wire.OptTimestamps != 0 {
			want -= 12
		}
		require.Equal(t, want, s.info().SndMSS)
		require.Equal(t, set&wire.OptSACKPermitted != 0, s.info().SACK)
	}
}

func TestMSSFollowsMTUAndFamily(t *testing.T) {
	s := newScript(t, func(c *Config) { c.MTU = 9000 })
	s.flow.Local, s.flow.Remote = wire.Addr{0: 0x20, 15: 1}, wire.Addr{0: 0x20, 15: 2}
	s.listen(1, SocketOptions{})
	s.in(wire.SYN, 0, 0, 0)
	require.Equal(t, uint16(9000-60), s.segs[0].Opt.MSS)
	s.iss = s.segs[0].Seq
	s.in(wire.ACK, 1, 0, 1)
	s.h = s.action(ActPassEstablished).Handle
	require.Equal(t, uint32(1220), s.info().SndMSS, "default of IPv6 without an MSS option")
}

// A next hop with a smaller MTU than the engine's bounds the segments of both directions, whichever
// side opens and whatever the peer announces.
func TestMSSFollowsMTUOfNextHop(t *testing.T) {
	passive := newScript(t, func(c *Config) { c.MTU = 9000 })
	passive.listen(1, SocketOptions{})
	syn := passive.seg(wire.SYN, 0, 0, 0)
	syn.MTU, syn.Opt.Set, syn.Opt.MSS = 1400, wire.OptMSS, 8960
	passive.inject(syn)
	require.Equal(t, uint16(1360), passive.segs[0].Opt.MSS)
	passive.iss = passive.segs[0].Seq
	passive.in(wire.ACK, 1, 0, 1)
	passive.h = passive.action(ActPassEstablished).Handle
	require.Equal(t, uint32(1360), passive.info().SndMSS)

	active := newScript(t, func(c *Config) { c.MTU = 9000 })
	for mtu, want := range map[uint16]uint16{0: 8960, 1400: 1360, 9001: 8960} {
		active.flow.LocalPort++
		active.segs = nil
		active.ok(active.call(Call{Kind: CallOpen, Flow: active.flow, MTU: mtu, Cookie: 1}))
		require.Equal(t, want, active.segs[0].Opt.MSS)
	}
}

func TestSynAckIsRepeatedThenForgotten(t *testing.T) {
	s := newScript(t, nil)
	s.listen(1, SocketOptions{})
	s.in(wire.SYN, 0, 0, 0)
	s.iss = s.segs[0].Seq
	s.expect(wire.SYN|wire.ACK, 0, 0, 1)
	s.in(wire.SYN, 0, 0, 0) // a repeated SYN is answered, not counted twice
	s.expect(wire.SYN|wire.ACK, 0, 0, 1)
	require.Equal(t, 1, s.e.HalfOpens())
	require.Zero(t, s.e.Conns(), "no connection before the handshake is complete")
	start := s.now
	for _, at := range []vtime.Duration{1, 3, 7, 15, 31} {
		s.wait(at*sec - s.now.Sub(start) - ms)
		s.quiet()
		s.wait(2 * ms)
		s.expect(wire.SYN|wire.ACK, 0, 0, 1)
	}
	s.wait(200 * sec)
	s.quiet()
	require.Zero(t, s.e.HalfOpens())
	require.Empty(t, s.acts, "the owner never knew the connection")
	require.Equal(t, uint64(1), s.e.MIB().AttemptFails)
}

func TestBacklog(t *testing.T) {
	s := newScript(t, func(c *Config) { c.Tunables.SynCookies = SynCookiesOff })
	l := s.listen(2, SocketOptions{})
	open := func(port uint16) DropReason {
		s.flow.RemotePort = port
		return s.in(wire.SYN, 0, 0, 0)
	}
	require.Equal(t, DropNone, open(1))
	require.Equal(t, DropNone, open(2))
	require.Equal(t, DropBacklog, open(3))
	require.Equal(t, [2]uint64{0, 1}, [2]uint64{s.e.MIB().ListenOverflows, s.e.MIB().ListenDrops})

	accept := func(i int) DropReason {
		s.flow.RemotePort = s.segs[i].Flow.RemotePort
		s.iss = s.segs[i].Seq
		d := s.in(wire.ACK, 1, 0, 1)
		if d == DropNone {
			s.e.SetCookie(s.action(ActPassEstablished).Handle, 1)
		}
		return d
	}
	require.Equal(t, DropNone, accept(0))
	require.Equal(t, DropNone, open(3), "the SYN cache has room again")
	require.Equal(t, DropNone, accept(1))
	require.Equal(t, DropBacklog, open(4), "the accept queue is full")
	require.Equal(t, DropAcceptQueue, accept(2))
	require.Equal(t, [2]uint64{2, 3}, [2]uint64{s.e.MIB().ListenOverflows, s.e.MIB().ListenDrops})
	s.ok(s.call(Call{Kind: CallAccepted, Listener: l, Value: 1}))
	require.Equal(t, DropNone, accept(2), "the peer tries again")
	s.ok(s.call(Call{Kind: CallAccepted, Listener: l, Value: 2}))
	require.Equal(t, CallInvalid, s.call(Call{Kind: CallAccepted, Listener: l, Value: 1}))
	require.Equal(t, DropNone, open(4))
}

// A handshake that ends while the accept queue is full is reset only where that is wanted.
func TestAbortOnOverflow(t *testing.T) {
	s := newScript(t, func(c *Config) { c.Tunables.AbortOnOverflow = true })
	s.listen(1, SocketOptions{})
	s.in(wire.SYN, 0, 0, 0)
	first := s.flow
	s.flow.RemotePort++
	syn := s.seg(wire.SYN, 0, 0, 0)
	require.Equal(t, DropNone, s.inject(syn))
	for i, want := range []DropReason{DropNone, DropAcceptQueue} {
		s.iss, s.flow = s.segs[0].Seq, s.segs[0].Flow
		s.segs = s.segs[1:]
		require.Equal(t, want, s.in(wire.ACK, 1, 0, 1), i)
	}
	require.NotEqual(t, first, s.flow)
	s.expect(wire.RST, 1, 0, 0)
	require.Zero(t, s.e.HalfOpens())
}

func TestRefusedOfferFreesBacklog(t *testing.T) {
	s := newScript(t, nil)
	s.listen(1, SocketOptions{})
	s.in(wire.SYN, 0, 0, 0)
	s.iss = s.segs[0].Seq
	s.skip()
	s.in(wire.ACK, 1, 0, 1)
	s.h = s.action(ActPassEstablished).Handle
	s.ok(s.call(Call{Kind: CallAbort}))
	s.expect(wire.RST|wire.ACK, 1, 0, 1)
	s.flow.RemotePort++
	require.Equal(t, DropNone, s.in(wire.SYN, 0, 0, 0))
}

// A full connection table turns away ends of handshakes; they are tried again and find room.
func TestTableFull(t *testing.T) {
	s := newScript(t, func(c *Config) { c.Memory = NewMemory(2, 1) })
	s.listen(10, SocketOptions{})
	end := func(port uint16) DropReason {
		s.flow.RemotePort = port
		s.in(wire.SYN, 0, 0, 0)
		s.iss = s.segs[0].Seq
		s.skip()
		return s.in(wire.ACK, 1, 0, 1)
	}
	require.Equal(t, DropNone, end(1))
	require.Equal(t, DropNone, end(2))
	require.Equal(t, DropTableFull, end(3))
	s.quiet()
	require.Equal(t, uint64(1), s.e.MIB().ListenDrops)
	s.ok(s.call(Call{Kind: CallAbort, Handle: s.action(ActPassEstablished).Handle}))
	s.skip()
	require.Equal(t, DropNone, s.in(wire.ACK, 1, 0, 1))
	s.flow.RemotePort = 4
	c := Call{Kind: CallOpen, Flow: s.flow}
	require.Equal(t, CallTableFull, s.e.Call(s.now, &c, s.out))
}

func TestListenerArrivals(t *testing.T) {
	s := newScript(t, nil)
	s.listen(1, SocketOptions{})
	require.Equal(t, DropListenReset, s.in(wire.RST, 0, 0, 0))
	require.Equal(t, DropBadFlags, s.in(0, 0, 10, 0))
	require.Equal(t, DropBadFlags, s.in(wire.SYN|wire.FIN, 0, 0, 0))
	s.quiet()
	require.Equal(t, DropListenAck, s.in(wire.ACK, 5, 0, 1234))
	g := s.expect(wire.RST, 1234, 0, 0)
	require.Zero(t, g.Handle)
}

func TestClosedPortAnswersReset(t *testing.T) {
	s := newScript(t, nil)
	require.Equal(t, DropNoConnection, s.in(wire.SYN, 0, 10, 0))
	s.expect(wire.RST|wire.ACK, 0, 0, 11)
	require.Equal(t, DropNoConnection, s.in(wire.ACK, 0, 10, 500))
	s.expect(wire.RST, 500, 0, 0)
	require.Equal(t, DropResetNoConn, s.in(wire.RST, 0, 0, 0))
	s.flow.Remote = wire.AddrFrom4([4]byte{239, 1, 1, 1})
	require.Equal(t, DropBadSource, s.in(wire.SYN, 0, 0, 0))
	s.quiet()
}

func TestListenerAddresses(t *testing.T) {
	s := newScript(t, func(c *Config) { c.Memory = NewMemory(8, 8) })
	any4 := wire.AddrFrom4([4]byte{})
	one, other := s.flow.Local, wire.AddrFrom4([4]byte{192, 0, 2, 9})
	six := wire.Addr{0: 0x20, 15: 1}
	listen := func(a wire.Addr, v6only bool) ListenerID {
		c := Call{Kind: CallListen, Flow: wire.Flow{Local: a, LocalPort: 80}, V6Only: v6only, Value: 1}
		require.Equal(t, CallOK, s.e.Call(s.now, &c, s.out))
		require.Equal(t, CallInUse, s.e.Call(s.now, &c, s.out))
		return c.Listener
	}
	exact := listen(one, false)
	require.True(t, s.e.Listening(one, 80))
	require.False(t, s.e.Listening(other, 80))
	require.False(t, s.e.Listening(one, 80+portBuckets), "another port in the same bucket")
	v4, v6, both := listen(any4, false), listen(wire.Addr{}, true), listen(wire.Addr{}, false)
	for _, c := range []struct {
		addr wire.Addr
		want ListenerID
	}{{one, exact}, {other, v4}, {six, v6}} {
		require.Equal(t, uint32(c.want), s.e.findListener(&wire.Flow{Local: c.addr, LocalPort: 80}))
	}
	s.ok(s.call(Call{Kind: CallUnlisten, Listener: v4}))
	s.ok(s.call(Call{Kind: CallUnlisten, Listener: v6}))
	require.Equal(t, uint32(both), s.e.findListener(&wire.Flow{Local: other, LocalPort: 80}))
	require.Equal(t, uint32(both), s.e.findListener(&wire.Flow{Local: six, LocalPort: 80}))
	require.Equal(t, CallNoConnection, s.call(Call{Kind: CallUnlisten, Listener: v4}))
}

func TestUnlistenResetsHalfOpen(t *testing.T) {
	s := newScript(t, nil)
	l := s.listen(5, SocketOptions{})
	for port := uint16(1); port <= 3; port++ {
		s.flow.RemotePort = port
		s.in(wire.SYN, 0, 0, 0)
	}
	s.skip()
	s.ok(s.call(Call{Kind: CallUnlisten, Listener: l}))
	require.Len(t, s.segs, 3)
	for _, g := range s.segs {
		require.Equal(t, wire.RST|wire.ACK, g.Flags)
	}
	require.Zero(t, s.e.HalfOpens())
	s.skip()
	require.Equal(t, DropNoConnection, s.in(wire.SYN, 0, 0, 0))
}

func TestActiveOpen(t *testing.T) {
	s := newScript(t, nil)
	c := Call{Kind: CallOpen, Flow: s.flow, Cookie: 5}
	s.ok(s.e.Call(s.now, &c, s.out))
	require.Equal(t, CallInUse, s.e.Call(s.now, &c, s.out))
	s.h = c.Handle
	s.collect()
	require.Equal(t, allOptions, s.segs[0].Opt.Set)
	s.iss = s.segs[0].Seq
	s.expect(wire.SYN, 0, 0, 0)

	require.Equal(t, DropSynAckMismatch, s.in(wire.SYN|wire.ACK, 0, 0, 100))
	s.expect(wire.RST, 100, 0, 0)
	require.Equal(t, DropSynAckMismatch, s.in(wire.RST|wire.ACK, 0, 0, 100), "a blind reset")
	require.Equal(t, DropBadReset, s.in(wire.RST, 0, 0, 0))
	require.Equal(t, DropNoAck, s.in(wire.ACK, 0, 0, 1))
	s.state(StateSynSent)

	s.now = s.now.Add(30 * ms)
	s.in(wire.SYN|wire.ACK, 0, 0, 1)
	s.expect(wire.ACK, 1, 0, 1)
	s.action(ActEstablished)
	require.Equal(t, 30*ms, s.info().SRTT)
	require.Equal(t, uint64(5), s.info().Cookie)
}

func TestActiveOpenRefused(t *testing.T) {
	s := newScript(t, nil)
	c := Call{Kind: CallOpen, Flow: s.flow}
	s.ok(s.e.Call(s.now, &c, s.out))
	s.collect()
	s.iss = s.segs[0].Seq
	s.in(wire.RST|wire.ACK, 0, 0, 1)
	require.Equal(t, ReasonRefused, s.action(ActFinished).Reason)
	require.Zero(t, s.e.Conns())
	require.Equal(t, CallNoConnection, s.call(Call{Kind: CallSend, Handle: c.Handle, Pos: 1}))
}

func TestSynIsRepeatedThenTimesOut(t *testing.T) {
	s := newScript(t, nil)
	c := Call{Kind: CallOpen, Flow: s.flow}
	s.ok(s.e.Call(s.now, &c, s.out))
	s.collect()
	start := s.now
	s.iss = s.segs[0].Seq
	s.skip()
	var at []vtime.Duration
	for s.e.Conns() > 0 {
		s.wait(s.e.NextDeadline().Sub(s.now))
		if s.skip() > 0 {
			at = append(at, s.now.Sub(start)/sec)
		}
	}
	require.Equal(t, []vtime.Duration{1, 3, 7, 15, 31, 63}, at)
	require.Equal(t, vtime.Duration(127), s.now.Sub(start)/sec)
	require.Equal(t, ReasonTimedOut, s.action(ActFinished).Reason)
}

func TestSimultaneousOpen(t *testing.T) {
	s := newScript(t, nil)
	c := Call{Kind: CallOpen, Flow: s.flow}
	s.ok(s.e.Call(s.now, &c, s.out))
	s.h = c.Handle
	s.collect()
	s.iss = s.segs[0].Seq
	s.expect(wire.SYN, 0, 0, 0)
	s.in(wire.SYN, 0, 0, 0)
	s.expect(wire.SYN|wire.ACK, 0, 0, 1)
	s.state(StateSynReceived)
	s.in(wire.SYN|wire.ACK, 0, 0, 1)
	s.action(ActEstablished)
	s.state(StateEstablished)
	s.skip()
	s.send(10)
	s.expect(wire.ACK|wire.PSH, 1, 10, 1)
}

func TestSendAndCloseBeforeEstablished(t *testing.T) {
	s := newScript(t, nil)
	c := Call{Kind: CallOpen, Flow: s.flow}
	s.ok(s.e.Call(s.now, &c, s.out))
	s.h = c.Handle
	s.collect()
	s.iss = s.segs[0].Seq
	s.expect(wire.SYN, 0, 0, 0)
	s.send(100)
	s.quiet()
	s.in(wire.SYN|wire.ACK, 0, 0, 1)
	s.expect(wire.ACK|wire.PSH, 1, 100, 1)
}

func TestISNsDiffer(t *testing.T) {
	s := newScript(t, nil)
	f := s.flow
	a := s.e.isn(s.now, &f)
	require.Equal(t, a, s.e.isn(s.now, &f))
	require.Equal(t, a.Add(250), s.e.isn(s.now.Add(ms), &f), "the 4 µs clock")
	f.RemotePort++
	require.NotEqual(t, a, s.e.isn(s.now, &f))
	require.Equal(t, s.e.tsOffset(&s.flow), s.e.tsOffset(&f), "per pair of addresses")
}

// TestSipHash checks against the reference vector for the input 00 01 … 2f and the key 00 01 … 0f.
func TestSipHash(t *testing.T) {
	var words [6]uint64
	for i := range 48 {
		words[i/8] |= uint64(i) << (8 * (i % 8))
	}
	const want = 0xe612a3cb9ecba951
	got := sipHash([2]uint64{0x0706050403020100, 0x0f0e0d0c0b0a0908}, words)
	require.Equal(t, uint64(want), got)
}

// What is switched off is neither offered nor granted, by either role.
func TestOptionsSwitchedOff(t *testing.T) {
	for set, off := range map[wire.OptionSet]func(*Tunables){
		wire.OptSACKPermitted: func(t *Tunables) { t.SACK = false },
		wire.OptTimestamps:    func(t *Tunables) { t.Timestamps = false },
		wire.OptWindowScale:   func(t *Tunables) { t.WindowScale = false },
	} {
		edit := func(c *Config) { off(&c.Tunables) }
		passive := newScript(t, edit)
		passive.listen(1, SocketOptions{})
		syn := passive.seg(wire.SYN, 0, 0, 0)
		syn.Opt = synOptions(allOptions)
		passive.inject(syn)
		require.Equal(t, allOptions&^set, passive.segs[0].Opt.Set)

		active := newScript(t, edit)
		c := Call{Kind: CallOpen, Flow: active.flow, Cookie: 1}
		require.Equal(t, CallOK, active.call(c))
		require.Equal(t, allOptions&^set, active.segs[0].Opt.Set)
	}
}

// The program chooses the DSCP and the TTL of every segment, from the SYN on and while the connection lives.
func TestProgramChoosesTOSAndTTL(t *testing.T) {
	is := func(g TxSegment, tos, ttl uint8) {
		t.Helper()
		require.Equal(t, [2]uint8{tos, ttl}, [2]uint8{g.TOS, g.TTL}, "%v", g.Flags)
	}
	s := newScript(t, nil)
	l := s.listen(1, SocketOptions{TOS: 0x28, TTL: 3})
	s.ok(s.call(Call{Kind: CallSetOption, Listener: l, Option: OptionTTL, Value: 5}))
	s.in(wire.SYN, 0, 0, 0)
	is(s.segs[0], 0x28, 5)
	s.iss = s.segs[0].Seq
	s.segs = nil
	s.in(wire.ACK, 1, 0, 1)
	s.h = s.action(ActPassEstablished).Handle
	s.e.SetCookie(s.h, 5)
	s.send(10)
	is(s.segs[0], 0x28, 5)
	s.segs = nil
	s.option(OptionTOS, 0xb8)
	s.option(OptionTTL, 0)
	s.send(20)
	s.in(wire.ACK, 1, 0, 11)
	is(s.segs[0], 0xb8, 0)
	require.Equal(t, CallInvalid, s.call(Call{Kind: CallSetOption, Option: OptionTOS, Value: 256}))
	s.segs = nil
	s.ok(s.call(Call{Kind: CallAbort}))
	is(s.segs[0], 0xb8, 0)

	s = newScript(t, nil)
	s.ok(s.call(Call{Kind: CallOpen, Flow: s.flow, Cookie: 1, Opt: SocketOptions{TOS: 8, TTL: 255}}))
	is(s.segs[0], 8, 255)
}
