package tcpoffload

// Sending: who may send, segmentation, Nagle (RFC 9293 §3.7.4), sender SWS avoidance (§3.8.6.2.1).

import (
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

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
