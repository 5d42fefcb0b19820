package ports

import (
	"opentoe/pmd/frame"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// ndLen is the length of the messages we send, in octets: with one link-layer address option.
const ndLen = wire.NDLen + wire.NDOptionLen

// inputND takes in a solicitation or advertisement whose ICMPv6 checksum is right.
func (h *Host) inputND(now vtime.Time, eth wire.Ethernet, ip wire.IPv6, msg wire.ICMP, q Queue,
	tx *frame.Burst) bool {
	nd, ok := wire.AsND(msg)
	if !ok || ip.HopLimit() != wire.NDHopLimit || nd.Target().Is4() {
		h.count(CountBadICMP)
		return false
	}
	if msg.Type() == wire.ICMPv6Solicitation {
		ok = h.inputSolicitation(now, eth, ip, nd, q, tx)
	} else {
		ok = h.inputAdvertisement(now, ip, nd)
	}
	if !ok {
		h.count(CountBadICMP)
		return false
	}
	h.count(CountNDIn)
	return true
}

// inputSolicitation answers a question for one of our addresses (RFC 4861 §7.2.3, §7.2.4). ok is
// false if the message is invalid.
func (h *Host) inputSolicitation(now vtime.Time, eth wire.Ethernet, ip wire.IPv6, nd wire.ND,
	q Queue, tx *frame.Burst) (ok bool) {
	target, src := nd.Target(), ip.Src()
	link, hasLink := nd.LinkAddr(wire.NDSourceLink)
	if link.IsMulticast() || src.IsMulticast() {
		return false
	}
	if src.IsUnspecified() {
		// Somebody checks whether the address is free (RFC 4862 §5.4): it is not, all shall know.
		if hasLink || ip.Dst() != wire.SolicitedNode(target) {
			return false
		}
		if h.port.Owns(target) {
			all := wire.AllNodes()
			h.sendAdvertisement(q, tx, wire.MulticastMAC(all), all, target, wire.NDOverride)
		}
		return true
	}
	if !h.port.Owns(target) {
		return true
	}
	if h.port.Owns(src) {
		if eth.Src() != h.port.MAC() {
			h.count(CountAddressConflict)
		}
		return true
	}
	if hasLink {
		h.learnHint(now, src, link, true)
	} else {
		link = eth.Src()
	}
	h.sendAdvertisement(q, tx, link, src, target, wire.NDSolicited|wire.NDOverride)
	return true
}

// inputAdvertisement updates what is known of a neighbour (RFC 4861 §7.2.5); neighbours that nobody
// asked for are not entered. ok is false if the message is invalid.
func (h *Host) inputAdvertisement(now vtime.Time, ip wire.IPv6, nd wire.ND) (ok bool) {
	flags, target := nd.Flags(), nd.Target()
	solicited, override := flags&wire.NDSolicited != 0, flags&wire.NDOverride != 0
	mac, hasMAC := nd.LinkAddr(wire.NDTargetLink)
	if mac.IsMulticast() || solicited && ip.Dst().IsMulticast() {
		return false
	}
	if h.port.Owns(target) {
		h.count(CountAddressConflict)
		return true
	}
	l2 := h.port.l2
	idx, found := l2.find(target)
	if !found {
		return true
	}
	_, w := l2.at(idx)
	switch known := w.state().hasMAC(); {
	case !known && !hasMAC: // useless
	case !known && !solicited:
		l2.update(now, idx, mac, StateStale)
	case !known:
		l2.update(now, idx, mac, StateReachable)
	case !hasMAC || mac == w.mac():
		if solicited {
			l2.update(now, idx, w.mac(), StateReachable)
		}
	case !override:
		l2.transition(now, idx, StateReachable, StateStale)
	case solicited:
		l2.update(now, idx, mac, StateReachable)
	default:
		l2.update(now, idx, mac, StateStale)
	}
	h.learned()
	return true
}

// sendSolicitation appends a question for target to tx and reports whether there was a buffer.
func (h *Host) sendSolicitation(q Queue, tx *frame.Burst, dstMAC wire.MAC, src, dst,
	target wire.Addr) bool {
	return h.sendND(q, tx, dstMAC, src, dst, wire.ICMPv6Solicitation, 0, target, wire.NDSourceLink)
}

// sendAdvertisement appends the statement that target is ours to tx.
func (h *Host) sendAdvertisement(q Queue, tx *frame.Burst, dstMAC wire.MAC, dst, target wire.Addr,
	flags wire.NDFlags) {
	h.sendND(q, tx, dstMAC, target, dst, wire.ICMPv6Advertisement, flags, target, wire.NDTargetLink)
}

func (h *Host) sendND(q Queue, tx *frame.Burst, dstMAC wire.MAC, src, dst wire.Addr, icmpType uint8,
	flags wire.NDFlags, target wire.Addr, option uint8) bool {
	b := h.alloc(q, tx, wire.EthernetLen+wire.IPv6Len+ndLen)
	if b == nil {
		return false
	}
	wire.PutEthernet(b, dstMAC, h.port.MAC(), wire.TypeIPv6)
	ip := wire.IPHeader{
		Src: src, Dst: dst, Proto: wire.ProtoICMPv6, TTL: wire.NDHopLimit, Payload: ndLen,
	}
	msg := b[wire.EthernetLen+ip.Put(b[wire.EthernetLen:]):]
	wire.PutND(msg, icmpType, flags, target, option, h.port.MAC())
	wire.ICMP(msg).UpdateChecksum(wire.PseudoSum(&src, &dst, wire.ProtoICMPv6, ndLen))
	h.count(CountNDOut)
	return true
}
