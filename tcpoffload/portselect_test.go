package tcpoffload

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/wire"
)

// connect opens a connection from a port of the engine's choice and returns it.
func (s *script) connect(remote byte, port uint16) uint16 {
	c := Call{Kind: CallOpen, Flow: wire.Flow{
		Local: s.flow.Local, Remote: wire.AddrFrom4([4]byte{192, 0, 2, remote}), RemotePort: port,
	}}
	s.ok(s.e.Call(s.now, &c, s.out))
	s.skip()
	var info Info
	require.True(s.t, s.e.Info(c.Handle, s.now, &info))
	require.Equal(s.t, info.Flow.LocalPort, c.Flow.LocalPort, "the caller is told")
	return c.Flow.LocalPort
}

// RFC 6056 §3.3.4: ports to one destination follow each other, others begin elsewhere, and another key
// begins elsewhere, too.
func TestPortSelection(t *testing.T) {
	room := func(key byte) func(*Config) {
		return func(c *Config) { c.Memory, c.ISNKey = NewMemory(1000, 1), [16]byte{key} }
	}
	s, other := newScript(t, room(1)), newScript(t, room(2))
	first := s.connect(7, 80)
	for i := range uint16(100) {
		require.Equal(t, first+1+i, s.connect(7, 80))
	}
	require.NotEqual(t, first, other.connect(7, 80))
	starts := map[uint16]bool{}
	for i := range byte(50) {
		p := s.connect(100+i, 80)
		require.GreaterOrEqual(t, p, uint16(ephemeralFirst))
		require.LessOrEqual(t, p, uint16(ephemeralLast))
		starts[p] = true
	}
	require.Greater(t, len(starts), 45)
	require.NotEqual(t, s.connect(200, 80), s.connect(200, 81)-1, "the port counts, too")
}

// A port that is taken, listened on or in TIME-WAIT is passed over.
func TestPortSelectionPassesOver(t *testing.T) {
	s := newScript(t, nil)
	p := s.connect(7, 80)
	s.flow.LocalPort = p + 1
	s.listen(1, SocketOptions{})
	s.flow.Remote, s.flow.RemotePort, s.flow.LocalPort = wire.AddrFrom4([4]byte{192, 0, 2, 7}), 80, p+2
	s.ok(s.call(Call{Kind: CallOpen, Flow: s.flow}))
	s.iss, s.h = s.segs[len(s.segs)-1].Seq, s.entry()
	s.in(wire.SYN|wire.ACK, 0, 0, 1)
	s.close()
	s.in(wire.ACK|wire.FIN, 1, 0, 2)
	s.state(StateTimeWait)
	require.Equal(t, p+3, s.connect(7, 80))
}
