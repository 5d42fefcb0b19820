package tcpoffload

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// fastServer is a listener with Fast Open, and the cookie that it gave the peer.
func fastServer(t *testing.T, limit uint32) (*script, wire.Options) {
	s := newScript(t, nil)
	s.listen(8, SocketOptions{FastOpen: limit})
	ask := s.seg(wire.SYN, 0, 0, 0)
	ask.Opt = synOptions(wire.OptMSS | wire.OptWindowScale | wire.OptFastOpen)
	require.Equal(t, DropNone, s.inject(ask))
	g := s.segs[0]
	require.NotZero(t, g.Opt.Set&wire.OptFastOpen)
	require.Equal(t, uint8(8), g.Opt.CookieLen)
	s.iss = g.Seq
	s.expect(wire.SYN|wire.ACK, 0, 0, 1)
	require.Equal(t, uint64(1), s.e.MIB().FastOpenCookieReqd)
	s.in(wire.RST, 1, 0, 0)
	o := synOptions(wire.OptMSS | wire.OptWindowScale | wire.OptFastOpen)
	o.CookieLen, o.Cookie = g.Opt.CookieLen, g.Opt.Cookie
	return s, o
}

// fastSyn lets a SYN with a cookie and n octets arrive.
func (s *script) fastSyn(o wire.Options, n uint32) DropReason {
	g := s.seg(wire.SYN, 0, n, 0)
	g.Opt = o
	d := s.inject(g)
	if len(s.segs) > 0 {
		s.iss = s.segs[0].Seq
	}
	return d
}

// RFC 7413 §4.2.2: the text of the SYN is delivered at once, and the server answers before the
// handshake is complete.
func TestFastOpenServer(t *testing.T) {
	s, o := fastServer(t, 4)
	g := s.seg(wire.SYN, 0, 100, 0)
	g.Opt = o
	require.Equal(t, DropNone, s.e.Arrive(s.now, &g, s.out))
	require.Equal(t, ActPassEstablished, s.out.Actions[0].Kind, "the owner knows the connection before its text comes")
	s.collect()
	s.h = s.action(ActPassEstablished).Handle
	s.e.SetCookie(s.h, 5)
	p := s.action(ActPlace)
	require.Equal(t, [2]uint64{0, 100}, [2]uint64{p.Pos, uint64(p.Len)})
	require.Equal(t, uint64(100), s.action(ActReadable).Pos)
	s.iss = s.segs[0].Seq
	a := s.expect(wire.SYN|wire.ACK, 0, 0, 101)
	require.Zero(t, a.Opt.Set&wire.OptFastOpen, "the cookie is good")
	s.state(StateSynReceived)
	require.True(t, s.info().SynData)

	s.read(100)
	s.send(3000)
	s.expect(wire.ACK, 1, 1460, 101)
	s.expect(wire.ACK, 1461, 1460, 101)
	s.expect(wire.ACK|wire.PSH, 2921, 80, 101)
	s.close()
	s.quiet()
	s.in(wire.ACK, 101, 10, 1461)
	s.noAction(ActPassEstablished)
	require.Equal(t, uint64(1460), s.action(ActAcked).Pos)
	require.Equal(t, uint64(110), s.action(ActReadable).Pos)
	s.state(StateFinWait1)
	s.expect(wire.ACK|wire.FIN, 3001, 0, 111)
	s.in(wire.ACK, 111, 0, 3002)
	s.state(StateFinWait2)
	require.Equal(t, uint64(1), s.e.MIB().FastOpenPassive)
	require.Zero(t, s.e.lsts[1].pending)
}

