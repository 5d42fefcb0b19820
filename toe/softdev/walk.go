package softdev

import (
	"opentoe/ports"
	"opentoe/tcpoffload"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// Walks over all connections of a worker, so many in an iteration: to tell those to one address
// something, and to give all of them the next hops of today's routes.

// eachTo makes the call that f returns, unless it is the zero Call, for every connection to dst. It does
// not wait.
func (d *Device) eachTo(dst wire.Addr, f func(w *worker, h tcpoffload.Handle) tcpoffload.Call) error {
	for i, w := range d.workers {
		if err := d.Post(i, func(vtime.Time) { w.walkTo(dst, 0, f) }); err != nil {
			return err
		}
	}
	return nil
}

// walkTo is eachTo for one worker, from table index from on; the rest follows in the next iteration.
func (w *worker) walkTo(dst wire.Addr, from uint32, f func(*worker, tcpoffload.Handle) tcpoffload.Call) {
	next, more := w.walk(from, walkBatch, func(h tcpoffload.Handle) {
		if w.info.Flow.Remote != dst {
			return
		}
		if c := f(w, h); c.Kind != 0 {
			w.call(&c) // one that ended meanwhile does not mind
		}
	})
	w.settle()
	if more {
		// A full mailbox or a worker that stops: those connections find out by themselves.
		_ = w.dev.Post(w.id, func(vtime.Time) { w.walkTo(dst, next, f) })
	}
}

// walk calls f for up to batch connections from table index from on, with their state in w.info, and
// returns the index to go on from, if there are more.
func (w *worker) walk(from uint32, batch int, f func(tcpoffload.Handle)) (next uint32, more bool) {
	for looks := walkLooks; batch > 0 && looks > 0; {
		h, next := w.eng.Scan(from, looks)
		if h != 0 && w.eng.Info(h, w.now, &w.info) {
			batch--
			f(h)
		}
		if next == 0 {
			return 0, false
		}
		looks -= int(next - from)
		from = next
	}
	return from, true
}

// Reroute says that routes, addresses or interfaces have changed: every connection goes by today's from
// soon on. One that has none goes on trying, as the kernel's do, until it times out. It may be called
// from any goroutine and as often as anything changes.
func (d *Device) Reroute() {
	for _, w := range d.workers {
		if w.rerouteAsked.Swap(true) {
			continue // it will begin anew in any case
		}
		if d.Post(w.id, func(vtime.Time) { w.beginReroute() }) != nil {
			w.rerouteAsked.Store(false) // it does not run and has no connections, or the next change tells it
		}
	}
}

// beginReroute begins the walk of Reroute, or begins it again if one is under way.
func (w *worker) beginReroute() {
	w.rerouteAsked.Store(false)
	under := w.rerouteFrom != 0
	w.rerouteFrom = 1
	if !under {
		w.stepReroute()
	}
}

// stepReroute does the next part of the walk.
func (w *worker) stepReroute() {
	next, more := w.walk(w.rerouteFrom, rerouteBatch, w.rerouteConn)
	w.settle()
	w.rerouteFrom = 0
	if more {
		w.rerouteFrom = next
		if w.dev.Post(w.id, func(vtime.Time) { w.stepReroute() }) != nil {
			w.rerouteFrom = 0
		}
	}
}

// rerouteConn gives h, whose state is in w.info, the next hop that its addresses have today.
func (w *worker) rerouteConn(h tcpoffload.Handle) {
	if c := w.reroute(h); c.Kind != 0 {
		w.call(&c)
	}
}

// reroute returns the call that does so; the zero Call where there is nothing to do.
func (w *worker) reroute(h tcpoffload.Handle) (c tcpoffload.Call) {
	old, ok := w.eng.NextHop(h)
	if !ok {
		return c // half-open or in TIME-WAIT: it answers by the way of the segment that it answers
	}
	f := &w.info.Flow
	l := &w.lanes[old>>ports.HopBits]
	if port, ours := w.dev.home(f.Local); ours {
		l = &w.lanes[port]
	}
	c = tcpoffload.Call{Kind: tcpoffload.CallNextHop, Handle: h, NextHop: l.nowhere()}
	if idx, mtu, ok := l.host.Exit(w.now, f.Local, f.Remote, true); ok {
		c.NextHop, c.MTU = l.engineHop(idx), uint16(mtu)
	}
	if c.NextHop != old {
		w.count.Rerouted++
	}
	return c
}
