package ports

import (
	"opentoe/pmd/frame"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// echoTTL is the TTL and hop limit of what the responder sends.
const echoTTL = 64

// inputIPv4 answers echo requests to our own addresses (RFC 1122 §3.2.2.6).
func (h *Host) inputIPv4(now vtime.Time, eth wire.Ethernet, off int, flags frame.Flags, q Queue,
	tx *frame.Burst) bool {
	ip, ok := wire.AsIPv4(eth[off:])
	if !ok || flags&frame.RxIPCsumGood == 0 && !ip.ChecksumOK() {
		h.count(CountBadIP)
		return false
	}
	if !h.port.Owns(ip.Dst()) {
		h.count(CountNotOurs)
		return false
	}
	if ip.IsFragment() {
		h.count(CountFragment)
		return false
	}
	if ip.Protocol() != wire.ProtoICMP {
		h.count(CountUnhandled)
		return false
	}
	msg, ok := wire.AsICMP(ip.Payload())
	if !ok || !msg.ChecksumOK(0) {
		h.count(CountBadICMP)
		return false
	}
	if msg.Type() != wire.ICMPEchoRequest || msg.Code() != 0 {
		h.count(CountUnhandled)
		return false
	}
	return h.answerEcho(now, eth, ip.Dst(), ip.Src(), msg, wire.ICMPEchoReply, q, tx)
}

// inputIPv6 answers echo requests to our own addresses (RFC 4443 §4.2) and passes neighbour
// discovery on.
func (h *Host) inputIPv6(now vtime.Time, eth wire.Ethernet, off int, q Queue,
	tx *frame.Burst) bool {
	ip, ok := wire.AsIPv6(eth[off:])
	if !ok {
		h.count(CountBadIP)
		return false
	}
	src, dst := ip.Src(), ip.Dst()
	if src.Is4() || dst.Is4() { // mapped addresses are not for the wire, and IPv4 to us
		h.count(CountBadIP)
		return false
	}
	if !h.port.Owns(dst) && !dst.IsMulticast() {
		h.count(CountNotOurs)
		return false
	}
	proto, start, fragment, ok := ip.Upper()
	switch {
	case !ok:
		h.count(CountBadIP)
		return false
	case fragment:
		h.count(CountFragment)
		return false
	case proto != wire.ProtoICMPv6:
		h.count(CountUnhandled)
		return false
	}
	msg, ok := wire.AsICMP(ip[start:])
	if !ok || !msg.ChecksumOK(wire.PseudoSum(&src, &dst, wire.ProtoICMPv6, uint32(len(msg)))) {
		h.count(CountBadICMP)
		return false
	}
	switch {
	case msg.Type() == wire.ICMPv6Solicitation, msg.Type() == wire.ICMPv6Advertisement:
		return h.inputND(now, eth, ip, msg, q, tx)
	case msg.Type() == wire.ICMPv6EchoRequest && msg.Code() == 0 && h.port.Owns(dst):
		return h.answerEcho(now, eth, dst, src, msg, wire.ICMPv6EchoReply, q, tx)
	}
	h.count(CountUnhandled)
	return false
}

// answerEcho sends msg back from our address src to the station that it came from, as a message of
// the type given.
func (h *Host) answerEcho(now vtime.Time, eth wire.Ethernet, src, dst wire.Addr, msg wire.ICMP,
	reply uint8, q Queue, tx *frame.Burst) bool {
	ip := wire.IPHeader{Src: src, Dst: dst, Proto: wire.ProtoICMP, TTL: echoTTL, Payload: len(msg)}
	pseudo := uint32(0)
	if !src.Is4() {
		ip.Proto = wire.ProtoICMPv6
		pseudo = wire.PseudoSum(&src, &dst, wire.ProtoICMPv6, uint32(len(msg)))
	}
	switch {
	case dst.IsUnspecified() || dst.IsMulticast() || !h.port.Routed(dst):
		h.count(CountUnhandled) // nobody to answer to
		return false
	case ip.Len()+len(msg) > h.port.MTU():
		h.count(CountEchoTooBig)
		return true
	case !h.echo.allow(now):
		h.count(CountEchoLimited)
		return true
	}
	b := h.alloc(q, tx, wire.EthernetLen+ip.Len()+len(msg))
	if b == nil {
		return true
	}
	h.ipid++
	ip.ID = h.ipid
	wire.PutEthernet(b, eth.Src(), h.port.MAC(), ip.Type())
	answer := wire.ICMP(b[wire.EthernetLen+ip.Put(b[wire.EthernetLen:]):])
	copy(answer, msg)
	answer.SetType(reply, 0)
	answer.UpdateChecksum(pseudo)
	h.count(CountEchoReply)
	return true
}
