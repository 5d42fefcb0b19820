package wire

import (
	"encoding/binary"
	"math/bits"
)

// Protocol is an IP protocol or next-header number.
type Protocol = uint8

// The protocols that are understood here.
const (
	ProtoHopByHop    Protocol = 0
	ProtoICMP        Protocol = 1
	ProtoTCP         Protocol = 6
	ProtoUDP         Protocol = 17
	ProtoRouting     Protocol = 43
	ProtoFragment    Protocol = 44
	ProtoICMPv6      Protocol = 58
	ProtoNoNext      Protocol = 59
	ProtoDestOptions Protocol = 60
)

// Lengths of the IP headers without options and extensions, in octets.
const (
	IPv4Len = 20
	IPv6Len = 40
)

// ECN field of the IP header (RFC 3168 §5).
const (
	ecnMask = 3
)

// IPv4 is a view of an IPv4 packet (RFC 791), from its first octet to its last: link-layer padding
// is cut off.
type IPv4 []byte

// AsIPv4 returns the packet at the start of b as a view, or ok=false if version, header length or
// total length are wrong. The checksum is not looked at.
func AsIPv4(b []byte) (h IPv4, ok bool) {
	if checkIPv4(b) != VerdictTCP {
		return nil, false
	}
	return IPv4(b[:binary.BigEndian.Uint16(b[2:4])]), true
}

// checkIPv4 checks the lengths; VerdictTCP stands for "nothing wrong".
func checkIPv4(b []byte) Verdict {
	if len(b) < IPv4Len {
		return VerdictShort
	}
	if b[0]>>4 != 4 {
		return VerdictBadIPVersion
	}
	hlen := int(b[0]&0xf) * 4
	if hlen < IPv4Len {
		return VerdictBadIPHeader
	}
	if total := int(binary.BigEndian.Uint16(b[2:4])); total < hlen || total > len(b) {
		return VerdictBadIPLength
	}
	return VerdictTCP
}

// HeaderLen returns the header's length with its options, 20-60 octets.
func (h IPv4) HeaderLen() int { return int(h[0]&0xf) * 4 }

// TOS returns the octet of DSCP and ECN.
func (h IPv4) TOS() uint8 { return h[1] }

// TotalLen returns the packet's length in octets.
func (h IPv4) TotalLen() int { return int(binary.BigEndian.Uint16(h[2:4])) }

// ID returns the identification.
func (h IPv4) ID() uint16 { return binary.BigEndian.Uint16(h[4:6]) }

// DF reports don't-fragment.
func (h IPv4) DF() bool { return h[6]&0x40 != 0 }

// IsFragment reports whether the packet is part of a larger one.
func (h IPv4) IsFragment() bool { return binary.BigEndian.Uint16(h[6:8])&0x3fff != 0 }

// TTL returns the hops left.
func (h IPv4) TTL() uint8 { return h[8] }

// Protocol returns what the payload is.
func (h IPv4) Protocol() Protocol { return h[9] }

// Checksum returns the header checksum.
func (h IPv4) Checksum() uint16 { return binary.BigEndian.Uint16(h[10:12]) }

// ChecksumOK reports whether the header checksum is right.
func (h IPv4) ChecksumOK() bool { return Fold(Sum(h[:h.HeaderLen()], 0)) == 0xffff }

// Src returns the source.
func (h IPv4) Src() Addr { return AddrFrom4([4]byte(h[12:16])) }

// Dst returns the destination.
func (h IPv4) Dst() Addr { return AddrFrom4([4]byte(h[16:20])) }

// Payload returns what follows the header.
func (h IPv4) Payload() []byte { return h[h.HeaderLen():] }

// IPv6 is a view of an IPv6 packet (RFC 8200), from its first octet to its last: link-layer
// padding is cut off.
type IPv6 []byte

// AsIPv6 returns the packet at the start of b as a view, or ok=false if version or payload length
// are wrong. Jumbograms are refused.
func AsIPv6(b []byte) (h IPv6, ok bool) {
	if checkIPv6(b) != VerdictTCP {
		return nil, false
	}
	return IPv6(b[:IPv6Len+int(binary.BigEndian.Uint16(b[4:6]))]), true
}

// checkIPv6 checks the lengths; VerdictTCP stands for "nothing wrong".
func checkIPv6(b []byte) Verdict {
	if len(b) < IPv6Len {
		return VerdictShort
	}
	if b[0]>>4 != 6 {
		return VerdictBadIPVersion
	}
	if IPv6Len+int(binary.BigEndian.Uint16(b[4:6])) > len(b) {
		return VerdictBadIPLength
	}
	return VerdictTCP
}

// TrafficClass returns the octet of DSCP and ECN.
func (h IPv6) TrafficClass() uint8 { return uint8(binary.BigEndian.Uint16(h[0:2]) >> 4) }

// FlowLabel returns the 20-bit flow label.
func (h IPv6) FlowLabel() uint32 { return binary.BigEndian.Uint32(h[0:4]) & 0xfffff }

