package softdev

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/ports"
	"opentoe/tcpoffload"
	"opentoe/tcpoffload/seq"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
	"opentoe/toe"
)

// The far end of these tests is behind two routers, which are end 1 itself.
var (
	far4, far6         = netip.MustParseAddr("198.51.100.2"), netip.MustParseAddr("2001:db8::2")
	router4, gateway4  = netip.MustParseAddr("10.9.0.254"), netip.MustParseAddr("10.9.0.253")
	router6, gateway6  = netip.MustParseAddr("fe80::fe"), netip.MustParseAddr("fe80::fd")
	nobody4, stranger4 = netip.MustParseAddr("10.9.0.66"), netip.MustParseAddr("10.9.0.77")
)

// newRoutedPair is a pair whose end 0 reaches end 1 by way of a router.
func newRoutedPair(t *testing.T) *pair {
	route := func(dst string, via netip.Addr) ports.Route {
		return ports.Route{Dst: netip.MustParsePrefix(dst), Via: via}
	}
	cfg := ports.Config{Name: "mem0", MAC: macs[0], MTU: 1500, Workers: 1,
		Addresses: []netip.Prefix{netip.PrefixFrom(addr4[0], 24), netip.PrefixFrom(addr6[0], 64)},
		Routes:    []ports.Route{route("0.0.0.0/0", router4), route("::/0", router6)},
	}
	for _, a := range []netip.Addr{router4, gateway4, router6, gateway6} {
		cfg.Neighbours = append(cfg.Neighbours, ports.Neighbour{Addr: a, MAC: macs[1]})
	}
	near, err := ports.New(cfg)
	require.NoError(t, err)
	cfg = ports.Config{Name: "mem1", MAC: macs[1], MTU: 1500, Workers: 1,
		Addresses:  []netip.Prefix{netip.PrefixFrom(addr4[1], 24), netip.PrefixFrom(addr6[1], 64), netip.PrefixFrom(far4, 32), netip.PrefixFrom(far6, 128)},
		Neighbours: []ports.Neighbour{{Addr: addr4[0], MAC: macs[0]}, {Addr: addr6[0], MAC: macs[0]}},
	}
	far, err := ports.New(cfg)
	require.NoError(t, err)
	p := newPairOf(t, [2]*ports.Port{near, far})
	p.listen(1)
	return p
}

// to opens a connection from end 0 to the far end.
func (p *pair) to(remote netip.Addr) (client, server *fakeSock) {
	p.t.Helper()
	n := len(p.up[1].socks)
	client = p.connect(0, netip.Addr{}, remote, 0)
	p.run(10*vtime.Second, func() bool { return len(client.events) > 0 && len(p.up[1].socks) > n })
	return client, p.up[1].socks[n]
}

// via demands that connection s of end 0 goes by way of a neighbour.
func (p *pair) via(s *fakeSock, a netip.Addr) {
	p.t.Helper()
	_, h := p.dev[0].owner(s.tid)
	hop, ok := p.w[0].eng.NextHop(h)
	require.True(p.t, ok)
	want, _ := p.w[0].lanes[0].host.Neighbour(wire.AddrFrom(a))
	require.Equal(p.t, want, hop&hopMask)
}

// redirectAbout returns a redirect to end 0 that quotes what s sends next.
func (p *pair) redirectAbout(s *fakeSock, router, gateway netip.Addr) *wire.ICMPError {
	p.t.Helper()
	var info toe.ConnInfo
	require.True(p.t, p.dev[0].ConnInfo(s.tid, &info))
	e := &wire.ICMPError{DstMAC: macs[0], Src: wire.AddrFrom(router), Dst: info.Flow.Local, Type: wire.ICMPRedirect, Code: 1,
		Flow: info.Flow, Seq: seq.Num(info.SndNxt), Gateway: wire.AddrFrom(gateway)}
	if !info.Flow.Is4() {
		e.Type, e.Code = wire.ICMPv6Redirect, 0
	}
	return e
}

