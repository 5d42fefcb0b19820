package softdev

import (
	"slices"

	"opentoe/tcpoffload"
	"opentoe/toe"
)

// opens are the active opens of a worker that may still be waiting for an answer, so that those
// whose neighbour does not exist end at once with EHOSTUNREACH, as in the kernel, instead of with a
// timeout. Connections that are established already go on retransmitting: the neighbour may be back.
type opens struct {
	list  []tcpoffload.Handle
	limit int // length at which the finished ones are removed
}

// opened remembers h.
func (w *worker) opened(h tcpoffload.Handle) {
	o := &w.opens
	if len(o.list) >= o.limit {
		o.list = slices.DeleteFunc(o.list, func(h tcpoffload.Handle) bool { return !w.opening(h) })
		o.limit = max(minOpens, 2*len(o.list))
	}
	o.list = append(o.list, h)
}

// opening reports whether h still waits for the answer to its SYN, and leaves its state in w.info.
func (w *worker) opening(h tcpoffload.Handle) bool {
	return w.eng.Info(h, w.now, &w.info) && w.info.State == tcpoffload.StateSynSent
}

// hopFailed ends the active opens through the next hop idx of lane l.
func (w *worker) hopFailed(l *lane, idx uint32) {
	if l.host.Unredirect(idx) {
		w.dev.Reroute() // back to the router that is known to work
		return
	}
	o := &w.opens
	o.list = slices.DeleteFunc(o.list, func(h tcpoffload.Handle) bool {
		if !w.opening(h) {
			return true
		}
		if hop, _ := w.eng.NextHop(h); hop != l.engineHop(idx) {
			return false
		}
		s := toe.SockID(w.info.Cookie)
		w.abort(h)
		if s != 0 {
			w.up.Notify(s, toe.Event{Kind: toe.EventFinished, End: toe.EndUnreachable})
		}
		return true
	})
}
