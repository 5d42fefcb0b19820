package tcpoffload

// The octets received beyond a hole: for each connection a list of ranges, sorted and without touching each
// other, from one pool.

import "opentoe/tcpoffload/seq"

// insertRange adds [left, right) to the list of t, joining it with what it touches. It returns how many
// octets are new, and ok false if there is no range for it or its place is too far from where the last
// one was, in which case nothing changed. Precondition: left is before right.
func (e *Engine) insertRange(t *TCB, left, right seq.Num) (added uint32, ok bool) {
	v := &t.rcv
	p := &v.reasm
	// Octets come one after the other: after those that came last, or after all.
	for _, i := range [...]uint32{t.reasm.tail, t.reasm.newest} {
		if i != 0 && e.ranges[i].left.LEQ(left) {
			if e.ranges[i].right.GEQ(left) {
				return e.growRange(t, i, left, right), true
			}
			p = &e.ranges[i].next
			break
		}
	}
	for walk := maxRangeWalk; *p != 0 && e.ranges[*p].right.LT(left); walk-- {
		if walk == 0 {
			return 0, false
		}
		p = &e.ranges[*p].next
	}
	if i := *p; i != 0 && right.GEQ(e.ranges[i].left) {
		return e.growRange(t, i, left, right), true
	}
	i := e.takeRange(t.reasm.n)
	if i == 0 {
		e.root.mib.ReasmPoolEmpty++
		return 0, false
	}
	t.reasm.n++
	e.ranges[i] = Range{left: left, right: right, next: *p}
	if *p == 0 {
		t.reasm.tail = i
	}
	*p = i
	e.linkNewRange(t, i)
	return uint32(right - left), true
}

// growRange joins [left, right) with range i, which it touches or overlaps, and with those after it.
// It returns how many octets are new.
func (e *Engine) growRange(t *TCB, i uint32, left, right seq.Num) (added uint32) {
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
		if t.reasm.tail == j {
			t.reasm.tail = i
		}
		e.freeRange(t, j)
	}
	if added > 0 && t.reasm.newest != i {
		e.unlinkNewRange(t, i)
		e.linkNewRange(t, i)
	}
	return added
}

// trimRanges removes the octets before edge.
func (e *Engine) trimRanges(t *TCB, edge seq.Num) {
	v := &t.rcv
	for v.reasm != 0 {
		i := v.reasm
		r := &e.ranges[i]
		if edge.LT(r.right) {
			r.left = seq.Max(r.left, edge)
			return
		}
		v.reasm = r.next
		if v.reasm == 0 {
			t.reasm.tail = 0
		}
		e.freeRange(t, i)
	}
}

// clearRanges empties the list.
func (e *Engine) clearRanges(t *TCB) {
	v := &t.rcv
	for v.reasm != 0 {
		i := v.reasm
		v.reasm = e.ranges[i].next
		e.freeRange(t, i)
	}
	t.reasm.tail = 0
}

// linkNewRange makes i the range that grew last.
func (e *Engine) linkNewRange(t *TCB, i uint32) {
	r := &e.ranges[i]
	r.newer, r.older = 0, t.reasm.newest
	if t.reasm.newest != 0 {
		e.ranges[t.reasm.newest].newer = i
	}
	t.reasm.newest = i
}

// unlinkNewRange takes i out of the order of growth.
func (e *Engine) unlinkNewRange(t *TCB, i uint32) {
	r := &e.ranges[i]
	if r.newer != 0 {
		e.ranges[r.newer].older = r.older
	} else {
		t.reasm.newest = r.older
	}
	if r.older != 0 {
		e.ranges[r.older].newer = r.newer
	}
}

// takeRange takes a range from the pool for a list of n, or returns 0: each connection has rangesPerConn
// for itself, and a list may grow to four times what is left of the others.
func (e *Engine) takeRange(n uint32) uint32 {
	r := e.root
	free := uint32(len(e.ranges)) - r.freshRange + r.freedRanges
	shared := free - min(free, rangesPerConn*uint32(len(e.conns)))
	if free == 0 || n >= rangesPerConn && n/4 >= shared {
		return 0
	}
	i := r.freeRange
	if i != 0 {
		r.freeRange = e.ranges[i].next
		r.freedRanges--
	} else {
		i = r.freshRange
		r.freshRange++
	}
	return i
}

// freeRange takes i, which is no longer in the list of t, out of the order of growth and frees it.
func (e *Engine) freeRange(t *TCB, i uint32) {
	e.unlinkNewRange(t, i)
	t.reasm.n--
	e.putRange(i)
}

// putRange gives i back to the pool.
func (e *Engine) putRange(i uint32) {
	e.ranges[i].next = e.root.freeRange
	e.root.freeRange = i
	e.root.freedRanges++
}
