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
	require.Equal(t, wire.ICMPError{DstMAC: macA, Src: addr("10.99.0.254"), Dst: addr("10.99.0.1"), Type: wire.ICMPUnreachable,
		Code: wire.ICMPCodeFragNeeded, MTU: 1400, Flow: flow4(), Seq: seq.Num(0xfffffff0)}, e)
	require.True(t, wire.ParseICMPError(icmpError4(t, wire.ICMPTimeExceeded, 0, 9, sent, 28), false, &e))
	require.Zero(t, e.MTU, "the field has another meaning")

	e = wire.ICMPError{}
	require.True(t, wire.ParseICMPv4Error(f[wire.EthernetLen:], &e), "without a frame around it")
	require.Equal(t, wire.ICMPError{Src: addr("10.99.0.254"), Dst: addr("10.99.0.1"), Type: wire.ICMPUnreachable,
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

// redirect6 is an ICMPv6 redirect without its checksum, as a raw socket delivers it.
func redirect6(target, dst wire.Addr, options ...byte) wire.ICMP {
	msg := make(wire.ICMP, 8, 200)
	msg.SetType(wire.ICMPv6Redirect, 0)
	return append(append(append(msg, target[:]...), dst[:]...), options...)
}

// redirected is the option that quotes the beginning of packet b, padded to eight octets.
func redirected(b []byte, n int) []byte {
	o := make([]byte, 8+(n+7)/8*8)
	o[0], o[1] = wire.NDRedirected, byte(len(o)/8)
	copy(o[8:], b[:n])
	return o
}

func TestParseRedirect(t *testing.T) {
	sent := emit(&wire.Header{SrcMAC: macA, DstMAC: macB, TTL: 64, Flow: flow4(), Seq: 7, Flags: wire.ACK}, nil,
		wire.ChecksumSoftware)[wire.EthernetLen:]
	gateway := addr("10.99.0.253")
	redirect := func(code uint8) []byte {
		f := icmpError4(t, wire.ICMPRedirect, code, 0, sent, 28)
		msg := wire.ICMP(f[wire.EthernetLen+wire.IPv4Len:])
		copy(msg[4:8], gateway[12:])
		msg.UpdateChecksum(0)
		return f
	}
	var e wire.ICMPError
	require.True(t, wire.ParseICMPError(redirect(1), false, &e))
	require.Equal(t, wire.ICMPError{DstMAC: macA, Src: addr("10.99.0.254"), Dst: addr("10.99.0.1"), Type: wire.ICMPRedirect,
		Code: 1, Flow: flow4(), Seq: 7, Gateway: gateway}, e)
	require.True(t, e.Redirects())
	require.False(t, wire.ParseICMPError(redirect(4), false, &e), "a code that does not exist")
	require.True(t, wire.ParseICMPError(icmpError4(t, wire.ICMPUnreachable, 1, 0, sent, 28), false, &e))
	require.False(t, e.Redirects())
}

func TestParseRedirect6(t *testing.T) {
	flow := flow6()
	sent := emit(&wire.Header{SrcMAC: macA, DstMAC: macB, TTL: 64, Flow: flow, Seq: 7, Flags: wire.ACK}, nil,
		wire.ChecksumSoftware)[wire.EthernetLen:]
	router, gateway := addr("fe80::1"), addr("fe80::2")
	linkOption := []byte{wire.NDTargetLink, 1, 2, 0, 0, 0, 0, 9}
	quote := redirected(sent, 60)
	var e wire.ICMPError
	require.True(t, wire.ParseICMPv6Error(redirect6(gateway, flow.Remote, append(linkOption, quote...)...), router, 255, &e))
	require.Equal(t, wire.ICMPError{Src: router, Type: wire.ICMPv6Redirect, Flow: flow, Seq: 7, Gateway: gateway}, e)
	require.True(t, e.Redirects())
	require.True(t, wire.ParseICMPv6Error(redirect6(flow.Remote, flow.Remote, quote...), router, 255, &e), "a neighbour")

	// In a frame.
	msg := redirect6(gateway, flow.Remote, quote...)
	ip := wire.IPHeader{Src: router, Dst: flow.Local, Proto: wire.ProtoICMPv6, TTL: 255, Payload: len(msg)}
	msg.UpdateChecksum(wire.PseudoSum(&ip.Src, &ip.Dst, wire.ProtoICMPv6, uint32(len(msg))))
	f := make([]byte, wire.EthernetLen+wire.IPv6Len, 300)
	wire.PutEthernet(f, macA, macB, wire.TypeIPv6)
	ip.Put(f[wire.EthernetLen:])
	f = append(f, msg...)
	require.True(t, wire.ParseICMPError(f, false, &e))
	require.Equal(t, wire.ICMPError{DstMAC: macA, Src: router, Dst: flow.Local, Type: wire.ICMPv6Redirect, Flow: flow, Seq: 7,
		Gateway: gateway}, e)
	f[wire.EthernetLen+7] = 254
	require.False(t, wire.ParseICMPError(f, false, &e), "forwarded")

	other := redirect6(gateway, flow.Remote, quote...)
	other.SetType(wire.ICMPv6Redirect, 1)
	for name, c := range map[string]struct {
		src wire.Addr
		ttl uint8
		msg wire.ICMP
	}{
		"hop limit":                {router, 254, redirect6(gateway, flow.Remote, quote...)},
		"global sender":            {addr("2001:db8::1"), 255, redirect6(gateway, flow.Remote, quote...)},
		"code":                     {router, 255, other},
		"global gateway":           {router, 255, redirect6(addr("2001:db8::9"), flow.Remote, quote...)},
		"multicast":                {router, 255, redirect6(addr("ff02::5"), addr("ff02::5"), quote...)},
		"nothing quoted":           {router, 255, redirect6(gateway, flow.Remote, linkOption...)},
		"quotes another way":       {router, 255, redirect6(gateway, addr("2001:db8::77"), quote...)},
		"quoted too little":        {router, 255, redirect6(gateway, flow.Remote, redirected(sent, 40)...)},
		"option of no length":      {router, 255, redirect6(gateway, flow.Remote, append([]byte{9, 0, 0, 0, 0, 0, 0, 0}, quote...)...)},
		"option cut off":           {router, 255, redirect6(gateway, flow.Remote, quote[:len(quote)-8]...)},
		"an octet behind the last": {router, 255, redirect6(gateway, flow.Remote, append(quote, 1)...)},
		"cut off":                  {router, 255, redirect6(gateway, flow.Remote)[:39]},
	} {
		require.False(t, wire.ParseICMPv6Error(c.msg, c.src, c.ttl, &e), name)
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
	require.True(t, wire.ParseICMPv6Error(msg, addr("fe80::1"), 64, &e))
	require.Equal(t, wire.ICMPError{Src: addr("fe80::1"), Type: wire.ICMPv6PacketTooBig, MTU: 1300, Flow: flow6(), Seq: 7}, e)
	require.False(t, wire.ParseICMPv6Error(msg[:wire.ICMPLen-1], addr("fe80::1"), 64, &e))
	require.False(t, wire.ParseICMPv6Error(msg[:wire.ICMPLen], addr("fe80::1"), 64, &e))
	msg.SetType(wire.ICMPv6EchoRequest, 0)
	require.False(t, wire.ParseICMPv6Error(msg, addr("fe80::1"), 64, &e))
}

func FuzzParseICMPError(f *testing.F) {
	sent := emit(&wire.Header{SrcMAC: macA, DstMAC: macB, TTL: 64, Flow: flow4(), Flags: wire.ACK}, nil, wire.ChecksumSoftware)
	f.Add(icmpError4(f, wire.ICMPUnreachable, 4, 1400, sent[wire.EthernetLen:], 28), true)
	f.Add(sent, false)
	flow := flow6()
	sent6 := emit(&wire.Header{TTL: 64, Flow: flow, Flags: wire.ACK}, nil, wire.ChecksumSoftware)
	f.Add([]byte(redirect6(addr("fe80::2"), flow.Remote, redirected(sent6[wire.EthernetLen:], 60)...)), false)
	f.Fuzz(func(t *testing.T, b []byte, good bool) {
		var e wire.ICMPError
		if wire.ParseICMPError(b, good, &e) {
			require.Equal(t, e.Flow.Local.Is4(), e.Flow.Remote.Is4())
		}
		wire.ParseICMPv4Error(b, &e)
		wire.ParseICMPv6Error(b, addr("fe80::1"), wire.NDHopLimit, &e)
	})
}
