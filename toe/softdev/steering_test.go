package softdev

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/ports"
	"opentoe/tcpoffload"
	"opentoe/tcpoffload/wire"
	"opentoe/toe"
)

// fakeSteering records what it is told.
type fakeSteering struct {
	told []string
	full bool
}

func (s *fakeSteering) Listen(addr wire.Addr, v4, v6 bool, port uint16, on bool) error {
	if s.full && on {
		return ports.ErrTableFull
	}
	s.told = append(s.told, fmt.Sprintf("%v v4 %v v6 %v port %d %v", addr.IsUnspecified(), v4, v6, port, on))
	return nil
}

func (s *fakeSteering) take() (told []string) {
	told, s.told = s.told, nil
	return told
}

func TestSteeringIsToldOfListeners(t *testing.T) {
	q, _ := newMemWire(t, 256, false)
	steering := &fakeSteering{}
	use := make([]uint32, tcpoffload.NumPorts)
	d, err := New(Config{
		Name:     "toe0",
		Ports:    []PortQueues{{Port: testPort(t, 0, true), Queues: []ports.Queue{q}, Steering: steering}},
		MaxConns: 4, MaxListeners: 2, Tunables: tcpoffload.DefaultTunables(), PortUse: [][]uint32{use},
	})
	require.NoError(t, err)
	u := &fakeUpper{dev: d, rcvbuf: 1 << 16, sndbuf: 1 << 16}
	require.NoError(t, d.Attach(u))

	own := wire.AddrFrom(addr4[0])
	require.Equal(t, toe.Offloaded, d.ListenStart(&toe.Listener{ID: 1, Port: 80}))
	require.Equal(t, toe.Offloaded, d.ListenStart(&toe.Listener{ID: 2, Port: 81, Addr: own}))
	require.Equal(t, []string{"true v4 true v6 false port 80 true", "false v4 true v6 false port 81 true"}, steering.take())
	require.NotEqual(t, toe.Offloaded, d.ListenStart(&toe.Listener{ID: 3, Port: 82}), "the table is full")
	require.Empty(t, steering.take())
	d.ListenStop(2)
	d.ListenStop(2)
	d.ListenStop(77)
	require.Equal(t, []string{"false v4 true v6 false port 81 false"}, steering.take())
	steering.full = true
	require.Equal(t, toe.ReasonSteering, d.ListenStart(&toe.Listener{ID: 3, Port: 82, Addr: own}))
	require.Empty(t, steering.take(), "what was not taken is not taken back")
	require.Error(t, d.ListenOption(3, toe.OptionPause, 1), "the workers do not listen")
	steering.full = false
	require.Equal(t, toe.Offloaded, d.ListenStart(&toe.Listener{ID: 4, Port: 83, V6: true}))
	d.ListenStop(4)
	require.Equal(t, toe.Offloaded, d.ListenStart(&toe.Listener{ID: 5, Port: 84, V6: true, V6Only: true}))
	require.Equal(t, []string{
		"true v4 true v6 true port 83 true", "true v4 true v6 true port 83 false", "true v4 false v6 true port 84 true",
	}, steering.take())

	for range 2 {
		require.NoError(t, d.ListenOption(5, toe.OptionPause, 1))
	}
	require.Equal(t, []string{"true v4 false v6 true port 84 false"}, steering.take())
	for range 2 {
		require.NoError(t, d.ListenOption(5, toe.OptionPause, 0))
	}
	require.Equal(t, []string{"true v4 false v6 true port 84 true"}, steering.take())
	require.NoError(t, d.ListenOption(5, toe.OptionPause, 1))
	steering.take()
	steering.full = true
	require.NoError(t, d.ListenOption(5, toe.OptionPause, 0))
	steering.full = false
	d.ListenStop(5)
	require.Empty(t, steering.take(), "it was told already")
	require.Equal(t, toe.Offloaded, d.ListenStart(&toe.Listener{ID: 5, Port: 84, V6: true, V6Only: true}))
	steering.take()

	require.NoError(t, d.Detach())
	left := steering.take()
	slices.Sort(left)
	require.Equal(t, []string{"true v4 false v6 true port 84 false", "true v4 true v6 false port 80 false"}, left)
	require.NoError(t, d.Close())
}

// A worker's engine counts the use of ports in the memory of the configuration.
func TestPortUseIsOfTheWorker(t *testing.T) {
	q, _ := newMemWire(t, 256, false)
	use := make([]uint32, tcpoffload.NumPorts)
	d, err := New(Config{
		Name: "toe0", Ports: []PortQueues{{Port: testPort(t, 0, true), Queues: []ports.Queue{q}}},
		MaxConns: 4, MaxListeners: 2, Tunables: tcpoffload.DefaultTunables(), PortUse: [][]uint32{use},
	})
	require.NoError(t, err)
	d.workers[0].up = &fakeUpper{dev: d}
	flow := wire.Flow{Local: wire.AddrFrom(addr4[0]), LocalPort: 4444, Remote: wire.AddrFrom(addr4[1]), RemotePort: 80}
	tid, reason := d.Connect(0, &toe.ConnectRequest{Flow: flow, Sock: 1})
	require.Equal(t, toe.Offloaded, reason)
	require.EqualValues(t, 1, use[4444])
	d.SendRST(tid)
	require.Zero(t, use[4444])
	require.NoError(t, d.Close())
}
