package tcpoffload

// RACK (RFC 8985 §6): a segment is lost when one sent later has arrived and the reordering window has passed
// since it should have. Time comes first, so that reordering is no loss, and a lost retransmission is
// found like any other.

import (
	"opentoe/tcpoffload/seq"
	"opentoe/tcpoffload/vtime"
)

// reoPersist is how many recoveries without a DSACK the widened reordering window lasts (§6.2 step 4).
const reoPersist = 16

// rackVars are RACK.* of §5.2 and §5.3.
type rackVars struct {
	xmitTime  vtime.Time     // when the segment sent last among those delivered was sent; 0 none
	rtt       vtime.Duration // and its round trip
	endSeq    seq.Num        // and its end
	fack      seq.Num        // end of the highest segment delivered
	round     seq.Num        // dsack_round; valid with flagReoRound
	reordered uint16         // greatest distance seen, segments; 0: no reordering seen
	mult      uint8          // reo_wnd_mult less 1
	persist   uint8          // reo_wnd_persist
}

// sentBefore reports whether the segment of f was sent before the one delivered last. At one instant octets go
// in the order of their numbers: what is sent again goes before what is new.
func (r *rackVars) sentBefore(f *Flight) bool {
	return f.sentAt < r.xmitTime || f.sentAt == r.xmitTime && f.right.LT(r.endSeq)
}

// begin starts RACK at sequence number una.
func (r *rackVars) begin(una seq.Num) { *r = rackVars{endSeq: una, fack: una} }

// reoWnd returns the reordering window: step 4 of §6.2, second half.
func (t *TCB) reoWnd() vtime.Duration {
	r := &t.rack
	if r.reordered == 0 && (t.ca >= caRecovery || t.fl.segs >= dupThresh || t.snd.sacked > (dupThresh-1)*t.effMSS()) {
		return 0
	}
	return min((vtime.Duration(r.mult)+1)*t.rtt.min/4, t.rtt.srtt)
}

// widenReoWnd is step 4 of §6.2, first half: a DSACK says that a retransmission was needless, so the window
// was too small; once in a round trip it grows by min_RTT/4.
func (t *TCB) widenReoWnd(dsack bool) {
	r := &t.rack
	if t.flags&flagReoRound != 0 && t.snd.una.GEQ(r.round) {
		t.flags &^= flagReoRound
	}
	if dsack && t.flags&flagReoRound == 0 {
		t.flags |= flagReoRound
		r.round = t.snd.nxt
		r.mult = min(r.mult+1, 254)
		r.persist = reoPersist
	}
}

// recoveryLeft narrows the reordering window again after reoPersist recoveries.
func (r *rackVars) recoveryLeft() {
	if r.persist > 0 {
		r.persist--
	}
	if r.persist == 0 {
		r.mult = 0
	}
}

// detectLoss is step 5 of §6.2: it marks lost what was sent before the segment delivered last and is overdue,
// and starts the reordering timer for what is not overdue yet. The first entry that may still come ends
// the walk: all after it were sent later. It returns the octets found lost.
func (e *Engine) detectLoss(t *TCB, now vtime.Time) (lost uint32) {
	r, before := &t.rack, t.fl.lost
	t.deadline[TimerReo] = vtime.Never
	if t.walking() {
		e.walkOn(t, now)
		return 0
	}
	wait := r.rtt + t.reoWnd()
	walk := maxFlightWalk
	for i := t.fl.oldest; i != 0; walk-- {
		f := &e.flights[i]
		if f.sentAt > r.xmitTime {
			break
		}
		next := f.newer
		if r.sentBefore(f) {
			due := f.sentAt.Add(wait)
			if due.After(now) {
				e.setTimer(t, TimerReo, due)
				break
			}
			if walk == 0 {
				e.walkOn(t, now)
				break
			}
			e.markLost(t, now, i)
		} else if walk == 0 {
			break
		}
		i = next
	}
	return t.fl.lost - before
}

// timeoutLosses marks lost what a retransmission timeout makes so (§6.3): what is overdue by the reordering
// window, without asking whether anything sent later arrived. It goes on by the reordering timer when
// that is much. Without SACK everything in flight is lost.
func (e *Engine) timeoutLosses(t *TCB, now vtime.Time) {
	wait := t.rack.rtt + t.reoWnd()
	t.flags &^= flagMarking
	walk := maxFlightWalk
	for i := t.fl.oldest; i != 0; walk-- {
		f := &e.flights[i]
		if f.sentAt > t.rec.timeoutAt || t.flags&flagSACK != 0 && f.sentAt.Add(wait).After(t.rec.timeoutAt) {
			return
		}
		if walk == 0 {
			t.flags |= flagMarking
			e.walkOn(t, now)
			return
		}
		next := f.newer
		e.markLost(t, now, i)
		i = next
	}
}

// walking reports whether a walk of the flight list that is too long for one call goes on by the reordering timer.
func (t *TCB) walking() bool {
	return t.flags&(flagUnlosing|flagMarking) != 0 || t.snd.mode&(sendForget|sendResend) != 0
}

// walkOn lets such a walk go on at the next tick, not in the same call of Expire.
func (e *Engine) walkOn(t *TCB, now vtime.Time) { e.setTimer(t, TimerReo, now.Add(1)) }

// reoExpired is the reordering timer: what has not arrived by now is lost. It also goes on with long walks.
func (e *Engine) reoExpired(t *TCB, now vtime.Time) {
	if t.flags&flagUnlosing != 0 {
		e.unloseSome(t, now)
		e.wakeSend(t)
		return
	}
	if t.walking() {
		if t.snd.mode&sendForget != 0 {
			e.forgetSACK(t, now)
		}
		if t.snd.mode&sendResend != 0 {
			e.loseFlight(t, now)
		}
		if t.flags&flagMarking != 0 {
			e.timeoutLosses(t, now)
		}
		e.wakeSend(t)
		if t.walking() {
			return
		}
	}
	if e.detectLoss(t, now) == 0 {
		return
	}
	e.root.mib.ReorderTimeouts++
	if t.ca < caRecovery {
		ev := ackEvent{now: now, prior: t.flight(), priorSacked: t.snd.sacked}
		e.enterRecovery(t, &ev)
	}
	e.wakeSend(t)
}
