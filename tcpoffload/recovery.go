package tcpoffload

// Loss recovery: RACK (rack.go) with SACK, RFC 6582 (NewReno) without, both paced by proportional rate
// reduction (prr.go), and the retransmission timeout (RFC 6298 §5).

import (
	"opentoe/tcpoffload/seq"
	"opentoe/tcpoffload/vtime"
)

// caState is the sender's congestion state, with Linux' numbers (tcpi_ca_state).
type caState uint8

const (
	caOpen     caState = 0
	caDisorder caState = 1 // duplicate ACKs or SACK, too few to call it a loss
	caCWR      caState = 2 // only in Info: ecnReduced
	caRecovery caState = 3 // fast recovery until rec.point is acknowledged
	caLoss     caState = 4 // after a timeout, until rec.point is acknowledged
)

// recoveryVars are those of RFC 6675, RFC 6582, RFC 5682 and of the retransmission timer.
type recoveryVars struct {
	point     seq.Num    // RecoveryPoint ("recover" in RFC 6582 and RFC 5682)
	frtoNxt   seq.Num    // SND.NXT at step 2b of F-RTO
	rtoAt     vtime.Time // when the timeout is due; TimerRexmt may be a probe before that
	timeoutAt vtime.Time // of the last timeout; with sendResend: what was sent by then goes again
	tlpEnd    seq.Num    // TLP.end_seq (RFC 8985 §7.1); valid with flagTLPSent
	frto      frtoStep
	timeout   bool   // the last recovery was by timeout
	again     uint16 // segments sent again in the last recovery
}

// countDupAcks keeps the estimate of what left the network on a connection without SACK
// (RFC 5681 §3.2, RFC 6582 §3.2), and with it what this ACK delivered.
func (t *TCB) countDupAcks(ev *ackEvent) {
	s, mss := &t.snd, t.effMSS()
	switch {
	case ev.acked > 0 && t.ca >= caRecovery:
		// A partial ACK takes along what duplicates had announced; one segment was the lost one.
		s.sacked -= min(s.sacked, ev.acked-min(ev.acked, mss))
		s.dupAcks = 0
	case ev.acked > 0:
		s.sacked, s.dupAcks = 0, 0
	case ev.dup && t.ca == caLoss && s.nxt == t.rec.point:
		// An echo of what is sent again: it does not clock out more of that, which the peer may have
		// as well.
	case ev.dup:
		if s.dupAcks < 255 {
			s.dupAcks++
		}
		if s.sacked += mss; t.ca < caRecovery && !t.lossSeen() {
			s.sacked = min(s.sacked, (dupThresh-1)*mss) // RFC 3042: two new segments, not more
		}
	}
	s.sacked = min(s.sacked, t.flight()-min(t.flight(), mss)) // the first segment is missing
	ev.delivered = uint32(max(int32(ev.acked+s.sacked-ev.priorSacked), 0))
}

// recoveryAck carries the congestion state over an ACK that is not of an undisturbed connection.
func (e *Engine) recoveryAck(t *TCB, ev *ackEvent) {
	t.widenReoWnd(ev.dsack)
	e.closeRecovery(t, ev)
	if t.flags&flagSACK != 0 {
		ev.lost = e.detectLoss(t, ev.now)
	}
	if t.ca < caRecovery {
		if t.lossSeen() {
			if e.probeLost(t, ev.now) {
				e.congest(t, ev)
				return
			}
			e.enterRecovery(t, ev)
			e.congest(t, ev)
			return
		}
		t.ca = caOpen
		if t.snd.sacked > 0 {
			t.ca = caDisorder
		}
		e.congest(t, ev)
		return
	}
	if t.flags&flagSACK == 0 && ev.acked > 0 && t.ca == caRecovery {
		ev.lost = e.loseFirst(t, ev.now) // partial ACK, RFC 6582 §3.2 step 5
	}
	e.congest(t, ev)
	if t.ca == caRecovery {
		e.reduceRate(t, ev)
	}
}