// What a server sent before the end of the handshake is sent again like anything else.
func TestFastOpenServerDataIsRepeated(t *testing.T) {
	s, o := fastServer(t, 4)
	require.Equal(t, DropNone, s.fastSyn(o, 10))
	s.h = s.action(ActPassEstablished).Handle
	s.expect(wire.SYN|wire.ACK, 0, 0, 11)
	s.send(100)
	s.expect(wire.ACK|wire.PSH, 1, 100, 11)
	s.wait(sec + ms)
	s.expect(wire.SYN|wire.ACK, 0, 0, 11) // the SYN-ACK first
	s.quiet()
	s.in(wire.ACK, 11, 0, 1)
	s.state(StateEstablished)
	s.wait(4 * sec)
	s.expect(wire.ACK|wire.PSH, 1, 100, 11)
	s.in(wire.ACK, 11, 0, 101)
	require.Equal(t, uint64(100), s.action(ActAcked).Pos)
}

// Whatever is wrong with the cookie, the limit or the settings: the handshake goes its usual way and
// the text comes again.
func TestFastOpenFallsBack(t *testing.T) {
	for name, c := range map[string]struct {
		edit   func(s *script, o *wire.Options)
		cookie bool // the SYN-ACK tells a new one
	}{
		"forged": {func(s *script, o *wire.Options) { o.Cookie[3] ^= 1 }, true},
		"short":  {func(s *script, o *wire.Options) { o.CookieLen = 4 }, true},
		"another address": {func(s *script, o *wire.Options) {
			s.flow.Remote = wire.AddrFrom4([4]byte{192, 0, 2, 77})
		}, true},
		"old key": {func(s *script, o *wire.Options) { s.e.SetFastOpenKeys([16]byte{1}, [16]byte{2}) }, true},
		"switched off": {func(s *script, o *wire.Options) {
			tun := s.e.Tunables()
			tun.FastOpen = FastOpenClient
			require.NoError(s.t, s.e.SetTunables(tun))
		}, false},
		"listener without": {func(s *script, o *wire.Options) {
			s.ok(s.call(Call{Kind: CallSetOption, Listener: 1<<32 | 1, Option: OptionFastOpen, Value: 0}))
		}, false},
		"limit": {func(s *script, o *wire.Options) {
			for port := range uint16(4) {
				s.flow.RemotePort = 5000 + port
				require.Equal(s.t, DropNone, s.fastSyn(*o, 1))
				s.action(ActPassEstablished)
			}
			s.skip()
			s.acts = s.acts[:0]
			s.flow.RemotePort = 4000
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s, o := fastServer(t, 4)
			c.edit(s, &o)
			require.Equal(t, DropNone, s.fastSyn(o, 100))
			s.noAction(ActPassEstablished)
			g := s.expect(wire.SYN|wire.ACK, 0, 0, 1)
			require.Equal(t, c.cookie, g.Opt.Set&wire.OptFastOpen != 0)
			s.in(wire.ACK, 1, 100, 1)
			s.action(ActPassEstablished)
			require.Equal(t, uint32(100), s.action(ActPlace).Len)
		})
	}
}

func TestFastOpenKeyRotation(t *testing.T) {
	s, o := fastServer(t, 4)
	old := [16]byte{0: 9}
	s.e.SetFastOpenKeys(old, [16]byte{})
	c := fastOpenCookie(keyWords(old), &s.flow)
	copy(o.Cookie[:], c[:])
	s.e.SetFastOpenKeys([16]byte{0: 10}, old)
	require.Equal(t, DropNone, s.fastSyn(o, 10))
	s.action(ActPassEstablished)
	g := s.expect(wire.SYN|wire.ACK, 0, 0, 11)
	require.NotZero(t, g.Opt.Set&wire.OptFastOpen, "the old cookie is good and replaced")
	require.Equal(t, fastOpenCookie(keyWords([16]byte{0: 10}), &s.flow), [8]byte(g.Opt.Cookie[:8]))
}

