package tcpoffload

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// claims asks about a segment of the peer, and demands that the answer is the one before the next.
func (s *script) claims(flags wire.Flags, sq, n, ack uint32) bool {
	g := s.seg(flags, sq, n, ack)
	yes := s.e.Claims(s.now, &g)
	require.Equal(s.t, yes, s.e.Claims(s.now, &g))
	return yes
}

// What opens a connection here is claimed and what is nobody's is not, whatever the flags.
func TestClaimsWithoutConnection(t *testing.T) {
	all := []wire.Flags{
		0, wire.SYN, wire.SYN | wire.ECE | wire.CWR, wire.SYN | wire.ACK, wire.ACK, wire.ACK | wire.PSH, wire.ACK | wire.FIN,
		wire.FIN, wire.RST, wire.RST | wire.ACK, wire.SYN | wire.RST, wire.SYN | wire.FIN,
	}
	s := newScript(t, nil)
	for _, f := range all {
		require.False(t, s.claims(f, 0, 0, 0), "%v, nobody listens", f)
	}
	s.listen(8, SocketOptions{})
	for _, f := range all {
		require.Equal(t, f&^(wire.ECE|wire.CWR) == wire.SYN, s.claims(f, 0, 0, 0), "%v for a listener", f)
	}
	s.flow.LocalPort++
	require.False(t, s.claims(wire.SYN, 0, 0, 0), "another port")
	s.quiet()
	require.Zero(t, s.e.MIB().InSegs, "asking changes nothing")
}

// Every segment of what is in a table is claimed, until it is gone.
func TestClaimsWhatItKnows(t *testing.T) {
	s := newScript(t, nil)
	l := s.listen(8, SocketOptions{})
	require.False(t, s.e.Knows(&s.flow))
	s.in(wire.SYN, 0, 0, 0)
	require.True(t, s.claims(wire.ACK, 77, 0, 77), "half-open")
	require.True(t, s.e.Knows(&s.flow))
	s.iss = s.segs[0].Seq
	s.in(wire.ACK, 1, 0, 1)
	s.h = s.action(ActPassEstablished).Handle
	require.Equal(t, CallOK, s.call(Call{Kind: CallUnlisten, Listener: l}))
	require.True(t, s.claims(wire.RST, 1, 0, 0), "established")
	s.close()
	s.in(wire.ACK|wire.FIN, 1, 0, 2)
	s.state(StateTimeWait)
	require.True(t, s.claims(wire.ACK|wire.FIN, 1, 0, 2), "in TIME-WAIT")
	require.True(t, s.claims(wire.SYN, 0, 0, 0), "an old SYN in TIME-WAIT")
	s.wait(61 * sec)
	require.False(t, s.claims(wire.ACK|wire.FIN, 1, 0, 2), "gone")
	require.False(t, s.e.Knows(&s.flow))
}

// A SYN that would open a connection anew ends TIME-WAIT when its listener is not ours.
func TestClaimsGivesUpTimeWait(t *testing.T) {
	s := newScript(t, nil)
	l := s.listen(8, SocketOptions{})
	s.in(wire.SYN, 0, 0, 0)
	s.iss = s.segs[0].Seq
	s.in(wire.ACK, 1, 0, 1)
	s.h = s.action(ActPassEstablished).Handle
	s.close()
	s.in(wire.ACK|wire.FIN, 1, 0, 2)
	require.True(t, s.claims(wire.SYN, 100_000, 0, 0), "it is ours with our listener")
	require.Equal(t, 1, s.e.TimeWaits())
	require.Equal(t, CallOK, s.call(Call{Kind: CallUnlisten, Listener: l}))
	require.False(t, s.claims(wire.SYN, 100_000, 0, 0))
	require.Zero(t, s.e.TimeWaits())
}

// A SYN-ACK of a new incarnation answers a SYN of the other stack; one of the old incarnation does not.
func TestClaimsGivesUpTimeWaitForAnOpenElsewhere(t *testing.T) {
	s := newScript(t, nil)
	s.passive(0, SocketOptions{})
	s.close()
	s.in(wire.ACK|wire.FIN, 1, 0, 2)
	s.state(StateTimeWait)
	require.True(t, s.claims(wire.SYN|wire.ACK, 0, 0, 1), "an old duplicate")
	require.Equal(t, 1, s.e.TimeWaits())
	require.False(t, s.claims(wire.SYN|wire.ACK, 100_000, 0, 1))
	require.Zero(t, s.e.TimeWaits())
}

// An ACK is claimed when it answers a cookie that is still good.
func TestClaimsCookies(t *testing.T) {
	s := newScript(t, func(c *Config) { c.Tunables.SynCookies = SynCookiesAlways })
	s.listen(8, SocketOptions{})
	require.False(t, s.claims(wire.ACK, 1, 0, 1), "no cookie was sent")
	s.now = vtime.Time(100 * cookiePeriod).Add(2 * sec)
	s.cookieFor()
	require.True(t, s.claims(wire.ACK, 1, 0, 1))
	require.True(t, s.claims(wire.ACK|wire.PSH, 1, 10, 1))
	require.False(t, s.claims(wire.ACK, 1, 0, 500))
	require.False(t, s.claims(wire.RST|wire.ACK, 1, 0, 1))
	require.False(t, s.claims(wire.SYN|wire.ACK, 1, 0, 1))
	require.Zero(t, s.e.MIB().SyncookiesFailed)
	require.Equal(t, DropNone, s.in(wire.ACK, 1, 0, 1))
	s.action(ActPassEstablished)
	s.flow.RemotePort++
	require.False(t, s.claims(wire.ACK, 1, 0, 1), "another flow")
	s.flow.RemotePort--
	s.now = s.now.Add(3 * cookiePeriod)
	require.True(t, s.claims(wire.ACK, 1, 0, 1), "a connection by now")
}

