package ports

import (
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// Control returns the kernel where it owns the port's routes and neighbours, else nil.
func (p *Port) Control() ControlPlane { return p.cfg.Control }

// Exit returns the next hop of packets from our address local to remote, and the largest of them in
// octets; ok is false when they do not leave by this port. It answers from the port's routes where these
// are complete, else by asking the kernel: for strangers' packets so often a second, for connections of ours
// (trusted) without a limit.
func (h *Host) Exit(now vtime.Time, local, remote wire.Addr, trusted bool) (idx uint32, mtu int, ok bool) {
	h.now = now
	v := h.port.view.Load()
	if !v.owns(local) || v.owns(remote) {
		h.count(CountNoRoute)
		return 0, 0, false
	}
	r := v.routes.find(remote)
	if c := h.port.cfg.Control; c != nil && (!v.Complete || r != nil && r.kind == RouteAsk) {
		return h.ask(c, now, v, local, remote, trusted)
	}
	if r == nil || r.kind != RouteOut {
		h.count(CountNoRoute)
		return 0, 0, false
	}
	idx, ok = h.Neighbour(v.redirected(now, remote, r.hop(remote)))
	return idx, least(v.MTU, int(r.mtu)), ok
}

// ask is Exit by the kernel's answer.
func (h *Host) ask(c ControlPlane, now vtime.Time, v *seen, local, remote wire.Addr, trusted bool) (idx uint32, mtu int, ok bool) {
	hop, err, known := c.Known(remote, local)
	if !known {
		if !trusted && !h.asks.allow(now) {
			h.count(CountRouteLimited)
			return 0, 0, false
		}
		h.count(CountRouteAsked)
		hop, err = c.Lookup(remote, local)
	}
	if err != nil || hop.Local || hop.Index != v.Index {
		h.count(CountNoRoute)
		return 0, 0, false
	}
	idx, ok = h.Neighbour(v.redirected(now, remote, hop.Via))
	return idx, least(v.MTU, hop.MTU), ok
}

// least returns the smaller of two sizes, of which the second may be absent (zero).
func least(mtu, bound int) int {
	if bound == 0 {
		return mtu
	}
	return min(mtu, bound)
}

// FollowNeighbour makes what is known of neighbour a what the kernel says. One that nobody has sent
// anything to is taken in only while there is room; StateNone takes back what is known.
func (p *Port) FollowNeighbour(now vtime.Time, a wire.Addr, mac wire.MAC, s State) {
	if s.hasMAC() && (mac.IsMulticast() || mac == wire.MAC{}) {
		s = StateFailed // broadcast and the like: nothing that a connection could have for a peer
	}
	idx, ok := p.l2.find(a)
	switch {
	case s == StateNone:
		p.ForgetNeighbour(a)
	case ok:
		p.l2.follow(now, idx, mac, s)
	case s.hasMAC():
		p.l2.adopt(now, a, mac, s)
	}
}

// OfferNeighbour takes in what the kernel was found to know of neighbour a, which may be older than what
// FollowNeighbour has said meanwhile: it fills in a hardware address where there is none.
func (p *Port) OfferNeighbour(now vtime.Time, a wire.Addr, mac wire.MAC, s State) {
	idx, ok := p.l2.find(a)
	if !ok || !s.hasMAC() || mac.IsMulticast() || mac == (wire.MAC{}) {
		return
	}
	for {
		e, w := p.l2.at(idx)
		if e == nil || w.state().hasMAC() {
			return
		}
		e.changed.Store(int64(now))
		if e.cas(w, makeWord(mac, w.gen(), s)) {
			return
		}
	}
}

// follow makes idx's entry what the kernel says, also a permanent one.
func (t *l2Table) follow(now vtime.Time, idx uint32, mac wire.MAC, s State) {
	for {
		e, w := t.at(idx)
		if e == nil {
			return
		}
		if !s.hasMAC() {
			mac = w.mac()
		}
		if s == StateReachable || s == StateFailed {
			e.changed.Store(int64(now))
		}
		if e.cas(w, makeWord(mac, w.gen(), s)) {
			return
		}
	}
}

// adopt makes an entry for a neighbour if there is one that was never used.
func (t *l2Table) adopt(now vtime.Time, a wire.Addr, mac wire.MAC, s State) {
	t.mu.Lock()
	room := t.used < len(t.entries)
	t.mu.Unlock()
	if room {
		t.insert(now, now, a, mac, s) // another may have taken the room: then one that is unused is given up
	}
}
