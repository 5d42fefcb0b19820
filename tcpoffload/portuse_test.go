package tcpoffload

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/wire"
)

// countingUse makes the engine count the use of ports in use.
func countingUse(use []uint32) func(*Config) { return func(c *Config) { c.PortUse = use } }

func TestPortUse(t *testing.T) {
	use := make([]uint32, NumPorts)
	for i := range use {
		use[i] = 9 // what another engine left
	}
	s := newScript(t, countingUse(use))
	require.Zero(t, use[80])
	s.listen(8, SocketOptions{})
	require.Zero(t, use[80], "a listener is no connection")

	s.in(wire.SYN, 0, 0, 0)
	require.EqualValues(t, 1, use[80], "half-open")
	s.iss = s.segs[0].Seq
	s.in(wire.ACK, 1, 0, 1)
	s.h = s.action(ActPassEstablished).Handle
	require.EqualValues(t, 1, use[80])

	s.flow.RemotePort++
	s.in(wire.SYN, 0, 0, 0)
	require.EqualValues(t, 2, use[80])
	s.flow.RemotePort--

	s.close()
	s.in(wire.ACK|wire.FIN, 1, 0, 2)
	s.state(StateTimeWait)
	require.EqualValues(t, 2, use[80], "in TIME-WAIT")
	s.wait(1000 * sec)
	require.Zero(t, use[80], "the one is gone, the other one was given up")
}

func TestPortUseOfActiveOpens(t *testing.T) {
	use := make([]uint32, NumPorts)
	s := newScript(t, countingUse(use))
	s.flow.LocalPort = 0
	c := Call{Kind: CallOpen, Flow: s.flow, Cookie: 1}
	require.Equal(t, CallOK, s.e.Call(s.now, &c, s.out))
	require.EqualValues(t, 1, use[c.Flow.LocalPort])
	s.call(Call{Kind: CallAbort, Handle: c.Handle})
	require.Zero(t, use[c.Flow.LocalPort])
}

// A full table is told; what does not fit may then be left to somebody else.
func TestPortUseTellsOfAFullTable(t *testing.T) {
	use := make([]uint32, NumPorts)
	memory := NewMemory(2, 4)
	s := newScript(t, func(c *Config) { c.PortUse, c.Memory = use, memory })
	s.flow.LocalPort = 0
	open := func() Handle {
		c := Call{Kind: CallOpen, Flow: s.flow, Cookie: 1}
		require.Equal(t, CallOK, s.e.Call(s.now, &c, s.out))
		return c.Handle
	}
	open()
	require.Zero(t, use[0])
	last := open()
	require.EqualValues(t, 1, use[0])
	clear(use)
	_, err := New(Config{Memory: memory, Tunables: DefaultTunables(), PortUse: use})
	require.NoError(t, err)
	require.EqualValues(t, 1, use[0])
	s.call(Call{Kind: CallAbort, Handle: last})
	require.Zero(t, use[0])
}

func TestPortUseOfAdoptedMemory(t *testing.T) {
	memory := NewMemory(8, 4)
	s := newScript(t, func(c *Config) { c.Memory = memory })
	s.passive(wire.OptMSS, SocketOptions{})
	s.flow.RemotePort++
	s.in(wire.SYN, 0, 0, 0) // half-open
	s.close()
	s.flow.RemotePort--
	s.in(wire.ACK|wire.FIN, 1, 0, 2) // the first: TIME-WAIT

	use := make([]uint32, NumPorts)
	_, err := New(Config{Memory: memory, Tunables: DefaultTunables(), PortUse: use})
	require.NoError(t, err)
	require.EqualValues(t, 2, use[80])
}

func TestPortUseIsOfAllPorts(t *testing.T) {
	_, err := New(Config{Memory: NewMemory(8, 4), Tunables: DefaultTunables(), PortUse: make([]uint32, 80)})
	require.ErrorIs(t, err, ErrConfig)
}
