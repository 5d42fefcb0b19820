package tcpoffload

// When to acknowledge (RFC 9293 §3.8.6.3, RFC 5681 §4.2), with Linux' idea of quick ACKs and dialogues.

import "opentoe/tcpoffload/vtime"

// ackFlags say how in-order text is acknowledged.
type ackFlags uint8

const (
	ackDialogue ackFlags = 1 << iota // the program answers: its data will carry the ACKs
	ackPartial                       // what waits for an ACK ends in a partial segment
)

// tickOf returns an instant in units of about a millisecond, modulo 2^32 of them; always odd.
func tickOf(now vtime.Time) uint32 { return uint32(now>>20) | 1 }

// estimateSegment learns the peer's segment size from n octets in segs segments that are not as large
// as usual: a larger one is believed at once, a smaller one when it comes twice in a row.
func (t *TCB) estimateSegment(n, segs uint32) {
	v := &t.rcv
	if segs > 1 {
		n = (n + segs - 1) / segs
	}
	switch {
	case n > v.mss, n == t.ts.lastText && n >= defaultMSS4:
		v.mss = min(n, uint32(v.maxSeg))
	case n < v.mss:
		v.ack |= ackPartial
	}
	t.ts.lastText = n
}

// ackAfterRead reports whether the program, having read everything, should let the peer know: the peer
// sent a partial segment, and may hold the next until it is acknowledged (Nagle), and no answer of the
// program's is likely.
func (t *TCB) ackAfterRead() bool {
	return t.flags&flagAckDue != 0 && t.rcv.ack == ackPartial && t.unread() == 0
}

// noteDialogue notes that data was sent just after data had come.
func (e *Engine) noteDialogue(t *TCB, now vtime.Time) {
	if t.dataTick&1 != 0 && tickOf(now)-t.dataTick < uint32(e.tun.DelAck>>20) {
		t.rcv.ack |= ackDialogue
	}
}

// ackSoon asks for at least n ACKs at once. Text that comes twice asks for quickAcks of them, as in Linux: our ACK
// was lost, or the peer does not wait as long as we delay it, and would time out at every flight.
func (t *TCB) ackSoon(n uint8) {
	t.quick = max(t.quick, n)
	t.rcv.ack &^= ackDialogue
}

// setQuickAck is the program's wish (TCP_QUICKACK), until the connection knows better.
func (e *Engine) setQuickAck(t *TCB, on bool) {
	if !on {
		t.quick = 0
		t.rcv.ack |= ackDialogue
		return
	}
	t.ackSoon(quickAcks)
	if t.flags&flagAckDue != 0 {
		e.txAdd(t, pendAck)
	}
}

// delackExpired sends the ACK that waited. It was no dialogue, or the answer took too long.
func (e *Engine) delackExpired(t *TCB) {
	if t.flags&flagAckDue != 0 {
		e.root.mib.DelayedAcks++
		t.rcv.ack &^= ackDialogue
		e.txAdd(t, pendAck)
	}
}

// ackSent notes that a segment leaving now carries RCV.NXT.
func (t *TCB) ackSent() {
	t.pend &^= pendAck
	t.flags &^= flagAckDue
	t.rcv.ack &^= ackPartial
	t.deadline[TimerDelack] = vtime.Never
	t.ts.lastAckSent = t.rcv.nxt
}
