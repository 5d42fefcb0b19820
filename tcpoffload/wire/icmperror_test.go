package wire_test

import (
	"encoding/binary"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/seq"
	"opentoe/tcpoffload/wire"
)

// icmpError4 lets gopacket write an ICMP error that quotes the first n octets of the packet b.
func icmpError4(t testing.TB, icmpType, code uint8, mtu uint16, b []byte, n int) []byte {
	eth := layers.Ethernet{SrcMAC: macB[:], DstMAC: macA[:], EthernetType: layers.EthernetTypeIPv4}
	ip := layers.IPv4{Version: 4, TTL: 60, Protocol: layers.IPProtocolICMPv4,
		SrcIP: []byte{10, 99, 0, 254}, DstIP: []byte{10, 99, 0, 1}}
	msg := layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(icmpType, code), Seq: mtu}
	return build(t, &eth, &ip, &msg, gopacket.Payload(b[:n]))
}

func TestParseICMPError(t *testing.T) {
	sent := emit(&wire.Header{SrcMAC: macA, DstMAC: macB, TTL: 64, Flow: flow4(), Seq: 0xfffffff0, Flags: wire.ACK}, nil,
		wire.ChecksumSoftware)[wire.EthernetLen:]
	var e wire.ICMPError
	f := icmpError4(t, wire.ICMPUnreachable, wire.ICMPCodeFragNeeded, 1400, sent, 28)
	require.True(t, wire.ParseICMPError(f, false, &e))
	require.Equal(t, wire.ICMPError{DstMAC: macA, Dst: addr("10.99.0.1"), Type: wire.ICMPUnreachable,
		Code: wire.ICMPCodeFragNeeded, MTU: 1400, Flow: flow4(), Seq: seq.Num(0xfffffff0)}, e)
	require.True(t, wire.ParseICMPError(icmpError4(t, wire.ICMPTimeExceeded, 0, 9, sent, 28), false, &e))
	require.Zero(t, e.MTU, "the field has another meaning")

	e = wire.ICMPError{}
	require.True(t, wire.ParseICMPv4Error(f[wire.EthernetLen:], &e), "without a frame around it")
	require.Equal(t, wire.ICMPError{Dst: addr("10.99.0.1"), Type: wire.ICMPUnreachable,
		Code: wire.ICMPCodeFragNeeded, MTU: 1400, Flow: flow4(), Seq: seq.Num(0xfffffff0)}, e)

	for name, bad := range map[string][]byte{
		"an octet short": icmpError4(t, wire.ICMPUnreachable, 1, 0, sent, 27),
		"an echo":        icmpError4(t, wire.ICMPEchoRequest, 0, 0, sent, 28),
		"no quotation":   icmpError4(t, wire.ICMPUnreachable, 1, 0, sent, 0),
		"a checksum":     func() []byte { b := append([]byte(nil), f...); b[len(b)-1] ^= 1; return b }(),
		"UDP": func() []byte {
			q := append([]byte(nil), sent...)
			q[9] = 17
			return icmpError4(t, wire.ICMPUnreachable, 1, 0, q, 28)
		}(),
		"a later fragment": func() []byte {
			q := append([]byte(nil), sent...)
			binary.BigEndian.PutUint16(q[6:], 1)
			return icmpError4(t, wire.ICMPUnreachable, 1, 0, q, 28)
		}(),
		"nothing": nil,
	} {
		require.False(t, wire.ParseICMPError(bad, false, &e), name)
	}
}

// A raw socket delivers ICMPv6 messages without the packet around them.
func TestParseICMPv6Message(t *testing.T) {
	sent := emit(&wire.Header{SrcMAC: macA, DstMAC: macB, TTL: 64, Flow: flow6(), Seq: 7, Flags: wire.ACK}, nil,
		wire.ChecksumSoftware)[wire.EthernetLen:]
	msg := wire.ICMP(append(make([]byte, wire.ICMPLen), sent...))
	msg.SetType(wire.ICMPv6PacketTooBig, 0)
	binary.BigEndian.PutUint32(msg[4:], 1300)
	var e wire.ICMPError
	require.True(t, wire.ParseICMPv6Error(msg, &e))
	require.Equal(t, wire.ICMPError{Type: wire.ICMPv6PacketTooBig, MTU: 1300, Flow: flow6(), Seq: 7}, e)
	require.False(t, wire.ParseICMPv6Error(msg[:wire.ICMPLen-1], &e))
	require.False(t, wire.ParseICMPv6Error(msg[:wire.ICMPLen], &e))
	msg.SetType(wire.ICMPv6EchoRequest, 0)
	require.False(t, wire.ParseICMPv6Error(msg, &e))
}

func FuzzParseICMPError(f *testing.F) {
	sent := emit(&wire.Header{SrcMAC: macA, DstMAC: macB, TTL: 64, Flow: flow4(), Flags: wire.ACK}, nil, wire.ChecksumSoftware)
	f.Add(icmpError4(f, wire.ICMPUnreachable, 4, 1400, sent[wire.EthernetLen:], 28), true)
	f.Add(sent, false)
	f.Fuzz(func(t *testing.T, b []byte, good bool) {
		var e wire.ICMPError
		if wire.ParseICMPError(b, good, &e) {
			require.Equal(t, e.Flow.Local.Is4(), e.Flow.Remote.Is4())
		}
		wire.ParseICMPv4Error(b, &e)
		wire.ParseICMPv6Error(b, &e)
	})
}
