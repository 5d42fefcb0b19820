package tcpoffload

// Reassembly of octets beyond a hole, and what SACK tells about them (RFC 2018, RFC 2883).

import "opentoe/tcpoffload/seq"

// textBeyondHole places a's octets beyond RCV.NXT and answers with a duplicate ACK at once
// (RFC 5681 §4.2).
func (e *Engine) textBeyondHole(t *TCB, a *arrival, out *Output) DropReason {
	v := &t.rcv
	end := a.seq.Add(a.len)
	added, ok := e.insertRange(t, a.seq, end)
	switch {
	case !ok:
		e.replyAck(t, a.now, out)
		return DropReasmLimit
	case added == 0:
		e.root.mib.Duplicates++
		t.noteDuplicate(a.seq, end)
		e.replyAck(t, a.now, out)
		return DropDuplicate
	}
	e.root.mib.OutOfOrder++
	t.rcvOOO++
	t.dataSegsIn += uint32(max(a.seg.Segs, 1))
	e.root.mib.InOctets += uint64(added)
	place := out.act(t, ActPlace)
	place.Pos, place.Off, place.Len = t.rcvPos()+uint64(a.seq-v.nxt), a.off, a.len
	e.replyAck(t, a.now, out)
	return DropNone
}

// joinReassembly moves RCV.NXT over the octets that are no longer beyond a hole.
func (e *Engine) joinReassembly(t *TCB) {
	v := &t.rcv
	e.trimRanges(t, v.nxt)
	if v.reasm == 0 || e.ranges[v.reasm].left != v.nxt {
		return
	}
	// Ranges do not touch each other, so one is all that can follow.
	n := uint32(e.ranges[v.reasm].right - v.nxt)
	v.nxt = v.nxt.Add(n)
	v.nxt64 += uint64(n)
	e.trimRanges(t, v.nxt)
}

// noteDuplicate remembers a range that came twice, for the next ACK (RFC 2883 §4).
func (t *TCB) noteDuplicate(left, right seq.Num) {
	if t.flags&flagSACK != 0 && left.LT(right) {
		t.dsack = seqPair{left, right}
		t.flags |= flagDSACK
	}
}
