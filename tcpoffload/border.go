package tcpoffload

// Borders of messages in the send stream (MSG_EOR of sendmsg). No segment has octets of both sides of a
// border, the first time or when it is sent again, and the segment before it has PSH. A program so keeps
// what it times, or what its peer takes for a message, out of the company of what follows.
//
// Borders of what is not sent are a list in the pool of ranges. What was sent carries its border along: the
// entry of the flight list that ends there is marked, and joins nothing. Where either pool is short a border
// is forgotten, and also where the octets before it were SACKed and the peer reneged.

import "opentoe/tcpoffload/seq"

// borderVars are the list of borders, as pool indices; valid with sendBorders.
type borderVars struct {
	head, tail uint32 // ascending; the border is range.left
	n          uint32
}

// addBorder makes the end of the send stream a border.
func (e *Engine) addBorder(t *TCB) {
	b := &t.borders
	i := e.takeRange(b.n + rangesPerConn) // of what is shared
	if i == 0 {
		e.root.mib.BordersForgotten++
		return
	}
	at := t.snd.iss.Add(1 + uint32(t.snd.end))
	e.ranges[i] = Range{left: at, right: at}
	if b.n == 0 {
		b.head = i
	} else {
		e.ranges[b.tail].next = i
	}
	b.tail = i
	b.n++
	t.snd.mode |= sendBorders
}

// toBorder returns how many of the next n octets from SND.NXT on come before a border, and whether they end
// at one. Borders that are behind are forgotten.
func (e *Engine) toBorder(t *TCB, n uint64) (before uint64, ends bool) {
	if t.snd.mode&sendBorders == 0 {
		return n, false
	}
	b := &t.borders
	for b.n != 0 && e.ranges[b.head].left.LEQ(t.snd.nxt) {
		e.dropBorder(t)
	}
	if b.n == 0 {
		return n, false
	}
	d := uint64(uint32(e.ranges[b.head].left - t.snd.nxt))
	return min(n, d), d <= n
}

// dropBorder forgets the first border.
func (e *Engine) dropBorder(t *TCB) {
	b := &t.borders
	i := b.head
	b.head = e.ranges[i].next
	b.n--
	if b.n == 0 {
		b.tail = 0
		t.snd.mode &^= sendBorders
	}
	e.putRange(i)
}

// clearBorders empties the list.
func (e *Engine) clearBorders(t *TCB) {
	for t.borders.n != 0 {
		e.dropBorder(t)
	}
}

// borderAt reports whether the octets of f end in a border that lies at end.
func (f *Flight) borderAt(end seq.Num) bool { return f.flags&flightBorder != 0 && f.right == end }
