package ports

import (
	"opentoe/pmd/frame"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// inputARP takes in an ARP packet (RFC 826): it answers requests for our addresses, and learns the
// sender if it asked us, answered us, or is known already.
func (h *Host) inputARP(now vtime.Time, eth wire.Ethernet, off int, q Queue, tx *frame.Burst) bool {
	arp, ok := wire.AsARP(eth[off:])
	if !ok || arp.SenderMAC().IsMulticast() {
		h.count(CountBadARP)
		return false
	}
	sender, mac, toUs := arp.SenderIP(), arp.SenderMAC(), h.port.Owns(arp.TargetIP())
	if h.port.Owns(sender) {
		if mac != h.port.MAC() {
			h.count(CountAddressConflict)
		}
		return true
	}
	switch arp.Op() {
	case wire.ARPRequest:
		if toUs {
			h.sendARP(q, tx, eth.Src(), wire.ARPReply, arp.TargetIP(), mac, sender)
		}
		h.learnHint(now, sender, mac, toUs)
	case wire.ARPReply:
		if toUs && eth.Dst() == h.port.MAC() {
			h.learnAnswer(now, sender, mac)
		} else {
			h.learnHint(now, sender, mac, false)
		}
	default:
		h.count(CountBadARP)
		return false
	}
	h.count(CountARPIn)
	return true
}

// learnAnswer takes in the answer to a question of ours: the neighbour is reachable. An answer that
// nobody asked for tells no more than a hint does.
func (h *Host) learnAnswer(now vtime.Time, a wire.Addr, mac wire.MAC) {
	idx, ok := h.port.l2.find(a)
	if !ok {
		return
	}
	if _, w := h.port.l2.at(idx); w.state() == StateIncomplete || w.state() == StateProbe ||
		w.mac() == mac && w.state() != StateFailed {
		h.port.l2.update(now, idx, mac, StateReachable)
		h.learned()
		return
	}
	h.learnHint(now, a, mac, false)
}

// learnHint takes in what a neighbour says of itself without being asked. It proves that the
// neighbour speaks, not that it hears us: the entry becomes STALE, unless it says the same already.
// create makes an entry for a neighbour that is not known, because we are about to talk to it.
func (h *Host) learnHint(now vtime.Time, a wire.Addr, mac wire.MAC, create bool) {
	idx, ok := h.port.l2.find(a)
	if !ok {
		if create && h.port.OnLink(a) {
			if _, ok = h.port.l2.insert(now, now, a, mac, StateStale); !ok {
				h.count(CountTableFull)
			}
		}
		return
	}
	_, w := h.port.l2.at(idx)
	if w.state().hasMAC() && w.mac() == mac {
		return
	}
	h.port.l2.update(now, idx, mac, StateStale)
	h.learned()
}

// sendARP appends one ARP packet from us to tx and reports whether there was a buffer.
func (h *Host) sendARP(q Queue, tx *frame.Burst, dst wire.MAC, op wire.ARPOp, sender wire.Addr,
	targetMAC wire.MAC, target wire.Addr) bool {
	b := h.alloc(q, tx, wire.EthernetLen+wire.ARPLen)
	if b == nil {
		return false
	}
	wire.PutEthernet(b, dst, h.port.MAC(), wire.TypeARP)
	wire.PutARP(b[wire.EthernetLen:], op, h.port.MAC(), sender, targetMAC, target)
	h.count(CountARPOut)
	return true
}
