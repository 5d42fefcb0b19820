package tcpoffload

// Selective acknowledgment at the sender: the scoreboard (RFC 2018 §5, RFC 6675 §4).

import "opentoe/tcpoffload/seq"

// sackArrived enters the blocks of seg in the scoreboard and reports whether they told something
// new. Blocks that make no sense are ignored; one at or before the ACK is a DSACK (RFC 2883).
func (e *Engine) sackArrived(t *TCB, seg *Segment) (news bool) {
	s := &t.snd
	for _, b := range seg.Opt.SACK[:min(int(seg.Opt.NumSACK), len(seg.Opt.SACK))] {
		switch {
		case !b.Left.LT(b.Right) || b.Right.GT(s.nxt):
			continue
		case b.Right.LEQ(seg.Ack):
			e.root.mib.DSACKsIn++
			continue
		}
		left := seq.Max(b.Left, seq.Max(s.una, seg.Ack))
		if !left.LT(b.Right) {
			continue // of an ACK that was overtaken
		}
		added, _ := e.insertRange(&s.score, &s.nscore, maxScoreRanges, left, b.Right, 0)
		if added > 0 {
			s.sacked += added
			e.root.mib.SACKBlocksIn++
			news = true
		}
	}
	return news
}

// lossEdge returns the sequence number before which everything not SACKed is lost: IsLost of
// RFC 6675 §4 holds for a hole with dupThresh islands, or more than dupThresh−1 segments of SACKed
// octets, above it. It never moves back.
func (e *Engine) lossEdge(t *TCB) seq.Num {
	edge := seq.Max(t.rec.lost, t.snd.una)
	above, islands := t.snd.sacked, int(t.snd.nscore)
	need := (dupThresh - 1) * t.effMSS()
	for i := t.snd.score; i != 0; i = e.ranges[i].next {
		r := &e.ranges[i]
		if islands < dupThresh && above <= need {
			break
		}
		edge = seq.Max(edge, r.left)
		above -= uint32(r.right - r.left)
		islands--
	}
	return edge
}

// sackedBefore returns the SACKed octets before a and before b. Precondition: a ≤ b or b ≤ a, both
// at or after SND.UNA.
func (e *Engine) sackedBefore(t *TCB, a, b seq.Num) (na, nb uint32) {
	if t.flags&flagSACK == 0 {
		return 0, 0
	}
	for i := t.snd.score; i != 0; i = e.ranges[i].next {
		r := &e.ranges[i]
		if a.GT(r.left) {
			na += uint32(seq.Min(a, r.right) - r.left)
		}
		if b.GT(r.left) {
			nb += uint32(seq.Min(b, r.right) - r.left)
		}
	}
	return na, nb
}

// nextHole returns the first lost octets that were not retransmitted, [left, right): rule (1) of
// NextSeg, RFC 6675 §4.
func (e *Engine) nextHole(t *TCB) (left, right seq.Num, ok bool) {
	left, right = t.rec.highRxt, t.rec.lost
	if t.flags&flagSACK != 0 {
		for i := t.snd.score; i != 0; i = e.ranges[i].next {
			r := &e.ranges[i]
			if left.LT(r.left) {
				right = seq.Min(right, r.left)
				break
			}
			left = seq.Max(left, r.right)
		}
	}
	return left, right, left.LT(right)
}
