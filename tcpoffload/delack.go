package tcpoffload

// When to acknowledge (RFC 9293 §3.8.6.3, RFC 5681 §4.2).

import "opentoe/tcpoffload/vtime"

// ackInOrder decides about the ACK for in-order octets just taken: at once while the connection is
// young or every DelAckSegs full segments, otherwise within DelAck. At once means at the next
// Transmit, so that all segments of a receive burst share one ACK.
func (e *Engine) ackInOrder(t *TCB, now vtime.Time) {
	switch {
	case t.pend&pendAck != 0:
	case t.quick > 0:
		t.quick--
		e.txAdd(t, pendAck)
	case uint32(t.rcv.nxt-t.ts.lastAckSent) >= uint32(e.tun.DelAckSegs)*t.rcv.mss:
		e.txAdd(t, pendAck)
	case t.flags&flagAckDue == 0:
		t.flags |= flagAckDue
		e.setTimer(t, TimerDelack, now.Add(e.tun.DelAck))
	}
}

// delackExpired sends the ACK that waited.
func (e *Engine) delackExpired(t *TCB) {
	if t.flags&flagAckDue != 0 {
		e.root.mib.DelayedAcks++
		e.txAdd(t, pendAck)
	}
}

// ackSent notes that a segment leaving now carries RCV.NXT.
func (t *TCB) ackSent() {
	t.pend &^= pendAck
	t.flags &^= flagAckDue
	t.deadline[TimerDelack] = vtime.Never
	t.ts.lastAckSent = t.rcv.nxt
}

// ackSoon asks for at least n ACKs at once.
func (t *TCB) ackSoon(n uint8) { t.quick = max(t.quick, n) }
