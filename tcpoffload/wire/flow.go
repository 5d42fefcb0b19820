package wire

import (
	"encoding/binary"
	"net/netip"
)

// Addr is an IPv6 address, or an IPv4 address in its mapped form (::ffff:a.b.c.d), in network
// order. It is comparable and free of pointers, so tables of it cost the collector nothing.
type Addr [16]byte

// AddrFrom converts a; the zone is dropped, the zero netip.Addr gives the zero Addr.
func AddrFrom(a netip.Addr) Addr {
	if !a.IsValid() {
		return Addr{}
	}
	return Addr(a.As16())
}

// AddrFrom4 returns the mapped form of an IPv4 address.
func AddrFrom4(b [4]byte) Addr {
	return Addr{10: 0xff, 11: 0xff, 12: b[0], 13: b[1], 14: b[2], 15: b[3]}
}

// Is4 reports whether a holds an IPv4 address.
func (a Addr) Is4() bool {
	return a[0]|a[1]|a[2]|a[3]|a[4]|a[5]|a[6]|a[7]|a[8]|a[9] == 0 && a[10]&a[11] == 0xff
}

// As4 returns the last four octets. Precondition: a.Is4().
func (a Addr) As4() [4]byte { return [4]byte(a[12:16]) }

// IsUnspecified reports whether a is ::, 0.0.0.0 mapped, or the zero Addr.
func (a Addr) IsUnspecified() bool { return a == Addr{} || a == AddrFrom4([4]byte{}) }

// Netip returns a as a netip.Addr, unmapped when it holds IPv4.
func (a Addr) Netip() netip.Addr { return netip.AddrFrom16(a).Unmap() }

// String formats a in the usual notation of its family.
func (a Addr) String() string { return a.Netip().String() }

// MAC is an Ethernet address.
type MAC [6]byte

// Flow is a connection's 4-tuple as seen from this host. Ports are in host order. It is
// comparable and free of pointers. Both addresses are of one family.
type Flow struct {
	Local, Remote         Addr
	LocalPort, RemotePort uint16
}

// Is4 reports whether the flow is IPv4.
func (f *Flow) Is4() bool { return f.Local.Is4() }

// LocalAddrPort returns the local end.
func (f *Flow) LocalAddrPort() netip.AddrPort {
	return netip.AddrPortFrom(f.Local.Netip(), f.LocalPort)
}

// RemoteAddrPort returns the remote end.
func (f *Flow) RemoteAddrPort() netip.AddrPort {
	return netip.AddrPortFrom(f.Remote.Netip(), f.RemotePort)
}

// Flags are the TCP control bits (RFC 9293 §3.1, RFC 3168).
type Flags uint8

// The control bits.
const (
	FIN Flags = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
	ECE
	CWR
)

// Has reports whether every bit of g is set in f.
func (f Flags) Has(g Flags) bool { return f&g == g }

// String writes the set bits as tcpdump does: S F R P . U E W.
func (f Flags) String() string {
	const letters = "FSRP.UEW"
	var b [8]byte
	n := 0
	for i := range 8 {
		if f&(1<<i) != 0 {
			b[n] = letters[i]
			n++
		}
	}
	return string(b[:n])
}

// Is reports whether f and g are the same flow: f == g, by words. Segments are looked up by it.
func (f *Flow) Is(g *Flow) bool {
	a, b, c, d := &f.Local, &g.Local, &f.Remote, &g.Remote
	return f.RemotePort == g.RemotePort && f.LocalPort == g.LocalPort &&
		c.low() == d.low() && a.low() == b.low() && c.high() == d.high() && a.high() == b.high()
}

func (a *Addr) high() uint64 { return binary.NativeEndian.Uint64(a[:8]) }
func (a *Addr) low() uint64  { return binary.NativeEndian.Uint64(a[8:]) }