// redirectFrame is e as it comes by the wire.
func redirectFrame(e *wire.ICMPError) []byte {
	h := wire.Header{Flow: e.Flow, Flags: wire.ACK, TTL: 63, Seq: e.Seq}
	quote := make([]byte, h.Len(), 200)
	h.Put(quote, 0, 0, wire.ChecksumSoftware)
	quote = quote[wire.EthernetLen:]
	ip := wire.IPHeader{Src: e.Src, Dst: e.Dst, Proto: wire.ProtoICMP, TTL: 64}
	msg := make([]byte, wire.ICMPLen, 200)
	if e.Flow.Is4() {
		copy(msg[4:], e.Gateway[12:])
	} else {
		ip.Proto, ip.TTL = wire.ProtoICMPv6, wire.NDHopLimit
		msg = append(append(msg, e.Gateway[:]...), e.Flow.Remote[:]...)
		quote = append(quote, make([]byte, -len(quote)&7)...)
		msg = append(msg, wire.NDRedirected, byte(1+len(quote)/8), 0, 0, 0, 0, 0, 0)
	}
	msg = append(msg, quote...)
	ip.Payload = len(msg)
	wire.ICMP(msg).SetType(e.Type, e.Code)
	pseudo := uint32(0)
	if !e.Flow.Is4() {
		pseudo = wire.PseudoSum(&ip.Src, &ip.Dst, wire.ProtoICMPv6, uint32(len(msg)))
	}
	wire.ICMP(msg).UpdateChecksum(pseudo)
	b := make([]byte, wire.EthernetLen+ip.Len(), 300)
	wire.PutEthernet(b, e.DstMAC, macs[1], ip.Type())
	ip.Put(b[wire.EthernetLen:])
	return append(b, msg...)
}

// A redirect moves the connections to its destination, and those to come, to another next hop.
func TestRedirect(t *testing.T) {
	for name, c := range map[string]struct{ far, router, gateway netip.Addr }{
		"IPv4": {far4, router4, gateway4},
		"IPv6": {far6, router6, gateway6},
	} {
		t.Run(name, func(t *testing.T) {
			p := newRoutedPair(t)
			first, firstServer := p.to(c.far)
			second, _ := p.to(c.far)
			p.via(first, c.router)
			p.receiveAt(0, redirectFrame(p.redirectAbout(first, c.router, c.gateway)))
			p.step()
			p.via(first, c.gateway)
			p.via(second, c.gateway)
			require.EqualValues(t, 2, p.w[0].count.Rerouted)
			require.Zero(t, p.w[0].count.Drops[DropUnknownProtocol])
			third, _ := p.to(c.far)
			p.via(third, c.gateway)
			first.total = 100_000
			p.finish(vtime.Minute, first, firstServer)
		})
	}
}

// A redirect counts only from the router by which the connection goes, and if it quotes what the connection
// may have sent. Others are refused and counted.
func TestForgedRedirect(t *testing.T) {
	p := newRoutedPair(t)
	s, _ := p.to(far4)
	refused := func(c ports.Counter, f func(e *wire.ICMPError)) {
		t.Helper()
		e := p.redirectAbout(s, router4, gateway4)
		f(e)
		drops, before := p.w[0].count.Drops[DropICMPUnknown], uint64(0)
		if c != ports.NumCounters {
			before = p.dev[0].cfg.Ports[0].Port.Counters()[c]
		}
		p.receiveAt(0, redirectFrame(e))
		p.step()
		p.via(s, router4)
		if c == ports.NumCounters {
			require.Equal(t, drops+1, p.w[0].count.Drops[DropICMPUnknown])
			return
		}
		require.Equal(t, before+1, p.dev[0].cfg.Ports[0].Port.Counters()[c])
	}
	refused(ports.NumCounters, func(e *wire.ICMPError) { e.Seq++ })
	refused(ports.NumCounters, func(e *wire.ICMPError) { e.Seq-- })
	refused(ports.NumCounters, func(e *wire.ICMPError) { e.Flow.LocalPort++ })
	refused(ports.CountRedirectForged, func(e *wire.ICMPError) { e.Src = wire.AddrFrom(stranger4) })
	refused(ports.CountRedirectRefused, func(e *wire.ICMPError) { e.Gateway = e.Dst })
	refused(ports.CountRedirectRefused, func(e *wire.ICMPError) { e.Gateway = e.Flow.Remote })
	require.Zero(t, p.w[0].count.Rerouted)
}

