package softdev

import (
	"fmt"

	"opentoe/pmd/frame"
	"opentoe/tcpoffload"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
	"opentoe/toe"
)

// unseen are a worker's connections whose frames sniffers do not see (OptionNoMirror). As long as there has
// been none, it costs nothing.
type unseen struct {
	any       bool     // there has been one: sniffers get what visible leaves
	conns     []uint64 // a bit for each index of the connection table
	listeners map[toe.ListenID]bool
	pkt       wire.Packet   // scratch
	shown     []frame.Frame // scratch
}

// hide sets whether sniffers see connection h. Whoever gets an index of the table says so for it.
func (u *unseen) hide(h tcpoffload.Handle, hidden bool) {
	if hidden && !u.any {
		u.any = true
	}
	word, bit := int(h.Index()/64), uint64(1)<<(h.Index()%64)
	switch {
	case hidden && word < len(u.conns):
		u.conns[word] |= bit
	case word < len(u.conns):
		u.conns[word] &^= bit
	}
}

// hides reports whether sniffers do not see connection h.
func (u *unseen) hides(h tcpoffload.Handle) bool {
	word := int(h.Index() / 64)
	return word < len(u.conns) && u.conns[word]>>(h.Index()%64)&1 != 0
}

// visible returns the frames that sniffers see. Text that belongs to no connection (yet, or any more) is
// not seen either: whose it is, the engine says only when it has taken it.
func (w *worker) visible(dir toe.Direction, frames []frame.Frame) []frame.Frame {
	u := &w.unseen
	u.shown = u.shown[:0]
	for i := range frames {
		if !w.hidden(dir, &frames[i]) {
			u.shown = append(u.shown, frames[i])
		}
	}
	return u.shown
}

func (w *worker) hidden(dir toe.Direction, f *frame.Frame) bool {
	p := &w.unseen.pkt
	if wire.Parse(f.Data, true, true, p) != wire.VerdictTCP {
		return false
	}
	flow := p.Flow
	if dir == toe.Transmit {
		flow = wire.Flow{Local: flow.Remote, LocalPort: flow.RemotePort, Remote: flow.Local, RemotePort: flow.LocalPort}
	}
	h, known := w.eng.Lookup(&flow)
	if !known {
		return p.PayloadLen > 0
	}
	return w.unseen.hides(h)
}

// hideListener sets whether sniffers see the connections that listener id will have.
func (w *worker) hideListener(id toe.ListenID, hidden bool) {
	u := &w.unseen
	if !hidden {
		delete(u.listeners, id)
		return
	}
	if u.listeners == nil {
		u.listeners = map[toe.ListenID]bool{}
	}
	u.any, u.listeners[id] = true, true
}

// hideListener does so on every worker.
func (d *Device) hideListener(id toe.ListenID, hidden bool) error {
	for i, w := range d.workers {
		known := false
		if err := d.Do(i, func(vtime.Time) {
			if known = w.listeners[id] != 0; known {
				w.hideListener(id, hidden)
			}
		}); err != nil {
			return err
		}
		if !known {
			return fmt.Errorf("softdev: %s: listener %d: %w", d.cfg.Name, id, toe.ErrNotFound)
		}
	}
	return nil
}
