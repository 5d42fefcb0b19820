package wire_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/wire"
)

// TestIsSyn: the glance agrees with the parser on every sample, and is safe on what the parser refuses.
func TestIsSyn(t *testing.T) {
	syns := 0
	for _, s := range samples() {
		b := emit(&s.h, s.payload, wire.ChecksumSoftware)
		var p wire.Packet
		require.Equal(t, wire.VerdictTCP, wire.Parse(b, false, false, &p), s.name)
		want := p.Flags&(wire.SYN|wire.ACK) == wire.SYN
		require.Equal(t, want, wire.IsSyn(b), s.name)
		if want {
			syns++
		}
		for n := range b {
			wire.IsSyn(b[:n])
		}
	}
	require.NotZero(t, syns)
}

func TestIsSynElsewhere(t *testing.T) {
	syn := func(f wire.Flow) []byte {
		h := wire.Header{SrcMAC: macA, DstMAC: macB, TTL: 64, Flow: f, Flags: wire.SYN}
		b := make([]byte, h.Len())
		h.Put(b, 0, 0, wire.ChecksumSoftware)
		return b
	}
	change := func(b []byte, at int, v byte) []byte {
		b[at] = v
		return b
	}
	tag := func(b []byte, id byte) []byte {
		return append(append(append([]byte{}, b[:12]...), 0x81, 0, 0, id), b[12:]...)
	}
	options := func(b []byte) []byte { // four octets of IPv4 options
		b[14] = 0x46
		return append(append(append([]byte{}, b[:34]...), 1, 1, 1, 0), b[34:]...)
	}
	for _, c := range []struct {
		name  string
		frame []byte
		want  bool
	}{
		{"IPv4", syn(flow4()), true},
		{"IPv6", syn(flow6()), true},
		{"priority tag", tag(syn(flow4()), 0), true},
		{"another VLAN", tag(syn(flow4()), 5), false},
		{"IPv4 options", options(syn(flow4())), true},
		{"UDP", change(syn(flow4()), 23, wire.ProtoUDP), false},
		{"UDP over IPv6", change(syn(flow6()), 20, wire.ProtoUDP), false},
		{"a fragment", change(syn(flow4()), 21, 1), false},
		{"ARP", change(syn(flow4()), 13, 6), false},
		{"header beyond the end", change(syn(flow4()), 14, 0x4f), false},
		{"nothing", nil, false},
	} {
		require.Equal(t, c.want, wire.IsSyn(c.frame), c.name)
	}
}
