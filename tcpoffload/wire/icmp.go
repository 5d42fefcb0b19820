package wire

import "encoding/binary"

// ICMPLen is the length of the fixed part of an ICMP or ICMPv6 message, in octets: type, code,
// checksum and four octets whose meaning depends on the type.
const ICMPLen = 8

// ICMP message types (RFC 792).
const (
	ICMPEchoReply      uint8 = 0
	ICMPUnreachable    uint8 = 3
	ICMPRedirect       uint8 = 5
	ICMPEchoRequest    uint8 = 8
	ICMPTimeExceeded   uint8 = 11
	ICMPParamProblem   uint8 = 12
	ICMPCodeFragNeeded uint8 = 4 // of ICMPUnreachable
)

// ICMPv6 message types (RFC 4443, RFC 4861).
const (
	ICMPv6Unreachable   uint8 = 1
	ICMPv6PacketTooBig  uint8 = 2
	ICMPv6TimeExceeded  uint8 = 3
	ICMPv6ParamProblem  uint8 = 4
	ICMPv6EchoRequest   uint8 = 128
	ICMPv6EchoReply     uint8 = 129
	ICMPv6Solicitation  uint8 = 135
	ICMPv6Advertisement uint8 = 136
	ICMPv6Redirect      uint8 = 137
)

// ICMP is a view of an ICMP or ICMPv6 message with its body.
type ICMP []byte

// AsICMP returns b as a view, or ok=false if b is shorter than the fixed part.
func AsICMP(b []byte) (h ICMP, ok bool) { return b, len(b) >= ICMPLen }

// Type returns the message type.
func (h ICMP) Type() uint8 { return h[0] }

// Code returns the message code.
func (h ICMP) Code() uint8 { return h[1] }

// Checksum returns the checksum field.
func (h ICMP) Checksum() uint16 { return binary.BigEndian.Uint16(h[2:4]) }

// ID and Seq return an echo message's identifier and sequence number.
func (h ICMP) ID() uint16 { return binary.BigEndian.Uint16(h[4:6]) }

// Seq returns an echo message's sequence number.
func (h ICMP) Seq() uint16 { return binary.BigEndian.Uint16(h[6:8]) }

// Body returns what follows the fixed part: an echo's data, or the packet that an error quotes.
func (h ICMP) Body() []byte { return h[ICMPLen:] }

// SetType sets type and code.
func (h ICMP) SetType(t, code uint8) { h[0], h[1] = t, code }

// ChecksumOK reports whether the checksum over the message is right; pseudo is the pseudo-header's
// partial sum in ICMPv6 and zero in ICMP.
func (h ICMP) ChecksumOK(pseudo uint32) bool { return Fold(Sum(h, pseudo)) == 0xffff }

// UpdateChecksum computes the checksum field anew; pseudo as in [ICMP.ChecksumOK].
func (h ICMP) UpdateChecksum(pseudo uint32) {
	h[2], h[3] = 0, 0
	binary.BigEndian.PutUint16(h[2:4], Checksum(h, pseudo))
}

// Neighbour discovery (RFC 4861).
const (
	// NDLen is the length of a solicitation or advertisement without options, in octets.
	NDLen = 24
	// NDOptionLen is the length of a link-layer address option for Ethernet, in octets.
	NDOptionLen = 8
	// NDHopLimit is what the hop limit of every message must be, so that routers cannot have
	// forwarded it.
	NDHopLimit = 255
)

// Options.
const (
	NDSourceLink uint8 = 1
	NDTargetLink uint8 = 2
	NDRedirected uint8 = 4 // of a redirect: the packet that it is about
)

// NDFlags are the flags of an advertisement (RFC 4861 §4.4).
type NDFlags uint8

// The flags.
const (
	NDRouter    NDFlags = 0x80
	NDSolicited NDFlags = 0x40
	NDOverride  NDFlags = 0x20
)

// ND is a view of a neighbour solicitation or advertisement with its options.
type ND []byte

// AsND returns h as a view, or ok=false if it is not a solicitation or advertisement, or against
// the parts of RFC 4861 §7.1 that concern the message alone: code, length, option lengths, target.
func AsND(h ICMP) (n ND, ok bool) {
	if len(h) < NDLen || h.Code() != 0 || h[8] == 0xff ||
		h.Type() != ICMPv6Solicitation && h.Type() != ICMPv6Advertisement {
		return nil, false
	}
	for b := h[NDLen:]; len(b) > 0; {
		if len(b) < 2 || b[1] == 0 || int(b[1])*8 > len(b) {
			return nil, false
		}
		b = b[int(b[1])*8:]
	}
	return ND(h), true
}

// Flags returns an advertisement's flags.
func (n ND) Flags() NDFlags { return NDFlags(n[4]) }

// Target returns the address that is asked for or advertised.
func (n ND) Target() Addr { return Addr(n[8:24]) }

// LinkAddr returns the address in the first option of the kind, if there is one of Ethernet's
// length.
func (n ND) LinkAddr(kind uint8) (m MAC, ok bool) {
	for b := n[NDLen:]; len(b) > 0; b = b[int(b[1])*8:] {
		if b[0] == kind && b[1] == 1 {
			return MAC(b[2:8]), true
		}
	}
	return MAC{}, false
}

// PutND writes a solicitation or advertisement with one link-layer address option. The checksum is
// left zero. Precondition: len(b) >= NDLen+NDOptionLen.
func PutND(b []byte, icmpType uint8, flags NDFlags, target Addr, kind uint8, mac MAC) {
	b = b[:NDLen+NDOptionLen]
	binary.BigEndian.PutUint32(b[0:4], uint32(icmpType)<<24)
	binary.BigEndian.PutUint32(b[4:8], uint32(flags)<<24)
	copy(b[8:24], target[:])
	b[24], b[25] = kind, 1
	copy(b[26:32], mac[:])
}

// SolicitedNode returns the multicast group on which the owner of a hears solicitations
// (RFC 4291 §2.7.1).
func SolicitedNode(a Addr) Addr {
	return Addr{0: 0xff, 1: 0x02, 11: 1, 12: 0xff, 13: a[13], 14: a[14], 15: a[15]}
}

// AllNodes returns the multicast group of all nodes on the link (RFC 4291 §2.7.1).
func AllNodes() Addr { return Addr{0: 0xff, 1: 0x02, 15: 1} }

// MulticastMAC returns the Ethernet group of an IPv6 multicast group (RFC 2464 §7).
func MulticastMAC(a Addr) MAC { return MAC{0x33, 0x33, a[12], a[13], a[14], a[15]} }

// IsLinkLocal reports whether a is an IPv6 unicast address of link-local scope (RFC 4291 §2.5.6).
func (a Addr) IsLinkLocal() bool { return a[0] == 0xfe && a[1]&0xc0 == 0x80 }

// IsMulticast reports whether a is a multicast group of either family.
func (a Addr) IsMulticast() bool {
	if a.Is4() {
		return a[12]>>4 == 0xe
	}
	return a[0] == 0xff
}
