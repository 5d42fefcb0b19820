package loopdev

import (
	"maps"

	"opentoe/tcpoffload/wire"
	"opentoe/toe"
)

// listener is a passive open. waiting belongs to the worker.
type listener struct {
	toe.Listener
	waiting int // connections established and not accepted
}

// matches reports whether l takes connections to addr and port.
func (l *listener) matches(addr wire.Addr, port uint16) bool {
	if l.Port != port || !l.Addr.IsUnspecified() && l.Addr != addr {
		return false
	}
	if addr.Is4() {
		return !l.V6 || !l.V6Only
	}
	return l.V6
}

// CanOffload consents to connections to the device's own addresses.
func (d *Device) CanOffload(r *toe.ConnectRequest) toe.Reason {
	switch {
	case !d.owns(r.Flow.Remote):
		return toe.ReasonNoRoute
	case !r.Flow.Local.IsUnspecified() && !d.owns(r.Flow.Local):
		return toe.ReasonLocalAddr
	}
	return toe.Offloaded
}

// ListenStart adds a listener; two may not take the same address and port.
func (d *Device) ListenStart(l *toe.Listener) toe.Reason {
	d.listenMu.Lock()
	defer d.listenMu.Unlock()
	if !l.Addr.IsUnspecified() && !d.owns(l.Addr) {
		return toe.ReasonLocalAddr
	}
	old := *d.listeners.Load()
	for _, o := range old {
		if o.Port == l.Port && o.Addr == l.Addr && o.V6 == l.V6 {
			return toe.ReasonInUse
		}
	}
	next := maps.Clone(old)
	next[l.ID] = &listener{Listener: *l}
	d.listeners.Store(&next)
	return toe.Offloaded
}

// ListenStop removes a listener.
func (d *Device) ListenStop(id toe.ListenID) {
	d.listenMu.Lock()
	defer d.listenMu.Unlock()
	next := maps.Clone(*d.listeners.Load())
	delete(next, id)
	d.listeners.Store(&next)
}

// Accepted makes room in the listener's backlog.
func (d *Device) Accepted(_ int, id toe.ListenID, n int) {
	if l := (*d.listeners.Load())[id]; l != nil {
		l.waiting = max(0, l.waiting-n)
	}
}

// Connect starts an open; it is decided later in the iteration.
func (d *Device) Connect(_ int, r *toe.ConnectRequest) (toe.TID, toe.Reason) {
	if reason := d.CanOffload(r); reason != toe.Offloaded {
		return 0, reason
	}
	if len(d.conns)+2 > d.cfg.MaxConns {
		return 0, toe.ReasonTableFull
	}
	flow := r.Flow
	if flow.Local.IsUnspecified() {
		flow.Local = flow.Remote
	}
	if _, taken := d.flows[flow]; taken {
		return 0, toe.ReasonInUse
	}
	c := d.newConn(flow, r.Opt.RcvBuf)
	c.sock, c.opening = r.Sock, true
	d.activate(c)
	return c.tid, toe.Offloaded
}

// open pairs c with a listener, or refuses it; while the backlog is full, c waits as a SYN would.
func (d *Device) open(c *conn) {
	l := d.lookup(c.flow.Remote, c.flow.RemotePort)
	if l == nil {
		d.finish(c, toe.EndRefused)
		return
	}
	if l.waiting > l.Backlog {
		d.activate(c)
		return
	}
	flow := wire.Flow{
		Local: c.flow.Remote, LocalPort: c.flow.RemotePort,
		Remote: c.flow.Local, RemotePort: c.flow.LocalPort,
	}
	p := d.newConn(flow, l.Opt.RcvBuf)
	s, ok := d.up.PassEstablish(0, l.ID, p.tid, &p.flow)
	c.opening = false
	if !ok {
		d.drop(p)
		d.finish(c, toe.EndReset)
		return
	}
	l.waiting++
	p.sock, p.peer, c.peer = s, c, p
	d.notify(c, toe.Event{Kind: toe.EventEstablished, Flow: &c.flow})
}

func (d *Device) lookup(addr wire.Addr, port uint16) *listener {
	var wild *listener
	for _, l := range *d.listeners.Load() {
		switch {
		case !l.matches(addr, port):
		case !l.Addr.IsUnspecified():
			return l
		default:
			wild = l
		}
	}
	return wild
}
