package softdev

import (
	"fmt"

	"opentoe/tcpoffload"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
	"opentoe/toe"
)

// ListenStart answers SYNs for l on every worker, or on none.
func (d *Device) ListenStart(l *toe.Listener) toe.Reason {
	switch {
	case l.ID == 0 || l.Port == 0:
		return toe.ReasonInvalid
	case !l.Addr.IsUnspecified():
		if _, ours := d.home(l.Addr); !ours {
			return toe.ReasonLocalAddr
		}
	}
	for i, w := range d.workers {
		reason := toe.ReasonNoDevice // unless the worker says otherwise
		_ = d.Do(i, func(vtime.Time) { reason = w.listen(l) })
		if reason != toe.Offloaded {
			for j, started := range d.workers[:i] {
				_ = d.Do(j, func(vtime.Time) { started.unlisten(l.ID) })
			}
			return reason
		}
	}
	reason := d.steer(l)
	if reason != toe.Offloaded {
		d.ListenStop(l.ID)
	}
	return reason
}

// ListenStop ends a listener on every worker; an unknown id is ignored.
func (d *Device) ListenStop(id toe.ListenID) {
	d.unsteer(id)
	for i, w := range d.workers {
		_ = d.Do(i, func(vtime.Time) { w.unlisten(id) }) // a worker that does not run does not listen
	}
}

// ListenOption changes what connections of listener id start with, on every worker. Not for workers.
func (d *Device) ListenOption(id toe.ListenID, o toe.Option, value int64) error {
	switch {
	case o == toe.OptionNoMirror:
		return d.hideListener(id, value != 0)
	case o == toe.OptionPause:
		// The steering lets go before the workers do, and comes back after them: no SYN falls between.
		if value != 0 {
			d.pauseSteering(id, true)
		} else {
			defer d.pauseSteering(id, false)
		}
	}
	opt, v, ok := engineOption(o, value)
	if !ok {
		return fmt.Errorf("softdev: %s: option %d: %w", d.cfg.Name, o, toe.ErrNotSupported)
	}
	for i, w := range d.workers {
		result := tcpoffload.CallNoConnection
		c := tcpoffload.Call{Kind: tcpoffload.CallSetOption, Option: opt, Value: v}
		err := d.Do(i, func(vtime.Time) {
			if c.Listener = w.listeners[id]; c.Listener != 0 {
				result = w.call(&c)
			}
		})
		switch {
		case err != nil:
			return err
		case result == tcpoffload.CallNoConnection:
			return fmt.Errorf("softdev: %s: listener %d: %w", d.cfg.Name, id, toe.ErrNotFound)
		case result != tcpoffload.CallOK:
			return fmt.Errorf("softdev: %s: option %d = %d: %w", d.cfg.Name, o, value, toe.ErrInvalid)
		}
	}
	return nil
}

// Accepted says that the program took n connections off a listener's accept queue. [worker]
func (d *Device) Accepted(i int, id toe.ListenID, n int) {
	if w, err := d.worker(i); err == nil {
		w.accepted(id, n)
	}
}

// listen starts l on this worker's engine.
func (w *worker) listen(l *toe.Listener) toe.Reason {
	if w.listeners[l.ID] != 0 {
		return toe.ReasonInUse
	}
	c := tcpoffload.Call{
		Kind:   tcpoffload.CallListen,
		Flow:   wire.Flow{Local: l.Addr, LocalPort: l.Port},
		V6Only: l.V6 && l.V6Only,
		Group:  l.Group,
		Value:  int64(max(1, l.Backlog)),
		Cookie: uint64(l.ID),
		Opt:    engineOptions(&l.Opt),
	}
	if l.Addr.IsUnspecified() {
		// The engine tells the wildcards apart by their family.
		c.Flow.Local = wire.Addr{}
		if !l.V6 {
			c.Flow.Local = wire.AddrFrom4([4]byte{})
		}
	}
	if reason := reasonOf(w.call(&c)); reason != toe.Offloaded {
		return reason
	}
	w.listeners[l.ID] = c.Listener
	w.hideListener(l.ID, l.Opt.NoMirror)
	return toe.Offloaded
}

// unlisten ends listener id on this worker; the engine resets its half-open connections.
func (w *worker) unlisten(id toe.ListenID) {
	w.call(&tcpoffload.Call{Kind: tcpoffload.CallUnlisten, Listener: w.listeners[id]})
	delete(w.listeners, id)
	w.hideListener(id, false)
}

// accepted makes room in a listener's backlog.
func (w *worker) accepted(id toe.ListenID, n int) {
	w.call(&tcpoffload.Call{
		Kind: tcpoffload.CallAccepted, Listener: w.listeners[id], Value: int64(n),
	})
}
