package tcpoffload

// Loss recovery: RFC 6675 with SACK, RFC 6582 (NewReno) without, both paced by proportional rate
// reduction (RFC 6937), and the retransmission timeout (RFC 6298 §5).
//
// One picture serves all: what lies before rec.lost and is not SACKed is lost; what of it lies
// before rec.highRxt was sent again. Without SACK every duplicate ACK counts as one segment SACKed
// somewhere.

import (
	"opentoe/tcpoffload/cc"
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

// countDupAcks keeps the estimate of what left the network on a connection without SACK
// (RFC 5681 §3.2, RFC 6582 §3.2).
func (e *Engine) countDupAcks(t *TCB, dup bool, acked uint32) {
	s, mss := &t.snd, t.effMSS()
	switch {
	case acked > 0 && (t.ca == caRecovery || t.ca == caLoss):
		// A partial ACK takes along what duplicates had announced; one segment was the lost one.
		s.sacked -= min(s.sacked, acked-min(acked, mss))
		s.dupAcks = 0
	case acked > 0:
		s.sacked, s.dupAcks = 0, 0
	case dup:
		if s.dupAcks < 255 {
			s.dupAcks++
		}
		s.sacked += mss
	}
	s.sacked = min(s.sacked, t.flight()-min(t.flight(), mss)) // the first segment is missing
}

// recoveryAck carries the congestion state over an ACK. acked is how far SND.UNA moved, delivered
// how many octets are newly known to have arrived, prior the flight before the ACK; news tells that
// the ACK was a duplicate or had new SACK blocks.
func (e *Engine) recoveryAck(t *TCB, now vtime.Time, seg *Segment, acked uint32, delivered int32, prior uint32, news bool) {
	r, una := &t.rec, t.snd.una
	if r.lost.LT(una) {
		r.lost = una
	}
	if r.highRxt.LT(una) {
		r.highRxt = una
	}
	if acked > 0 {
		e.watchFirstHole(t, una)
	}
	if t.ca == caLoss && acked > 0 && t.spuriousTimeout(seg) {
		e.undoTimeout(t)
	}
	if (t.ca == caRecovery || t.ca == caLoss) && una.GEQ(r.point) {
		if t.ca == caRecovery {
			t.cc.OnRecovered(t.effMSS())
		}
		t.ca = caOpen
		if t.flags&flagSACK == 0 {
			t.snd.sacked, t.snd.dupAcks = 0, 0
		}
		r.lost, r.highRxt = una, una
		t.prr = prrVars{}
	}
	if t.flags&flagSACK != 0 {
		r.lost = e.lossEdge(t)
		e.probeSacked(t)
	}
	if (t.ca == caRecovery || t.ca == caLoss) && e.retransmissionLost(t) {
		e.root.mib.LostRetrans++
		e.watchFirstHole(t, r.highRxt)
		t.flags |= flagRxtLost
	}
	switch t.ca {
	case caOpen, caDisorder:
		if t.lossSeen() {
			if e.probeLost(t, now) {
				return
			}
			e.enterRecovery(t, now, prior)
			e.updatePipe(t)
			e.reduceRate(t, delivered, news)
			return
		}
		e.growWindow(t, now, acked, prior)
		t.ca = caOpen
		if t.snd.sacked > 0 {
			t.ca = caDisorder
		}
		e.updatePipe(t)
	case caRecovery:
		if t.flags&flagSACK == 0 && acked > 0 {
			r.lost = r.highRxt.Add(min(t.effMSS(), uint32(r.point-r.highRxt))) // partial ACK, RFC 6582 §3.2 step 5
		}
		e.updatePipe(t)
		e.reduceRate(t, delivered, acked > 0)
	case caLoss:
		if acked > 0 {
			t.cc.OnAck(&cc.Sample{Now: now, Acked: acked, Delivered: acked, MSS: t.effMSS(), SRTT: t.rtt.srtt, CwndLimited: true})
		}
		e.updatePipe(t)
	}
}

// lossSeen reports whether the first unacknowledged segment counts as lost. Without SACK,
// duplicates of the ACK that ended a recovery are echoes of its retransmissions (RFC 6582 §4.1).
func (t *TCB) lossSeen() bool {
	if t.flags&flagSACK != 0 {
		return t.rec.lost.GT(t.snd.una)
	}
	return t.snd.dupAcks >= dupThresh && t.snd.una != t.rec.point
}

// enterRecovery begins a fast recovery (RFC 6675 §5 step 4).
func (e *Engine) enterRecovery(t *TCB, now vtime.Time, flight uint32) {
	e.root.mib.FastRetrans++
	r := &t.rec
	t.ca = caRecovery
	r.point = t.snd.nxt
	r.highRxt = t.snd.una
	if t.flags&flagSACK == 0 {
		r.lost = t.snd.una.Add(min(t.effMSS(), t.flight()))
	}
	t.rtt.timedAt = vtime.Never
	t.cc.OnLoss(flight, t.effMSS())
	t.queueCWR()
	t.prr = prrVars{flight: max(flight, 1)}
	e.armRexmt(t, now) // RFC 6675 §5.1
}

// updatePipe is SetPipe of RFC 6675 §4, in octets: in flight, less what is SACKed, less what is
// lost, plus what of that was sent again.
func (e *Engine) updatePipe(t *TCB) {
	r, una := &t.rec, t.snd.una
	sackedLost, sackedRxt := e.sackedBefore(t, r.lost, r.highRxt)
	out := int64(t.flight()) - int64(t.snd.sacked)
	lost := int64(uint32(r.lost-una)) - int64(sackedLost)
	rxt := int64(uint32(r.highRxt-una)) - int64(sackedRxt)
	r.pipe = uint32(max(out-lost+rxt, 0))
}

// reduceRate sets the congestion window for this ACK of a fast recovery: proportional rate reduction
// (RFC 6937 §3) with the slow-start bound while the ACK shows progress, else the conservative one.
func (e *Engine) reduceRate(t *TCB, delivered int32, progress bool) {
	p, mss, pipe, ssthresh := &t.prr, t.effMSS(), t.rec.pipe, t.cc.Ssthresh
	p.delivered += uint32(max(delivered, 0))
	var send int64
	if pipe > ssthresh {
		send = (int64(p.delivered)*int64(ssthresh)+int64(p.flight)-1)/int64(p.flight) - int64(p.out)
	} else {
		limit := int64(p.delivered) - int64(p.out)
		if progress {
			limit = max(limit, int64(delivered)) + int64(mss)
		}
		send = min(int64(ssthresh)-int64(pipe), limit)
	}
	if p.out == 0 {
		send = max(send, int64(mss)) // the fast retransmission
	}
	t.cc.Cwnd = max(pipe+uint32(max(send, 0)), mss)
}

// armRexmt starts the retransmission timer, as a loss probe if one may be sent before the timeout. It
// excludes the persist timer.
func (e *Engine) armRexmt(t *TCB, now vtime.Time) {
	t.deadline[TimerPersist] = vtime.Never
	t.flags &^= flagTLP
	if e.armProbe(t, now) {
		return
	}
	e.setTimer(t, TimerRexmt, now.Add(backedOff(t.rtt.rto, t.backoff, e.tun.RTOMax)))
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
	if t.retries >= e.retryLimit(t) && !answers || e.userTimedOut(t, now, t.rtt.rto, e.tun.RTOMax) {
		e.root.mib.TimeoutDrops++
		e.finish(t, t.timeoutReason(), out)
		return
	}
	e.root.mib.Timeouts++
	again := t.ca == caLoss && t.retries > 0
	t.saveUndo()
	t.cc.OnRTO(t.flight(), t.effMSS(), again)
	t.queueCWR()
	t.backoff = min(t.backoff+1, maxBackoff)
	t.retries = min(t.retries+1, 255)
	e.blackHole(t, now)
	t.ca = caLoss
	if again || t.flags&flagSACK == 0 {
		// RFC 2018 §8: the peer may have reneged.
		e.clearRanges(&t.snd.score, &t.snd.nscore)
		t.snd.sacked, t.snd.dupAcks = 0, 0
	}
	r := &t.rec
	r.point, r.lost, r.highRxt = t.snd.nxt, t.snd.nxt, t.snd.una
	t.flags &^= flagRxtLost
	t.paceReset()
	t.rtt.timedAt = vtime.Never // Karn
	e.updatePipe(t)
	e.armRexmt(t, now)
	e.txAdd(t, pendData)
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
	if t.flags&flagPassive != 0 {
		limit = e.tun.SynAckRetries
	}
	if t.retries >= limit || e.userTimedOut(t, now, t.rtt.rto, e.tun.RTOMax) {
		e.finish(t, t.timeoutReason(), out)
		return
	}
	t.backoff = min(t.backoff+1, maxBackoff)
	t.retries++
	t.rtt.timedAt = vtime.Never
	e.txAdd(t, pendSyn)
	e.armRexmt(t, now)
}
