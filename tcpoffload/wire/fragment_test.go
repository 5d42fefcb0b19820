package wire_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/wire"
)

// Only the first fragment of a TCP segment tells its flow.
func TestFragmentFlow(t *testing.T) {
	mac := []byte{2, 0, 0, 0, 0, 1}
	src4, dst4 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	src6, dst6 := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
	tcp := layers.TCP{SrcPort: 4000, DstPort: 80, Seq: 1, ACK: true}
	build := func(list ...gopacket.SerializableLayer) []byte {
		buf := gopacket.NewSerializeBuffer()
		require.NoError(t, gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true}, list...))
		return slices.Clone(buf.Bytes())
	}
	v4 := func(flags layers.IPv4Flag, offset uint16, proto layers.IPProtocol) []byte {
		return build(&layers.Ethernet{SrcMAC: mac, DstMAC: mac, EthernetType: layers.EthernetTypeIPv4},
			&layers.IPv4{Version: 4, IHL: 5, TTL: 64, Flags: flags, FragOffset: offset, Protocol: proto, SrcIP: src4.AsSlice(), DstIP: dst4.AsSlice()}, &tcp)
	}
	v6 := func(more bool, offset byte, proto layers.IPProtocol, text ...byte) []byte {
		head := []byte{byte(proto), 0, 0, offset << 3, 0, 0, 0, 9}
		if more {
			head[3] |= 1
		}
		return build(&layers.Ethernet{SrcMAC: mac, DstMAC: mac, EthernetType: layers.EthernetTypeIPv6},
			&layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolIPv6Fragment, SrcIP: src6.AsSlice(), DstIP: dst6.AsSlice()},
			gopacket.Payload(append(head, text...)))
	}
	ports := []byte{4000 >> 8, 4000 & 255, 0, 80}
	for _, c := range []struct {
		name  string
		frame []byte
		want  bool
	}{
		{"IPv4, first", v4(layers.IPv4MoreFragments, 0, layers.IPProtocolTCP), true},
		{"IPv4, later", v4(layers.IPv4MoreFragments, 5, layers.IPProtocolTCP), false},
		{"IPv4, last", v4(0, 5, layers.IPProtocolTCP), false},
		{"IPv4, whole", v4(0, 0, layers.IPProtocolTCP), false},
		{"IPv4, not TCP", v4(layers.IPv4MoreFragments, 0, layers.IPProtocolUDP), false},
		{"IPv6, first", v6(true, 0, layers.IPProtocolTCP, ports...), true},
		{"IPv6, first, without ports", v6(true, 0, layers.IPProtocolTCP, 15), false},
		{"IPv6, later", v6(true, 5, layers.IPProtocolTCP, ports...), false},
		{"IPv6, last", v6(false, 5, layers.IPProtocolTCP, ports...), false},
		{"IPv6, whole", v6(false, 0, layers.IPProtocolTCP, ports...), false},
		{"IPv6, not TCP", v6(true, 0, layers.IPProtocolUDP, ports...), false},
		{"nothing", nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var f wire.Flow
			require.Equal(t, c.want, wire.FragmentFlow(c.frame, &f))
			if !c.want {
				return
			}
			want := wire.Flow{Remote: wire.AddrFrom(src4), Local: wire.AddrFrom(dst4), RemotePort: 4000, LocalPort: 80}
			if !f.Is4() {
				want.Remote, want.Local = wire.AddrFrom(src6), wire.AddrFrom(dst6)
			}
			require.Equal(t, want, f)
			for n := range c.frame { // whatever is cut off
				wire.FragmentFlow(c.frame[:n], &f)
			}
		})
	}
}
