package tcpoffload

// What an acknowledgment changes for the sender (RFC 9293 §3.10.7.4 fifth step, RFC 5681).

import (
	"opentoe/tcpoffload/cc"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// flight returns FlightSize: octets sent and not cumulatively acknowledged.
func (t *TCB) flight() uint32 { return uint32(t.snd.nxt - t.snd.una) }

// sndPos returns the stream position of sequence number n, SND.UNA or later.
func (t *TCB) sndPos(n uint32) uint64 { return t.snd.una64 + uint64(n-uint32(t.snd.una)) - 1 }

// ackArrived takes an ACK that is not beyond SND.NXT.
func (e *Engine) ackArrived(t *TCB, a *arrival, out *Output) {
	s, seg := &t.snd, a.seg
	prior, priorWnd, priorSacked, priorUna := t.flight(), s.wnd, s.sacked, s.una

	t.updateSendWindow(seg)
	news := false
	if t.flags&flagSACK != 0 && seg.Opt.Set&wire.OptSACK != 0 {
		news = e.sackArrived(t, seg)
	}
	if t.rcv.ecn&ecnOK != 0 {
		e.ecnEchoed(t, seg, prior)
	}
	dup := seg.Ack == s.una && prior > 0 && seg.Len == 0 && s.wnd == priorWnd &&
		seg.Flags&(wire.SYN|wire.FIN) == 0
	var acked uint32
	if seg.Ack.GT(s.una) {
		acked = uint32(seg.Ack - s.una)
		e.advanceUna(t, a.now, seg, out)
		if t.flags&flagSACK != 0 {
			s.sacked -= e.trimRanges(&s.score, &s.nscore, s.una)
		}
	}
	if dup {
		e.root.mib.DupAcksIn++
	}
	if t.flags&flagTLPSent != 0 {
		e.probeAcked(t, seg, prior)
	}
	if t.flags&flagSACK == 0 {
		e.countDupAcks(t, dup, acked)
	}
	if t.ca == caOpen && s.sacked == 0 && priorSacked == 0 {
		// Undisturbed.
		e.growWindow(t, a.now, acked, prior)
	} else {
		delivered := acked + s.sacked - priorSacked // sequence space newly known to have arrived
		e.recoveryAck(t, a.now, seg, acked, int32(delivered), prior, news || dup)
	}
	if acked > 0 || s.wnd != priorWnd || s.sacked != priorSacked || t.ca != caOpen {
		if s.wnd != 0 && priorWnd == 0 && s.una == priorUna {
			t.backoff = 0 // the window opened: probing is over
			t.deadline[TimerPersist] = vtime.Never
		}
		e.wakeSend(t)
	}
}

// advanceUna moves SND.UNA to the segment's ACK, measures the round trip, and restarts or stops the
// retransmission timer (RFC 6298 (5.2), (5.3)). Precondition: SND.UNA < SEG.ACK ≤ SND.NXT.
func (e *Engine) advanceUna(t *TCB, now vtime.Time, seg *Segment, out *Output) {
	s := &t.snd
	acked := uint32(seg.Ack - s.una)
	s.una = seg.Ack
	s.una64 += uint64(acked)
	e.measure(t, now, seg)
	if t.snd.mode&sendSearch != 0 {
		e.probeAnswered(t)
	}
	if 2*t.cc.Cwnd > t.sndBuf {
		e.tuneSend(t, out)
	}
	t.retries = 0
	t.deadline[TimerRexmt] = vtime.Never
	if s.una != s.nxt {
		e.armRexmt(t, now)
	}
	e.bookAck(t, now)
	e.act(out, t, Action{Kind: ActAcked, Pos: min(s.una64-1, s.end)})
}

// measure takes a round-trip sample from an ACK for new data, if it gives one. Without a sample the
// timeout stays backed off: it may be shorter than the round trip (Karn's rule, RFC 6298 §3, (5.5)).
func (e *Engine) measure(t *TCB, now vtime.Time, seg *Segment) {
	switch r := &t.rtt; {
	case r.timedAt != vtime.Never:
		if seg.Ack.LT(r.timedSeq) {
			return
		}
		r.sample(now.Sub(r.timedAt), e.tun.RTOMin, e.tun.RTOMax)
		r.timedAt = vtime.Never
		t.backoff = 0
	case t.flags&flagTS != 0 && seg.Opt.Set&wire.OptTimestamps != 0 && seg.Opt.TSEcr != 0:
		// Nothing is being timed; the echoed timestamp is unambiguous (RFC 7323 §4.1).
		if ticks := t.tsVal(now) - seg.Opt.TSEcr; ticks < 1<<20 {
			r.sample(vtime.Duration(ticks)*tsTick+tsTick/2, e.tun.RTOMin, e.tun.RTOMax)
			t.backoff = 0
		}
	}
}

// growWindow lets the congestion window grow by an ACK outside recovery, if the window was what
// limited us: a window that is not used proves nothing about the path (RFC 7661 §3).
func (e *Engine) growWindow(t *TCB, now vtime.Time, acked, prior uint32) {
	if acked == 0 {
		return
	}
	if t.rcv.ecn&ecnReduced != 0 {
		return
	}
	if t.flags&flagCwndFull != 0 || t.cc.SlowStart() && prior*2 >= t.cc.Cwnd {
		t.cc.OnAck(&cc.Sample{Now: now, Acked: acked, Delivered: acked, MSS: t.effMSS(), SRTT: t.rtt.srtt, CwndLimited: true})
	}
	t.rec.lost, t.rec.highRxt = t.snd.una, t.snd.una
}

// wakeSend puts t on the transmit list if it may have something to send.
func (e *Engine) wakeSend(t *TCB) {
	if t.mayTransmit() && (e.hasUnsent(t) || t.rec.highRxt.LT(t.rec.lost) || t.flags&flagRxtLost != 0) {
		e.txAdd(t, pendData)
	}
}

// unsent returns the octets of the send stream that were never sent.
func (e *Engine) unsent(t *TCB) uint64 {
	if t.flags&flagFinSent != 0 || isOpening.has(t.state) && !t.mayTransmit() {
		return 0
	}
	return t.snd.end - t.sndPos(uint32(t.snd.nxt))
}

// hasUnsent reports whether octets or our FIN were never sent.
func (e *Engine) hasUnsent(t *TCB) bool {
	return t.flags&flagFinSent == 0 && (t.flags&flagFinWanted != 0 || e.unsent(t) > 0)
}
