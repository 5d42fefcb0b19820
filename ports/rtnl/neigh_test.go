package rtnl

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"opentoe/ports"
	"opentoe/tcpoffload/wire"
)

func (l *lab) neighbour(a wire.Addr) ports.NeighbourInfo {
	for _, n := range l.port.Neighbours(monotonic()) {
		if n.Addr == a {
			return n
		}
	}
	return ports.NeighbourInfo{}
}

// becomes waits until neighbour a is in one of the states.
func (l *lab) becomes(a string, states ...ports.State) {
	l.Helper()
	require.Eventually(l, func() bool {
		for _, s := range states {
			if l.neighbour(addr(a)).State == s {
				return true
			}
		}
		return false
	}, patience, time.Millisecond, "%s should become %v, is %v", a, states, l.neighbour(addr(a)))
}

// The kernel resolves for us, fails for us, and follows its administrator.
func TestResolve(t *testing.T) {
	l := newLab(t, nil)
	l.address(l.near, "toe", "10.99.0.1/24")
	l.address(l.near, "toe", "fd99::1/64")
	l.address(l.far, "far", "10.99.0.2/24")
	l.address(l.far, "far", "fd99::2/64")
	l.leads("fd99::2", "fd99::2")
	l.leads("10.99.0.2", "10.99.0.2")
	farMAC := wire.MAC{2, 0, 0, 0, 0, 2}
	h := l.port.Host(0)
	for _, a := range []string{"10.99.0.2", "fd99::2"} {
		_, ok := h.Neighbour(addr(a))
		require.True(t, ok)
		// IPv6 may have to wait until the interface has an address of its own to ask from.
		require.Eventually(t, func() bool {
			if s := l.neighbour(addr(a)).State; s == ports.StateFailed || s == ports.StateNone {
				l.k.Resolve(l.port, addr(a))
			}
			return l.neighbour(addr(a)).State == ports.StateReachable
		}, patience, 10*time.Millisecond, "%s: %v", a, l.neighbour(addr(a)))
		require.Equal(t, farMAC, l.neighbour(addr(a)).MAC)
	}

	// Nobody there: the kernel gives up after its three probes.
	_, ok := h.Neighbour(addr("10.99.0.66"))
	require.True(t, ok)
	l.k.Resolve(l.port, addr("10.99.0.66"))
	l.becomes("10.99.0.66", ports.StateFailed)
	require.Eventually(t, func() bool {
		n := l.k.look(l.port.View().Index, addr("10.99.0.66"))
		return n != nil && n.State == netlink.NUD_FAILED
	}, patience, time.Millisecond)

	// Changed, deleted and permanent ones.
	index := l.link(l.near, "toe").Attrs().Index
	other := net.HardwareAddr{2, 0, 0, 0, 0, 7}
	n := &netlink.Neigh{LinkIndex: index, IP: net.IPv4(10, 99, 0, 2), HardwareAddr: other, State: netlink.NUD_STALE}
	require.NoError(t, l.near.NeighSet(n))
	require.Eventually(t, func() bool { // stale it may have become by itself
		is := l.neighbour(addr("10.99.0.2"))
		return is.State == ports.StateStale && is.MAC == wire.MAC(other)
	}, patience, time.Millisecond)
	n.State = netlink.NUD_PERMANENT
	require.NoError(t, l.near.NeighSet(n))
	l.becomes("10.99.0.2", ports.StatePermanent)
	before := l.k.Counters()[CountResolves]
	l.k.Resolve(l.port, addr("10.99.0.2"))
	require.Eventually(t, func() bool { return l.k.Counters()[CountResolves] > before && len(l.k.requests.queue) == 0 }, patience, time.Millisecond)
	require.Equal(t, netlink.NUD_PERMANENT, l.k.look(index, addr("10.99.0.2")).State, "it was made an ordinary one")
	require.NoError(t, l.near.NeighDel(n))
	l.becomes("10.99.0.2", ports.StateNone, ports.StateFailed)
}

// What the kernel knew before anybody asked is known, and forward progress is told to it.
func TestConfirm(t *testing.T) {
	l := newLab(t, nil)
	l.address(l.near, "toe", "10.99.0.1/24")
	index := l.link(l.near, "toe").Attrs().Index
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 2}
	require.NoError(t, l.near.NeighSet(&netlink.Neigh{LinkIndex: index, IP: net.IPv4(10, 99, 0, 2), HardwareAddr: mac, State: netlink.NUD_STALE}))
	l.becomes("10.99.0.2", ports.StateStale)
	idx, ok := l.port.Host(0).Neighbour(addr("10.99.0.2"))
	require.True(t, ok)
	l.port.Host(0).Confirm(monotonic(), idx)
	require.Eventually(t, func() bool { return l.k.look(index, addr("10.99.0.2")).State == netlink.NUD_REACHABLE }, patience, time.Millisecond)
	require.Equal(t, mac, l.k.look(index, addr("10.99.0.2")).HardwareAddr)
	l.becomes("10.99.0.2", ports.StateReachable)
	l.port.Host(0).Confirm(monotonic(), idx)
	require.EqualValues(t, 1, l.k.Counters()[CountConfirms], "once in a while is enough")
	require.Zero(t, l.k.Counters()[CountConfirmErrors])
}

// Every request waits once, and when no more fit they are counted.
func TestRequestsAreBounded(t *testing.T) {
	var r requests
	r.queue, r.waiting = make(chan request, 2), map[request]struct{}{}
	a, b, c := request{addr: addr("10.0.0.1")}, request{addr: addr("10.0.0.2")}, request{addr: addr("10.0.0.3")}
	require.True(t, r.put(a))
	require.True(t, r.put(a))
	require.True(t, r.put(b))
	require.False(t, r.put(c))
	require.Len(t, r.queue, 2)
	r.taken(<-r.queue)
	require.True(t, r.put(c))
	require.True(t, r.put(b))
}
