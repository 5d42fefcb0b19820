package ports_test

import (
	"bytes"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/stretchr/testify/require"

	"opentoe/pmd/frame"
	"opentoe/ports"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

func ipv4(src, dst wire.Addr, proto layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 3, Id: 9, Protocol: proto, SrcIP: ip(src), DstIP: ip(dst)}
}

func ipv6(src, dst wire.Addr, hops uint8) *layers.IPv6 {
	return &layers.IPv6{Version: 6, HopLimit: hops, NextHeader: layers.IPProtocolICMPv6, SrcIP: ip(src), DstIP: ip(dst)}
}

func echo4(t testing.TB, src, dst wire.Addr, n int) []byte {
	return build(t, ether(peerMAC, ourMAC, layers.EthernetTypeIPv4), ipv4(src, dst, layers.IPProtocolICMPv4),
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0), Id: 77, Seq: 5},
		gopacket.Payload(bytes.Repeat([]byte{0xa5}, n)))
}

// icmp6 is an ICMPv6 message with the body after the first four octets.
func icmp6(t testing.TB, src, dst wire.Addr, dstMAC wire.MAC, hops, icmpType uint8, body []byte) []byte {
	h := ipv6(src, dst, hops)
	m := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(icmpType, 0)}
	require.NoError(t, m.SetNetworkLayerForChecksum(h))
	return build(t, ether(peerMAC, dstMAC, layers.EthernetTypeIPv6), h, m, gopacket.Payload(body))
}

func TestEchoIPv4(t *testing.T) {
	b := newBench(t, nil)
	for _, n := range []int{0, 1, 56, 1472} {
		ok, sent := b.input(echo4(t, peer4, our4, n))
		require.True(t, ok)
		require.Len(t, sent, 1)
		p := decode(t, sent[0])
		require.Equal(t, peerMAC[:], []byte(p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet).DstMAC))
		h := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
		require.True(t, h.SrcIP.Equal(ip(our4)) && h.DstIP.Equal(ip(peer4)))
		require.EqualValues(t, 64, h.TTL)
		m := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
		require.Equal(t, layers.CreateICMPv4TypeCode(0, 0), m.TypeCode)
		require.EqualValues(t, 77, m.Id)
		require.EqualValues(t, 5, m.Seq)
		require.Equal(t, bytes.Repeat([]byte{0xa5}, n), append([]byte{}, m.Payload...))
	}
	ok, sent := b.input(echo4(t, peer4, our4, 1473))
	require.True(t, ok)
	require.Empty(t, sent)
	require.EqualValues(t, 1, b.count(ports.CountEchoTooBig))
}

func TestEchoIPv6(t *testing.T) {
	b := newBench(t, nil)
	ok, sent := b.input(icmp6(t, peer6, our6, ourMAC, 64, 128, append([]byte{0, 77, 0, 5}, "payload"...)))
	require.True(t, ok)
	require.Len(t, sent, 1)
	p := decode(t, sent[0])
	h := p.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
	require.True(t, h.SrcIP.Equal(ip(our6)) && h.DstIP.Equal(ip(peer6)))
	m := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
	require.Equal(t, layers.CreateICMPv6TypeCode(129, 0), m.TypeCode)
	require.Equal(t, "\x00\x4d\x00\x05payload", string(m.Payload))
}

func TestEchoIsLimited(t *testing.T) {
	b := newBench(t, nil)
	request := echo4(t, peer4, our4, 8)
	answers := 0
	for range 1100 {
		_, sent := b.input(request)
		answers += len(sent)
	}
	require.Equal(t, 1000, answers)
	require.EqualValues(t, 100, b.count(ports.CountEchoLimited))
	b.now = b.now.Add(vtime.Millisecond)
	answers = 0
	for range 100 {
		_, sent := b.input(request)
		answers += len(sent)
	}
	require.Equal(t, 10, answers)
}