// PayloadLen returns the length of what follows the fixed header, in octets.
func (h IPv6) PayloadLen() int { return int(binary.BigEndian.Uint16(h[4:6])) }

// NextHeader returns what follows the fixed header.
func (h IPv6) NextHeader() Protocol { return h[6] }

// HopLimit returns the hops left.
func (h IPv6) HopLimit() uint8 { return h[7] }

// Src returns the source.
func (h IPv6) Src() Addr { return Addr(h[8:24]) }

// Dst returns the destination.
func (h IPv6) Dst() Addr { return Addr(h[24:40]) }

// Payload returns what follows the fixed header, extension headers included.
func (h IPv6) Payload() []byte { return h[IPv6Len:] }

// maxExtensions bounds the walk over extension headers. A host must take any number
// (RFC 8200 §4.1 recommends each but one at most once); a longer chain is refused as malformed.
const maxExtensions = 8

// Upper walks the extension headers and returns the upper-layer protocol and where it starts,
// counted from the first octet of h. Hop-by-hop and destination options are passed over without a
// look at the options, and so are a routing header that is used up and a fragment header of a
// whole packet (RFC 6946). fragment reports a real fragment, for which proto and off are those of
// the fragment header's payload. ok is false when the chain is cut off or too long.
func (h IPv6) Upper() (proto Protocol, off int, fragment, ok bool) {
	proto, off = h.NextHeader(), IPv6Len
	for range maxExtensions {
		switch proto {
		case ProtoHopByHop, ProtoDestOptions, ProtoRouting, ProtoFragment:
		default:
			return proto, off, false, true
		}
		if off+8 > len(h) {
			return proto, off, false, false
		}
		next, n := h[off], 8
		switch proto {
		case ProtoFragment:
			if binary.BigEndian.Uint16(h[off+2:off+4])&0xfff9 != 0 {
				return next, off + 8, true, true
			}
		case ProtoRouting:
			if h[off+3] != 0 { // segments left: not for us to read (RFC 8200 §4.4)
				return proto, off, false, true
			}
			fallthrough
		default:
			n += int(h[off+1]) * 8
		}
		if off+n > len(h) {
			return proto, off, false, false
		}
		proto, off = next, off+n
	}
	return proto, off, false, false
}

// IPHeader is an IP header to write, of the family of its addresses, without options or extension
// headers.
type IPHeader struct {
	Src, Dst Addr // of one family
	Proto    Protocol
	TTL      uint8
	TOS      uint8 // DSCP in the upper six bits, ECN in the lower two
	Payload  int   // octets that follow
	ID       uint16
	DF       bool // don't fragment; ID and DF are IPv4's
}

// Len returns the header's length in octets.
func (h *IPHeader) Len() int {
	if h.Src.Is4() {
		return IPv4Len
	}
	return IPv6Len
}

// Type returns the Ethernet type that announces the header.
func (h *IPHeader) Type() EtherType {
	if h.Src.Is4() {
		return TypeIPv4
	}
	return TypeIPv6
}

// Put writes the header, checksum included, to b[:Len()] and returns its length.
func (h *IPHeader) Put(b []byte) int {
	if h.Src.Is4() {
		putIPv4(b, &h.Src, &h.Dst, h.Proto, h.TTL, h.TOS, h.ID, h.DF, h.Payload, true)
		return IPv4Len
	}
	putIPv6(b, &h.Src, &h.Dst, h.Proto, h.TTL, h.TOS, h.Payload)
	return IPv6Len
}

// putIPv4 composes the header in registers, so that the checksum need not load what was just
// stored in smaller pieces.
func putIPv4(b []byte, src, dst *Addr, proto Protocol, ttl, tos uint8, id uint16, df bool,
	payload int, sum bool) {
	b = b[:IPv4Len]
	w0 := 0x45<<56 | uint64(tos)<<48 | uint64(uint16(IPv4Len+payload))<<32 | uint64(id)<<16
	if df {
		w0 |= 0x4000
	}
	w1 := uint64(ttl)<<56 | uint64(proto)<<48 | uint64(binary.BigEndian.Uint32(src[12:16]))
	w2 := binary.BigEndian.Uint32(dst[12:16])
	if sum {
		s, c := bits.Add64(w0, w1, 0)
		s, c = bits.Add64(s, uint64(w2), c)
		w1 |= uint64(^uint16(fold16(s, c))) << 32
	}
	binary.BigEndian.PutUint64(b[0:8], w0)
	binary.BigEndian.PutUint64(b[8:16], w1)
	binary.BigEndian.PutUint32(b[16:20], w2)
}

func putIPv6(b []byte, src, dst *Addr, proto Protocol, hops, class uint8, payload int) {
	b = b[:IPv6Len]
	binary.BigEndian.PutUint64(b[0:8], 6<<60|uint64(class)<<52|uint64(uint16(payload))<<16|
		uint64(proto)<<8|uint64(hops))
	copy(b[8:24], src[:])
	copy(b[24:40], dst[:])
}
