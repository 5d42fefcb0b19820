package tcpoffload

// TIME-WAIT in compact records (RFC 9293 §3.6, RFC 6191, RFC 1337), and FIN-WAIT-2.

import (
	"opentoe/tcpoffload/seq"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// TimeWait is what is left of a connection in TIME-WAIT: enough to answer the peer, and to tell a new
// incarnation from an old duplicate. Whatever answers a segment goes where that segment came from.
type TimeWait struct {
	record
	sndNxt     seq.Num
	rcvNxt     seq.Num    // after the peer's FIN
	tsRecent   uint32     // valid with withTS
	wnd        uint16     // of our ACKs, as on the wire
	challenges uint8      // ACKs sent in second
	withTS     bool       // both ends use timestamps
	second     uint32     // of the virtual clock
	expires    vtime.Time // 0: a free entry
}

// timeWaitVars are the table's lists.
type timeWaitVars struct {
	recordTable
	recordQueue // all entries wait equally long
}

// enterTimeWait ends t for its owner and leaves a record to answer the peer for 2 MSL. The ACK that t
// owes the peer, if any, is sent now.
func (e *Engine) enterTimeWait(t *TCB, now vtime.Time, ack bool, out *Output) {
	if (ack || t.pend&pendAck != 0) && out.room(1, 0) {
		e.appendAck(t, now, out)
	}
	out.act(t, ActFinished)
	e.setState(t, StateTimeWait)
	e.root.mib.TimeWaits++
	w, i := e.timeWaitAlloc()
	*w = TimeWait{
		record: record{flow: t.flow, gen: w.gen}, sndNxt: t.snd.nxt, rcvNxt: t.rcv.nxt,
		tsRecent: t.ts.recent, withTS: t.flags&flagTS != 0, wnd: t.window(),
	}
	e.hashInsert(&w.flow, i, &w.hashNext) // first: see Config.PortUse
	e.free(t)
	e.timeWaitQueue(w, i, now)
}

// timeWaitAlloc takes an entry; when there is none the oldest gives way.
func (e *Engine) timeWaitAlloc() (*TimeWait, uint32) {
	v := &e.root.timeWait
	if v.full(len(e.tws)) {
		e.root.mib.TimeWaitRecycled++
		e.timeWaitFree(v.head)
	}
	i := e.takeRecord(&v.recordTable, e.twBase)
	return &e.tws[i-e.twBase], i
}

// timeWaitFree ends entry i.
func (e *Engine) timeWaitFree(i uint32) {
	v, w := &e.root.timeWait, &e.tws[i-e.twBase]
	e.closeRecord(&w.record, i)
	e.dequeue(&v.recordQueue, &w.record)
	w.expires = 0
	v.release(&w.record, i)
}

// timeWaitQueue lets entry i, which is in no queue, expire after 2 MSL; not before the entry that
// went before it, if 2 MSL was longer then.
func (e *Engine) timeWaitQueue(w *TimeWait, i uint32, now vtime.Time) {
	v := &e.root.timeWait
	w.expires = now.Add(2 * e.tun.MSL)
	if v.tail != 0 {
		w.expires = max(w.expires, e.tws[v.tail-e.twBase].expires)
	}
	e.enqueue(&v.recordQueue, &w.record, i)
}

// timeWaitDeadline is when the first entry expires.
func (e *Engine) timeWaitDeadline() vtime.Time {
	if i := e.root.timeWait.head; i != 0 {
		return e.tws[i-e.twBase].expires
	}
	return vtime.Never
}

// expireTimeWaits ends up to most entries that are due, and returns how many more it might have been.
func (e *Engine) expireTimeWaits(now vtime.Time, most int) int {
	for ; most > 0 && e.timeWaitDeadline() <= now; most-- {
		e.timeWaitFree(e.root.timeWait.head)
	}
	return most
}

// arriveTimeWait answers segments for entry i.
func (e *Engine) arriveTimeWait(i uint32, now vtime.Time, seg *Segment, out *Output) DropReason {
	w := &e.tws[i-e.twBase]
	const control = wire.SYN | wire.ACK | wire.RST | wire.FIN
	stale := w.withTS && seg.Opt.Set&wire.OptTimestamps != 0 && int32(seg.Opt.TSVal-w.tsRecent) < 0
	end := seg.Seq.Add(seg.Len)
	switch {
	case seg.Flags.Has(wire.RST):
		return DropTimeWaitReset // RFC 1337: a RST does not cut TIME-WAIT short
	case seg.Flags&control == wire.SYN && w.reopens(seg):
		if l := e.findListener(&seg.Flow); l != 0 {
			// Sequence numbers go on beyond those of the old incarnation.
			d := e.synArrives(l, now, seg, reopening{true, w.sndNxt.Add(issGap)}, out)
			if d == DropNone {
				e.root.mib.TimeWaitReused++
				e.timeWaitFree(i)
			}
			return d
		}
	case stale:
		e.root.mib.PAWSDrops++
	case seg.Flags.Has(wire.FIN) && end.Add(1) == w.rcvNxt:
		// Our last ACK was lost (RFC 9293 §3.10.7.4, eighth step).
		e.dequeue(&e.root.timeWait.recordQueue, &w.record)
		e.timeWaitQueue(w, i, now)
	case seg.Flags&control == wire.ACK && seg.Len == 0 && seg.Seq == w.rcvNxt:
		return DropTimeWait // in order, and asks for nothing: two ends must not answer each other
	}
	e.answerTimeWait(w, now, seg, out)
	return DropTimeWait
}

// answerTimeWait acknowledges what the peer has sent, at most Tunables.ChallengeAcks times a second.
func (e *Engine) answerTimeWait(w *TimeWait, now vtime.Time, seg *Segment, out *Output) {
	if s := uint32(now / vtime.Time(challengePeriod)); s != w.second {
		w.second, w.challenges = s, 0
	}
	if w.challenges >= e.tun.ChallengeAcks || !out.room(1, 0) {
		e.root.mib.ChallengeLimited++
		return
	}
	w.challenges++
	e.root.mib.ChallengeAcks++
	e.root.mib.OutSegs++
	s := out.next()
	s.Flow, s.NextHop = w.flow, seg.NextHop
	s.Flags, s.Seq, s.Ack, s.Wnd = wire.ACK, w.sndNxt, w.rcvNxt, w.wnd
	if w.withTS {
		s.Opt.Set = wire.OptTimestamps
		s.Opt.TSVal, s.Opt.TSEcr = tsClock(now)+e.tsOffset(&w.flow), w.tsRecent
	}
}

// reopens reports whether SYN seg is surely of a new incarnation (RFC 6191 §2).
func (w *TimeWait) reopens(seg *Segment) bool {
	if w.withTS && seg.Opt.Set&wire.OptTimestamps != 0 && seg.Opt.TSVal != w.tsRecent {
		return int32(seg.Opt.TSVal-w.tsRecent) > 0
	}
	return seg.Seq.GT(w.rcvNxt)
}

// mayReopen reports whether a program may open the connection of w again before 2 MSL have passed. Only
// timestamps tell the peer's new octets from its old ones then: its numbers may begin anywhere (RFC 6191 §4).
func (e *Engine) mayReopen(w *TimeWait, o *SocketOptions) bool {
	return w.withTS && e.tun.Timestamps && !o.NoTimestamp
}

// reopening says where the numbers of a connection have to begin because an old incarnation of it is
// in TIME-WAIT. Valid only with old.
type reopening struct {
	old   bool
	floor seq.Num // not before it
}

// enterFinWait2 starts the clock of a connection whose program is gone: its peer might never close.
func (e *Engine) enterFinWait2(t *TCB, now vtime.Time) {
	if t.flags&flagDetached == 0 {
		return
	}
	d := e.tun.FinWait2
	if t.linger2 != 0 {
		d = t.linger2.duration()
	}
	e.setTimer(t, Timer2MSL, now.Add(d))
}
