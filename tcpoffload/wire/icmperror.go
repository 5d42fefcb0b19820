package wire

import (
	"encoding/binary"

	"opentoe/tcpoffload/seq"
)

// ICMPError is a received ICMP or ICMPv6 error, or a redirect, that quotes a TCP segment, in host order.
type ICMPError struct {
	DstMAC     MAC
	Src        Addr // who says so
	Dst        Addr // whom the error is for
	Type, Code uint8
	MTU        uint16  // of the link that was too narrow, valid only with the types that tell; 0: not told
	Flow       Flow    // of the quoted segment; Local is its sender
	Seq        seq.Num // of the quoted segment
	Gateway    Addr    // valid only if Redirects: the neighbour by which Flow.Remote is to be reached
}

// Redirects reports whether e is no error but a router's word on a better way (RFC 792, RFC 4861 §4.5).
func (e *ICMPError) Redirects() bool {
	return e.Flow.Is4() && e.Type == ICMPRedirect || !e.Flow.Is4() && e.Type == ICMPv6Redirect
}

// quotedTCP is how much of a quoted TCP header is needed, and at least quoted (RFC 792): both ports and
// the sequence number.
const quotedTCP = 8

const (
	maxRedirectCode = 3  // of ICMPRedirect: network, host, and either for one type of service
	redirectLen     = 40 // of an ICMPv6 redirect without options, in octets
)

// ParseICMPError examines the frame b, from its first Ethernet octet, and fills e if it is a sound ICMP
// or ICMPv6 error, or redirect, that quotes the beginning of a TCP segment. Else e is undefined. ipSumGood says that
// the device verified the IPv4 header's checksum. Whether the segment was ours is for the caller to find out.
func ParseICMPError(b []byte, ipSumGood bool, e *ICMPError) bool {
	eth, ok := AsEthernet(b)
	if !ok {
		return false
	}
	e.DstMAC = eth.Dst()
	switch t, off := eth.Network(); t {
	case TypeIPv4:
		return parseICMP4(b[off:], ipSumGood, e)
	case TypeIPv6:
		return parseICMP6(b[off:], e)
	}
	return false
}

// ParseICMPv4Error examines the IPv4 packet b as [ParseICMPError] does a frame; DstMAC stays as it is.
func ParseICMPv4Error(b []byte, e *ICMPError) bool { return parseICMP4(b, false, e) }

// ParseICMPv6Error examines the ICMPv6 message msg, whose checksum somebody else has verified, as
// [ParseICMPError] does a frame; src and hopLimit are of the packet it came in. DstMAC and Dst stay as they
// are.
func ParseICMPv6Error(msg ICMP, src Addr, hopLimit uint8, e *ICMPError) bool {
	if len(msg) < ICMPLen {
		return false
	}
	e.Src = src
	return e.message6(msg, hopLimit)
}

func parseICMP4(b []byte, ipSumGood bool, e *ICMPError) bool {
	ip, ok := AsIPv4(b)
	if !ok || ip.Protocol() != ProtoICMP || ip.IsFragment() || !ipSumGood && !ip.ChecksumOK() {
		return false
	}
	msg, ok := AsICMP(ip.Payload())
	if !ok || !msg.ChecksumOK(0) {
		return false
	}
	e.Src, e.Dst, e.Type, e.Code, e.MTU, e.Gateway = ip.Src(), ip.Dst(), msg.Type(), msg.Code(), 0, Addr{}
	switch e.Type {
	case ICMPTimeExceeded, ICMPParamProblem:
	case ICMPUnreachable:
		if e.Code == ICMPCodeFragNeeded {
			e.MTU = binary.BigEndian.Uint16(msg[6:8])
		}
	case ICMPRedirect:
		if e.Code > maxRedirectCode {
			return false
		}
		e.Gateway = AddrFrom4([4]byte(msg[4:8]))
	default:
		return false
	}
	// The quotation is cut off, so that it is no whole packet.
	q := msg.Body()
	if len(q) < IPv4Len || q[0]>>4 != 4 || q[9] != ProtoTCP || binary.BigEndian.Uint16(q[6:8])&0x1fff != 0 {
		return false
	}
	n := int(q[0]&15) * 4
	if n < IPv4Len || len(q) < n+quotedTCP {
		return false
	}
	e.Flow.Local, e.Flow.Remote = AddrFrom4([4]byte(q[12:16])), AddrFrom4([4]byte(q[16:20]))
	e.quoted(q[n:])
	return true
}

func parseICMP6(b []byte, e *ICMPError) bool {
	ip, ok := AsIPv6(b)
	if !ok {
		return false
	}
	proto, start, fragment, ok := ip.Upper()
	if !ok || fragment || proto != ProtoICMPv6 {
		return false
	}
	src, dst := ip.Src(), ip.Dst()
	msg, ok := AsICMP(ip[start:])
	if !ok || !msg.ChecksumOK(PseudoSum(&src, &dst, ProtoICMPv6, uint32(len(msg)))) {
		return false
	}
	e.Src, e.Dst = src, dst
	return e.message6(msg, ip.HopLimit())
}

// message6 takes in an ICMPv6 message with a good checksum, which came from e.Src.
func (e *ICMPError) message6(msg ICMP, hopLimit uint8) bool {
	e.Type, e.Code, e.MTU, e.Gateway = msg.Type(), msg.Code(), 0, Addr{}
	switch e.Type {
	case ICMPv6Unreachable, ICMPv6TimeExceeded, ICMPv6ParamProblem:
	case ICMPv6PacketTooBig:
		e.MTU = uint16(min(binary.BigEndian.Uint32(msg[4:8]), 1<<16-1))
	case ICMPv6Redirect:
		return hopLimit == NDHopLimit && e.redirect6(msg)
	default:
		return false
	}
	return e.quoted6(msg.Body())
}

// redirect6 takes in an ICMPv6 redirect (RFC 4861 §4.5) if it is as §8.1 demands and quotes a segment.
func (e *ICMPError) redirect6(msg ICMP) bool {
	if len(msg) < redirectLen || e.Code != 0 || !e.Src.IsLinkLocal() {
		return false
	}
	target, dst := Addr(msg[8:24]), Addr(msg[24:40])
	if dst.IsMulticast() || target != dst && !target.IsLinkLocal() {
		return false
	}
	quotes := false
	for b := msg[redirectLen:]; len(b) > 0; {
		if len(b) < 2 || b[1] == 0 || int(b[1])*8 > len(b) {
			return false
		}
		n := int(b[1]) * 8
		if b[0] == NDRedirected && !quotes {
			quotes = e.quoted6(b[8:n])
		}
		b = b[n:]
	}
	e.Gateway = target
	return quotes && e.Flow.Remote == dst
}

// quoted6 takes in the beginning of the IPv6 packet that an error is about. We send no extension headers,
// so that what we sent is quoted without.
func (e *ICMPError) quoted6(q []byte) bool {
	if len(q) < IPv6Len+quotedTCP || q[0]>>4 != 6 || q[6] != ProtoTCP {
		return false
	}
	e.Flow.Local, e.Flow.Remote = Addr(q[8:24]), Addr(q[24:40])
	e.quoted(q[IPv6Len:])
	return !e.Flow.Local.Is4() && !e.Flow.Remote.Is4()
}

// quoted takes in the first octets of a TCP header.
func (e *ICMPError) quoted(q []byte) {
	e.Flow.LocalPort, e.Flow.RemotePort = binary.BigEndian.Uint16(q[0:2]), binary.BigEndian.Uint16(q[2:4])
	e.Seq = seq.Num(binary.BigEndian.Uint32(q[4:8]))
}
