package ports_test

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/ports"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// fakeKernel is a control plane that records what it is asked.
type fakeKernel struct {
	resolved, confirmed []wire.Addr
	hops                map[wire.Addr]ports.Hop // by destination
	known               bool                    // Known answers
	lookups             int
}

func (k *fakeKernel) Resolve(_ *ports.Port, a wire.Addr) { k.resolved = append(k.resolved, a) }
func (k *fakeKernel) Confirm(_ *ports.Port, a wire.Addr) { k.confirmed = append(k.confirmed, a) }

func (k *fakeKernel) Lookup(dst, _ wire.Addr) (ports.Hop, error) {
	k.lookups++
	if h, ok := k.hops[dst]; ok {
		return h, nil
	}
	return ports.Hop{}, errors.New("no route")
}

func (k *fakeKernel) Known(dst, src wire.Addr) (h ports.Hop, err error, ok bool) {
	if !k.known {
		return h, nil, false
	}
	h, err = k.Lookup(dst, src)
	return h, err, true
}

func newControlled(t *testing.T) (*bench, *fakeKernel) {
	k := &fakeKernel{hops: map[wire.Addr]ports.Hop{}}
	b := newBench(t, func(c *ports.Config) { c.Control = k })
	v := b.port.View()
	v.Index = 7
	require.NoError(t, b.port.Apply(v))
	return b, k
}

// Frames wait for the kernel's answer; the port asks nobody else.
func TestKernelResolves(t *testing.T) {
	b, k := newControlled(t)
	idx := b.hop(peer4)
	require.Empty(t, b.send(idx, peer4, "one"))
	require.Empty(t, b.send(idx, peer4, "two"))
	sent, failed := b.expire(0)
	require.Empty(t, sent, "no ARP")
	require.Empty(t, failed)
	require.Equal(t, []wire.Addr{peer4}, k.resolved)
	sent, _ = b.expire(vtime.Second)
	require.Empty(t, sent)
	require.Len(t, k.resolved, 2, "asked again")

	b.port.FollowNeighbour(b.now, peer4, peerMAC, ports.StateReachable)
	sent, _ = b.expire(vtime.Millisecond)
	require.Len(t, sent, 2)
	require.Equal(t, peerMAC[:], sent[0][:6])

	// Another address: one entry changes. REACHABLE for ever, until the kernel says otherwise.
	b.port.FollowNeighbour(b.now, peer4, otherMAC, ports.StateReachable)
	b.expire(vtime.Minute)
	require.Equal(t, otherMAC[:], b.send(idx, peer4, "three")[0][:6])
	require.Len(t, k.resolved, 2)
	b.port.FollowNeighbour(b.now, peer4, otherMAC, ports.StateStale)
	require.Len(t, b.send(idx, peer4, "four"), 1)
	require.Len(t, b.send(idx, peer4, "five"), 1)
	require.Len(t, k.resolved, 3, "the kernel learns once that a stale neighbour is in use")

	// Deleted, and asked for again, also through the old index.
	b.port.FollowNeighbour(b.now, peer4, wire.MAC{}, ports.StateNone)
	require.Empty(t, b.send(idx, peer4, "six"))
	b.expire(0)
	require.Len(t, k.resolved, 4)
}

// What the kernel gives up is given up here, at once and with the frames; the next frame asks again.
func TestKernelFails(t *testing.T) {
	b, k := newControlled(t)
	idx := b.hop(peer4)
	b.send(idx, peer4, "one")
	b.expire(0)
	b.port.FollowNeighbour(b.now, peer4, wire.MAC{}, ports.StateFailed)
	_, failed := b.expire(vtime.Millisecond)
	require.Equal(t, []uint32{idx}, failed)
	require.EqualValues(t, 1, b.count(ports.CountHeldDropped))
	b.send(idx, peer4, "two")
	b.expire(0)
	require.Len(t, k.resolved, 2, "the kernel remembers no failure")

	// A kernel that never answers is not waited for for ever.
	for failed = nil; len(failed) == 0; {
		_, failed = b.expire(vtime.Second)
	}
	require.Equal(t, []uint32{idx}, failed)
	require.Len(t, k.resolved, 11)
}

// Forward progress is told, not too often; what the port saw itself is not.
func TestKernelIsToldOfProgress(t *testing.T) {
	b, k := newControlled(t)
	b.port.FollowNeighbour(b.now, peer4, peerMAC, ports.StateStale)
	idx := b.hop(peer4)
	b.host.Confirm(b.now, idx)
	require.Equal(t, []wire.Addr{peer4}, k.confirmed)
	require.Equal(t, ports.StateReachable, b.state(peer4))
	b.now = b.now.Add(vtime.Second)
	b.host.Confirm(b.now, idx)
	require.Len(t, k.confirmed, 1)
	b.now = b.now.Add(5 * vtime.Second)
	b.host.Confirm(b.now, idx)
	require.Len(t, k.confirmed, 2)
	b.port.FollowNeighbour(b.now, peer4, peerMAC, ports.StatePermanent)
	b.now = b.now.Add(vtime.Minute)
	b.host.Confirm(b.now, idx)
	require.Len(t, k.confirmed, 2, "a permanent neighbour is not made an ordinary one")

	understood, sent := b.input(arp(b, wire.BroadcastMAC(), 1, peerMAC, peer4, wire.MAC{}, our4))
	require.False(t, understood)
	require.Empty(t, sent)
}

