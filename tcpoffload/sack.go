package tcpoffload

// Selective acknowledgment at the sender (RFC 2018 §5, RFC 2883).

import "opentoe/tcpoffload/seq"

// sackArrived enters the blocks of an ACK in the list of what is in flight. Blocks that make no sense are
// ignored, and so is what was reported before: those of the last ACK come again. A duplicate that is
// reported undoes or widens what it has to.
func (e *Engine) sackArrived(t *TCB, ev *ackEvent) {
	seg, s := ev.seg, &t.snd
	n := min(int(seg.Opt.NumSACK), len(seg.Opt.SACK))
	first := 0
	if e.dsackArrived(t, ev, n) {
		first = 1
	}
	var done [len(t.sackSeen)]seqPair
	for i := first; i < n; i++ {
		b := seqPair{seg.Opt.SACK[i].Left, seg.Opt.SACK[i].Right}
		if !b.left.LT(b.right) || b.right.GT(s.nxt) || b.right.LEQ(seg.Ack) {
			continue
		}
		if b == t.sackSeen[0] || b == t.sackSeen[1] || b == t.sackSeen[2] {
			if i-first < len(done) {
				done[i-first] = b
			}
			continue
		}
		left := seq.Max(b.left, s.una)
		if !left.LT(b.right) {
			continue // of an ACK that was overtaken
		}
		added, whole := e.flightSACK(t, ev, left, b.right)
		if whole && i-first < len(done) {
			done[i-first] = b
		}
		if added > 0 {
			e.root.mib.SACKBlocksIn++
			ev.news = true
		}
	}
	t.sackSeen = done
}

// dsackArrived reports whether the first of the n blocks of an ACK tells of a duplicate (RFC 2883 §4): it lies
// before the ACK, or inside the second block.
func (e *Engine) dsackArrived(t *TCB, ev *ackEvent, n int) bool {
	o := &ev.seg.Opt
	if n == 0 {
		return false
	}
	b := &o.SACK[0]
	if !b.Left.LT(b.Right) || b.Right.GT(t.snd.nxt) ||
		b.Right.GT(ev.seg.Ack) && (n < 2 || b.Left.LT(o.SACK[1].Left) || b.Right.GT(o.SACK[1].Right)) {
		return false
	}
	e.root.mib.DSACKsIn++
	t.snd.dsacks++
	if t.flags&flagTLPSent != 0 && b.Right == t.rec.tlpEnd {
		return true // of a loss probe: no sign of reordering
	}
	ev.dsack = true
	ev.undo = t.undoDSACK(b)
	return true
}

// seqPair is the octets [left, right).
type seqPair struct{ left, right seq.Num }
