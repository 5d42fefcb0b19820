package tcpoffload

// F-RTO (RFC 5682): after a timeout only the first segment is sent again at first. If the ACK for it lets new
// octets out and the next ACK tells of octets that were never sent again, these were late, not lost,
// and the timeout was spurious.

// frtoStep is where F-RTO stands.
type frtoStep uint8

const (
	frtoOff    frtoStep = iota
	frtoFirst           // step 2: waits for the ACK of the retransmission
	frtoSecond          // step 3: sends new octets, and waits for the next ACK
)

// startFRTO is step 1.
func (t *TCB) startFRTO() { t.rec.frto = frtoFirst }

// frtoAck carries F-RTO over an ACK and reports whether it proves the timeout spurious. Basic and
// SACK-enhanced version (§2.1, §3.1) differ in what a duplicate ACK means at first.
func (e *Engine) frtoAck(t *TCB, ev *ackEvent) (spurious bool) {
	r := &t.rec
	switch {
	case r.frto == frtoFirst && ev.acked == 0:
		if ev.dup && t.flags&flagSACK == 0 {
			r.frto = frtoOff // step 2a
		}
	case r.frto == frtoFirst:
		r.frto = frtoOff
		if t.snd.una.LT(r.point) && e.unsent(t) > 0 && t.sendRoom() > 0 {
			r.frto, r.frtoNxt = frtoSecond, t.snd.nxt // step 2b
		}
	case r.frto == frtoSecond && (ev.acked > 0 || ev.dup || ev.news):
		r.frto = frtoOff
		if ev.original {
			return true // step 3b
		}
		t.cc.Cwnd = min(t.cc.Cwnd, 3*t.effMSS()) // step 3a
	}
	return false
}
