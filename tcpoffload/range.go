package tcpoffload

// Sorted lists of sequence ranges from one pool: the octets received beyond a hole, and those that
// the peer reported as such (RFC 2018).

import "opentoe/tcpoffload/seq"

// insertRange adds [left, right) to the list at head, whose length is *n, joining it with what it
// touches. It returns how many octets are new, and ok false if the list has limit ranges or its
// share of the pool, in which case nothing changed. Precondition: left is before right.
func (e *Engine) insertRange(head *uint32, n *uint8, limit uint8, left, right seq.Num, stamp uint32) (added uint32, ok bool) {
	p := head
	for *p != 0 && e.ranges[*p].right.LT(left) {
		p = &e.ranges[*p].next
	}
	i := *p
	if i == 0 || right.LT(e.ranges[i].left) { // touches none
		if *n >= limit || *n > 0 && uint32(*n) >= e.sharedRanges()/2 {
			return 0, false
		}
		i = e.allocRange()
		if i == 0 {
			return 0, false
		}
		e.ranges[i] = Range{left: left, right: right, next: *p, stamp: stamp}
		*p = i
		*n++
		return uint32(right - left), true
	}
	r := &e.ranges[i]
	if left.LT(r.left) {
		added += uint32(r.left - left)
		r.left = left
	}
	for right.GT(r.right) {
		j := r.next
		if j == 0 || right.LT(e.ranges[j].left) {
			added += uint32(right - r.right)
			r.right = right
			break
		}
		// Join with the next range.
		s := &e.ranges[j]
		added += uint32(s.left - r.right)
		r.right, r.next = s.right, s.next
		e.freeRange(j)
		*n--
	}
	if added > 0 {
		r.stamp = stamp
	}
	return added, true
}

// trimRanges removes the octets before edge and returns how many they were.
func (e *Engine) trimRanges(head *uint32, n *uint8, edge seq.Num) (removed uint32) {
	for *head != 0 {
		r := &e.ranges[*head]
		if edge.LEQ(r.left) {
			break
		}
		if edge.LT(r.right) {
			removed += uint32(edge - r.left)
			r.left = edge
			break
		}
		removed += uint32(r.right - r.left)
		i := *head
		*head = r.next
		e.freeRange(i)
		*n--
	}
	return removed
}

// clearRanges empties the list.
func (e *Engine) clearRanges(head *uint32, n *uint8) {
	for *head != 0 {
		i := *head
		*head = e.ranges[i].next
		e.freeRange(i)
	}
	*n = 0
}

// sharedRanges returns how many entries of the pool are free beside those kept for lists that are empty:
// two a connection. A list may grow to half of that, so lists that grow without need leave something to
// others, and whatever they do a list has its first range.
func (e *Engine) sharedRanges() uint32 {
	r := e.root
	free := uint32(len(e.ranges)) - r.freshRange + r.freedRanges
	return free - min(free, 2*uint32(len(e.conns)))
}

func (e *Engine) allocRange() uint32 {
	r := e.root
	i := r.freeRange
	switch {
	case i != 0:
		r.freeRange = e.ranges[i].next
		r.freedRanges--
	case r.freshRange < uint32(len(e.ranges)):
		i = r.freshRange
		r.freshRange++
	default:
		r.mib.ReasmPoolEmpty++
	}
	return i
}

func (e *Engine) freeRange(i uint32) {
	e.ranges[i].next = e.root.freeRange
	e.root.freeRange = i
	e.root.freedRanges++
}