func TestInputIsNotAnswered(t *testing.T) {
	corrupt := func(b []byte, at int) []byte { b[at] ^= 1; return b }
	fragment := echo4(t, peer4, our4, 8)
	copy(fragment[20:], []byte{0x20, 0})
	fragment[24], fragment[25] = 0, 0
	sum := wire.Checksum(fragment[14:34], 0)
	fragment[24], fragment[25] = byte(sum>>8), byte(sum)
	toOther := echo4(t, peer4, our4, 8)
	copy(toOther, otherMAC[:])
	udp := &layers.UDP{SrcPort: 1, DstPort: 2}
	v4 := ipv4(peer4, our4, layers.IPProtocolUDP)
	require.NoError(t, udp.SetNetworkLayerForChecksum(v4))

	target := func(a wire.Addr, options ...byte) []byte {
		return append(append(make([]byte, 4), a[:]...), options...)
	}
	for _, c := range []struct {
		name string
		data []byte
		want ports.Counter
	}{
		{"short", make([]byte, 13), ports.CountUnhandled},
		{"type", build(t, ether(peerMAC, ourMAC, 0x88cc), gopacket.Payload(make([]byte, 50))), ports.CountUnhandled},
		{"other MAC", toOther, ports.CountNotOurs},
		{"other address", echo4(t, peer4, addr("10.99.0.9"), 8), ports.CountNotOurs},
		{"broadcast ping", echo4(t, peer4, addr("10.99.0.255"), 8), ports.CountNotOurs},
		{"IP checksum", corrupt(echo4(t, peer4, our4, 8), 24), ports.CountBadIP},
		{"IP version", corrupt(echo4(t, peer4, our4, 8), 14), ports.CountBadIP},
		{"ICMP checksum", corrupt(echo4(t, peer4, our4, 8), 36), ports.CountBadICMP},
		{"fragment", fragment, ports.CountFragment},
		{"UDP", build(t, ether(peerMAC, ourMAC, layers.EthernetTypeIPv4), v4, udp), ports.CountUnhandled},
		{"from us", echo4(t, our4, our4, 8), ports.CountUnhandled},
		{"from nobody", echo4(t, addr("0.0.0.0"), our4, 8), ports.CountUnhandled},
		{"v6 other", icmp6(t, peer6, addr("fd99::9"), ourMAC, 64, 128, make([]byte, 8)), ports.CountNotOurs},
		{"v6 ping all nodes", icmp6(t, peer6, wire.AllNodes(), wire.MulticastMAC(wire.AllNodes()), 64, 128, make([]byte, 8)), ports.CountUnhandled},
		{"v6 checksum", corrupt(icmp6(t, peer6, our6, ourMAC, 64, 128, make([]byte, 8)), 60), ports.CountBadICMP},
		{"v6 cut", icmp6(t, peer6, our6, ourMAC, 64, 128, make([]byte, 8))[:60], ports.CountBadIP},
		{"router advertisement", icmp6(t, peer6, wire.AllNodes(), wire.MulticastMAC(wire.AllNodes()), 255, 134, make([]byte, 12)), ports.CountUnhandled},
		{"NS hop limit", icmp6(t, peer6, our6, ourMAC, 254, 135, target(our6)), ports.CountBadICMP},
		{"NS short", icmp6(t, peer6, our6, ourMAC, 255, 135, target(our6)[:16]), ports.CountBadICMP},
		{"NS option of length 0", icmp6(t, peer6, our6, ourMAC, 255, 135, target(our6, 1, 0, 1, 2, 3, 4, 5, 6)), ports.CountBadICMP},
		{"NS cut option", icmp6(t, peer6, our6, ourMAC, 255, 135, target(our6, 1, 2, 1, 2, 3, 4, 5, 6)), ports.CountBadICMP},
		{"NS multicast target", icmp6(t, peer6, our6, ourMAC, 255, 135, target(wire.AllNodes())), ports.CountBadICMP},
		{"NS mapped target", icmp6(t, peer6, our6, ourMAC, 255, 135, target(our4)), ports.CountBadICMP},
		{"NS group link address", icmp6(t, peer6, our6, ourMAC, 255, 135, target(our6, 1, 1, 0x33, 0x33, 0, 0, 0, 1)), ports.CountBadICMP},
		{"DAD to unicast", icmp6(t, addr("::"), our6, ourMAC, 255, 135, target(our6)), ports.CountBadICMP},
		{"NA solicited to a group", icmp6(t, peer6, wire.AllNodes(), wire.MulticastMAC(wire.AllNodes()), 255, 136,
			append([]byte{0x60}, target(peer6, 2, 1, 2, 0, 0, 0, 0, 2)[1:]...)), ports.CountBadICMP},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, nil)
			ok, sent := b.input(c.data)
			require.False(t, ok)
			require.Empty(t, sent)
			require.EqualValues(t, 1, b.count(c.want), "%v", b.host.Counters())
		})
	}
}

