package tcpoffload

// Fast Open as Linux has it beyond RFC 7413: the experimental form of the option, no cookies, SYNs that
// wait for data.

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/wire"
)

// open opens with o, lets the SYN leave and returns it, and how many octets it takes along; ok false: it
// waits.
func (s *script) fastOpen(o SocketOptions) (syn TxSegment, room int64, ok bool) {
	c := Call{Kind: CallOpen, Flow: s.flow, Opt: o}
	s.ok(s.e.Call(s.now, &c, s.out))
	s.h = c.Handle
	s.collect()
	if len(s.segs) == 0 {
		return TxSegment{}, c.Value, false
	}
	syn = s.segs[0]
	s.segs, s.iss = s.segs[1:], syn.Seq
	return syn, c.Value, true
}

// A server answers in the form in which it was asked, and takes a cookie in either.
func TestFastOpenExperimentalServer(t *testing.T) {
	const exp = wire.OptFastOpen | wire.OptFastOpenExp
	s := newScript(t, nil)
	s.listen(8, SocketOptions{FastOpen: 4})
	require.Equal(t, DropNone, s.fastSyn(synOptions(wire.OptMSS|exp), 0))
	g := s.expect(wire.SYN|wire.ACK, 0, 0, 1)
	require.Equal(t, wire.OptMSS|exp, g.Opt.Set)
	s.in(wire.RST, 1, 0, 0)
	for k, form := range []wire.OptionSet{exp, wire.OptFastOpen} {
		s.flow.RemotePort++
		o := synOptions(wire.OptMSS | form)
		o.CookieLen, o.Cookie = g.Opt.CookieLen, g.Opt.Cookie
		require.Equal(t, DropNone, s.fastSyn(o, 10))
		s.action(ActPassEstablished)
		s.expect(wire.SYN|wire.ACK, 0, 0, 11)
		// A cookie of the key before is replaced, in the form of the SYN.
		s.flow.RemotePort += 100
		s.e.SetFastOpenKeys([16]byte{byte(k + 1)}, [16]byte{byte(k)})
		c := fastOpenCookie(keyWords([16]byte{byte(k)}), &s.flow)
		copy(o.Cookie[:], c[:])
		require.Equal(t, DropNone, s.fastSyn(o, 10))
		s.action(ActPassEstablished)
		require.Equal(t, wire.OptMSS|form, s.expect(wire.SYN|wire.ACK, 0, 0, 11).Opt.Set)
		s.e.SetFastOpenKeys([16]byte{}, [16]byte{})
		c = fastOpenCookie(keyWords([16]byte{}), &s.flow)
		copy(g.Opt.Cookie[:], c[:])
	}
}

// A client whose request is not understood tries the experimental form, once.
func TestFastOpenExperimentalClient(t *testing.T) {
	for _, known := range []bool{false, true} {
		s := newScript(t, func(c *Config) { c.Tunables.Timestamps = false })
		for k, exp := range []bool{false, true, known, known} {
			g, room, _ := s.fastOpen(SocketOptions{FastOpenConn: true})
			require.NotZero(t, g.Opt.Set&wire.OptFastOpen)
			require.Equal(t, exp, g.Opt.Set&wire.OptFastOpenExp != 0, k)
			a := s.seg(wire.SYN|wire.ACK, 0, 0, 1)
			a.Opt = synOptions(wire.OptMSS)
			if known && k > 0 {
				require.Equal(t, k > 1, room > 0)
				a.Opt.Set |= wire.OptFastOpen | wire.OptFastOpenExp
				a.Opt.CookieLen = uint8(copy(a.Opt.Cookie[:], someCookie))
			}
			require.Equal(t, DropNone, s.inject(a))
			s.ok(s.call(Call{Kind: CallAbort}))
			s.skip()
			s.acts = s.acts[:0]
			s.flow.LocalPort++
		}
	}
}

