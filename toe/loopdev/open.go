package loopdev

import (
	"maps"

	"opentoe/tcpoffload/wire"
	"opentoe/toe"
)

// listener is a passive open. Every worker has its own element of waiting.
type listener struct {
	toe.Listener
	waiting [maxWorkers]int // connections established and not accepted, by worker
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

// ListenStart adds a listener; two may not take the same address and port, unless they are of one group.
func (d *Device) ListenStart(l *toe.Listener) toe.Reason {
	d.listenMu.Lock()
	defer d.listenMu.Unlock()
	if !l.Addr.IsUnspecified() && !d.owns(l.Addr) {
		return toe.ReasonLocalAddr
	}
	old := *d.listeners.Load()
	for _, o := range old {
		if o.Port == l.Port && o.Addr == l.Addr && o.V6 == l.V6 && (l.Group == 0 || l.Group != o.Group) {
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
func (d *Device) Accepted(i int, id toe.ListenID, n int) {
	if l := (*d.listeners.Load())[id]; l != nil && d.worker(i) != nil {
		l.waiting[i] = max(0, l.waiting[i]-n)
	}
}

// SteerConnect spreads connections by their ports. Both ends are the same worker's.
func (d *Device) SteerConnect(f *wire.Flow) int {
	return (int(f.LocalPort) + int(f.RemotePort)) % len(d.workers)
}

// synRoom is how many octets go with an open that waits for them.
const synRoom = 1 << 10

// Connect starts an open; it is decided later in the iteration.
func (d *Device) Connect(i int, r *toe.ConnectRequest) (toe.TID, toe.Reason) {
	w := d.worker(i)
	if w == nil || d.SteerConnect(&r.Flow) != i {
		return 0, toe.ReasonInvalid
	}
	if reason := d.CanOffload(r); reason != toe.Offloaded {
		return 0, reason
	}
	if len(w.conns)+2 > d.cfg.MaxConns/len(d.workers) {
		return 0, toe.ReasonTableFull
	}
	flow := r.Flow
	if flow.Local.IsUnspecified() {
		flow.Local = flow.Remote
	}
	if _, taken := w.flows[flow]; taken {
		return 0, toe.ReasonInUse
	}
	c := w.newConn(flow, &r.Opt)
	c.sock, c.opening = r.Sock, true
	if o := &r.Opt; o.FastOpenConn && o.FastOpenHold && o.FastOpenBare {
		c.held, r.SynRoom = true, synRoom // there are no cookies here
	}
	w.activate(c)
	return c.tid, toe.Offloaded
}

// open pairs c with a listener, or refuses it; while the backlog is full, c waits as a SYN would.
func (w *worker) open(c *conn) {
	l := w.dev.lookup(&c.flow)
	if l == nil {
		w.finish(c, toe.EndRefused)
		return
	}
	if l.waiting[w.id] > l.Backlog {
		w.activate(c)
		return
	}
	flow := wire.Flow{
		Local: c.flow.Remote, LocalPort: c.flow.RemotePort,
		Remote: c.flow.Local, RemotePort: c.flow.LocalPort,
	}
	p := w.newConn(flow, &l.Opt)
	s, ok := w.up.PassEstablish(w.id, l.ID, p.tid, &p.flow)
	c.opening = false
	if !ok {
		w.drop(p)
		w.finish(c, toe.EndReset)
		return
	}
	l.waiting[w.id]++
	p.sock, p.peer, c.peer = s, c, p
	w.notify(c, toe.Event{Kind: toe.EventEstablished, Flow: &c.flow})
	if c.end > 0 {
		w.activate(c) // octets that were written before, as with Fast Open
	}
}

// lookup returns the listener for a flow of the side that connects, or nil: the one that is bound most
// exactly. The flow chooses among those of a group.
func (d *Device) lookup(f *wire.Flow) *listener {
	var best *listener
	var rank int
	var weight uint32
	for _, l := range *d.listeners.Load() {
		if !l.matches(f.Remote, f.RemotePort) {
			continue
		}
		k, w := l.rank(), mix(uint32(f.LocalPort)<<16^uint32(l.ID))
		if k > rank || k == rank && (w > weight || w == weight && l.ID < best.ID) {
			best, rank, weight = l, k, w
		}
	}
	return best
}

// rank says how exactly l is bound.
func (l *listener) rank() int {
	switch {
	case !l.Addr.IsUnspecified():
		return 3
	case !l.V6 || l.V6Only:
		return 2
	}
	return 1
}

// mix spreads the bits of x.
func mix(x uint32) uint32 {
	x = (x ^ x>>16) * 0x7feb352d
	x = (x ^ x>>15) * 0x846ca68b
	return x ^ x>>16
}
