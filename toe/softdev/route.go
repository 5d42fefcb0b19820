package softdev

import (
	"opentoe/ports"
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

// nearest returns the port with the longest route to remote of those that are not the kernel's, the
// first of equals, and its length; without a route the length is negative.
func (d *Device) nearest(remote wire.Addr) (port, length int) {
	length = -1
	for i := range d.cfg.Ports {
		p := d.cfg.Ports[i].Port
		if bits, routed := p.Route(remote); routed && bits > length && p.Control() == nil {
			port, length = i, bits
		}
	}
	return port, length
}

// exit is how an active open leaves.
type exit struct {
	port     int
	src, via wire.Addr // our address, and the neighbour
	mtu      uint16    // octets of IP packet
}

// egress returns how an active open of f leaves: by the port that has f's local address, or without one
// as the kernel says where it has ports, else by the port nearest to the remote address.
func (d *Device) egress(f *wire.Flow) (x exit, reason toe.Reason) {
	if f.RemotePort == 0 || f.Remote.IsUnspecified() {
		return x, toe.ReasonInvalid
	}
	if d.control() != nil && f.Remote.Netip().Is6() && f.Remote.Netip().IsLinkLocalUnicast() {
		return x, toe.ReasonLinkLocal
	}
	if _, ours := d.home(f.Remote); ours || f.Remote.Netip().IsLoopback() {
		return x, toe.ReasonLoopback
	}
	if !f.Local.IsUnspecified() {
		port, ours := d.home(f.Local)
		if !ours {
			return x, toe.ReasonLocalAddr
		}
		if c := d.cfg.Ports[port].Port.Control(); c != nil {
			return d.kernelExit(c, f)
		}
		return d.staticExit(port, f)
	}
	port, length := d.nearest(f.Remote)
	c := d.control()
	if c == nil || length > defaultRoute(f.Remote) {
		return d.staticExit(port, f)
	}
	if x, reason = d.kernelExit(c, f); reason == toe.ReasonNoRoute && length >= 0 {
		return d.staticExit(port, f)
	}
	return x, reason
}

// defaultRoute is the length of the default route of a's family.
func defaultRoute(a wire.Addr) int {
	if a.Is4() {
		return 96
	}
	return 0
}

// control returns the kernel if any port has it.
func (d *Device) control() ports.ControlPlane {
	for i := range d.cfg.Ports {
		if c := d.cfg.Ports[i].Port.Control(); c != nil {
			return c
		}
	}
	return nil
}

// staticExit is how f leaves by a port's own routes.
func (d *Device) staticExit(port int, f *wire.Flow) (x exit, reason toe.Reason) {
	p := d.cfg.Ports[port].Port
	via, src, ok := p.Gateway(f.Remote)
	if !ok {
		return exit{port: port}, toe.ReasonNoRoute
	}
	if !f.Local.IsUnspecified() {
		src = f.Local
	}
	return exit{port, src, via, uint16(p.MTU())}, toe.Offloaded
}

// kernelExit is how f leaves by the kernel's answer: by one of our ports or not, and with an address of
// that port.
func (d *Device) kernelExit(c ports.ControlPlane, f *wire.Flow) (x exit, reason toe.Reason) {
	hop, err := c.Lookup(f.Remote, f.Local)
	if err != nil {
		return x, toe.ReasonNoRoute // the kernel's socket will say what is wrong
	}
	if hop.Local {
		return x, toe.ReasonLoopback
	}
	if !f.Local.IsUnspecified() {
		hop.Src = f.Local
	}
	for i := range d.cfg.Ports {
		p := d.cfg.Ports[i].Port
		v := p.View()
		if p.Control() == nil || v.Index != hop.Index {
			continue
		}
		if !p.Owns(hop.Src) {
			return x, toe.ReasonLocalAddr
		}
		x = exit{i, hop.Src, hop.Via, uint16(v.MTU)}
		if hop.MTU != 0 {
			x.mtu = uint16(min(v.MTU, hop.MTU))
		}
		return x, toe.Offloaded
	}
	return x, toe.ReasonNoRoute
}

// CanOffload gives a preliminary answer without asking a worker. With a port that the kernel sees it may
// ask the kernel for a route.
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
