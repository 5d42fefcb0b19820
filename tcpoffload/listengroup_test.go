package tcpoffload

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// join adds a listener of a group to the flow's port, and demands the result.
func (s *script) join(want CallResult, group, cookie uint64, local wire.Addr, v6only bool) ListenerID {
	s.t.Helper()
	c := Call{
		Kind: CallListen, Flow: wire.Flow{Local: local, LocalPort: s.flow.LocalPort}, V6Only: v6only,
		Value: 1 << 20, Group: group, Cookie: cookie,
	}
	require.Equal(s.t, want, s.e.Call(s.now, &c, s.out))
	return c.Listener
}

// opensTo completes a handshake from the given port and returns the cookie of the listener that has it.
func (s *script) opensTo(port uint16) uint64 {
	s.t.Helper()
	s.flow.RemotePort = port
	s.segs, s.acts = s.segs[:0], s.acts[:0]
	require.Equal(s.t, DropNone, s.in(wire.SYN, 0, 0, 0))
	s.iss = s.segs[0].Seq
	require.Equal(s.t, DropNone, s.in(wire.ACK, 1, 0, 1))
	a := s.action(ActPassEstablished)
	s.h = a.Handle
	require.Equal(s.t, CallOK, s.call(Call{Kind: CallAbort}))
	return a.Listener
}

// Only those of one group share; an address without its family's wildcard is another place.
func TestListenGroupsShare(t *testing.T) {
	any4, one := wire.AddrFrom4([4]byte{}), wire.AddrFrom4([4]byte{192, 0, 2, 1})
	s := newScript(t, func(c *Config) { c.Memory = NewMemory(8, 16) })
	s.join(CallOK, 7, 1, any4, false)
	s.join(CallOK, 7, 2, any4, false)
	s.join(CallInUse, 8, 3, any4, false)
	s.join(CallInUse, 0, 3, any4, false)
	s.join(CallOK, 0, 3, one, false)
	s.join(CallInUse, 0, 4, one, false)
	s.join(CallInUse, 0, 4, one, true) // an address says its family by itself
	s.join(CallInUse, 7, 4, one, false)
	s.join(CallOK, 9, 4, wire.Addr{}, false)
	s.join(CallOK, 9, 5, wire.Addr{}, true)
	s.join(CallOK, 9, 6, wire.Addr{}, true)
	s.join(CallInUse, 7, 7, wire.Addr{}, true)
}

// A group has so many members and no more.
func TestListenGroupIsBounded(t *testing.T) {
	s := newScript(t, func(c *Config) { c.Memory = NewMemory(8, MaxListenerGroup+8) })
	var last ListenerID
	for i := range uint64(MaxListenerGroup) {
		last = s.join(CallOK, 7, i, wire.Addr{}, false)
	}
	s.join(CallTableFull, 7, 0, wire.Addr{}, false)
	require.Equal(t, CallOK, s.call(Call{Kind: CallUnlisten, Listener: last}))
	s.join(CallOK, 7, 0, wire.Addr{}, false)
}

// Flows are spread over a group evenly, and each flow always finds the same member. Who is paused or leaves
// gives his flows to the others, who keep theirs; who joins takes his part from all of them.
func TestListenGroupSpreads(t *testing.T) {
	const flows, members = 4000, 4
	s := newScript(t, func(c *Config) { c.Memory = NewMemory(8, 16) })
	one := s.flow.Local
	var id [members + 1]ListenerID
	for i := range uint64(members) {
		id[i] = s.join(CallOK, 7, i, one, false)
	}
	s.join(CallOK, 7, 99, wire.AddrFrom4([4]byte{}), false)
	spread := func(n int) (to [flows]uint64) {
		count := map[uint64]int{}
		for i := range to {
			to[i] = s.opensTo(uint16(10_000 + i))
			count[to[i]]++
		}
		require.Len(t, count, n, "the wildcard is passed over")
		for m, c := range count {
			require.InDelta(t, flows/n, c, 0.15*flows/float64(n), "member %d", m)
		}
		return to
	}
	all := spread(members)
	require.Equal(t, all, spread(members))

	s.ok(s.call(Call{Kind: CallSetOption, Listener: id[1], Option: OptionPause, Value: 1}))
	paused := spread(members - 1)
	s.ok(s.call(Call{Kind: CallSetOption, Listener: id[1], Option: OptionPause}))
	require.Equal(t, all, spread(members))
	s.ok(s.call(Call{Kind: CallUnlisten, Listener: id[1]}))
	require.Equal(t, paused, spread(members-1))
	for i := range all {
		if all[i] != 1 {
			require.Equal(t, all[i], paused[i], "a flow of another member moved")
		}
	}
	s.join(CallOK, 7, 50, one, false)
	for i, m := range spread(members) {
		if m != 50 {
			require.Equal(t, paused[i], m, "a flow moved to another old member")
		}
	}
}

// A half-open connection belongs to the member that answered the SYN, whoever joins; it ends with it.
func TestListenGroupHalfOpen(t *testing.T) {
	s := newScript(t, func(c *Config) { c.Memory = NewMemory(8, 64) })
	first := s.join(CallOK, 7, 1, wire.Addr{}, false)
	s.in(wire.SYN, 0, 0, 0)
	s.iss = s.segs[0].Seq
	s.skip()
	for i := range uint64(30) {
		s.join(CallOK, 7, 2+i, wire.Addr{}, false)
	}
	s.in(wire.ACK, 1, 0, 1)
	require.EqualValues(t, 1, s.action(ActPassEstablished).Listener)

	for port := uint16(5000); ; port++ {
		s.flow.RemotePort = port
		if s.e.findListener(&s.flow) == uint32(first) {
			break
		}
	}
	s.in(wire.SYN, 0, 0, 0)
	s.iss = s.segs[0].Seq
	s.skip()
	s.ok(s.call(Call{Kind: CallUnlisten, Listener: first}))
	s.expect(wire.RST|wire.ACK, 1, 0, 1)
	require.Equal(t, DropListenAck, s.in(wire.ACK, 1, 0, 1))
}

// A SYN cookie is good for the member that the flow has now, whoever sent it.
func TestListenGroupCookies(t *testing.T) {
	s := newScript(t, func(c *Config) {
		c.Memory = NewMemory(8, 64)
		c.Tunables.SynCookies = SynCookiesAlways
	})
	s.now = vtime.Time(100 * cookiePeriod)
	first := s.join(CallOK, 7, 1, wire.Addr{}, false)
	s.in(wire.SYN, 0, 0, 0)
	s.iss = s.segs[0].Seq
	s.skip()
	s.join(CallOK, 7, 2, wire.Addr{}, false)
	s.ok(s.call(Call{Kind: CallUnlisten, Listener: first}))
	require.True(t, s.claims(wire.ACK, 1, 0, 1))
	require.Equal(t, DropNone, s.in(wire.ACK, 1, 0, 1))
	require.EqualValues(t, 2, s.action(ActPassEstablished).Listener)

	// And of one who joined before the cookie was sent.
	third := s.join(CallOK, 7, 3, wire.Addr{}, false)
	for s.flow.RemotePort++; s.e.findListener(&s.flow) != uint32(third); s.flow.RemotePort++ {
	}
	s.in(wire.SYN, 0, 0, 0)
	s.iss = s.segs[0].Seq
	s.skip()
	s.ok(s.call(Call{Kind: CallUnlisten, Listener: third}))
	require.Equal(t, DropNone, s.in(wire.ACK, 1, 0, 1))
	require.EqualValues(t, 2, s.action(ActPassEstablished).Listener)
}
