package tcpoffload

// Proportional rate reduction (RFC 9937): in a fast recovery the window goes down to the slow-start
// threshold as octets are delivered, not at once.

// prrVars are RFC 9937's.
type prrVars struct {
	delivered uint32 // octets delivered since recovery began
	out       uint32 // octets sent since recovery began
	flight    uint32 // RecoverFS
}

// begin starts an episode, RFC 9937 §6: octets SACKed before the ACK that starts it will not be delivered in it.
func (p *prrVars) begin(ev *ackEvent) {
	*p = prrVars{flight: max(ev.prior-min(ev.priorSacked, ev.prior), 1)}
}

// reduceRate sets the congestion window for an ACK of a fast recovery, the first one included. An algorithm
// that sets its window itself is left alone.
func (e *Engine) reduceRate(t *TCB, ev *ackEvent) {
	p := &t.prr
	if t.cc.OwnsRecovery() || ev.delivered == 0 && p.out > 0 {
		return
	}
	mss, pipe, ssthresh := t.effMSS(), t.pipe(), t.cc.Ssthresh
	p.delivered += ev.delivered
	var send int64
	if pipe > ssthresh {
		send = (int64(p.delivered)*int64(ssthresh)+int64(p.flight)-1)/int64(p.flight) - int64(p.out)
	} else {
		// The conservative bound, or that of slow start while the ACK is safe: it makes progress and tells
		// of no further loss.
		send = max(int64(p.delivered)-int64(p.out), int64(ev.delivered))
		if ev.acked > 0 && ev.lost == 0 {
			send += int64(mss)
		}
		send = min(send, int64(ssthresh)-int64(pipe))
	}
	if p.out == 0 {
		send = max(send, int64(mss)) // the fast retransmission
	}
	t.cc.Cwnd = max(pipe+uint32(max(send, 0)), mss)
}
