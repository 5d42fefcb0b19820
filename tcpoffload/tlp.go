package tcpoffload

// Tail loss probe (RFC 8985 §7): when ACKs stop, one segment is sent before the timeout would be. Its
// answer tells what was lost, so that a fast recovery can replace a timeout.
//
// The timer serves two more ends, which §7.2 leaves to others. With SACKed octets beyond a hole but too few
// to call it a loss, it ends the wait: nothing is so late (the reordering timer of §6.3, coarsely). And in
// a fast recovery one probe is sent, as in RFC 9002 §6.2: a peer that answers a flight by one ACK stops
// the recovery when that ACK is lost.

import (
	"opentoe/tcpoffload/seq"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// minProbeTimeout keeps probes behind what schedulers on both sides take.
const minProbeTimeout = 2 * vtime.Millisecond

// probeTimeout returns PTO of §7.2, and ok false when no probe may be sent: without SACK its answer
// would tell nothing, one segment alone waits for a delayed ACK longer than the timeout, and there is
// one probe for a tail.
func (t *TCB) probeTimeout() (d vtime.Duration, ok bool) {
	if t.flags&(flagSACK|flagTLPSent) != flagSACK || t.ca == caLoss ||
		t.retries != 0 || t.rtt.srtt == 0 || isOpening.has(t.state) || t.flight() <= t.effMSS() {
		return 0, false
	}
	d = max(2*t.rtt.srtt, minProbeTimeout)
	return d, d < t.rtt.rto
}

// armProbe makes the retransmission timer a loss probe, PTO from now, if one may be sent.
func (e *Engine) armProbe(t *TCB, now vtime.Time) bool {
	d, ok := t.probeTimeout()
	if !ok {
		return false
	}
	t.flags |= flagTLP
	e.setTimer(t, TimerRexmt, now.Add(d))
	return true
}

// probeExpired asks Transmit for the probe and starts the timeout proper (§7.3).
func (e *Engine) probeExpired(t *TCB, now vtime.Time) {
	if t.snd.sacked > 0 && t.ca != caRecovery {
		t.flags &^= flagTLP
		t.rec.lost = seq.Max(t.rec.lost, e.topSACKed(t).left)
		e.enterRecovery(t, now, t.flight())
		e.updatePipe(t)
		e.reduceRate(t, 0, true)
		e.txAdd(t, pendData)
		return
	}
	t.flags = t.flags&^flagTLP | flagTLPSent
	t.tlpEnd = t.snd.nxt
	e.txAdd(t, pendTail)
	e.armRexmt(t, now)
}

// sendTail sends the probe: a new segment if the peer's window takes one, else the last one again. In a
// recovery it is the first one, whose retransmission may be what was lost.
func (e *Engine) sendTail(t *TCB, now vtime.Time, out *Output) {
	if t.flags&flagTLPSent == 0 || t.snd.una == t.snd.nxt || !canTransmit.has(t.state) {
		return
	}
	e.root.mib.LossProbes++
	t.flags &^= flagProbeRxt
	if una := t.snd.una; t.ca == caRecovery {
		end := seq.Min(e.holeEnd(t), una.Add(t.effMSS()))
		t.rec.lost = seq.Max(t.rec.lost, end)
		e.retransmit(t, now, una, end, out)
		e.updatePipe(t)
	} else if n := uint32(min(e.unsent(t), uint64(t.sendRoom()), uint64(t.effMSS()))); n > 0 {
		e.sendNew(t, now, n, false, out)
	} else {
		t.flags |= flagProbeRxt
		last := t.snd.nxt - seq.Num(min(t.flight(), t.effMSS()))
		high := t.rec.highRxt
		e.retransmit(t, now, last, t.snd.nxt, out)
		t.rec.highRxt = high // the probe is not part of a recovery
	}
	t.tlpEnd = t.snd.nxt
}

// probeSacked concludes from the SACK of a probe that everything before it that is not SACKed is
// lost: it was sent at least two round trips earlier, more than any reordering window (RFC 8985
// §6.2 step 5).
func (e *Engine) probeSacked(t *TCB) {
	if t.flags&flagTLPSent == 0 || t.snd.score == 0 {
		return
	}
	if r := e.topSACKed(t); r.right.GEQ(t.tlpEnd) {
		t.flags &^= flagTLPSent
		t.rec.lost = seq.Max(t.rec.lost, r.left)
	}
}

// topSACKed returns the last range of the scoreboard. Precondition: there is one.
func (e *Engine) topSACKed(t *TCB) *Range {
	top := t.snd.score
	for e.ranges[top].next != 0 {
		top = e.ranges[top].next
	}
	return &e.ranges[top]
}

// probeAcked ends the episode of a probe when what it covers is acknowledged (§7.4). flight is what
// was in flight before the ACK. When octets sent again are acknowledged and then more, with no DSACK
// to say that they came twice, they had been lost: congestion control has to know.
func (e *Engine) probeAcked(t *TCB, seg *Segment, flight uint32) {
	switch {
	case seg.Ack.LT(t.tlpEnd):
		return
	case t.flags&flagProbeRxt == 0 || hasDSACK(seg): // nothing was lost
	case seg.Ack == t.tlpEnd:
		return // a DSACK may still come
	case t.ca == caOpen:
		t.cc.OnLoss(flight, t.effMSS())
		t.cc.OnRecovered(t.effMSS())
	}
	t.flags &^= flagTLPSent
}

// hasDSACK reports whether seg tells of a duplicate (RFC 2883 §4).
func hasDSACK(seg *Segment) bool {
	return seg.Opt.Set&wire.OptSACK != 0 && seg.Opt.NumSACK > 0 && seg.Opt.SACK[0].Right.LEQ(seg.Ack)
}
