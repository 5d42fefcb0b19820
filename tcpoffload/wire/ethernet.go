package wire

import (
	"encoding/binary"
	"fmt"
)

// EtherType says what an Ethernet frame carries (RFC 9542).
type EtherType uint16

// The types that are understood here.
const (
	TypeIPv4 EtherType = 0x0800
	TypeARP  EtherType = 0x0806
	TypeVLAN EtherType = 0x8100
	TypeIPv6 EtherType = 0x86dd
)

// Lengths of the headers, in octets.
const (
	EthernetLen = 14
	VLANLen     = 4
)

// BroadcastMAC returns ff:ff:ff:ff:ff:ff.
func BroadcastMAC() MAC { return MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff} }

// IsMulticast reports whether m is a group address, broadcast included.
func (m MAC) IsMulticast() bool { return m[0]&1 != 0 }

// String formats m as aa:bb:cc:dd:ee:ff.
func (m MAC) String() string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
}

// Ethernet is a view of a frame from its first octet.
type Ethernet []byte

// AsEthernet returns b as a view, or ok=false if b is shorter than the header.
func AsEthernet(b []byte) (h Ethernet, ok bool) { return b, len(b) >= EthernetLen }

// Dst returns the destination.
func (h Ethernet) Dst() MAC { return MAC(h[0:6]) }

// Src returns the source.
func (h Ethernet) Src() MAC { return MAC(h[6:12]) }

// Type returns the type of what follows.
func (h Ethernet) Type() EtherType { return EtherType(binary.BigEndian.Uint16(h[12:14])) }

// SetDst sets the destination.
func (h Ethernet) SetDst(m MAC) { copy(h[0:6], m[:]) }

// SetSrc sets the source.
func (h Ethernet) SetSrc(m MAC) { copy(h[6:12], m[:]) }

// SetType sets the type of what follows.
func (h Ethernet) SetType(t EtherType) { binary.BigEndian.PutUint16(h[12:14], uint16(t)) }

// Payload returns what follows the header, padding included.
func (h Ethernet) Payload() []byte { return h[EthernetLen:] }

// PutEthernet writes a header. Precondition: len(b) >= EthernetLen.
func PutEthernet(b []byte, dst, src MAC, t EtherType) {
	h := Ethernet(b[:EthernetLen])
	h.SetDst(dst)
	h.SetSrc(src)
	h.SetType(t)
}

// VLAN is a view of an IEEE 802.1Q tag, from the octet after the type that announced it.
type VLAN []byte

// AsVLAN returns b as a view, or ok=false if b is shorter than the tag.
func AsVLAN(b []byte) (h VLAN, ok bool) { return b, len(b) >= VLANLen }

// ID returns the VLAN identifier, 0-4095; 0 means a priority tag and no VLAN.
func (h VLAN) ID() uint16 { return binary.BigEndian.Uint16(h[0:2]) & 0xfff }

// Priority returns the priority code point, 0-7.
func (h VLAN) Priority() uint8 { return h[0] >> 5 }

// SetTag sets identifier and priority. Preconditions: id <= 4095, priority <= 7.
func (h VLAN) SetTag(id uint16, priority uint8) {
	binary.BigEndian.PutUint16(h[0:2], uint16(priority)<<13|id&0xfff)
}

// Type returns the type of what follows.
func (h VLAN) Type() EtherType { return EtherType(binary.BigEndian.Uint16(h[2:4])) }

// SetType sets the type of what follows.
func (h VLAN) SetType(t EtherType) { binary.BigEndian.PutUint16(h[2:4], uint16(t)) }

// Payload returns what follows the tag.
func (h VLAN) Payload() []byte { return h[VLANLen:] }

// Network returns the type of the frame's payload and where it starts. A priority tag (VLAN 0) is
// passed over; any other VLAN's frame keeps TypeVLAN, for it is not for an untagged port.
// Precondition: h came from AsEthernet.
func (h Ethernet) Network() (t EtherType, off int) {
	t, off = h.Type(), EthernetLen
	if t == TypeVLAN {
		if v, ok := AsVLAN(h[EthernetLen:]); ok && v.ID() == 0 {
			return v.Type(), EthernetLen + VLANLen
		}
	}
	return t, off
}