// Without cookies a listener takes the text of every SYN, and only of those with text or the option.
func TestFastOpenBareServer(t *testing.T) {
	for _, always := range []bool{false, true} {
		s := newScript(t, func(c *Config) {
			if always {
				c.Tunables.FastOpen |= FastOpenServerBare
			}
		})
		l := s.listen(8, SocketOptions{FastOpen: 4, FastOpenBare: !always})
		require.Equal(t, DropNone, s.fastSyn(synOptions(wire.OptMSS), 100))
		s.action(ActPassEstablished)
		require.Equal(t, uint32(100), s.action(ActPlace).Len)
		require.Zero(t, s.expect(wire.SYN|wire.ACK, 0, 0, 101).Opt.Set&wire.OptFastOpen)
		s.flow.RemotePort++
		require.Equal(t, DropNone, s.fastSyn(synOptions(wire.OptMSS), 0))
		s.noAction(ActPassEstablished)
		require.Zero(t, s.expect(wire.SYN|wire.ACK, 0, 0, 1).Opt.Set&wire.OptFastOpen)
		s.flow.RemotePort++
		require.Equal(t, DropNone, s.fastSyn(synOptions(wire.OptMSS|wire.OptFastOpen), 0))
		s.action(ActPassEstablished)
		s.skip()
		if !always {
			s.ok(s.call(Call{Kind: CallSetOption, Listener: l, Option: OptionFastOpenBare, Value: 0}))
			s.flow.RemotePort++
			require.Equal(t, DropNone, s.fastSyn(synOptions(wire.OptMSS), 100))
			s.noAction(ActPassEstablished)
		}
	}
}

// Without cookies a client sends text with its first SYN, as much as fits the MSS that the server told
// last, and takes no cookie.
func TestFastOpenBareClient(t *testing.T) {
	for _, always := range []bool{false, true} {
		s := newScript(t, func(c *Config) {
			c.Tunables.Timestamps = false
			if always {
				c.Tunables.FastOpen |= FastOpenClientBare
			}
		})
		for _, room := range []int64{1420, 1360} {
			c := Call{Kind: CallOpen, Flow: s.flow, Opt: SocketOptions{FastOpenConn: true, FastOpenBare: !always}}
			s.ok(s.e.Call(s.now, &c, s.out))
			require.Equal(t, room, c.Value)
			s.h = c.Handle
			s.send(uint64(c.Value))
			g := s.segs[0]
			s.segs, s.iss = s.segs[1:], g.Seq
			require.Equal(t, uint32(room), g.Len)
			require.Zero(t, g.Opt.Set&wire.OptFastOpen)
			s.answer(uint32(room), someCookie...)
			require.True(t, s.info().SynData)
			s.ok(s.call(Call{Kind: CallAbort}))
			s.skip()
			s.acts = s.acts[:0]
			s.flow.LocalPort++
		}
		require.Zero(t, s.e.fastOpenPeer(s.flow.Remote).cookieLen)
	}
}

// A SYN that can take text along waits for it if the program wants so; one that cannot does not wait.
func TestFastOpenHeld(t *testing.T) {
	opt := SocketOptions{FastOpenConn: true, FastOpenHold: true}
	s := withCookie(t)
	_, room, ok := s.fastOpen(opt)
	require.Equal(t, int64(1360), room)
	require.False(t, ok)
	s.state(StateSynSent)
	s.wait(5 * sec)
	s.quiet()
	s.ok(s.call(Call{Kind: CallSend, Pos: 10}))
	g := s.segs[0]
	s.segs, s.iss = s.segs[1:], g.Seq
	require.Equal(t, [2]uint32{10, 6}, [2]uint32{g.Len, uint32(g.Opt.CookieLen)})
	s.answer(10)
	s.expect(wire.ACK, 11, 0, 1)
	s.ok(s.call(Call{Kind: CallAbort}))
	s.skip()

	// A SYN of the peer's needs no text to be answered.
	s.flow.LocalPort++
	_, _, ok = s.fastOpen(opt)
	require.False(t, ok)
	s.in(wire.SYN, 0, 0, 0)
	s.iss = s.segs[0].Seq
	s.expect(wire.SYN|wire.ACK, 0, 0, 1)
	s.ok(s.call(Call{Kind: CallSend, Pos: 10}))
	s.quiet()
	s.ok(s.call(Call{Kind: CallAbort}))
	s.skip()

	s.flow.LocalPort++
	s.flow.Remote = wire.AddrFrom4([4]byte{192, 0, 2, 99})
	_, room, ok = s.fastOpen(opt)
	require.Zero(t, room)
	require.True(t, ok)
}

// A SYN that asks for a cookie may be lost by chance: that counts only the second time.
func TestFastOpenLoneRequestLost(t *testing.T) {
	s := newScript(t, nil)
	for k := range 3 {
		g, _, _ := s.fastOpen(SocketOptions{FastOpenConn: true})
		require.Equal(t, k < 2, g.Opt.Set&wire.OptFastOpen != 0)
		s.wait(sec + ms)
		require.Zero(t, s.expect(wire.SYN, 0, 0, 0).Opt.Set&wire.OptFastOpen)
		s.answer(0)
		s.ok(s.call(Call{Kind: CallAbort}))
		s.skip()
		s.acts = s.acts[:0]
		s.flow.LocalPort++
	}
}