// An old finding does not undo what was notified meanwhile.
func TestOfferNeighbour(t *testing.T) {
	b, _ := newControlled(t)
	idx := b.hop(peer4)
	b.port.OfferNeighbour(b.now, peer4, peerMAC, ports.StateReachable)
	require.Equal(t, peerMAC[:], b.send(idx, peer4, "one")[0][:6])
	b.port.OfferNeighbour(b.now, peer4, otherMAC, ports.StateReachable)
	require.Equal(t, peerMAC[:], b.send(idx, peer4, "two")[0][:6])
	b.port.OfferNeighbour(b.now, addr("10.99.0.9"), otherMAC, ports.StateReachable)
	require.Equal(t, ports.StateNone, b.state(addr("10.99.0.9")), "nobody sends there")
	b.port.FollowNeighbour(b.now, addr("10.99.0.9"), wire.BroadcastMAC(), ports.StatePermanent)
	require.Equal(t, ports.StateNone, b.state(addr("10.99.0.9")), "no station")
}

// Where the port's routes are not the answer the kernel is asked, by strangers only so often.
func TestExit(t *testing.T) {
	b, k := newControlled(t)
	remote := addr("192.0.2.1")
	k.hops[remote] = ports.Hop{Via: addr("10.99.0.77"), MTU: 1280, Index: 7}
	exit := func(local, remote wire.Addr, trusted bool) (via string, mtu int) {
		idx, mtu, ok := b.host.Exit(b.now, local, remote, trusted)
		if !ok {
			return "", 0
		}
		for _, n := range b.port.Neighbours(b.now) {
			if other, _ := b.host.Neighbour(n.Addr); other == idx {
				return n.Addr.Netip().String(), mtu
			}
		}
		return "?", mtu
	}
	via, mtu := exit(our4, peer4, false)
	require.Equal(t, "10.99.0.2", via)
	require.Equal(t, 1500, mtu)
	require.Zero(t, k.lookups, "its own routes are complete")
	via, _ = exit(addr("10.99.0.99"), peer4, false)
	require.Empty(t, via, "from an address that is not ours")
	via, _ = exit(our4, our4, false)
	require.Empty(t, via)

	v := b.port.View()
	v.Complete = false
	require.NoError(t, b.port.Apply(v))
	via, mtu = exit(our4, remote, false)
	require.Equal(t, "10.99.0.77", via)
	require.Equal(t, 1280, mtu)
	via, _ = exit(our4, addr("192.0.2.2"), false)
	require.Empty(t, via, "no route")
	for name, h := range map[string]ports.Hop{
		"another interface": {Via: addr("10.99.0.77"), Index: 8},
		"this host":         {Via: remote, Index: 7, Local: true},
	} {
		k.hops[remote] = h
		via, _ = exit(our4, remote, false)
		require.Empty(t, via, name)
	}

	k.hops[remote] = ports.Hop{Via: addr("10.99.0.77"), Index: 7}
	k.lookups = 0
	for range 1000 {
		exit(our4, remote, false)
	}
	require.Less(t, k.lookups, 600)
	require.EqualValues(t, 1000-k.lookups, b.count(ports.CountRouteLimited))
	via, _ = exit(our4, remote, true)
	require.NotEmpty(t, via, "an open connection asks without a limit")
	k.known = true
	via, _ = exit(our4, remote, false)
	require.NotEmpty(t, via, "known answers cost nothing")

	v.Complete = true
	v.Routes = []ports.Route{{Dst: netip.MustParsePrefix("192.0.2.0/24"), Kind: ports.RouteAsk}}
	require.NoError(t, b.port.Apply(v))
	via, _ = exit(our4, remote, false)
	require.Equal(t, "10.99.0.77", via)
}

// An index whose neighbour is gone finds the way of the frame's addresses; from an address that is gone
// too there is none.
func TestNowhere(t *testing.T) {
	b, _ := newControlled(t)
	b.port.FollowNeighbour(b.now, peer4, peerMAC, ports.StateReachable)
	require.Len(t, b.send(0, peer4, "one"), 1)
	v := b.port.View()
	v.Addresses = v.Addresses[1:]
	require.NoError(t, b.port.Apply(v))
	require.Empty(t, b.send(0, peer4, "two"))
	require.EqualValues(t, 1, b.count(ports.CountUnsent))
}
