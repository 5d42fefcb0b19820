package tcpoffload

// SEGMENT ARRIVES (RFC 9293 §3.10.7).

import (
	"opentoe/tcpoffload/seq"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// arrival is a segment on its way through the steps of §3.10.7.4, trimmed as they go. seq, off, len
// and fin describe what is left of it.
type arrival struct {
	seg *Segment
	now vtime.Time
	seq seq.Num
	off uint32 // octets trimmed from the front of the payload
	len uint32 // payload octets left
	syn bool
	fin bool
	old bool // some octets were received before: acknowledge at once
	cut bool // octets beyond the window were trimmed
}

// arriveConn hands seg to the procedure of t's state.
func (e *Engine) arriveConn(t *TCB, now vtime.Time, seg *Segment, out *Output) DropReason {
	if t.state == StateSynSent {
		return e.arriveSynSent(t, now, seg, out)
	}
	return e.arriveSynchronized(t, now, seg, out)
}

// arriveNoConn handles a segment of no connection: for record i, which is half-open or in TIME-WAIT, or
// without one (0) for a listener or for nobody.
func (e *Engine) arriveNoConn(i uint32, now vtime.Time, seg *Segment, out *Output) DropReason {
	switch {
	case i >= e.twBase:
		return e.arriveTimeWait(i, now, seg, out)
	case i != 0:
		return e.arriveHalfOpen(i, now, seg, out)
	}
	src := &seg.Flow.Remote
	multicast := src.Is4() && src[12] >= 224 || !src.Is4() && src[0] == 0xff
	if seg.Flow.RemotePort == 0 || src.IsUnspecified() || multicast {
		return DropBadSource
	}
	if i := e.findListener(&seg.Flow); i != 0 {
		return e.arriveListen(i, now, seg, out)
	}
	return e.arriveClosed(seg, out)
}

// arriveClosed is §3.10.7.1.
func (e *Engine) arriveClosed(seg *Segment, out *Output) DropReason {
	if seg.Flags.Has(wire.RST) {
		return DropResetNoConn
	}
	e.appendResetFor(seg, out)
	return DropNoConnection
}

// arriveSynSent is §3.10.7.3.
func (e *Engine) arriveSynSent(t *TCB, now vtime.Time, seg *Segment, out *Output) DropReason {
	ack := seg.Flags.Has(wire.ACK)
	// First, the ACK bit. An echo of a timestamp that we did not send is as bad (as in Linux).
	if ack && (seg.Ack.LEQ(t.snd.iss) || seg.Ack.GT(t.snd.nxt) || !t.echoesSyn(now, seg)) {
		if !seg.Flags.Has(wire.RST) {
			e.appendResetFor(seg, out)
		}
		return DropSynAckMismatch
	}
	// Second, the RST bit.
	if seg.Flags.Has(wire.RST) {
		if !ack {
			return DropBadReset
		}
		e.finish(t, ReasonRefused, out)
		return DropNone
	}
	// Fourth, the SYN bit.
	if !seg.Flags.Has(wire.SYN) {
		return DropNoAck
	}
	if seg.Flags.Has(wire.FIN) && !ack {
		return DropBadFlags
	}
	e.synArrived(t, now, seg)
	t.rcv.last = now
	t.probes0()
	if seg.Opt.Set&wire.OptUserTimeout != 0 {
		e.adoptUTO(t, &seg.Opt)
	}
	t.fastOpen &^= fastHeld
	if !ack {
		// Simultaneous open: SYN-ACK with the same sequence number. Text is left to be sent again.
		e.setState(t, StateSynReceived)
		e.txAdd(t, pendSyn)
		return DropNone
	}
	t.pend &^= pendSyn
	if t.fastOpen&(fastAsked|fastBare) != 0 {
		e.fastOpenAnswered(t, now, seg)
	}
	e.established(t, now, seg, out)
	e.txAdd(t, pendAck|pendData)
	if e.unsent(t) > 0 {
		t.rcv.ack |= ackDialogue // what waits to be sent takes the ACK along, and the answer's
	}
	// Text and other controls go on at the sixth step.
	a := arrival{seg: seg, now: now, seq: seg.Seq.Add(1), len: seg.Len, fin: seg.Flags.Has(wire.FIN)}
	a.trimRight(t.rcv.adv)
	e.checkUrgent(t, &a, out)
	d := e.processText(t, &a, out)
	if d == DropNone && t.state != StateClosed {
		e.checkFin(t, &a, out)
	}
	return d
}

// established ends the handshake of t: seg acknowledges our SYN.
func (e *Engine) established(t *TCB, now vtime.Time, seg *Segment, out *Output) {
	e.measureSyn(t, now, seg)
	if t.rtt.srtt == 0 && t.backoff > 0 {
		t.rtt.rto = min(max(t.rtt.rto, rtoAfterSynLoss), e.tun.RTOMax) // RFC 6298 (5.7)
	}
	if t.retries > 1 {
		t.cc.Cwnd = min(t.cc.Cwnd, t.effMSS()) // RFC 5681 §3.1, RFC 6928 §2
	}
	e.control(t).Established(now, t.rtt.srtt, t.flags&flagSACK != 0)
	t.snd.una = t.snd.iss.Add(1)
	t.snd.una64 = 1
	t.rec.point = t.snd.iss
	t.rtt.next = t.snd.una
	t.rack.begin(t.snd.una)
	t.snd.small = t.snd.una
	t.snd.wnd = uint32(seg.Wnd)
	if !seg.Flags.Has(wire.SYN) {
		t.snd.wnd <<= t.snd.wscale
	}
	t.snd.wndMax = max(t.snd.wndMax, t.snd.wnd)
	t.snd.wl1, t.snd.wl2 = seg.Seq, seg.Ack
	t.backoff, t.retries = 0, 0
	t.deadline[TimerRexmt] = vtime.Never
	t.pend &^= pendSyn
	t.rcvTune.at = now
	if t.dataTick == 0 {
		t.dataTick = tickOf(now) &^ 1
	}

	e.setState(t, StateEstablished)
	switch {
	case t.fastOpen&fastPending != 0:
		e.fastOpenLeave(t, now, false) // offered with the SYN
	case t.flags&flagPassive != 0:
		e.offer(t, out)
	default:
		out.act(t, ActEstablished)
	}
	if t.fastOpen&fastData != 0 {
		e.synDataAcked(t, now, seg, out)
	}
	if t.snd.una != t.snd.nxt {
		e.armRexmt(t, now) // a server's data, sent before the handshake was complete
	}
	if t.flags&flagFinWanted != 0 {
		e.setState(t, StateFinWait1) // closed before it was open
	}
	e.startKeepalive(t)
}

// offer gives t, which a listener opened, to the owner.
func (e *Engine) offer(t *TCB, out *Output) {
	l := &e.lsts[t.listener]
	l.ready++
	t.flags |= flagOffered
	out.act(t, ActPassEstablished).Listener = l.cookie
}

// offeredBy returns the listener that opened t, or nil if it is closed.
func (e *Engine) offeredBy(t *TCB) *Listener {
	if l := &e.lsts[t.listener]; l.used && l.gen == t.listenGen {
		return l
	}
	return nil
}

// arriveSynchronized is §3.10.7.4: SYN-RECEIVED and all states after it but TIME-WAIT.
func (e *Engine) arriveSynchronized(t *TCB, now vtime.Time, seg *Segment, out *Output) DropReason {
	a := arrival{
		seg: seg, now: now, seq: seg.Seq, len: seg.Len,
		syn: seg.Flags.Has(wire.SYN), fin: seg.Flags.Has(wire.FIN),
	}
	if t.state == StateSynReceived && a.syn && a.seq == t.rcv.irs && e.repeatedSyn(t, &a, out) {
		return DropNone
	}
	if d := e.checkSequence(t, &a, out); d != DropNone {
		return d
	}
	if d := e.checkReset(t, &a, out); d != DropNone || t.state == StateClosed {
		return d
	}
	if d := e.checkSyn(t, &a, out); d != DropNone {
		return d
	}
	t.rcv.last = now
	t.probes0()
	t.updateTSRecent(now, seg)
	if seg.Opt.Set&wire.OptUserTimeout != 0 {
		e.adoptUTO(t, &seg.Opt)
	}
	if d := e.checkAck(t, &a, out); d != DropNone || t.state == StateClosed {
		return d
	}
	e.checkUrgent(t, &a, out)
	d := e.processText(t, &a, out)
	if d == DropNone && t.state != StateClosed {
		e.checkFin(t, &a, out)
	}
	return d
}

// repeatedSyn recognises the peer's SYN come again in SYN-RECEIVED. By itself it asks for our
// SYN-ACK again, and is done with; with ACK it completes a simultaneous open (§3.5, figure 8), and
// goes on without its SYN.
func (e *Engine) repeatedSyn(t *TCB, a *arrival, out *Output) (done bool) {
	switch a.seg.Flags & (wire.RST | wire.ACK) {
	case 0:
		if t.fastOpen&fastPending != 0 {
			e.takeSynText(t, a.now, a.seg, out)
		}
		e.txAdd(t, pendSyn)
		return true
	case wire.ACK:
		a.seq, a.syn = a.seq.Add(1), false
		t.noteDuplicate(t.rcv.irs, t.rcv.irs.Add(1))
		e.txAdd(t, pendAck) // as in Linux: what comes again is acknowledged
	}
	return false
}

// checkSequence is the first step: PAWS and the window, then trimming to the window.
func (e *Engine) checkSequence(t *TCB, a *arrival, out *Output) DropReason {
	rst := a.seg.Flags.Has(wire.RST)
	if !rst && t.pawsRejects(a.now, a.seg) {
		e.root.mib.PAWSDrops++
		if a.len > 0 || a.fin || a.syn || a.seq.GEQ(t.rcv.nxt) {
			e.answerOutside(t, a, out) // but not an ACK that was overtaken
		}
		return DropPAWS
	}
	end := a.seq.Add(a.len)
	if a.fin {
		end = end.Add(1)
	}
	// A segment that was overtaken since our last ACK is no surprise, and its own ACK may be news, as in
	// Linux. RFC 9293 would have it answered: a duplicate ACK that means nothing.
	v, first := &t.rcv, t.ts.lastAckSent
	if rst {
		first = v.nxt // RFC 5961 §3.2
	}
	if end.LT(first) || a.seq.GT(v.adv) {
		if !rst {
			if a.len > 0 && a.seq.LT(v.nxt) {
				t.noteDuplicate(a.seq, seq.Min(a.seq.Add(a.len), v.nxt))
				t.ackSoon(quickAcks)
			}
			e.answerOutside(t, a, out)
		}
		return DropSequence
	}
	if d := v.nxt.Sub(a.seq); d > 0 {
		n := min(uint32(d), a.len)
		if n > 0 {
			a.old = true
			t.noteDuplicate(a.seq, a.seq.Add(n))
		}
		a.seq, a.off, a.len = a.seq.Add(n), n, a.len-n
		if a.seq.LT(v.nxt) && (a.fin || a.seg.Len > 0) {
			a.fin, a.old = false, true // the FIN was received before
		}
	}
	a.trimRight(v.adv)
	return DropNone
}

// trimRight cuts off what lies beyond the right edge of the window.
func (a *arrival) trimRight(edge seq.Num) {
	if over := a.seq.Add(a.len).Sub(edge); over > 0 {
		a.len -= min(uint32(over), a.len)
		a.fin, a.cut = false, true
	}
}

// answerOutside acknowledges an unacceptable segment. Those without text are limited: two ends that
// disagree could answer each other for ever.
func (e *Engine) answerOutside(t *TCB, a *arrival, out *Output) {
	if a.len == 0 && !a.fin {
		e.challengeAck(t, a.now, out)
		return
	}
	e.replyAck(t, a.now, out)
}

// checkReset is the second step with RFC 5961 §3.2: only the exact sequence number resets.
func (e *Engine) checkReset(t *TCB, a *arrival, out *Output) DropReason {
	if !a.seg.Flags.Has(wire.RST) {
		return DropNone
	}
	if a.seg.Seq != t.rcv.nxt {
		e.challengeAck(t, a.now, out)
		return DropBadReset
	}
	reason := ReasonReset
	switch {
	case t.fastOpen&fastPending != 0:
		e.fastOpenLeave(t, a.now, true)
	case t.state == StateSynReceived:
		reason = ReasonRefused
	case isEstab.has(t.state):
		e.root.mib.EstabResets++
	}
	e.finish(t, reason, out)
	return DropNone
}

// checkSyn is the fourth step with RFC 5961 §4.2.
func (e *Engine) checkSyn(t *TCB, a *arrival, out *Output) DropReason {
	if !a.syn {
		return DropNone
	}
	e.challengeAck(t, a.now, out)
	return DropSynInWindow
}

// checkAck is the fifth step, with RFC 5961 §5 against injected data.
func (e *Engine) checkAck(t *TCB, a *arrival, out *Output) DropReason {
	seg := a.seg
	if !seg.Flags.Has(wire.ACK) {
		return DropNoAck
	}
	if t.state == StateSynReceived {
		if seg.Ack.LEQ(t.snd.una) || seg.Ack.GT(t.snd.nxt) {
			e.appendResetFor(seg, out)
			return DropBadAck
		}
		e.established(t, a.now, seg, out)
		e.wakeSend(t)
	}
	if seg.Ack.GT(t.snd.nxt) || seg.Ack.LT(t.snd.una-seq.Num(t.snd.wndMax)) {
		e.challengeAck(t, a.now, out)
		return DropBadAck
	}
	e.ackArrived(t, a, out)
	if t.snd.una != t.snd.nxt || t.flags&flagFinSent == 0 {
		return DropNone
	}
	// Our FIN is acknowledged.
	switch t.state {
	case StateFinWait1:
		e.setState(t, StateFinWait2)
		e.enterFinWait2(t, a.now)
	case StateClosing:
		e.enterTimeWait(t, a.now, a.old, out)
	case StateLastAck:
		e.finish(t, ReasonNone, out)
	}
	return DropNone
}

// processText is the seventh step.
func (e *Engine) processText(t *TCB, a *arrival, out *Output) DropReason {
	if a.len == 0 {
		switch {
		case a.cut:
			// Beyond the window, as a window probe is.
			e.replyAck(t, a.now, out)
			return DropWindow
		case a.old:
			e.root.mib.Duplicates++
			t.ackSoon(quickAcks)
			if !a.fin {
				e.replyAck(t, a.now, out)
				return DropDuplicate
			}
		}
		return DropNone
	}
	if !canReceive.has(t.state) || t.flags&flagFinRcvd != 0 {
		e.challengeAck(t, a.now, out)
		return DropAfterFIN
	}
	if t.flags&flagDetached != 0 {
		// Nobody will read it; the peer has to know (RFC 9293 §3.6.1, RFC 1122 §4.2.2.13).
		e.appendResetFor(a.seg, out)
		e.finish(t, ReasonAborted, out)
		return DropAfterClose
	}
	if t.rcv.ecn&ecnOK != 0 {
		e.ecnText(t, a, out)
	}
	if a.seq != t.rcv.nxt {
		return e.textBeyondHole(t, a, out)
	}
	e.textInOrder(t, a.now, a.seg, a.off, a.len, out)
	if a.old || a.cut {
		e.txAdd(t, pendAck)
	}
	return DropNone
}

// checkFin is the eighth step: the peer's FIN, when all before it is in.
func (e *Engine) checkFin(t *TCB, a *arrival, out *Output) {
	v := &t.rcv
	end := a.seq.Add(a.len)
	switch {
	case t.flags&flagFinRcvd != 0:
		return
	case a.fin && end != v.nxt:
		if end.GT(v.nxt) {
			v.finHeld, v.finSeq = true, end
		}
		return
	case !a.fin && !(v.finHeld && v.finSeq == v.nxt):
		return
	}
	v.finHeld = false
	e.clearRanges(t) // octets beyond a FIN belong to no stream
	v.nxt = v.nxt.Add(1)
	v.nxt64++
	t.flags |= flagFinRcvd
	e.txAdd(t, pendAck)
	out.act(t, ActPeerClose).Pos = t.rcvPos()
	switch t.state {
	case StateEstablished:
		e.setState(t, StateCloseWait)
	case StateFinWait1:
		e.setState(t, StateClosing)
	case StateFinWait2:
		e.enterTimeWait(t, a.now, true, out)
	}
}

// probes0 forgets unanswered probes: the peer is alive.
func (t *TCB) probes0() {
	if t.rcv.probes != 0 {
		t.rcv.probes = 0
	}
}