// SYNs that find the connection table full are the other stack's.
func TestClaimsWithoutRoom(t *testing.T) {
	s := newScript(t, nil)
	s.listen(100, SocketOptions{})
	for range 8 {
		require.True(t, s.claims(wire.SYN, 0, 0, 0))
		s.in(wire.SYN, 0, 0, 0)
		s.iss = s.segs[len(s.segs)-1].Seq
		require.Equal(t, DropNone, s.in(wire.ACK, 1, 0, 1))
		s.flow.RemotePort++
	}
	require.False(t, s.claims(wire.SYN, 0, 0, 0))
	s.flow.RemotePort--
	require.Equal(t, DropNone, s.in(wire.RST, 1, 0, 0))
	s.flow.RemotePort++
	require.True(t, s.claims(wire.SYN, 0, 0, 0))
}

// Nor does TIME-WAIT keep a SYN that opens the connection anew when there is no room for it.
func TestClaimsGivesUpTimeWaitWithoutRoom(t *testing.T) {
	s := newScript(t, nil)
	s.listen(100, SocketOptions{})
	opens := func() {
		s.in(wire.SYN, 0, 0, 0)
		s.iss = s.segs[len(s.segs)-1].Seq
		require.Equal(t, DropNone, s.in(wire.ACK, 1, 0, 1))
		s.h = s.action(ActPassEstablished).Handle
	}
	opens()
	s.close()
	s.in(wire.ACK|wire.FIN, 1, 0, 2)
	require.Equal(t, 1, s.e.TimeWaits())
	first := s.flow
	for range 8 {
		s.flow.RemotePort++
		opens()
	}
	s.flow = first
	require.True(t, s.claims(wire.SYN, 0, 0, 0), "an old SYN")
	require.False(t, s.claims(wire.SYN, 100_000, 0, 0))
	require.Zero(t, s.e.TimeWaits())
}

// A SYN is the other stack's when the owner has no room for its connection, also one that opens a connection
// in TIME-WAIT anew; without another stack it is dropped. What is under way goes on.
func TestNoRoom(t *testing.T) {
	s := newScript(t, nil)
	s.listen(100, SocketOptions{})
	g := s.seg(wire.SYN, 0, 0, 0)
	g.NoRoom = true
	require.False(t, s.e.Claims(s.now, &g))
	require.Equal(t, DropNoRoom, s.inject(g))
	s.quiet()
	require.Zero(t, s.e.HalfOpens())
	require.EqualValues(t, 1, s.e.MIB().ListenDrops)

	s.in(wire.SYN, 0, 0, 0)
	s.iss = s.segs[0].Seq
	require.True(t, s.e.Claims(s.now, &g), "half-open")
	require.Equal(t, DropNone, s.inject(g))
	s.in(wire.ACK, 1, 0, 1)
	s.h = s.action(ActPassEstablished).Handle
	s.close()
	s.in(wire.ACK|wire.FIN, 1, 0, 2)
	require.Equal(t, 1, s.e.TimeWaits())
	g = s.seg(wire.SYN, 100_000, 0, 0)
	g.NoRoom = true
	require.Equal(t, DropNoRoom, s.inject(g))
	require.Equal(t, 1, s.e.TimeWaits(), "it is dropped, and comes again")
	require.False(t, s.e.Claims(s.now, &g))
	require.Zero(t, s.e.TimeWaits())
}

// The owner is asked about SYNs that open connections, and about nothing else.
func TestAsks(t *testing.T) {
	s := newScript(t, nil)
	asks := func(flags wire.Flags, sq uint32) (int, bool) {
		g := s.seg(flags, sq, 0, 0)
		_, n, ok := s.e.Asks(&g)
		return n, ok
	}
	_, ok := asks(wire.SYN, 0)
	require.False(t, ok, "nobody listens")
	s.listen(8, SocketOptions{})
	_, ok = asks(wire.ACK, 0)
	require.False(t, ok)
	n, ok := asks(wire.SYN|wire.ECE|wire.CWR, 0)
	require.True(t, ok)
	require.Zero(t, n)
	s.in(wire.SYN, 0, 0, 0)
	_, ok = asks(wire.SYN, 0)
	require.False(t, ok, "half-open")
	s.flow.RemotePort++
	n, ok = asks(wire.SYN, 0)
	require.True(t, ok)
	require.Equal(t, 1, n)
	s.flow.RemotePort--
	s.iss = s.segs[0].Seq
	s.in(wire.ACK, 1, 0, 1)
	s.h = s.action(ActPassEstablished).Handle
	_, ok = asks(wire.SYN, 0)
	require.False(t, ok, "established")
	s.close()
	s.in(wire.ACK|wire.FIN, 1, 0, 2)
	_, ok = asks(wire.SYN, 0)
	require.False(t, ok, "an old SYN in TIME-WAIT")
	_, ok = asks(wire.SYN, 100_000)
	require.True(t, ok)
}
