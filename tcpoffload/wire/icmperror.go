package wire

import (
	"encoding/binary"

	"opentoe/tcpoffload/seq"
)

// ICMPError is a received ICMP or ICMPv6 error that quotes a TCP segment, in host order.
type ICMPError struct {
	DstMAC     MAC
	Dst        Addr // whom the error is for
	Type, Code uint8
	MTU        uint16  // of the link that was too narrow, valid only with the types that tell; 0: not told
	Flow       Flow    // of the quoted segment; Local is its sender
	Seq        seq.Num // of the quoted segment
}

// quotedTCP is how much of a quoted TCP header is needed, and at least quoted (RFC 792): both ports and
// the sequence number.
const quotedTCP = 8

// ParseICMPError examines the frame b, from its first Ethernet octet, and fills e if it is a sound ICMP
// or ICMPv6 error that quotes the beginning of a TCP segment. Else e is undefined. ipSumGood says that
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
// [ParseICMPError] does a frame; DstMAC and Dst stay as they are.
func ParseICMPv6Error(msg ICMP, e *ICMPError) bool { return len(msg) >= ICMPLen && e.message6(msg) }

func parseICMP4(b []byte, ipSumGood bool, e *ICMPError) bool {
	ip, ok := AsIPv4(b)
	if !ok || ip.Protocol() != ProtoICMP || ip.IsFragment() || !ipSumGood && !ip.ChecksumOK() {
		return false
	}
	msg, ok := AsICMP(ip.Payload())
	if !ok || msg.Type() != ICMPUnreachable && msg.Type() != ICMPTimeExceeded && msg.Type() != ICMPParamProblem ||
		!msg.ChecksumOK(0) {
		return false
	}
	e.Dst, e.Type, e.Code, e.MTU = ip.Dst(), msg.Type(), msg.Code(), 0
	if e.Type == ICMPUnreachable && e.Code == ICMPCodeFragNeeded {
		e.MTU = binary.BigEndian.Uint16(msg[6:8])
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
	e.Dst = dst
	return e.message6(msg)
}

// message6 takes in an ICMPv6 message with a good checksum.
func (e *ICMPError) message6(msg ICMP) bool {
	if msg.Type() < ICMPv6Unreachable || msg.Type() > ICMPv6ParamProblem {
		return false
	}
	e.Type, e.Code, e.MTU = msg.Type(), msg.Code(), 0
	if e.Type == ICMPv6PacketTooBig {
		e.MTU = uint16(min(binary.BigEndian.Uint32(msg[4:8]), 1<<16-1))
	}
	// We send no extension headers, so that what we sent is quoted without.
	q := msg.Body()
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
