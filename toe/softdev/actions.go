package softdev

import (
	"slices"

	"opentoe/ports"
	"opentoe/tcpoffload"
	"opentoe/toe"
)

// act carries out the engine's actions in order, as upcalls, and empties the list. t has the payload
// of the segment that caused them, for ActPlace.
func (w *worker) act(t *train) {
	for i := 0; i < len(w.out.Actions); i++ { // passEstablish may append
		a := w.out.Actions[i]
		s := toe.SockID(a.Cookie)
		if a.Kind == tcpoffload.ActPassEstablished {
			w.passEstablish(&a, i+1)
			continue
		}
		if s == 0 {
			continue // nobody to tell: refused, aborted by the socket layer, or never accepted
		}
		switch a.Kind {
		case tcpoffload.ActPlace:
			t.place(w.up, s, a.Pos, a.Off, a.Len)
		case tcpoffload.ActReadable:
			w.progress(&w.readable, s, a.Pos)
		case tcpoffload.ActAcked:
			w.confirm()
			w.progress(&w.acked, s, a.Pos)
		default:
			w.announce()
			w.notify(s, &a)
		}
	}
	w.out.Actions = w.out.Actions[:0]
}

// notify makes the upcall for what happens once, or rarely, to a connection.
func (w *worker) notify(s toe.SockID, a *tcpoffload.Action) {
	switch a.Kind {
	case tcpoffload.ActEstablished:
		w.eng.Info(a.Handle, w.now, &w.info)
		w.up.Notify(s, toe.Event{Kind: toe.EventEstablished, Flow: &w.info.Flow})
	case tcpoffload.ActPeerClose:
		w.up.Notify(s, toe.Event{Kind: toe.EventPeerClose, Pos: a.Pos})
	case tcpoffload.ActUrgent:
		w.up.Notify(s, toe.Event{Kind: toe.EventUrgent, Pos: a.Pos})
	case tcpoffload.ActSent:
		w.up.Notify(s, toe.Event{Kind: toe.EventSent, Pos: a.Pos})
	case tcpoffload.ActSndBuf:
		w.up.Notify(s, toe.Event{Kind: toe.EventSndBuf, Pos: uint64(a.Len)})
	case tcpoffload.ActFinished:
		w.eng.SetCookie(a.Handle, 0) // it may linger in TIME-WAIT, without the socket layer
		w.up.Notify(s, toe.Event{Kind: toe.EventFinished, End: endOf(a.Reason)})
	}
}

// progress is how far a stream has come, not yet told to the socket layer. Only the last position
// counts, and telling costs shared cache lines and perhaps a wake-up, so a burst of segments of one
// connection is told as one step.
type progress struct {
	kind toe.EventKind
	sock toe.SockID // zero: nothing to tell
	pos  uint64
}

// progress notes that s has come to pos. Only the last socket of each kind is kept back.
func (w *worker) progress(p *progress, s toe.SockID, pos uint64) {
	if p.sock != s {
		w.tell(p)
		p.sock = s
	}
	p.pos = pos
}

// tell makes the upcall for p.
func (w *worker) tell(p *progress) {
	if p.sock != 0 {
		w.up.Notify(p.sock, toe.Event{Kind: p.kind, Pos: p.pos})
		p.sock = 0
	}
}

// announce tells what is kept back: before any other event, so that each socket sees its events in
// order, and before the phase of the iteration ends.
func (w *worker) announce() {
	w.tell(&w.readable)
	w.tell(&w.acked)
}

// passEstablish offers a new connection to the socket layer and makes the actions from rest on,
// which the engine put out before the connection had a cookie, its own.
func (w *worker) passEstablish(a *tcpoffload.Action, rest int) {
	if !w.eng.Info(a.Handle, w.now, &w.info) {
		return // reset again by the same segment
	}
	id := toe.ListenID(a.Listener)
	w.unseen.hide(a.Handle, w.unseen.listeners[id]) // the socket layer may say otherwise
	s, ok := w.up.PassEstablish(w.id, id, w.tid(a.Handle), &w.info.Flow)
	if !ok || s == 0 {
		w.count.PassRefused++
		w.accepted(id, 1) // nobody will accept it, so it must not fill the backlog
		w.abort(a.Handle)
		return
	}
	w.count.PassEstablished++
	w.eng.SetCookie(a.Handle, uint64(s))
	for i := range w.out.Actions[rest:] {
		if b := &w.out.Actions[rest+i]; b.Handle == a.Handle {
			b.Cookie = uint64(s)
		}
	}
}

// confirm tells the next hop, for one in a few acknowledgements, that it works: the segment in w.seg
// is one that it brought.
func (w *worker) confirm() {
	if w.acks++; w.acks%confirmEvery == 0 {
		if h, known := w.eng.Lookup(&w.seg.Flow); known {
			hop, _ := w.eng.NextHop(h)
			w.lanes[hop>>ports.HopBits].host.Confirm(w.now, hop&hopMask)
		}
	}
}

// abort resets h; whatever the engine has to tell of it, now or still in the list, is void.
func (w *worker) abort(h tcpoffload.Handle) {
	w.eng.SetCookie(h, 0)
	w.call(&tcpoffload.Call{Kind: tcpoffload.CallAbort, Handle: h})
	for i := range w.out.Actions {
		if a := &w.out.Actions[i]; a.Handle == h {
			a.Cookie = 0
			if a.Kind == tcpoffload.ActPassEstablished {
				a.Kind = tcpoffload.ActFinished
			}
		}
	}
}

// call performs one user call and keeps room in the output for the next one.
func (w *worker) call(c *tcpoffload.Call) tcpoffload.CallResult {
	r := w.eng.Call(w.now, c, &w.out)
	if cap(w.out.Actions)-len(w.out.Actions) < tcpoffload.MaxArriveActions {
		w.out.Actions = slices.Grow(w.out.Actions, cap(w.out.Actions)) // a flood of calls in one Poll
	}
	w.makeSegRoom()
	return r
}

// endOf translates the engine's reason.
func endOf(r tcpoffload.EndReason) toe.End {
	switch r {
	case tcpoffload.ReasonNone:
		return toe.EndClosed
	case tcpoffload.ReasonReset:
		return toe.EndReset
	case tcpoffload.ReasonRefused:
		return toe.EndRefused
	case tcpoffload.ReasonTimedOut, tcpoffload.ReasonKeepalive:
		return toe.EndTimedOut
	case tcpoffload.ReasonUnreachable:
		return toe.EndUnreachable
	case tcpoffload.ReasonAborted:
		return toe.EndAborted
	}
	return toe.EndReset
}