// closeRecovery ends a recovery because it was needless, or because all is acknowledged that was in flight
// when it began.
func (e *Engine) closeRecovery(t *TCB, ev *ackEvent) {
	una := t.snd.una
	if t.ca < caRecovery {
		switch {
		case t.flags&flagUndo == 0:
		case ev.undo:
			e.undoRecovery(t, ev.now)
		case una.GT(t.undo.end):
			t.denyUndo()
		}
		return
	}
	frto := t.rec.frto != frtoOff && e.frtoAck(t, ev)
	if late := t.spuriousByTime(ev); late || frto && t.flags&flagUndo != 0 || ev.undo {
		t.widenReoWnd(late && t.ca == caRecovery)
		e.undoRecovery(t, ev.now)
		t.rack.recoveryLeft()
		return
	}
	if una.LT(t.rec.point) {
		return
	}
	if t.ca == caRecovery {
		e.control(t).OnRecovered(t.effMSS())
		ev.ended = true
	}
	t.ca = caOpen
	t.undo.end = t.snd.nxt
	t.rec.frto = frtoOff
	t.snd.mode &^= sendForget
	t.prr = prrVars{}
	t.rack.recoveryLeft()
	if t.flags&flagSACK == 0 {
		t.snd.sacked, t.snd.dupAcks = 0, 0
	}
}

// lossSeen reports whether something in flight counts as lost. Without SACK, duplicates of the ACK that
// ended a recovery may be echoes of its retransmissions (RFC 6582 §4): as many as these were prove nothing.
func (t *TCB) lossSeen() bool {
	if t.flags&flagSACK != 0 {
		return t.fl.lost > 0 && t.flags&flagUnlosing == 0
	}
	n := uint16(t.snd.dupAcks)
	return n >= dupThresh && (t.snd.una != t.rec.point || n-dupThresh >= t.rec.again)
}

// enterRecovery begins a fast recovery (RFC 6675 §5 step 4, RFC 6582 §3.2 step 2).
func (e *Engine) enterRecovery(t *TCB, ev *ackEvent) {
	e.root.mib.FastRetrans++
	t.ca = caRecovery
	t.rec.point, t.rec.timeout, t.rec.again = t.snd.nxt, false, 0
	t.flags &^= flagProbeRxt // what the probe would tell is known
	t.allowUndo()
	e.control(t).OnLoss(ev.prior, t.effMSS())
	t.queueCWR()
	if t.flags&flagSACK == 0 {
		ev.lost = e.loseFirst(t, ev.now)
	}
	t.prr.begin(ev)
	e.reduceRate(t, ev)
	e.armRexmt(t, ev.now) // RFC 6675 §5.1
}

// loseFirst marks the first segment in flight lost, whatever its age, and returns how many octets that are.
func (e *Engine) loseFirst(t *TCB, now vtime.Time) (lost uint32) {
	i := t.fl.head
	if i == 0 || !e.flights[i].outstanding() {
		return 0
	}
	f := &e.flights[i]
	if mss := t.effMSS(); uint32(f.right-f.left) > mss {
		e.splitFlight(t, i, f.left.Add(mss)) // if there is no entry for the rest, it is lost too
	}
	e.markLost(t, now, i)
	return uint32(f.right - f.left)
}

// rexmtWithin moves the retransmission timeout that has just been started to d from now, if it is later.
func (e *Engine) rexmtWithin(t *TCB, now vtime.Time, d vtime.Duration) {
	if at := now.Add(d); at < t.rec.rtoAt {
		t.rec.rtoAt = at
		e.setTimer(t, TimerRexmt, at)
	}
}

// rexmtExpired is RFC 6298 (5.4) to (5.7), and gives up after R2 (RFC 9293 §3.8.3).
func (e *Engine) rexmtExpired(t *TCB, now vtime.Time, out *Output) {
	if t.state == StateSynSent || t.state == StateSynReceived {
		e.synExpired(t, now, out)
		return
	}
	if t.snd.una == t.snd.nxt {
		return
	}
	if t.flags&flagTLP != 0 {
		e.probeExpired(t, now)
		return
	}
	// A peer that shut the window on what is in flight but still answers is not dead.
	answers := t.snd.wnd == 0 && t.flags&flagDetached == 0 && now.Sub(t.rcv.last) < e.tun.RTOMax
	left := t.userTimeLeft(now, max(t.asked(t.rtt.rto, e.tun.RTOMax), now.Sub(t.snd.lastSent)))
	if t.retries >= e.retryLimit(t) && !answers || left <= 0 {
		e.root.mib.TimeoutDrops++
		e.finish(t, t.timeoutReason(), out)
		return
	}
	e.root.mib.Timeouts++
	t.rtt.timeouts++
	e.enterLoss(t, now)
	t.backoff = min(t.backoff+1, maxBackoff)
	t.retries = min(t.retries+1, 255)
	e.blackHole(t, now)
	e.armRexmt(t, now)
	e.rexmtWithin(t, now, left)
	e.txAdd(t, pendData)
}