// RFC 7413 §5.1: a request that the peer resets still counts for a while, or spoofed SYNs would be free.
func TestFastOpenResetsCount(t *testing.T) {
	s, o := fastServer(t, 2)
	for port := range uint16(2) {
		s.flow.RemotePort = 5000 + port
		require.Equal(t, DropNone, s.fastSyn(o, 10))
		s.h = s.action(ActPassEstablished).Handle
		s.ok(s.call(Call{Kind: CallAccepted, Listener: 1<<32 | 1, Value: 1}))
		s.in(wire.RST, 11, 0, 0)
		require.Equal(t, ReasonReset, s.action(ActFinished).Reason, "the owner has it and is told")
	}
	require.Zero(t, s.e.Conns())
	s.skip()
	s.flow.RemotePort++
	s.fastSyn(o, 10)
	s.noAction(ActPassEstablished)
	require.Equal(t, uint64(1), s.e.MIB().FastOpenListenOverflow)
	s.expect(wire.SYN|wire.ACK, 0, 0, 1)
	s.wait(61 * sec)
	s.skip()
	s.flow.RemotePort++
	s.fastSyn(o, 10)
	s.action(ActPassEstablished)
}

// A Fast Open connection whose SYN-ACK is never answered ends with the owner being told, whether its
// listener is still there or not.
func TestFastOpenHalfOpenTimesOut(t *testing.T) {
	for _, closed := range []bool{false, true} {
		s, o := fastServer(t, 2)
		require.Equal(t, DropNone, s.fastSyn(o, 10))
		s.h = s.action(ActPassEstablished).Handle
		s.e.SetCookie(s.h, 5)
		if closed {
			s.ok(s.call(Call{Kind: CallUnlisten, Listener: 1<<32 | 1}))
			s.listen(1, SocketOptions{FastOpen: 1})
		}
		s.wait(100 * sec)
		require.Equal(t, 6, s.skip())
		require.Equal(t, ReasonTimedOut, s.action(ActFinished).Reason)
		require.Zero(t, s.e.lsts[1].pending)
	}
}

// A SYN is shown without its text first when there was no room for the text; then its text is taken.
func TestFastOpenTextComesLater(t *testing.T) {
	s, o := fastServer(t, 2)
	require.Equal(t, DropNone, s.fastSyn(o, 0))
	s.action(ActPassEstablished)
	s.noAction(ActPlace)
	s.expect(wire.SYN|wire.ACK, 0, 0, 1)
	require.Equal(t, DropNone, s.fastSyn(o, 50))
	require.Equal(t, uint32(50), s.action(ActPlace).Len)
	require.Equal(t, uint64(50), s.action(ActReadable).Pos)
	s.expect(wire.SYN|wire.ACK, 0, 0, 51)
	require.Equal(t, DropNone, s.fastSyn(o, 50))
	s.noAction(ActPlace)
	s.expect(wire.SYN|wire.ACK, 0, 0, 51)
}

// fastClient opens a connection with Fast Open and n octets queued.
func (s *script) fastClient(n uint64) TxSegment {
	c := Call{Kind: CallOpen, Flow: s.flow, Cookie: 5, Opt: SocketOptions{FastOpenConn: true}}
	s.ok(s.e.Call(s.now, &c, s.out))
	s.h = c.Handle
	if n > 0 {
		s.ok(s.e.Call(s.now, &Call{Kind: CallSend, Handle: s.h, Pos: n}, s.out))
	}
	s.collect()
	g := s.segs[0]
	s.segs = s.segs[1:]
	s.iss = g.Seq
	return g
}

// answer lets a SYN-ACK arrive that acknowledges ack octets of text, with a cookie if there is one.
func (s *script) answer(ack uint32, cookie ...byte) {
	g := s.seg(wire.SYN|wire.ACK, 0, 0, 1+ack)
	g.Opt = wire.Options{Set: wire.OptMSS, MSS: 1400}
	if len(cookie) > 0 {
		g.Opt.Set |= wire.OptFastOpen
		g.Opt.CookieLen = uint8(copy(g.Opt.Cookie[:], cookie))
	}
	require.Equal(s.t, DropNone, s.inject(g))
	s.action(ActEstablished)
}