// A SYN with text that is too large for the path goes again at once, without text and option, and with
// the MSS of the path; the cookie stays, and later SYNs fit the path.
func TestFastOpenSynTooLarge(t *testing.T) {
	s := withCookie(t)
	require.Equal(t, uint32(1360), s.fastClient(3000).Len)
	s.ok(s.icmp(ICMPTooBig, 0, 840))
	g := s.expect(wire.SYN, 0, 0, 0)
	require.Equal(t, uint16(800), g.Opt.MSS)
	require.Zero(t, g.Opt.Set&wire.OptFastOpen)
	s.icmp(ICMPTooBig, 0, 700)
	s.quiet()
	s.answer(0)
	s.skip()
	s.ok(s.call(Call{Kind: CallAbort}))
	s.skip()
	s.acts = s.acts[:0]
	s.flow.LocalPort++
	g = s.fastClient(3000)
	require.Equal(t, [2]uint32{700 - 40 - 40, 6}, [2]uint32{g.Len, uint32(g.Opt.CookieLen)})
}

// Text that the server did not take goes again in one piece, if the device cuts it, and what follows it is
// not held back by Nagle's rule.
func TestFastOpenRejectedTextGoesAtOnce(t *testing.T) {
	s := withCookie(t)
	s.e.tso = 4000
	require.Equal(t, uint32(1000), s.fastClient(1000).Len)
	a := s.seg(wire.SYN|wire.ACK, 0, 0, 1)
	a.Opt = wire.Options{Set: wire.OptMSS, MSS: 600}
	require.Equal(t, DropNone, s.inject(a))
	g := s.expect(wire.ACK|wire.PSH, 1, 1000, 1)
	require.Equal(t, uint16(600), g.SegSize)
	require.Equal(t, uint32(2), s.info().Retrans)
	s.send(1050)
	s.expect(wire.ACK|wire.PSH, 1001, 50, 1)
	s.in(wire.ACK, 1, 0, 1051)
	require.Equal(t, uint64(1050), s.action(ActAcked).Pos)
	require.Zero(t, s.info().Retrans)
	require.Equal(t, uint64(3), s.info().Delivered, "the SYN and 1050 octets")
}

// What waited for the handshake takes the ACK along, and the answer to it is acknowledged late.
func TestDataWithLastAckIsDialogue(t *testing.T) {
	for _, waits := range []bool{true, false} {
		s := newScript(t, nil)
		_, _, _ = s.fastOpen(SocketOptions{})
		if waits {
			s.send(100)
			s.quiet()
		}
		s.answer(0)
		if !waits {
			s.expect(wire.ACK, 1, 0, 1)
			s.send(100)
		}
		s.expect(wire.ACK|wire.PSH, 1, 100, 1)
		s.in(wire.ACK, 1, 100, 101)
		require.Equal(t, waits, len(s.segs) == 0)
	}
}

// SYN-ACKs that echo a timestamp that we did not send are answered by a reset, and change nothing.
func TestSynAckWithWrongEcho(t *testing.T) {
	s := newScript(t, nil)
	g, _, _ := s.fastOpen(SocketOptions{})
	s.wait(1500 * ms)
	s.skip()
	for _, c := range []struct {
		ecr  uint32
		good bool
	}{{g.Opt.TSVal - 2, false}, {g.Opt.TSVal + 1502, false}, {g.Opt.TSVal + 1000, true}} {
		a := s.seg(wire.SYN|wire.ACK, 0, 0, 1)
		a.Opt = synOptions(allOptions)
		a.Opt.TSVal, a.Opt.TSEcr = 77, c.ecr
		if c.good {
			require.Equal(t, DropNone, s.inject(a))
			s.state(StateEstablished)
			continue
		}
		require.Equal(t, DropSynAckMismatch, s.inject(a))
		s.expect(wire.RST, 1, 0, 0)
		s.state(StateSynSent)
	}
}

// TCP_SYNCNT, before the SYN and after it.
func TestSynRetries(t *testing.T) {
	for _, late := range []bool{false, true} {
		s := newScript(t, nil)
		o := SocketOptions{SynRetries: 2}
		if late {
			o.SynRetries = 0
		}
		s.fastOpen(o)
		if late {
			s.ok(s.call(Call{Kind: CallSetOption, Option: OptionSynRetries, Value: 2}))
			require.Equal(t, CallInvalid, s.call(Call{Kind: CallSetOption, Option: OptionSynRetries, Value: 128}))
		}
		s.wait(100 * sec)
		require.Equal(t, 2, s.skip())
		require.Equal(t, ReasonTimedOut, s.action(ActFinished).Reason)
	}
}
