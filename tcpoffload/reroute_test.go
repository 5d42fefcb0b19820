package tcpoffload

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/wire"
)

func (s *script) reroute(hop uint32, mtu uint16) {
	s.t.Helper()
	s.ok(s.call(Call{Kind: CallNextHop, Handle: s.h, NextHop: hop, MTU: mtu}))
}

// A connection leaves by another next hop, with packets that its link takes.
func TestNextHopChanges(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{})
	s.reroute(77, 0)
	hop, ok := s.e.NextHop(s.h)
	require.True(t, ok)
	require.Equal(t, uint32(77), hop)
	require.Equal(t, uint16(1500), s.info().PathMTU, "nothing is said of the link")
	s.send(mss)
	require.Equal(t, uint32(77), s.expect(wire.ACK|wire.PSH, 1, mss, 1).NextHop)
	s.in(wire.ACK, 1, 0, 1+mss)

	s.reroute(78, 1000)
	require.Equal(t, uint16(1000), s.info().PathMTU)
	s.reroute(79, 1500)
	require.Equal(t, uint16(1500), s.info().PathMTU, "the narrow link is not on the way any more")
	_, ok = s.e.NextHop(0)
	require.False(t, ok)
}

// What the path beyond the first link takes is still believed when only that link changes.
func TestNextHopKeepsThePath(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{})
	s.send(2 * mss)
	s.skip()
	s.ok(s.icmp(ICMPTooBig, 1, 1000))
	s.skip()
	s.reroute(78, 1400)
	require.Equal(t, uint16(1000), s.info().PathMTU)
	s.reroute(78, 900)
	require.Equal(t, uint16(900), s.info().PathMTU)
}

// A handshake under way answers by the way of what it answers.
func TestHalfOpenFollowsItsPeer(t *testing.T) {
	s := half(t, nil, wire.OptMSS)
	syn := s.seg(wire.SYN, 0, 0, 0)
	syn.Opt, syn.NextHop = synOptions(wire.OptMSS), 5
	s.inject(syn)
	require.Equal(t, uint32(5), s.expect(wire.SYN|wire.ACK, 0, 0, 1).NextHop)
	ack := s.seg(wire.ACK, 1, 0, 1)
	ack.NextHop = 6
	s.inject(ack)
	s.h = s.entry()
	hop, ok := s.e.NextHop(s.h)
	require.True(t, ok)
	require.Equal(t, uint32(6), hop)
}
