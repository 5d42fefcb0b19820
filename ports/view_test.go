package ports_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/ports"
	"opentoe/tcpoffload/wire"
)

// kernelView is a view as the kernel's tables give it.
func kernelView() ports.View {
	prefix := netip.MustParsePrefix
	return ports.View{
		MAC: ourMAC, MTU: 1400, Up: true, Index: 7, Complete: true,
		Addresses: []netip.Prefix{prefix("10.99.0.1/24"), prefix("10.1.0.1/16"), prefix("fd99::1/64")},
		Routes: []ports.Route{
			{Dst: prefix("0.0.0.0/0"), Via: netip.MustParseAddr("10.99.0.254"), MTU: 1300},
			{Dst: prefix("10.99.0.0/24"), Src: netip.MustParseAddr("10.99.0.1")},
			{Dst: prefix("10.1.0.0/16")},
			{Dst: prefix("10.2.0.0/16"), Kind: ports.RouteElsewhere},
			{Dst: prefix("10.2.3.0/24"), Via: netip.MustParseAddr("10.1.0.9")},
			{Dst: prefix("10.2.3.0/24"), Via: netip.MustParseAddr("10.1.0.10")}, // a worse metric
			{Dst: prefix("10.3.0.0/16"), Kind: ports.RouteRefused},
			{Dst: prefix("10.4.0.0/16"), Kind: ports.RouteAsk},
			{Dst: prefix("fd99::/64")},
		},
	}
}

// The longest prefix decides, whatever becomes of its packets.
func TestKernelRoutes(t *testing.T) {
	p := newPort(t, func(c *ports.Config) { c.Addresses, c.Routes, c.Neighbours = nil, nil, nil })
	require.NoError(t, p.Apply(kernelView()))
	for _, c := range []struct {
		remote string
		bits   int // 0: no route
		onLink bool
		src    string
	}{
		{"10.99.0.7", 96 + 24, true, "10.99.0.1"},
		{"10.1.200.200", 96 + 16, true, "10.1.0.1"},
		{"10.2.0.1", 0, false, ""},
		{"10.2.3.4", 96 + 24, false, "10.1.0.1"},
		{"10.3.0.1", 0, false, ""},
		{"10.4.0.1", 0, false, ""},
		{"192.0.2.1", 96, false, "10.99.0.1"},
		{"10.99.0.1", 0, true, "10.99.0.1"}, // our own
		{"fd99::7", 64, true, "fd99::1"},
		{"2001:db8::1", 0, false, ""},
	} {
		bits, _ := p.Route(addr(c.remote))
		require.Equal(t, c.bits, bits, c.remote)
		require.Equal(t, c.onLink, p.OnLink(addr(c.remote)), c.remote)
		if src, ok := p.SourceFor(addr(c.remote)); c.src != "" {
			require.True(t, ok, c.remote)
			require.Equal(t, addr(c.src), src, c.remote)
		}
	}
	h := p.Host(0)
	idx, ok := h.NextHop(addr("10.2.3.4"))
	require.True(t, ok)
	via, ok := h.NextHop(addr("10.1.0.9"))
	require.True(t, ok)
	require.Equal(t, via, idx, "the gateway of the first of two routes")
}

// A port is what it was last said to be, and who watches hears of it.
func TestApply(t *testing.T) {
	p := newPort(t, nil)
	var seen []ports.View
	p.Watch(func(v ports.View) { seen = append(seen, v) })
	require.Len(t, seen, 1)
	require.Equal(t, ourMAC, seen[0].MAC)

	v := kernelView()
	v.MAC = otherMAC
	require.NoError(t, p.Apply(v))
	require.Len(t, seen, 2)
	require.Equal(t, v, p.View())
	require.Equal(t, otherMAC, p.MAC())
	require.Equal(t, 1400, p.MTU())
	require.True(t, p.Owns(addr("10.1.0.1")))

	v.Addresses = v.Addresses[1:]
	require.True(t, p.Owns(our4), "what was applied is a copy")
	require.NoError(t, p.Apply(v))
	require.False(t, p.Owns(our4))

	for name, spoil := range map[string]func(*ports.View){
		"no mac":         func(v *ports.View) { v.MAC = wire.MAC{} },
		"multicast":      func(v *ports.View) { v.MAC[0] = 1 },
		"mtu":            func(v *ports.View) { v.MTU = 100 },
		"many addresses": func(v *ports.View) { v.Addresses = make([]netip.Prefix, ports.MaxAddresses+1) },
		"many routes":    func(v *ports.View) { v.Routes = make([]ports.Route, ports.MaxRoutes+1) },
	} {
		bad := v
		spoil(&bad)
		require.ErrorIs(t, p.Apply(bad), ports.ErrInvalid, name)
	}
	require.Equal(t, v, p.View(), "a refused view changed something")
}

// The responder answers for the addresses of the moment.
func TestResponderFollows(t *testing.T) {
	b := newBench(t, nil)
	v := b.port.View()
	v.Addresses = []netip.Prefix{netip.MustParsePrefix("10.99.0.77/24")}
	require.NoError(t, b.port.Apply(v))
	_, sent := b.input(arp(b, wire.BroadcastMAC(), 1, peerMAC, peer4, wire.MAC{}, our4))
	require.Empty(t, sent, "an answer for an address that is gone")
	_, sent = b.input(arp(b, wire.BroadcastMAC(), 1, peerMAC, peer4, wire.MAC{}, addr("10.99.0.77")))
	require.Len(t, sent, 1)
}
