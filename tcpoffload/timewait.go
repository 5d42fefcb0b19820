package tcpoffload

// TIME-WAIT and FIN-WAIT-2 (RFC 9293 §3.6, RFC 6191, RFC 1337).

import (
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// enterTimeWait ends t for its owner; the entry stays for 2 MSL to answer the peer.
func (e *Engine) enterTimeWait(t *TCB, now vtime.Time, out *Output) {
	e.act(out, t, Action{Kind: ActFinished})
	e.setState(t, StateTimeWait)
	t.stopTimers()
	t.pend &= pendAck
	e.clearRanges(&t.rcv.reasm, &t.rcv.nreasm)
	e.clearRanges(&t.snd.score, &t.snd.nscore)
	t.snd.sacked = 0
	e.root.mib.TimeWaits++
	e.timeWaitAdd(t)
	e.setTimer(t, Timer2MSL, now.Add(2*e.tun.MSL))
}

// arriveTimeWait answers segments for t in TIME-WAIT.
func (e *Engine) arriveTimeWait(t *TCB, now vtime.Time, seg *Segment, out *Output) DropReason {
	if seg.Flags.Has(wire.RST) {
		return DropTimeWaitReset // RFC 1337: a RST does not cut TIME-WAIT short
	}
	if seg.Flags&(wire.SYN|wire.ACK) == wire.SYN && t.reopens(seg) {
		if i := e.findListener(seg.Flow.Local, seg.Flow.LocalPort); i != 0 {
			e.root.mib.TimeWaitReused++
			end := t.snd.nxt
			e.free(t)
			d := e.arriveListen(i, now, seg, out)
			if n := e.lookup(&seg.Flow); n != 0 {
				e.conns[n].beginBeyond(end)
			}
			return d
		}
	}
	if seg.Flags.Has(wire.FIN) {
		// Our last ACK was lost (RFC 9293 §3.10.7.4, eighth step).
		e.setTimer(t, Timer2MSL, now.Add(2*e.tun.MSL))
	}
	e.challengeAck(t, now, out)
	return DropTimeWait
}

// reopens reports whether SYN seg is surely of a new incarnation (RFC 6191 §2).
func (t *TCB) reopens(seg *Segment) bool {
	if t.flags&flagTS != 0 && seg.Opt.Set&wire.OptTimestamps != 0 && seg.Opt.TSVal != t.ts.recent {
		return int32(seg.Opt.TSVal-t.ts.recent) > 0
	}
	return seg.Seq.GT(t.rcv.nxt)
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

// timeWaitAdd appends t to the queue of connections in TIME-WAIT.
func (e *Engine) timeWaitAdd(t *TCB) {
	r := e.root
	t.lnkNext, t.lnkPrev = 0, r.twTail
	if r.twTail != 0 {
		e.conns[r.twTail].lnkNext = t.self
	} else {
		r.twHead = t.self
	}
	r.twTail = t.self
}

func (e *Engine) timeWaitRemove(t *TCB) {
	r := e.root
	if t.lnkPrev != 0 {
		e.conns[t.lnkPrev].lnkNext = t.lnkNext
	} else {
		r.twHead = t.lnkNext
	}
	if t.lnkNext != 0 {
		e.conns[t.lnkNext].lnkPrev = t.lnkPrev
	} else {
		r.twTail = t.lnkPrev
	}
	t.lnkNext, t.lnkPrev = 0, 0
}