// solicitation is the peer's question for target.
func solicitation(t testing.TB, target wire.Addr) []byte {
	group := wire.SolicitedNode(target)
	body := append(append(make([]byte, 4), target[:]...), 1, 1)
	return icmp6(t, peer6, group, wire.MulticastMAC(group), 255, 135, append(body, peerMAC[:]...))
}

// advertisement is an answer for target by mac.
func advertisement(t testing.TB, target wire.Addr, flags wire.NDFlags, mac wire.MAC) []byte {
	body := append(append([]byte{byte(flags), 0, 0, 0}, target[:]...), 2, 1)
	return icmp6(t, target, our6, ourMAC, 255, 136, append(body, mac[:]...))
}

func TestSolicitationIsAnswered(t *testing.T) {
	b := newBench(t, nil)
	ok, sent := b.input(solicitation(t, our6))
	require.True(t, ok)
	require.Len(t, sent, 1)
	p := decode(t, sent[0])
	require.Equal(t, peerMAC[:], []byte(p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet).DstMAC))
	h := p.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
	require.EqualValues(t, 255, h.HopLimit)
	require.True(t, h.SrcIP.Equal(ip(our6)) && h.DstIP.Equal(ip(peer6)))
	na := p.Layer(layers.LayerTypeICMPv6NeighborAdvertisement).(*layers.ICMPv6NeighborAdvertisement)
	require.True(t, na.Solicited() && na.Override() && !na.Router())
	require.True(t, na.TargetAddress.Equal(ip(our6)))
	require.Equal(t, layers.ICMPv6OptTargetAddress, na.Options[0].Type)
	require.Equal(t, ourMAC[:], na.Options[0].Data)
	require.Equal(t, ports.StateStale, b.state(peer6))

	ok, sent = b.input(solicitation(t, addr("fd99::1234")))
	require.True(t, ok)
	require.Empty(t, sent)
}

func TestDuplicateAddressDetectionOfOthersIsAnswered(t *testing.T) {
	b := newBench(t, nil)
	group := wire.SolicitedNode(our6)
	ok, sent := b.input(icmp6(t, addr("::"), group, wire.MulticastMAC(group), 255, 135,
		append(make([]byte, 4), our6[:]...)))
	require.True(t, ok)
	require.Len(t, sent, 1)
	p := decode(t, sent[0])
	require.True(t, p.Layer(layers.LayerTypeIPv6).(*layers.IPv6).DstIP.Equal(ip(wire.AllNodes())))
	require.Equal(t, "33:33:00:00:00:01", p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet).DstMAC.String())
	na := p.Layer(layers.LayerTypeICMPv6NeighborAdvertisement).(*layers.ICMPv6NeighborAdvertisement)
	require.True(t, !na.Solicited() && na.Override())
}

