package tcpoffload

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/wire"
)

// border queues octets up to end, a border.
func (s *script) border(end uint64) { s.ok(s.call(Call{Kind: CallSend, Pos: end, Border: true})) }

// queuedBorders connects and queues what ends at the given borders while the peer's window is shut, so that all
// of it leaves at one instant when it opens.
func queuedBorders(t *testing.T, edit func(*Config), ends ...uint64) *script {
	s := newScript(t, edit)
	s.passive(wire.OptMSS|wire.OptSACKPermitted, SocketOptions{NoDelay: true})
	s.wnd = 0
	s.in(wire.ACK, 1, 0, 1)
	for _, end := range ends {
		s.border(end)
	}
	require.Empty(t, s.segs)
	s.wnd = 65535
	return s
}

func TestBordersCutLossesAndRetransmissions(t *testing.T) {
	const ack, push = wire.ACK, wire.ACK | wire.PSH
	s := queuedBorders(t, nil, 100, 200, 2000, 2100)
	s.send(2100 + 4*mss)
	pieces := func() {
		s.expect(push, 1, 100, 1)
		s.expect(push, 101, 100, 1)
		s.expect(ack, 201, mss, 1)
		s.expect(push, 201+mss, 1800-mss, 1)
		s.expect(push, 2001, 100, 1)
	}
	s.in(wire.ACK, 1, 0, 1)
	pieces()
	require.Equal(t, 4, s.skip())
	// All but the last are lost: none of them takes octets of a neighbour along.
	s.wait(15 * ms)
	s.sack(1, 1, 2101, 2101+4*mss)
	s.wait(50 * ms)
	pieces()
	s.expect(push, 1, 100, 1) // the loss probe of a recovery
	s.quiet()
	// Neither do they after a timeout.
	s.wait(200 * ms)
	s.expect(push, 1, 100, 1)
	s.expect(push, 101, 100, 1)
	s.expect(ack, 201, mss, 1)
	s.quiet()
}

// TestBorderIsNotHeld: what lies before a border goes as soon as there is more; the loss probe takes new
// octets only up to one.
func TestBorderIsNotHeld(t *testing.T) {
	s := newScript(t, func(c *Config) { c.Tunables.InitCwnd = 2 })
	s.passive(wire.OptMSS|wire.OptSACKPermitted, SocketOptions{})
	s.send(2 * mss)
	require.Equal(t, 2, s.skip())
	s.border(2*mss + 10)
	s.send(2*mss + 20)
	s.quiet() // the congestion window is full
	s.wait(25 * ms)
	s.expect(wire.ACK|wire.PSH, 1+2*mss, 10, 1)
	s.quiet()
	s.in(wire.ACK, 1, 0, 1+2*mss)
	s.quiet() // the last is partial, and one partial segment is in flight
	s.border(2*mss + 30)
	s.send(2*mss + 40)
	s.expect(wire.ACK|wire.PSH, 11+2*mss, 20, 1)
	s.quiet()
}

// TestBorderOfNothing: a send that adds no octets has no border.
func TestBorderOfNothing(t *testing.T) {
	s := queuedBorders(t, nil, 100, 100)
	s.border(100)
	s.send(mss)
	s.in(wire.ACK, 1, 0, 1)
	s.expect(wire.ACK|wire.PSH, 1, 100, 1)
	s.expect(wire.ACK|wire.PSH, 101, mss-100, 1)
}

// TestBordersFillThePool: borders beyond what the pool takes are forgotten and counted, octets are not, and
// the pool is whole afterwards.
func TestBordersFillThePool(t *testing.T) {
	const ranges = 40
	s := newScript(t, func(c *Config) { c.Memory = NewMemoryOf(Sizes{Conns: 1, Listeners: 1, Ranges: ranges}) })
	s.passive(wire.OptMSS|wire.OptSACKPermitted, SocketOptions{NoDelay: true})
	s.wnd = 0
	s.in(wire.ACK, 1, 0, 1)
	for i := range uint64(100) {
		s.border(10 * (i + 1))
	}
	kept := s.e.find(s.h).borders.n
	require.Greater(t, kept, uint32(ranges/2))
	require.EqualValues(t, 100-kept, s.e.MIB().BordersForgotten)
	s.wnd = 65535
	s.in(wire.ACK, 1, 0, 1)
	for i := range kept {
		s.expect(wire.ACK|wire.PSH, 1+10*i, 10, 1)
	}
	s.expect(wire.ACK|wire.PSH, 1+10*kept, 10*(100-kept), 1)
	require.Zero(t, s.e.find(s.h).borders.n)
	s.in(wire.ACK, 1, 0, 1001)
	require.Equal(t, s.e.root.freshRange-1, s.e.root.freedRanges, "all are given back")
}

// TestBordersGoWithTheConnection: a connection that ends gives its borders back.
func TestBordersGoWithTheConnection(t *testing.T) {
	s := queuedBorders(t, nil, 10, 20, 30)
	require.Equal(t, CallOK, s.call(Call{Kind: CallAbort}))
	require.Equal(t, s.e.root.freshRange-1, s.e.root.freedRanges)
}
