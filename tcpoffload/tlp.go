package tcpoffload

// Tail loss probe (RFC 8985 §7): when ACKs stop, one segment is sent before the timeout would be. Its
// answer tells what was lost, so that a fast recovery can replace a timeout.
//
// Beyond §7.2, in a fast recovery one probe is sent as well, as in RFC 9002 §6.2: a peer that answers a flight
// by one ACK stops the recovery when that ACK is lost.

import (
	"opentoe/tcpoffload/seq"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

const (
	// minProbeTimeout keeps probes behind what schedulers on both sides take.
	minProbeTimeout = 2 * vtime.Millisecond
	// probeTimeoutUnmeasured is PTO before the first measurement.
	probeTimeoutUnmeasured = vtime.Second
	// probeAckDelay is TLP.max_ack_delay: how long a peer may wait with the ACK of a single segment.
	probeAckDelay = 200 * vtime.Millisecond
)

// armProbe makes the retransmission timer a loss probe, PTO from now but not after the timeout, if one may
// be sent.
func (e *Engine) armProbe(t *TCB, now vtime.Time) bool {
	d, ok := t.probeTimeout()
	if !ok {
		return false
	}
	t.flags |= flagTLP
	e.setTimer(t, TimerRexmt, min(now.Add(d), t.rec.rtoAt))
	return true
}

// probeExpired asks Transmit for the probe and starts the timeout proper (§7.3).
func (e *Engine) probeExpired(t *TCB, now vtime.Time) {
	t.flags = t.flags&^flagTLP | flagTLPSent
	t.rec.tlpEnd = t.snd.nxt
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
	mss := t.effMSS()
	if t.ca >= caRecovery {
		// SACKed first octets are a peer that reneges: the timeout deals with it.
		if i := t.fl.head; e.flights[i].flags&flightSACKed == 0 {
			e.retransmit(t, now, i, out)
		}
	} else if n, _ := e.toBorder(t, min(e.unsent(t), uint64(t.sendRoom()), uint64(mss))); n == 0 ||
		!e.sendNew(t, now, uint32(n), false, e.unsent(t), out) {
		i := t.fl.tail
		if f := &e.flights[i]; f.flags&flightSACKed == 0 {
			if f.outstanding() && uint32(f.right-f.left) > mss {
				if j := e.splitFlight(t, i, f.right-seq.Num(mss)); j != 0 {
					i = j
				}
			}
			t.flags |= flagProbeRxt
			e.retransmit(t, now, i, out)
		}
	}
	t.rec.tlpEnd = t.snd.nxt
}

// probeAcked ends the episode of a probe when what it covers is acknowledged (§7.4). When octets sent again
// are acknowledged and then more, with no DSACK and no duplicate ACK to say that they came twice, they
// had been lost: congestion control has to know.
func (e *Engine) probeAcked(t *TCB, ev *ackEvent) {
	seg := ev.seg
	switch {
	case seg.Ack.LT(t.rec.tlpEnd):
		return
	case t.flags&flagProbeRxt == 0: // nothing was lost
	case seg.Opt.Set&wire.OptSACK != 0 && seg.Opt.NumSACK > 0 && seg.Opt.SACK[0].Right == t.rec.tlpEnd:
		// Both came.
	case seg.Ack.GT(t.rec.tlpEnd):
		if t.ca < caRecovery {
			e.control(t).OnLoss(ev.prior, t.effMSS())
			e.control(t).OnRecovered(t.effMSS())
			t.queueCWR()
		}
	case ev.acked == 0 && seg.Len == 0 && seg.Opt.Set&wire.OptSACK == 0: // both came, and the peer knows no DSACK
	default:
		return // a DSACK may still come
	}
	t.flags &^= flagTLPSent | flagProbeRxt
}