func TestResolutionByND(t *testing.T) {
	b := newBench(t, nil)
	idx := b.hop(addr("2001:db8::5")) // by the gateway
	gateway := addr("fd99::fe")
	require.Empty(t, b.send(idx, addr("2001:db8::5"), "x"))
	sent, _ := b.expire(0)
	require.Len(t, sent, 1)
	p := decode(t, sent[0])
	require.Equal(t, "33:33:ff:00:00:fe", p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet).DstMAC.String())
	h := p.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
	require.True(t, h.SrcIP.Equal(ip(our6)))
	require.Equal(t, "ff02::1:ff00:fe", h.DstIP.String())
	ns := p.Layer(layers.LayerTypeICMPv6NeighborSolicitation).(*layers.ICMPv6NeighborSolicitation)
	require.True(t, ns.TargetAddress.Equal(ip(gateway)))
	require.Equal(t, layers.ICMPv6OptSourceAddress, ns.Options[0].Type)
	require.Equal(t, ourMAC[:], ns.Options[0].Data)

	ok, _ := b.input(advertisement(t, gateway, wire.NDSolicited|wire.NDOverride|wire.NDRouter, peerMAC))
	require.True(t, ok)
	sent, _ = b.expire(0)
	require.Len(t, sent, 1)
	require.Equal(t, peerMAC[:], sent[0][:6])
	require.Equal(t, ports.StateReachable, b.state(gateway))

	// A probe goes to the neighbour itself.
	b.now = b.now.Add(31 * vtime.Second)
	b.send(idx, addr("2001:db8::5"), "x")
	sent, _ = b.expire(5 * vtime.Second)
	require.Len(t, sent, 1)
	require.Equal(t, peerMAC[:], sent[0][:6])
	require.True(t, decode(t, sent[0]).Layer(layers.LayerTypeIPv6).(*layers.IPv6).DstIP.Equal(ip(gateway)))
}

// RFC 4861 §7.2.5, from a REACHABLE entry with peerMAC.
func TestAdvertisementRules(t *testing.T) {
	for _, c := range []struct {
		name  string
		flags wire.NDFlags
		mac   wire.MAC
		state ports.State
		now   wire.MAC
	}{
		{"same, unsolicited", 0, peerMAC, ports.StateReachable, peerMAC},
		{"same, solicited", wire.NDSolicited, peerMAC, ports.StateReachable, peerMAC},
		{"other, no override", wire.NDSolicited, otherMAC, ports.StateStale, peerMAC},
		{"other, override", wire.NDOverride, otherMAC, ports.StateStale, otherMAC},
		{"other, solicited override", wire.NDSolicited | wire.NDOverride, otherMAC, ports.StateReachable, otherMAC},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, nil)
			require.NoError(t, b.port.SetNeighbour(b.now, peer6, peerMAC, false))
			ok, _ := b.input(advertisement(t, peer6, c.flags, c.mac))
			require.True(t, ok)
			require.Equal(t, []ports.NeighbourInfo{{Addr: peer6, MAC: c.now, State: c.state}}, b.port.Neighbours(b.now))
		})
	}
}

func FuzzInput(f *testing.F) {
	f.Add(arp(f, wire.BroadcastMAC(), 1, peerMAC, peer4, wire.MAC{}, our4))
	f.Add(echo4(f, peer4, our4, 20))
	f.Add(icmp6(f, peer6, our6, ourMAC, 64, 128, make([]byte, 20)))
	f.Add(solicitation(f, our6))
	f.Add(advertisement(f, peer6, 0x60, peerMAC))
	f.Fuzz(func(t *testing.T, data []byte) {
		b := newBench(t, nil)
		before := bytes.Clone(data)
		b.host.Input(b.now, &frame.Frame{Data: data, Flags: frame.RxIPCsumGood}, b.q, &b.tx)
		require.Equal(t, before, data, "a received frame must not be changed")
		for _, f := range b.tx.Frames() {
			require.LessOrEqual(t, len(f.Data), 1514)
			require.Equal(t, ourMAC, wire.Ethernet(f.Data).Src())
		}
	})
}
