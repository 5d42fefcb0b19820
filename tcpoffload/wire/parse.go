package wire

import (
	"encoding/binary"

	"opentoe/tcpoffload/seq"
)

// Packet is a received TCP segment in host order. It holds no reference to the frame.
type Packet struct {
	SrcMAC, DstMAC MAC
	Flags          Flags
	ECN            ECN  // codepoint of the IP header (RFC 3168 §5)
	BadOptions     bool // the option list is malformed; Opt holds what was understood
	TTL            uint8
	Flow           Flow // Local is the destination
	Seq, Ack       seq.Num
	Wnd            uint16 // as on the wire, unscaled
	Urg            uint16 // valid only with URG
	Opt            Options
	// The payload is b[PayloadOff:PayloadOff+PayloadLen] of the frame parsed.
	PayloadOff, PayloadLen int
}

// Parse examines the frame b, from its first Ethernet octet, and fills p if it is a sound TCP
// segment; with any other verdict p is undefined. ipSumGood and l4SumGood say that the device
// verified a checksum, which then is not verified again. Whether the addresses are ours is for the
// caller to find out. Untagged and priority-tagged frames are understood.
func Parse(b []byte, ipSumGood, l4SumGood bool, p *Packet) Verdict {
	eth, ok := AsEthernet(b)
	if !ok {
		return VerdictShort
	}
	p.DstMAC, p.SrcMAC = eth.Dst(), eth.Src()
	switch t, off := eth.Network(); t {
	case TypeIPv4:
		return parseIPv4(b, off, ipSumGood, l4SumGood, p)
	case TypeIPv6:
		return parseIPv6(b, off, l4SumGood, p)
	}
	return VerdictOther
}

func parseIPv4(b []byte, off int, ipSumGood, l4SumGood bool, p *Packet) Verdict {
	if v := checkIPv4(b[off:]); v != VerdictTCP {
		return v
	}
	h := IPv4(b[off : off+int(binary.BigEndian.Uint16(b[off+2:off+4]))])
	if h.Protocol() != ProtoTCP {
		return VerdictOther
	}
	if !ipSumGood && !h.ChecksumOK() {
		return VerdictBadIPChecksum
	}
	if h.IsFragment() {
		return VerdictFragment
	}
	p.TTL = h.TTL()
	p.ECN = ECN(h.TOS() & ecnMask)
	p.Flow.Remote, p.Flow.Local = h.Src(), h.Dst()
	if !canAnswer4(h[12:16]) || isGroup4(h[16]) || p.Flow.Remote == p.Flow.Local {
		return VerdictBadAddress
	}
	return parseTCP(h.Payload(), off+h.HeaderLen(), l4SumGood, p)
}

func parseIPv6(b []byte, off int, l4SumGood bool, p *Packet) Verdict {
	h, ok := AsIPv6(b[off:])
	if !ok {
		return checkIPv6(b[off:])
	}
	proto, start, fragment, ok := h.Upper()
	switch {
	case !ok:
		return VerdictBadIPHeader
	case proto != ProtoTCP:
		return VerdictOther
	case fragment:
		return VerdictFragment
	}
	p.TTL = h.HopLimit()
	p.ECN = ECN(h.TrafficClass() & ecnMask)
	p.Flow.Remote, p.Flow.Local = h.Src(), h.Dst()
	if !canAnswer6(&p.Flow.Remote) || !canAnswer6(&p.Flow.Local) || p.Flow.Remote == p.Flow.Local {
		return VerdictBadAddress
	}
	return parseTCP(h[start:], off+start, l4SumGood, p)
}

// parseTCP takes in the segment b, which stands at offset off of the frame. p.Flow's addresses are
// set.
func parseTCP(b []byte, off int, sumGood bool, p *Packet) Verdict {
	h, ok := AsTCP(b)
	if !ok {
		if len(b) < TCPLen {
			return VerdictShort
		}
		return VerdictBadTCPHeader
	}
	if !sumGood && !h.ChecksumOK(&p.Flow.Remote, &p.Flow.Local) {
		return VerdictBadTCPChecksum
	}
	p.Flow.RemotePort, p.Flow.LocalPort = h.SrcPort(), h.DstPort()
	p.Seq, p.Ack = h.Seq(), h.Ack()
	p.Flags = h.Flags()
	p.Wnd, p.Urg = h.Window(), h.Urgent()
	p.BadOptions = !ParseOptions(h.Options(), &p.Opt)
	n := h.HeaderLen()
	p.PayloadOff, p.PayloadLen = off+n, len(b)-n
	return VerdictTCP
}

// canAnswer4 reports whether an IPv4 source may be answered: not this-network, loopback, multicast,
// reserved or broadcast (RFC 1122 §3.2.1.3, RFC 9293 MUST-63).
func canAnswer4(a []byte) bool { return a[0] != 0 && a[0] != 127 && a[0] < 224 }

// isGroup4 reports whether an IPv4 destination with this first octet is multicast or broadcast.
func isGroup4(first byte) bool { return first >= 224 }

// canAnswer6 reports whether an IPv6 address may be an end of a connection over the wire: not
// unspecified, loopback, multicast, or IPv4-mapped, which would be taken for IPv4 here.
func canAnswer6(a *Addr) bool {
	if a[0] == 0xff || a.Is4() {
		return false
	}
	return binary.BigEndian.Uint64(a[0:8]) != 0 || binary.BigEndian.Uint64(a[8:16]) > 1
}
