package tcpoffload

// Sending: who may send, segmentation, Nagle (RFC 9293 §3.7.4), sender SWS avoidance (§3.8.6.2.1).

import (
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// Transmit appends up to budget segments, as many as out has room for, and returns how many. The
// connections that have something to send take turns of txQuantum segments. It appends one
// action for a connection with a low-water mark at most, and stops when there is no room for it.
func (e *Engine) Transmit(now vtime.Time, budget int, out *Output) int {
	start := len(out.Segs)
	limit := min(start+budget, cap(out.Segs))
	if e.root.synCache.resets != 0 {
		e.sendSynResets(out, limit)
	}
	for e.root.txHead != 0 && len(out.Segs) < limit && out.room(0, MaxTransmitActions) {
		t := &e.conns[e.root.txHead]
		more := e.send(t, now, out, min(len(out.Segs)+txQuantum, limit))
		if t.snd.mode&sendLowat != 0 && t.state != StateClosed {
			e.tellSent(t, out)
		}
		if more {
			e.txRotate(t)
		} else if t.flags&flagQueued != 0 {
			e.txRemove(t)
		}
		e.check(t)
	}
	return len(out.Segs) - start
}

// send does the pending jobs of t until out.Segs has limit entries, and reports whether some remain.
// Precondition: there is room for one segment.
func (e *Engine) send(t *TCB, now vtime.Time, out *Output, limit int) (more bool) {
	switch {
	case t.pend&pendReset != 0:
		e.appendReset(t, now, out)
		e.free(t)
		return false
	case isOpening.has(t.state):
		if t.pend&pendSyn != 0 {
			e.appendSyn(t, now, out)
		}
		if more := t.mayTransmit() && t.snd.nxt != t.snd.iss && e.sendData(t, now, out, limit); more {
			t.pend = pendData
			return true
		}
		t.pend = 0
		return false
	}
	if t.pend&pendProbe != 0 {
		t.pend &^= pendProbe
		e.appendProbe(t, now, out)
	}
	if t.pend&pendTail != 0 {
		if len(out.Segs) >= limit {
			return true
		}
		t.pend &^= pendTail
		e.sendTail(t, now, out)
	}
	if t.pend&pendData != 0 {
		if e.sendData(t, now, out, limit) {
			return true
		}
		t.pend &^= pendData
	}
	if t.pend&pendAck != 0 {
		if len(out.Segs) >= limit {
			return true
		}
		e.appendAck(t, now, out)
	}
	t.pend = 0
	return false
}

// sendData sends what is lost, then what is new, then the FIN, as windows allow. It reports whether
// it stopped only because out.Segs has limit entries.
func (e *Engine) sendData(t *TCB, now vtime.Time, out *Output, limit int) (more bool) {
	if !t.mayTransmit() {
		return false
	}
	t.flags &^= flagCwndFull
	if t.flags&flagHeadNow != 0 {
		// What timed out does not wait for the window.
		if len(out.Segs) >= limit {
			return true
		}
		t.flags &^= flagHeadNow
		if i := t.fl.head; i != 0 && e.flights[i].flags&flightLost != 0 {
			e.paceHolds(t, now) // it begins a quantum
			e.retransmit(t, now, i, out)
		}
	}
	if t.fl.lostHead != 0 && t.rec.frto != frtoSecond {
		if more, stop := e.sendLost(t, now, out, limit); more || stop {
			return more
		}
	}
	if t.snd.mode&sendSearch != 0 && t.flags&flagFinSent == 0 && len(out.Segs) < limit &&
		e.sendProbe(t, now, out) {
		return false
	}
	unsent := e.unsent(t)
	for t.flags&flagFinSent == 0 {
		if len(out.Segs) >= limit {
			return unsent > 0 || t.flags&flagFinWanted != 0
		}
		if t.cc.PacingRate() != 0 && e.paceHolds(t, now) && unsent > 0 {
			return false
		}
		n, fin := e.sendable(t, unsent)
		if t.snd.una == t.snd.nxt && (n > 0 || fin) && e.afterIdle(t, now) {
			n, fin = e.sendable(t, unsent)
		}
		if n == 0 && !fin || !e.sendNew(t, now, n, fin, unsent, out) {
			break
		}
		unsent = e.unsent(t)
	}
	if t.rec.frto == frtoSecond && t.rec.frtoNxt == t.snd.nxt {
		// Nothing new may go, so nothing would tell: the recovery goes on.
		t.rec.frto = frtoOff
		if more, stop := e.sendLost(t, now, out, limit); more || stop {
			return more
		}
	}
	if unsent == 0 {
		t.markAppLimited()
	}
	if t.snd.una == t.snd.nxt && e.hasUnsent(t) {
		e.armPersist(t, now)
	}
	if k := e.limit(t, unsent); k != t.waits {
		t.book(k, now)
	}
	return false
}

// mayTransmit reports whether t may send data: when the handshake is complete, and as a server of Fast
// Open before (RFC 7413 §4.2.2).
func (t *TCB) mayTransmit() bool {
	return canTransmit.has(t.state) || t.fastOpen&fastPending != 0
}

// sendLost sends again what is lost as the congestion window allows. It reports whether out.Segs is full,
// or the window, or the pacer waits.
func (e *Engine) sendLost(t *TCB, now vtime.Time, out *Output, limit int) (more, stop bool) {
	for t.fl.lostHead != 0 && t.flags&flagUnlosing == 0 {
		if len(out.Segs) >= limit {
			return true, false
		}
		if t.pipe() >= t.cc.Cwnd {
			t.flags |= flagCwndFull
			return false, true
		}
		if e.paceHolds(t, now) {
			return false, true
		}
		e.retransmit(t, now, t.fl.lostHead, out)
	}
	return false, false
}

// sendRoom returns how many octets the peer's window takes beyond SND.NXT.
func (t *TCB) sendRoom() uint32 {
	return uint32(max(t.snd.una.Add(t.snd.wnd).Sub(t.snd.nxt), 0))
}

// sendable returns how many of avail new octets may leave now in one TxSegment, and whether our FIN goes
// with them. Both zero: nothing may.
func (e *Engine) sendable(t *TCB, avail uint64) (n uint32, fin bool) {
	wantFin := t.flags&flagFinWanted != 0 && t.state != StateSynReceived
	if avail == 0 && !wantFin {
		return 0, false
	}
	room := t.sendRoom()
	if avail == 0 {
		// A FIN by itself minds the peer's window but not the congestion window.
		return 0, room > 0
	}
	mss := t.effMSS()
	size := max(mss, e.tso)
	if b := uint32(e.tun.BurstSegs) * mss; size > mss && b != 0 {
		size = min(size, b)
	}
	most, border := e.toBorder(t, min(avail, uint64(room), uint64(size)))
	n = uint32(most)
	border = border && most < avail // what follows is a segment of its own whatever comes
	if n > mss && n%mss != 0 && !border && (uint64(n) < avail || !e.partialMayGo(t, n%mss, true, wantFin)) {
		n -= n % mss // the tail is a partial segment like any other
	}
	if n > mss {
		// Several segments for the device to cut: whole ones that the congestion window takes, and not more
		// than half of it, so that ACKs come while others are under way.
		if space := min(t.cc.Cwnd-min(t.cc.Cwnd, t.pipe()), t.cc.Cwnd/2); n > space {
			n = max(space-space%mss, mss)
		}
		n = t.paceFits(n, mss)
	}
	last := uint64(n) == avail
	if n < mss && !(border && uint64(n) == most) && !e.partialMayGo(t, n, last, wantFin) {
		return 0, false
	}
	if pipe := t.pipe(); pipe > 0 && uint64(pipe)+uint64(n) > uint64(t.cc.Cwnd) {
		t.flags |= flagCwndFull
		return 0, false
	}
	return n, last && wantFin && room > n
}

// partialMayGo decides about a segment smaller than the MSS: n octets, all that is queued if last.
// RFC 9293 §3.8.6.2.1 with Nagle's rule as Minshall amended it: one partial segment in flight.
func (e *Engine) partialMayGo(t *TCB, n uint32, last, fin bool) bool {
	switch {
	case n == 0:
		return false
	case t.flags&flagOverride != 0 || t.snd.mode&sendUrgent != 0:
		return true
	case !last: // the peer's window limits
		return n >= t.snd.wndMax/2
	case fin:
		return true
	case t.flags&(flagCork|flagMore) != 0:
		return false
	case t.flags&flagNoDelay != 0:
		return true
	}
	return t.snd.small.LEQ(t.snd.una)
}

// sendNew sends n of unsent octets at SND.NXT, and the FIN after them, and reports whether it did: the
// flight list may have no room.
func (e *Engine) sendNew(t *TCB, now vtime.Time, n uint32, fin bool, unsent uint64, out *Output) bool {
	s := &t.snd
	entries := t.fl.n
	if !e.flightRoom(t, now) {
		return false
	}
	mss := t.effMSS()
	if n > mss && (t.rcv.ecn&ecnTellCWR != 0 || t.snd.mode&sendUrgent != 0) {
		n, fin = mss, false // CWR stands on one segment, and the urgent pointer is relative to it
	}
	flags := wire.ACK
	border := false
	if s.mode&sendBorders != 0 {
		_, border = e.toBorder(t, uint64(n))
	}
	switch {
	case n > mss: // at the end of a burst it lets a receiver that merges segments go on
		flags |= wire.PSH
	case n > 0 && (border || uint64(n) == unsent && s.mode&sendNoPush == 0):
		flags |= wire.PSH // all that the program has to send (RFC 9293 §3.9.1.2)
	}
	if fin {
		flags |= wire.FIN
	}
	seg := e.appendSegment(t, now, flags, s.nxt, n, out)
	if n > mss {
		seg.SegSize = uint16(mss)
	}
	e.root.mib.OutSegs++
	e.root.mib.OutOctets += uint64(n)
	end := s.nxt.Add(n)
	if n != mss && n%mss != 0 { // for most segments without the division
		s.small = end
	}
	if fin {
		end = end.Add(1)
		t.flags |= flagFinSent
	}
	prior := t.flight()
	e.flightSent(t, end)
	if border {
		e.flights[t.fl.tail].flags |= flightBorder
	}
	t.sentOctets(uint32(end - s.nxt))
	s.nxt = end
	s.lastSent = now
	t.flags &^= flagOverride
	if t.dataTick&1 != 0 {
		e.noteDialogue(t, now)
	}
	if t.deadline[TimerRexmt] == vtime.Never {
		e.armRexmt(t, now)
	} else if t.flags&flagTLP != 0 && (t.fl.n != entries || prior <= mss) {
		e.armProbe(t, now) // RFC 8985 §7.2: the probe waits for the last segment
	}
	return true
}

// sentOctets counts n octets sent.
func (t *TCB) sentOctets(n uint32) {
	t.paceSpend(n)
	if t.ca == caRecovery {
		t.prr.out += n
	}
}

// retransmit sends the first segment of entry i of the flight list again.
func (e *Engine) retransmit(t *TCB, now vtime.Time, i uint32, out *Output) {
	s, f, mss := &t.snd, &e.flights[i], t.effMSS()
	if f.flags&flightLost != 0 && uint32(f.right-f.left) < mss {
		e.joinLost(t, i, mss)
	}
	left, first := f.left, f.left == s.una && f.flags&flightRxt == 0
	n := min(uint32(f.right-left), mss)
	if t.fastOpen&fastAgain != 0 {
		// In one go, as the SYN had it, if the device cuts it.
		t.fastOpen &^= fastAgain
		n = min(uint32(f.right-left), max(mss, e.tso))
	}
	border := f.borderAt(left.Add(n))
	e.resend(t, now, i, n)
	flags := wire.ACK
	end, data := left.Add(n), n
	if t.flags&flagFinSent != 0 && end == s.nxt {
		flags |= wire.FIN
		data--
	}
	if data > 0 && (end == s.nxt || border) {
		flags |= wire.PSH
	}
	seg := e.appendSegment(t, now, flags, left, data, out)
	if data > mss {
		seg.SegSize = uint16(mss)
	}
	t.sentOctets(n)
	t.undoRetransmitted(now, n, first)
	t.rxtSegs++
	if t.rec.again < 1<<16-1 {
		t.rec.again++
	}
	t.rxtOctets += uint64(data)
	e.root.mib.RetransSegs++
	e.root.mib.RetransOctets += uint64(data)
	if t.deadline[TimerRexmt] == vtime.Never {
		e.armRexmt(t, now)
	}
}

// txAdd gives t the jobs p and puts it on the transmit list.
func (e *Engine) txAdd(t *TCB, p pending) {
	t.pend |= p
	if t.flags&flagQueued != 0 {
		return
	}
	r := e.root
	t.flags |= flagQueued
	t.txNext, t.txPrev = 0, r.txTail
	if r.txTail != 0 {
		e.conns[r.txTail].txNext = t.self
	} else {
		r.txHead = t.self
	}
	r.txTail = t.self
}

// txRemove takes t off the transmit list, if it is on it.
func (e *Engine) txRemove(t *TCB) {
	if t.flags&flagQueued == 0 {
		return
	}
	r := e.root
	t.flags &^= flagQueued
	if t.txPrev != 0 {
		e.conns[t.txPrev].txNext = t.txNext
	} else {
		r.txHead = t.txNext
	}
	if t.txNext != 0 {
		e.conns[t.txNext].txPrev = t.txPrev
	} else {
		r.txTail = t.txPrev
	}
	t.txNext, t.txPrev = 0, 0
}

// txRotate moves t to the end of the transmit list.
func (e *Engine) txRotate(t *TCB) {
	e.txRemove(t)
	e.txAdd(t, 0)
}
