package softdev

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"opentoe/ports"
	"opentoe/tcpoffload"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
	"opentoe/toe"
)

// kernelTables is a control plane with the routes that a test gives it and all neighbours known.
type kernelTables struct {
	hops map[netip.Addr]ports.Hop // by destination
	from wire.Addr                // of the last question
}

func (k *kernelTables) Confirm(*ports.Port, wire.Addr) {}
func (k *kernelTables) Resolve(p *ports.Port, a wire.Addr) {
	p.FollowNeighbour(0, a, macs[1], ports.StateReachable)
}

func (k *kernelTables) Lookup(dst, src wire.Addr) (ports.Hop, error) {
	k.from = src
	if h, ok := k.hops[dst.Netip()]; ok {
		return h, nil
	}
	return ports.Hop{}, unix.ENETUNREACH
}

func (k *kernelTables) Known(dst, src wire.Addr) (ports.Hop, error, bool) {
	h, err := k.Lookup(dst, src)
	return h, err, true
}

// newKernelPair is a pair whose end 0 goes by the kernel's tables.
func newKernelPair(t *testing.T) (*pair, *kernelTables) {
	k := &kernelTables{hops: map[netip.Addr]ports.Hop{
		addr4[1]: {Via: wire.AddrFrom(addr4[1]), Src: wire.AddrFrom(addr4[0]), Index: 7},
	}}
	port, err := ports.New(ports.Config{
		Name: "kernel", MAC: macs[0], MTU: 1500, Workers: 1, Control: k,
		Addresses: []netip.Prefix{netip.PrefixFrom(addr4[0], 24), netip.PrefixFrom(addr6[0], 64)},
	})
	require.NoError(t, err)
	v := port.View()
	v.Index = 7
	require.NoError(t, port.Apply(v))
	return newPairOf(t, [2]*ports.Port{port, testPort(t, 1, true)}), k
}

// change applies a change of end 0's view and tells the device.
func (p *pair) change(t *testing.T, f func(v *ports.View)) {
	t.Helper()
	port := p.dev[0].cfg.Ports[0].Port
	v := port.View()
	f(&v)
	require.NoError(t, port.Apply(v))
	p.dev[0].Reroute()
	p.step()
	p.step()
}

// pass lets time pass.
func (p *pair) pass(d vtime.Duration) {
	end := p.now.Add(d)
	p.run(2*d, func() bool { return p.now >= end })
}

// Connections go by today's routes, addresses and MTU; without any they wait, and go on when they are back.
func TestReroute(t *testing.T) {
	p, _ := newKernelPair(t)
	p.listen(1)
	client, server := p.open(0, 0)
	send := func() {
		t.Helper()
		client.total += 20_000
		p.run(vtime.Minute, func() bool { return server.read == client.total })
		require.Equal(t, client.total, server.read)
	}
	stall := func() {
		t.Helper()
		sent := p.q[0].sent
		client.total += 20_000
		p.pass(3 * vtime.Second)
		require.Equal(t, sent, p.q[0].sent, "frames leave without a route")
		require.NotEqual(t, client.total, server.read)
	}
	send()
	var to wire.MAC
	p.q[0].watch = func(b []byte) { to = wire.Ethernet(b).Dst() }

	// By a gateway, which has another address.
	gateway := wire.MAC{2, 0, 0, 0, 0, 9}
	all := p.dev[0].cfg.Ports[0].Port.View()
	p.change(t, func(v *ports.View) {
		v.Routes = []ports.Route{{Dst: netip.MustParsePrefix("10.9.0.0/24"), Via: netip.MustParseAddr("10.9.0.9"), MTU: 1000}}
	})
	port := p.dev[0].cfg.Ports[0].Port
	port.FollowNeighbour(p.now, addrOf("10.9.0.9"), gateway, ports.StatePermanent)
	client.total += 1000
	p.pass(300 * vtime.Millisecond) // too short for the engine to suspect the size of its packets
	require.Equal(t, gateway, to)
	port.FollowNeighbour(p.now, addrOf("10.9.0.9"), macs[1], ports.StatePermanent)
	longest := 0
	p.q[0].watch = func(b []byte) { longest = max(longest, len(b)) }
	send()
	require.Equal(t, 1000+wire.EthernetLen, longest)

	p.change(t, func(v *ports.View) { *v = all })
	longest = 0
	send()
	require.Equal(t, 1500+wire.EthernetLen, longest)

	// Without a route; refused; without the address.
	for name, f := range map[string]func(v *ports.View){
		"no route":   func(v *ports.View) { v.Routes = nil },
		"refused":    func(v *ports.View) { v.Routes[0].Kind = ports.RouteRefused },
		"elsewhere":  func(v *ports.View) { v.Routes[0].Kind = ports.RouteElsewhere },
		"no address": func(v *ports.View) { v.Addresses = v.Addresses[1:] },
	} {
		p.change(t, func(v *ports.View) { v.Routes = append([]ports.Route(nil), v.Routes...); f(v) })
		t.Log(name)
		stall()
		p.change(t, func(v *ports.View) { *v = all })
		send()
	}
	require.NotZero(t, p.w[0].count.Rerouted)
}