var someCookie = []byte{1, 2, 3, 4, 5, 6}

// withCookie is a client that has a cookie of the server.
func withCookie(t *testing.T) *script {
	s := newScript(t, func(c *Config) { c.Tunables.Timestamps, c.Tunables.SACK = false, false })
	g := s.fastClient(100)
	require.NotZero(t, g.Opt.Set&wire.OptFastOpen)
	require.Equal(t, [2]uint32{0, 0}, [2]uint32{g.Len, uint32(g.Opt.CookieLen)}, "it asks for a cookie")
	s.answer(0, someCookie...)
	s.expect(wire.ACK|wire.PSH, 1, 100, 1)
	s.ok(s.call(Call{Kind: CallAbort}))
	s.skip()
	s.acts = s.acts[:0]
	s.flow.LocalPort++
	return s
}

// RFC 7413 §4.2.1.
func TestFastOpenClient(t *testing.T) {
	s := withCookie(t)
	g := s.fastClient(3000)
	const room = 1400 - 40 // of its MSS, less what options can take
	require.Equal(t, wire.SYN, g.Flags)
	require.Equal(t, [2]uint64{0, room}, [2]uint64{g.Pos, uint64(g.Len)})
	require.Equal(t, someCookie, g.Opt.Cookie[:g.Opt.CookieLen])
	require.Equal(t, uint16(65535), g.Wnd)
	s.quiet()
	s.answer(room)
	require.Equal(t, uint64(room), s.action(ActAcked).Pos)
	s.expect(wire.ACK, 1+room, 1400, 1)
	s.expect(wire.ACK|wire.PSH, 1+room+1400, 3000-room-1400, 1)
	require.True(t, s.info().SynData)
	require.Equal(t, uint64(1), s.e.MIB().FastOpenActive)
	s.in(wire.ACK, 1, 0, 3001)
	require.Equal(t, uint64(3000), s.action(ActAcked).Pos)
}

// A server that does not take the text: it is sent again at once, and the cookie is forgotten unless
// there is a new one.
func TestFastOpenClientIsRefused(t *testing.T) {
	for _, taken := range []uint32{0, 40} {
		s := withCookie(t)
		require.Equal(t, uint32(100), s.fastClient(100).Len)
		s.answer(taken)
		s.expect(wire.ACK|wire.PSH, 1+taken, 100-taken, 1)
		s.in(wire.ACK, 1, 0, 101)
		require.Equal(t, uint64(1), s.e.MIB().FastOpenActiveFail)
		s.flow.LocalPort++
		g := s.fastClient(100)
		require.Equal(t, taken > 0, g.Opt.CookieLen > 0)
	}
}

// A SYN that is lost is sent again without option and text; after that nothing is tried for a while, and
// ever longer.
func TestFastOpenBlackHole(t *testing.T) {
	s := withCookie(t)
	for _, pause := range []vtime.Duration{60 * sec, 120 * sec, 240 * sec} {
		require.Equal(t, uint32(100), s.fastClient(100).Len)
		s.wait(sec + ms)
		g := s.expect(wire.SYN, 0, 0, 0)
		require.Zero(t, g.Opt.Set&wire.OptFastOpen)
		s.answer(0)
		s.expect(wire.ACK|wire.PSH, 1, 100, 1)
		s.ok(s.call(Call{Kind: CallAbort}))
		for _, wait := range []vtime.Duration{0, pause - sec} {
			s.wait(wait)
			s.skip()
			s.flow.LocalPort++
			g := s.fastClient(100)
			require.Zero(t, g.Opt.Set&wire.OptFastOpen)
			require.Zero(t, g.Len)
			s.ok(s.call(Call{Kind: CallAbort}))
		}
		s.wait(sec)
		s.skip()
		s.flow.LocalPort++
		s.acts = s.acts[:0]
	}
	require.Equal(t, uint64(6), s.e.MIB().FastOpenPaused)
	s.fastClient(100)
	s.answer(100)
	require.Zero(t, s.e.fastOpenPeer(s.flow.Remote).losses, "success ends it")
}