// A half-open connection answers by the way of its SYN, whatever a redirect says.
func TestRedirectOfHalfOpen(t *testing.T) {
	p := newRoutedPair(t)
	p.connect(0, netip.Addr{}, far4, 0)
	p.turn(0)
	p.turn(1) // has sent a SYN-ACK
	var flow wire.Flow
	p.w[1].walk(0, 10, func(tcpoffload.Handle) { flow = p.w[1].info.Flow })
	iss := p.w[1].info.SndUna
	e := wire.ICMPError{DstMAC: macs[1], Src: wire.AddrFrom(addr4[0]), Dst: wire.AddrFrom(addr4[1]), Type: wire.ICMPRedirect,
		Code: 1, Flow: flow, Seq: iss, Gateway: wire.AddrFrom(gateway4)}
	p.receiveAt(1, redirectFrame(&e))
	require.EqualValues(t, 1, p.w[1].count.Drops[DropICMPUnknown])
	require.Zero(t, p.w[1].count.Rerouted)
}

// A gateway that does not answer is left again: the connection goes on by the router.
func TestRedirectToNobody(t *testing.T) {
	p := newRoutedPair(t)
	client, server := p.to(far4)
	p.receiveAt(0, redirectFrame(p.redirectAbout(client, router4, nobody4)))
	p.step()
	p.via(client, nobody4)
	opening := p.connect(0, netip.Addr{}, far4, 0) // its SYN waits for nobody
	p.via(opening, nobody4)
	client.total = 10_000
	p.run(vtime.Minute, func() bool { return server.done(10_000) && len(opening.events) > 0 })
	p.via(client, router4)
	p.via(opening, router4)
}

// Redirects that the kernel received reach connections; those of the kernel's connections are its own.
func TestRedirectFromTheKernel(t *testing.T) {
	p := newRoutedPair(t)
	s, _ := p.to(far4)
	e := p.redirectAbout(s, router4, gateway4)
	kernels := *e
	kernels.Flow.LocalPort++
	p.dev[0].ICMPError(&kernels)
	p.step()
	require.Zero(t, p.w[0].count.Drops[DropICMPUnknown])
	p.via(s, router4)
	p.dev[0].ICMPError(e)
	e.Gateway = wire.Addr{} // whose it was is free to use it again
	p.step()
	p.step()
	p.via(s, gateway4)
}

// On a port that is shared with the kernel both hear of it.
func TestRedirectGoesBothWays(t *testing.T) {
	p, k := newShared(t, true)
	p.listen(1)
	client, server := p.open(1, 1)
	p.run(vtime.Second, func() bool { return client.done(1) && server.done(1) })
	k.up = nil
	e := wire.ICMPError{DstMAC: macs[1], Src: wire.AddrFrom(addr4[0]), Dst: wire.AddrFrom(addr4[1]), Type: wire.ICMPRedirect,
		Code: 1, Flow: server.flow, Gateway: wire.AddrFrom(netip.MustParseAddr("10.9.0.9"))}
	var info toe.ConnInfo
	require.True(t, p.dev[1].ConnInfo(server.tid, &info))
	e.Seq = seq.Num(info.SndNxt)
	b := redirectFrame(&e)
	p.receiveAt(1, b)
	p.step()
	require.Equal(t, [][]byte{b}, k.up)
	require.EqualValues(t, 1, p.w[1].count.Rerouted)
	require.EqualValues(t, 0x0a090009, binary.BigEndian.Uint32(b[wire.EthernetLen+wire.IPv4Len+4:]))
}
