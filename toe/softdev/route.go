package softdev

import (
	"opentoe/tcpoffload/wire"
	"opentoe/toe"
)

// Which port carries what: a connection belongs to the port that has its local address, and a port
// answers for its own addresses only.

// home returns the port that has address a; ok is false when none has.
func (d *Device) home(a wire.Addr) (port int, ok bool) {
	for i := range d.cfg.Ports {
		if d.cfg.Ports[i].Port.Owns(a) {
			return i, true
		}
	}
	return 0, false
}

// nearest returns the port with the longest route to remote, the first of equals; ok is false when
// none has a route.
func (d *Device) nearest(remote wire.Addr) (port int, ok bool) {
	longest := -1
	for i := range d.cfg.Ports {
		if bits, routed := d.cfg.Ports[i].Port.Route(remote); routed && bits > longest {
			port, longest = i, bits
		}
	}
	return port, longest >= 0
}

// egress returns the port that an active open of f leaves by: the one that has f's local address, or
// without one the nearest to the remote address.
func (d *Device) egress(f *wire.Flow) (port int, reason toe.Reason) {
	if f.RemotePort == 0 || f.Remote.IsUnspecified() {
		return 0, toe.ReasonInvalid
	}
	if _, ours := d.home(f.Remote); ours || f.Remote.Netip().IsLoopback() {
		return 0, toe.ReasonLoopback
	}
	if f.Local.IsUnspecified() {
		port, ok := d.nearest(f.Remote)
		if !ok {
			return 0, toe.ReasonNoRoute
		}
		return port, toe.Offloaded
	}
	port, ours := d.home(f.Local)
	if !ours {
		return 0, toe.ReasonLocalAddr
	}
	if !d.cfg.Ports[port].Port.Routed(f.Remote) {
		return 0, toe.ReasonNoRoute
	}
	return port, toe.Offloaded
}

// CanOffload gives a preliminary answer without asking a worker.
func (d *Device) CanOffload(r *toe.ConnectRequest) toe.Reason {
	_, reason := d.egress(&r.Flow)
	if reason == toe.Offloaded && d.full() {
		reason = toe.ReasonTableFull
	}
	return reason
}

// full reports whether every worker's table was full a moment ago.
func (d *Device) full() bool {
	for _, w := range d.workers {
		if w.live.Load() < int64(d.cfg.connsPerWorker()) {
			return false
		}
	}
	return true
}

// L2Update tells the nearest port of a neighbour that somebody else has resolved, or every port of
// one that is gone.
func (d *Device) L2Update(addr wire.Addr, mac wire.MAC, valid bool) error {
	if !valid {
		for i := range d.cfg.Ports {
			d.cfg.Ports[i].Port.ForgetNeighbour(addr)
		}
		return nil
	}
	port, _ := d.nearest(addr) // without a route any port refuses it
	return d.cfg.Ports[port].Port.SetNeighbour(d.workers[0].clock(), addr, mac, false)
}
