package tcpoffload

// A retransmission that is lost too, found without a timeout: octets sent after it are SACKed. That is
// RFC 8985 §6.2 with sequence numbers for times, and for the first hole only.

import (
	"opentoe/tcpoffload/seq"
)

// rxtVars tell which octets were sent after the last retransmission at SND.UNA: holes above it, which
// are filled in order, and new octets. Valid while SND.UNA < rec.highRxt, with SACK.
type rxtVars struct {
	from, to seq.Num // holes in [from, to) were or will be sent again after it
	mark     seq.Num // octets from here on were first sent after it
	seen     uint32  // octets of [from, to) SACKed before
}

// watchFirstHole begins to collect what tells of the segment at SND.UNA, sent again at this moment or
// earlier, given that only holes from sequence number from on were sent again later.
func (e *Engine) watchFirstHole(t *TCB, from seq.Num) {
	if t.flags&flagSACK == 0 {
		return
	}
	t.flags &^= flagRxtLost
	w := &t.rxt
	w.from, w.to, w.mark = seq.Min(from, t.rec.lost), t.rec.lost, t.snd.nxt
	lo, hi := e.sackedBefore(t, w.from, w.to)
	w.seen = hi - lo
}

// retransmissionLost reports whether dupThresh segments arrived that were sent after the
// retransmission at SND.UNA.
func (e *Engine) retransmissionLost(t *TCB) bool {
	w := &t.rxt
	if t.flags&flagSACK == 0 || t.snd.score == 0 || t.rec.highRxt.LEQ(t.snd.una) {
		return false
	}
	lo, hi := e.sackedBefore(t, w.from, w.to)
	below, _ := e.sackedBefore(t, w.mark, w.mark)
	return hi-lo-w.seen+t.snd.sacked-below > (dupThresh-1)*t.effMSS()
}

// holeEnd returns where the hole at SND.UNA ends.
func (e *Engine) holeEnd(t *TCB) seq.Num {
	if i := t.snd.score; i != 0 {
		return e.ranges[i].left
	}
	return t.snd.nxt
}