// The SYN-ACK for a SYN with text may come after the SYN was sent again.
func TestFastOpenLateAnswer(t *testing.T) {
	s := withCookie(t)
	s.fastClient(100)
	s.wait(sec + ms)
	s.skip()
	s.answer(100)
	require.Equal(t, uint64(100), s.action(ActAcked).Pos)
	require.Zero(t, s.e.fastOpenPeer(s.flow.Remote).losses)
	s.expect(wire.ACK, 101, 0, 1)
}

// Both ends open at once, one of them with text on its SYN: the text is sent again after the handshake.
func TestFastOpenSimultaneous(t *testing.T) {
	s := withCookie(t)
	s.fastClient(100)
	s.in(wire.SYN, 0, 0, 0)
	s.expect(wire.SYN|wire.ACK, 0, 0, 1)
	s.in(wire.ACK, 1, 0, 1)
	s.action(ActEstablished)
	s.expect(wire.ACK|wire.PSH, 1, 100, 1)
	s.in(wire.ACK, 1, 0, 101)
	require.Equal(t, uint64(100), s.action(ActAcked).Pos)
}

// The cache is bounded; of servers that share a place the one used longest ago is forgotten.
func TestFastOpenCacheIsBounded(t *testing.T) {
	s := newScript(t, nil)
	last := wire.Addr{}
	for i := range 10_000 {
		last = wire.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})
		s.now++
		s.e.fastOpenRemember(last, s.now).mss = uint16(i)
		require.NotNil(t, s.e.fastOpenPeer(last))
	}
	live := 0
	for i := range s.e.fops {
		if s.e.fops[i].used != 0 {
			live++
		}
	}
	require.Equal(t, defaultFastOpens, live)
	require.Equal(t, uint16(9999), s.e.fastOpenPeer(last).mss)
}

// A server's text on its SYN-ACK, and its FIN, are taken (RFC 9293 §3.10.7.3, fifth step).
func TestTextOnSynAckIsTaken(t *testing.T) {
	s := newScript(t, nil)
	s.ok(s.call(Call{Kind: CallOpen, Flow: s.flow}))
	s.h = s.entry()
	s.iss = s.segs[0].Seq
	s.skip()
	require.Equal(t, DropNone, s.in(wire.SYN|wire.ACK|wire.FIN, 0, 10, 1))
	s.action(ActEstablished)
	require.Equal(t, uint64(10), s.action(ActReadable).Pos)
	require.Equal(t, uint64(10), s.action(ActPeerClose).Pos)
	s.expect(wire.ACK, 1, 0, 12)
	s.state(StateCloseWait)
}

// TestFastOpenCookieIsThatOfLinux compares cookies with those of a Linux kernel with the same key.
func TestFastOpenCookieIsThatOfLinux(t *testing.T) {
	key := keyWords([16]byte{
		0xa1, 0xa1, 0xa1, 0xa1, 0xb2, 0xb2, 0xb2, 0xb2, 0xc3, 0xc3, 0xc3, 0xc3, 0xd4, 0xd4, 0xd4, 0xd4})
	addr := func(s string) wire.Addr { return wire.AddrFrom(netip.MustParseAddr(s)) }
	f := wire.Flow{Local: addr("192.168.0.1"), Remote: addr("192.0.2.1")}
	require.Equal(t, [8]byte{0x30, 0x21, 0xb9, 0xd8, 0x89, 0x01, 0x7e, 0xeb}, fastOpenCookie(key, &f))
	f = wire.Flow{Local: addr("fd3d:a0b:17d6::1"), Remote: addr("fd3d:fa7b:d17d::1")}
	require.Equal(t, [8]byte{0xc1, 0xd1, 0xe9, 0x74, 0x2a, 0x47, 0xa9, 0xbc}, fastOpenCookie(key, &f))
}
