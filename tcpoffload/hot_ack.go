package tcpoffload

// Hot code: what an ACK for new data changes for the sender: flight list, round trip, delivery rate, congestion
// control.

import (
	"opentoe/tcpoffload/cc"
	"opentoe/tcpoffload/seq"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// advanceUna moves SND.UNA to the segment's ACK, measures the round trip, and restarts or stops the
// retransmission timer (RFC 6298 (5.2), (5.3)). Precondition: SND.UNA < SEG.ACK ≤ SND.NXT.
func (e *Engine) advanceUna(t *TCB, ev *ackEvent, out *Output) {
	s := &t.snd
	ev.acked = uint32(ev.seg.Ack - s.una)
	s.una = ev.seg.Ack
	s.una64 += uint64(ev.acked)
	e.flightAcked(t, ev)
	// The smallest round trip is of every ACK; SRTT and RTTVAR take one sample in a round trip, the delay of the ACK
	// included (RFC 6298 §3). Without a sample the timeout stays backed off: it may be shorter than the round
	// trip (Karn's rule, (5.5)).
	switch r := &t.rtt; {
	case ev.timed:
		t.backoff = 0
		if ev.rtt > 0 {
			r.atLeast(ev.now, ev.rtt)
		}
		if ev.oldestEnd.GT(r.next) {
			r.next = s.nxt
			r.sample(ev.oldestRTT, e.tun.RTOMin, e.tun.RTOMax)
		}
	case ev.delivered > 0:
		e.measureEcho(t, ev.now, &ev.seg.Opt)
	}
	if s.mode&sendSearch != 0 {
		e.probeAnswered(t)
	}
	if 2*t.cc.Cwnd > t.sndBuf {
		e.tuneSend(t, out)
	}
	t.retries = 0
	if s.una != s.nxt {
		e.armRexmt(t, ev.now)
	} else {
		t.deadline[TimerRexmt] = vtime.Never
	}
	if s.una == s.nxt || t.waits == chronoSndBuf {
		e.bookAck(t, ev.now)
	}
	out.act(t, ActAcked).Pos = min(s.una64-1, s.end)
}

// flightAcked forgets what lies before SND.UNA.
func (e *Engine) flightAcked(t *TCB, ev *ackEvent) {
	una := t.snd.una
	for i := t.fl.head; i != 0; i = t.fl.head {
		f := &e.flights[i]
		if una.LEQ(f.left) {
			return
		}
		end := seq.Min(una, f.right)
		n := uint32(end - f.left)
		switch {
		case f.flags&flightSACKed == 0:
			t.arrived(ev, f, end, n)
			e.discount(t, f, n)
		case end == f.right:
			t.snd.sacked -= n
			t.fl.segs -= uint32(f.segs)
		default:
			t.snd.sacked -= n
			gone := min(f.segs-1, uint16(min(segments(n, t.effMSS()), 1<<16-1)))
			f.segs -= gone
			t.fl.segs -= uint32(gone)
		}
		if end != f.right {
			f.left = end
			return
		}
		e.dropFlight(t, i)
	}
}

// arrived notes in ev that n octets of f, which end at end, are newly known to have arrived. It must not be
// called for what is SACKed.
func (t *TCB) arrived(ev *ackEvent, f *Flight, end seq.Num, n uint32) {
	ev.delivered += n
	// The sample is of the segment sent last (rs of the draft); of equals, the last in sequence.
	if !ev.sampled || f.sentAt >= ev.sentAt {
		ev.sampled = true
		ev.sentAt = f.sentAt
		ev.priorAt, ev.priorDelivered, ev.priorLost = f.deliveredAt, f.delivered, f.lost
		ev.sendElapsed, ev.txInFlight = f.sendElapsed, f.inFlight
		ev.appLimited = f.flags&flightAppLimited != 0
	}
	if f.flags&flightRxt == 0 {
		if end.LEQ(t.rec.point) {
			ev.original = true
		}
		// Karn's rule: what was sent twice is no measure of the round trip.
		rtt := ev.now.Sub(f.firstSent())
		if !ev.timed {
			ev.timed, ev.oldestRTT = true, rtt
			ev.oldestEnd = end
		}
		if f.span == 0 && (ev.rtt == 0 || rtt < ev.rtt) {
			ev.rtt = max(rtt, 1)
		}
	}
	switch r := &t.rack; {
	case t.flags&flagSACK == 0:
	case f.flags&flightRxt == 0 && f.span == 0 && end.GEQ(r.fack):
		// As rackArrived, for what came as it should.
		if f.sentAt > r.xmitTime || f.sentAt == r.xmitTime && end.GT(r.endSeq) {
			r.xmitTime, r.endSeq, r.rtt = f.sentAt, end, ev.now.Sub(f.sentAt)
		}
		r.fack = end
	default:
		t.rackArrived(ev, f, end, n)
	}
}

// rackArrived is steps 1 to 3 of §6.2 for the n octets of f before end.
func (t *TCB) rackArrived(ev *ackEvent, f *Flight, end seq.Num, n uint32) {
	r := &t.rack
	sent := f.firstSent()
	rtt := ev.now.Sub(sent)
	if f.flags&flightRxt != 0 {
		// It may be the original that arrived. What is SACKed is beyond a hole, and the peer does not
		// echo its timestamp (RFC 7323 §4.3).
		o := &ev.seg.Opt
		echoed := t.flags&flagTS != 0 && o.Set&wire.OptTimestamps != 0 && end.LEQ(ev.seg.Ack)
		if rtt < t.rtt.min || echoed && int32(o.TSEcr-t.tsVal(f.sentAt)) < 0 {
			return
		}
	}
	if sent > r.xmitTime || sent == r.xmitTime && end.GT(r.endSeq) {
		r.xmitTime, r.endSeq, r.rtt = sent, end, rtt
	}
	r.fack = seq.Max(r.fack, end)
	// What one ACK tells is of one moment: only what an earlier one told was delivered before.
	if end.LT(ev.fack) && f.flags&flightRxt == 0 {
		d := segments(uint32(ev.fack-end)+n, t.effMSS())
		r.reordered = max(r.reordered, uint16(min(d, 1<<16-1)))
		if !ev.late {
			ev.late = true
			t.late++
		}
	}
}

// dropFlight takes entry i out of all lists and frees it. Its octets are no longer in the sums.
func (e *Engine) dropFlight(t *TCB, i uint32) {
	fl, f := &t.fl, &e.flights[i]
	if fl.n == 1 {
		*fl = flightVars{} // its octets are out of the sums already
		e.putFlight(i)
		return
	}
	if f.flags&flightSACKed == 0 {
		e.unlinkState(t, i)
	}
	if f.prev != 0 {
		e.flights[f.prev].next = f.next
	} else {
		fl.head = f.next
	}
	if f.next != 0 {
		e.flights[f.next].prev = f.prev
	} else {
		fl.tail = f.prev
	}
	if fl.hint == i {
		fl.hint = f.next
	}
	fl.n--
	e.putFlight(i)
}

// sample takes a measurement: (2.2) for the first, (2.3) for the others.
func (r *rttVars) sample(m, rtoMin, rtoMax vtime.Duration) {
	m = max(m, 1)
	if r.srtt == 0 {
		r.srtt, r.rttvar = m, m/2
	} else {
		d := r.srtt - m
		if d < 0 {
			d = -d
		}
		r.rttvar += (d - r.rttvar) / 4
		r.srtt += (m - r.srtt) / 8
	}
	r.rto = rtoFor(r.srtt, r.rttvar, rtoMin, rtoMax)
}

// bookAck notes that SND.UNA has moved: there may be nothing left to wait for, and the send buffer has room.
func (e *Engine) bookAck(t *TCB, now vtime.Time) {
	switch {
	case t.snd.una == t.snd.nxt && e.unsent(t) == 0:
		t.book(chronoIdle, now)
	case t.waits == chronoSndBuf:
		if k := e.limit(t, e.unsent(t)); k != chronoSndBuf {
			t.book(k, now)
		}
	}
}

// congest tells congestion control what this ACK delivered.
func (e *Engine) congest(t *TCB, ev *ackEvent) {
	if ev.delivered == 0 {
		return
	}
	c := &t.rate
	c.delivered += uint64(ev.delivered)
	c.deliveredAt = ev.now
	if c.appLimited != 0 && c.delivered > c.appLimited {
		c.appLimited = 0
	}
	var s cc.Sample // field by field: a literal would be built elsewhere and copied
	s.Now, s.MSS, s.RTT, s.SRTT = ev.now, t.effMSS(), ev.rtt, t.rtt.srtt
	s.Acked, s.Delivered, s.Lost, s.Prior, s.InFlight = t.growth(ev), ev.delivered, ev.lost, ev.prior, t.pipe()
	s.TotalDelivered, s.TotalLost = c.delivered, c.lost
	s.CwndLimited = t.cwndLimited()
	s.Recovery, s.Loss = t.ca >= caRecovery, t.ca == caLoss
	s.Marked = t.ecnMarked(ev.seg, ev.delivered)
	if ev.ended && !s.CwndLimited {
		s.Acked = 0 // the window is the threshold
	}
	if ev.sampled {
		c.firstSent = ev.sentAt
		if ev.sendElapsed != tooLong {
			interval := max(vtime.Duration(ev.sendElapsed), ev.now.Sub(ev.priorAt))
			// Faster than the path can be: ACKs were compressed on their way.
			if interval >= t.rtt.min {
				s.Interval = interval
				s.RateDelivered = uint32(c.delivered) - ev.priorDelivered
				s.RateLost = uint32(c.lost) - ev.priorLost
				s.TxInFlight = ev.txInFlight
				s.PriorDelivered = c.delivered - uint64(s.RateDelivered)
				s.AppLimited = ev.appLimited
				t.lastRate.keep(&s)
			}
		}
	}
	e.control(t).OnAck(&s)
}

// growth returns for how many octets of an ACK a window may grow: as in Linux those acknowledged cumulatively that
// no SACK block and no duplicate ACK told of before. Where much is reordered, most is told of by SACK first,
// and counts then; what arrives during a recovery counts when it ends.
func (t *TCB) growth(ev *ackEvent) uint32 {
	switch {
	case ev.ended:
		return ev.acked
	case t.rack.reordered > dupThresh && t.ca < caRecovery:
		return ev.delivered
	}
	return min(ev.acked, ev.delivered)
}

// wakeSend puts t on the transmit list if it may have something to send.
func (e *Engine) wakeSend(t *TCB) {
	t.flags &^= flagMore // as Linux: it holds until something happens
	if t.mayTransmit() && (e.hasUnsent(t) || t.fl.lost > 0) {
		e.txAdd(t, pendData)
	}
}
