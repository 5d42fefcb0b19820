package tcpoffload

// Hot code: sending new octets: segmentation, the flight list, forming the segment.

import (
	"opentoe/tcpoffload/seq"
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

// afterIdle is called before data leaves when nothing is in flight. If nothing was sent for longer than
// a timeout the window is restarted (RFC 5681 §4.1), or with IdleRestart off kept and validated
// (RFC 7661). It reports whether the window became smaller.
func (e *Engine) afterIdle(t *TCB, now vtime.Time) (smaller bool) {
	e.control(t).OnRestart(now)
	if !e.tun.IdleRestart || t.snd.lastSent == 0 || now.Sub(t.snd.lastSent) <= t.rtt.rto {
		return false
	}
	before := t.cc.Cwnd
	t.cc.OnIdle(uint32(e.tun.InitCwnd) * t.effMSS())
	if t.cc.Cwnd == before {
		return false
	}
	e.root.mib.IdleRestarts++
	return true
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

// flightRoom finds the entry that takes octets sent now at SND.NXT, and reports whether there is one:
// the last one, or a new one, or when the pool is short the last one across instants.
func (e *Engine) flightRoom(t *TCB, now vtime.Time) bool {
	fl := &t.fl
	if i := fl.tail; i != 0 && i == fl.newest {
		if f := &e.flights[i]; f.sentAt == now && f.flags&(flightRxt|flightBorder) == 0 {
			return true
		}
	}
	i := e.allocFlight(t)
	if i == 0 {
		return e.lengthenLast(t, now)
	}
	f := &e.flights[i]
	*f = Flight{left: t.snd.nxt, right: t.snd.nxt, prev: fl.tail, sentAt: now}
	t.snapshot(f, now)
	if fl.tail != 0 {
		e.flights[fl.tail].next = i
	} else {
		fl.head = i
	}
	fl.tail = i
	e.linkNewest(t, i)
	return true
}

// allocFlight takes an entry from the pool for t, or returns 0: each connection has flightsPerConn for
// itself, and a list may grow to four times what is left of the others.
func (e *Engine) allocFlight(t *TCB) uint32 {
	r := e.root
	i := r.freeFlight
	switch {
	case t.fl.n >= flightsPerConn && t.fl.n/4 >= e.sharedFlights():
		r.mib.FlightPoolEmpty++
		return 0
	case i != 0:
		r.freeFlight = e.flights[i].next
		r.freedFlights--
	case r.freshFlight < uint32(len(e.flights)):
		i = r.freshFlight
		r.freshFlight++
	default:
		r.mib.FlightPoolEmpty++
		return 0
	}
	t.fl.n++
	return i
}

// snapshot keeps in f, sent now, what its sample will need. Precondition: f is not counted in pipe yet.
func (t *TCB) snapshot(f *Flight, now vtime.Time) {
	c := &t.rate
	if t.pipe() == 0 || c.deliveredAt == 0 {
		c.firstSent, c.deliveredAt = now, now
	}
	f.deliveredAt, f.delivered, f.lost = c.deliveredAt, uint32(c.delivered), uint32(c.lost)
	f.sendElapsed = uint32(min(max(now.Sub(c.firstSent), 0), tooLong))
	if c.appLimited != 0 {
		f.flags |= flightAppLimited
	}
}

// appendSegment appends a segment of a synchronized connection with n octets from sequence number
// sq. It carries the present ACK and window, timestamps, and SACK blocks if there is something to
// report and room beside the payload.
func (e *Engine) appendSegment(t *TCB, now vtime.Time, flags wire.Flags, sq seq.Num, n uint32, out *Output) *TxSegment {
	s := out.next()
	s.Handle, s.Cookie = Handle(t.gen)<<32|Handle(t.self), t.cookie
	s.Flow = t.flow
	s.NextHop = t.nextHop
	s.Flags = flags
	s.Seq, s.Ack = sq, t.rcv.nxt
	s.Wnd = t.window()
	s.Len = n
	if n > 0 {
		s.Pos = t.sndPos(uint32(sq))
		t.dataSegsOut++
	}
	if t.flags&flagTS != 0 {
		s.Opt.Set = wire.OptTimestamps
		s.Opt.TSVal, s.Opt.TSEcr = t.tsVal(now), t.ts.recent
	}
	if t.flags&flagSACK != 0 && (t.rcv.reasm != 0 || t.flags&flagDSACK != 0) {
		// Beside text as many as a full segment would have room for.
		space := uint32(wire.MaxOptionsLen)
		if n > 0 {
			space = t.effMSS() - min(n, t.effMSS())
		}
		e.sackOptions(t, &s.Opt, space)
	}
	if t.rcv.ecn&ecnOK != 0 {
		t.ecnMark(s)
	}
	if t.snd.mode != 0 {
		t.unusual(s)
	}
	t.segsOut++
	t.ackSent()
	return s
}

// window returns the window that the SYN-ACK announces, octets: it is not scaled.
func (h *HalfOpen) window(e *Engine) uint16 {
	limit, _ := e.receiveLimit(&e.lsts[h.listener].opt)
	return uint16(min(limit, 65535))
}

// limit returns what limits t now that it has sent what it could and unsent octets are left.
func (e *Engine) limit(t *TCB, unsent uint64) chronoKind {
	flight := t.flight()
	switch {
	case unsent > 0 && t.sendRoom() < t.effMSS() && t.flags&flagCwndFull == 0:
		return chronoRwnd
	case unsent == 0 && flight > 0 && flight+t.effMSS() > t.sndBuf && t.pipe()+t.effMSS() <= t.cc.Cwnd:
		return chronoSndBuf
	case unsent > 0 || flight > 0:
		return chronoBusy
	}
	return chronoIdle
}