// enterLoss begins the recovery from a timeout: RFC 8985 §6.3, RFC 5682 §2.1 step 1.
func (e *Engine) enterLoss(t *TCB, now vtime.Time) {
	again := t.ca == caLoss && t.retries > 0
	fresh := t.ca < caRecovery
	t.rec.timeout, t.rec.timeoutAt = true, now
	e.control(t).OnRTO(t.flight(), t.effMSS(), again)
	t.queueCWR()
	t.ca = caLoss
	t.prr = prrVars{}
	t.paceReset()
	t.flags &^= flagUnlosing | flagProbeRxt
	t.snd.mode &^= sendForget | sendResend
	t.denyUndo()
	t.rec.frto = frtoOff
	if fresh {
		t.rec.again = 0
		t.allowUndo()
		t.startFRTO()
	}
	t.rec.point = t.snd.nxt
	switch head := t.fl.head; {
	case t.flags&flagSACK == 0:
		t.snd.sacked, t.snd.dupAcks = 0, 0
	case again || e.flights[head].flags&flightSACKed != 0:
		e.beginForget(t, now)
	}
	e.loseFirst(t, now)
	t.flags |= flagHeadNow
	e.timeoutLosses(t, now)
}

// beginForget makes what is SACKed lost: the peer may have reneged (RFC 2018 §8). It does when the first
// octets in flight are SACKed and not acknowledged, and after two timeouts in a row nothing is certain.
func (e *Engine) beginForget(t *TCB, now vtime.Time) {
	if t.snd.sacked == 0 {
		return
	}
	e.root.mib.SACKReneging++
	t.sackSeen = [len(t.sackSeen)]seqPair{} // what the peer reports from now on is news
	t.fl.hint = t.fl.head
	e.forgetSACK(t, now)
}

// forgetSACK goes on with that from fl.hint, and goes on by the reordering timer when it is much.
func (e *Engine) forgetSACK(t *TCB, now vtime.Time) {
	fl := &t.fl
	t.snd.mode &^= sendForget
	for walk := maxFlightWalk; fl.hint != 0 && t.snd.sacked > 0; walk-- {
		if walk == 0 {
			t.snd.mode |= sendForget
			e.walkOn(t, now)
			return
		}
		i := fl.hint
		f := &e.flights[i]
		fl.hint = f.next
		if f.flags&flightSACKed == 0 {
			continue
		}
		n := uint32(f.right - f.left)
		t.snd.sacked -= n
		fl.segs -= uint32(f.segs)
		fl.lost += n
		f.flags, f.segs = flightLost|flightRxt, 0 // its round trip is known: not to be measured again
		e.linkLost(t, i)
	}
}

// retryLimit returns how many timeouts in a row end t: fewer when no program waits for it any more.
func (e *Engine) retryLimit(t *TCB) uint8 {
	if t.userTimeout != 0 {
		return 255 // the program's word takes the place of the count (RFC 5482)
	}
	if t.flags&flagDetached != 0 {
		return min(e.tun.Retries2, orphanRetries)
	}
	return e.tun.Retries2
}

// synExpired sends the SYN or SYN-ACK again, or gives up.
func (e *Engine) synExpired(t *TCB, now vtime.Time, out *Output) {
	limit := e.tun.SynRetries
	if t.pmtu.synRetries != 0 {
		limit = t.pmtu.synRetries
	}
	if t.flags&flagPassive != 0 {
		limit = e.tun.SynAckRetries
	}
	left := t.userTimeLeft(now, t.asked(t.rtt.rto, e.tun.RTOMax))
	if t.retries >= limit || left <= 0 {
		e.finish(t, t.timeoutReason(), out)
		return
	}
	t.backoff = min(t.backoff+1, maxBackoff)
	t.retries++
	t.rtt.timedAt = vtime.Never
	e.txAdd(t, pendSyn)
	e.armRexmt(t, now)
	e.rexmtWithin(t, now, left)
}