// With a table that is not complete, connections go where the kernel says, and stop when it says nothing.
func TestRerouteByPolicy(t *testing.T) {
	p, k := newKernelPair(t)
	p.listen(1)
	client, server := p.open(0, 0)
	p.change(t, func(v *ports.View) { v.Complete = false })
	client.total = 10_000
	p.run(vtime.Minute, func() bool { return server.read == client.total })
	require.Equal(t, wire.AddrFrom(addr4[0]), k.from, "the connection's address is part of the question")
	hop := k.hops[addr4[1]]
	delete(k.hops, addr4[1])
	p.change(t, func(*ports.View) {})
	sent := p.q[0].sent
	client.total = 20_000
	p.pass(2 * vtime.Second)
	require.Equal(t, sent, p.q[0].sent)
	k.hops[addr4[1]] = hop
	p.run(vtime.Minute, func() bool { return server.read == client.total })
	require.Equal(t, client.total, server.read, "each frame looks for a route")
}

// Active opens leave by the kernel's answer.
func TestKernelExit(t *testing.T) {
	p, k := newKernelPair(t)
	d := p.dev[0]
	far := netip.MustParseAddr("192.0.2.1")
	ask := func(local, remote netip.Addr) (exit, toe.Reason) {
		f := wire.Flow{Remote: wire.AddrFrom(remote), RemotePort: 80}
		if local.IsValid() {
			f.Local = wire.AddrFrom(local)
		}
		return d.egress(&f)
	}
	for _, c := range []struct {
		name          string
		local, remote netip.Addr
		hop           *ports.Hop
		want          toe.Reason
	}{
		{"on the link", netip.Addr{}, addr4[1], &ports.Hop{Via: wire.AddrFrom(addr4[1]), Src: wire.AddrFrom(addr4[0]), Index: 7}, toe.Offloaded},
		{"gateway", netip.Addr{}, far, &ports.Hop{Via: wire.AddrFrom(addr4[1]), Src: wire.AddrFrom(addr4[0]), MTU: 1400, Index: 7}, toe.Offloaded},
		{"bound", addr4[0], far, &ports.Hop{Via: wire.AddrFrom(addr4[1]), Src: wire.AddrFrom(addr4[0]), Index: 7}, toe.Offloaded},
		{"another interface", netip.Addr{}, far, &ports.Hop{Via: wire.AddrFrom(far), Src: addrOf("10.77.0.1"), Index: 8}, toe.ReasonNoRoute},
		{"another's address", netip.Addr{}, far, &ports.Hop{Via: wire.AddrFrom(far), Src: addrOf("10.77.0.1"), Index: 7}, toe.ReasonLocalAddr},
		{"this host", netip.Addr{}, far, &ports.Hop{Via: wire.AddrFrom(far), Local: true}, toe.ReasonLoopback},
		{"no route", netip.Addr{}, far, nil, toe.ReasonNoRoute},
		{"link-local", netip.Addr{}, netip.MustParseAddr("fe80::9"), nil, toe.ReasonLinkLocal},
		{"not ours", netip.MustParseAddr("10.77.0.1"), far, nil, toe.ReasonLocalAddr},
	} {
		delete(k.hops, c.remote)
		if c.hop != nil {
			k.hops[c.remote] = *c.hop
		}
		x, reason := ask(c.local, c.remote)
		require.Equal(t, c.want, reason, c.name)
		if reason == toe.Offloaded {
			mtu := 1500
			if c.hop.MTU != 0 {
				mtu = c.hop.MTU
			}
			require.Equal(t, exit{0, c.hop.Src, c.hop.Via, uint16(mtu)}, x, c.name)
		}
	}
}

// A walk in steps, of whatever size, comes by every connection once.
func TestWalkInSteps(t *testing.T) {
	p := newPair(t, true)
	p.listen(1)
	want := map[tcpoffload.Handle]int{}
	for range 5 {
		p.open(0, 0)
	}
	for h, ok := p.w[0].eng.Next(0); ok; h, ok = p.w[0].eng.Next(h.Index() + 1) {
		want[h]++
	}
	require.Len(t, want, 5)
	for _, batch := range []int{1, 2, 5, 6} {
		found, steps, from, more := map[tcpoffload.Handle]int{}, 0, uint32(0), true
		for ; more; steps++ {
			n := 0
			from, more = p.w[0].walk(from, batch, func(h tcpoffload.Handle) { found[h]++; n++ })
			require.LessOrEqual(t, n, batch)
		}
		require.Equal(t, want, found)
		require.GreaterOrEqual(t, steps, len(want)/batch)
	}
}
