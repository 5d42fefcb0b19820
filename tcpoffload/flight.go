package tcpoffload

// What is in flight: the octets from SND.UNA to SND.NXT as a list of entries, each of them octets that
// were sent at one instant and have one fate. It is the scoreboard of RFC 6675, the list of segments
// of RFC 8985, and where delivery-rate samples wait for their ACK.
//
// An entry is outstanding, SACKed or lost. All are linked by sequence number without gaps; the
// outstanding ones also by the time of their last transmission, and the lost ones, which wait to be
// sent again, about by sequence number. The octets of each kind are counted, so that pipe is known
// without a walk.
//
// What is sent at one instant shares an entry; the clock of the engine stands still for a burst, so
// bulk transfer pays for an entry once in a burst. Neighbours that are SACKed become one. When the pool is
// short, new octets join the last entry even across instants: such an entry has a span, and is taken
// for older where it proves something and for younger where it is judged.

import (
	"opentoe/tcpoffload/cc"
	"opentoe/tcpoffload/seq"
	"opentoe/tcpoffload/vtime"
)

// Flight is the octets [left, right) in flight.
type Flight struct {
	left, right  seq.Num
	next, prev   uint32     // by sequence number; next also in the free list
	newer, older uint32     // by time among the outstanding; neighbours among the lost
	sentAt       vtime.Time // when it was last sent, the last octet of it
	// What the connection's rateVars were when it was sent, low halves.
	deliveredAt vtime.Time
	delivered   uint32
	lost        uint32
	inFlight    uint32 // octets in flight just after
	sendElapsed uint32 // ns since the first_sent_time of its sample; all ones: longer
	span        uint32 // µs between the sending of its first and its last octet, rounded up
	segs        uint16 // SACKed: about how many segments it was
	flags       flightFlags
	_           uint8
}

// flightFlags say what became of an entry: outstanding if neither SACKed nor lost.
type flightFlags uint8

const (
	flightSACKed     flightFlags = 1 << iota
	flightLost                   // and not sent again since
	flightRxt                    // sent more than once
	flightBorder                 // right is a border of messages: what follows does not join
	flightAppLimited             // sent while the program had nothing more to send
)

// flightVars are the lists of a connection's entries, as indices into Memory.Flights, and their sums.
// SND.UNA to SND.NXT is the first to the last entry; what is SACKed is counted in snd.sacked.
type flightVars struct {
	head, tail         uint32 // by sequence number
	oldest, newest     uint32 // outstanding
	lostHead, lostTail uint32
	hint               uint32 // where the last SACK block ended, or its search; see sendForget
	n                  uint32 // entries
	lost               uint32 // octets
	rxt                uint32 // octets outstanding that were sent more than once
	segs               uint32 // sum over SACKed entries
}

// outstanding reports whether f counts as in the network.
func (f *Flight) outstanding() bool { return f.flags&(flightSACKed|flightLost) == 0 }

// firstSent returns when the first octet of f was last sent.
func (f *Flight) firstSent() vtime.Time {
	return f.sentAt.Add(-vtime.Duration(f.span) * vtime.Microsecond)
}

// widen notes that f also holds octets sent at the earlier instant from.
func (f *Flight) widen(from vtime.Time) {
	if d := (f.sentAt.Sub(from) + vtime.Microsecond - 1) / vtime.Microsecond; d > vtime.Duration(f.span) {
		f.span = uint32(min(d, 1<<32-1))
	}
}

// pipe estimates the octets in the network (RFC 6675 §4): in flight, less what is SACKed or, without
// SACK, announced by duplicate ACKs, less what is lost.
func (t *TCB) pipe() uint32 {
	gone := t.snd.sacked + t.fl.lost
	if t.flags&flagUnlosing != 0 {
		gone = t.snd.sacked // what still counts as lost is not
	}
	return t.flight() - min(gone, t.flight())
}

// lengthenLast makes the last entry take octets sent now as well, for want of another, and reports whether it can.
func (e *Engine) lengthenLast(t *TCB, now vtime.Time) bool {
	i := t.fl.tail
	if i == 0 || e.flights[i].flags&flightRxt != 0 || !e.flights[i].outstanding() {
		return false
	}
	f := &e.flights[i]
	e.unlinkState(t, i)
	from := f.firstSent()
	f.sentAt = now
	f.flags &^= flightBorder
	f.widen(from)
	e.linkNewest(t, i)
	return true
}

// flightSent enters the octets from SND.NXT to end, which leave for the first time. Precondition:
// flightRoom has just found room; SND.NXT is moved by the caller.
func (e *Engine) flightSent(t *TCB, end seq.Num) {
	f := &e.flights[t.fl.tail]
	f.right = end
	f.inFlight = t.pipe() + uint32(end-t.snd.nxt)
}

// discount takes n octets of f, which is not SACKed, out of the sums.
func (e *Engine) discount(t *TCB, f *Flight, n uint32) {
	switch {
	case f.flags&flightLost != 0:
		t.fl.lost -= n
	case f.flags&flightRxt != 0:
		t.fl.rxt -= n
	}
}

// sharedFlights returns how many free entries are not kept for single connections.
func (e *Engine) sharedFlights() uint32 {
	free := uint32(len(e.flights)) - e.root.freshFlight + e.root.freedFlights
	return free - min(free, flightsPerConn*uint32(len(e.conns)))
}

// flightFind returns the entry that holds sequence number at, starting from the nearest place known,
// or 0 when the walk of this ACK becomes too long: a later ACK goes on from there. Precondition:
// SND.UNA ≤ at < SND.NXT.
func (e *Engine) flightFind(t *TCB, ev *ackEvent, at seq.Num) uint32 {
	fl := &t.fl
	best, far := uint32(0), uint32(1<<32-1)
	for _, i := range [...]uint32{fl.hint, fl.oldest, fl.tail, fl.head} {
		if i == 0 {
			continue
		}
		d := at.Sub(e.flights[i].left)
		if d < 0 {
			d = -d
		}
		if uint32(d) < far {
			best, far = i, uint32(d)
		}
	}
	for ; best != 0; ev.walk-- {
		f := &e.flights[best]
		if ev.walk == 0 {
			fl.moveHint(t.snd.mode, best)
			e.root.mib.SACKWalkLimited++
			return 0
		}
		switch {
		case at.LT(f.left):
			best = f.prev
		case at.GEQ(f.right):
			best = f.next
		default:
			return best
		}
	}
	return 0
}

// moveHint makes i the place where the last SACK block ended, unless something else goes on at the hint.
func (fl *flightVars) moveHint(m sendMode, i uint32) {
	if m&sendForget == 0 {
		fl.hint = i
	}
}

// flightSACK marks [left, right) SACKed and returns how many octets are new. Where that needs more entries
// than there are, or too long a walk, octets stay as they are. Precondition: SND.UNA ≤ left < right
// ≤ SND.NXT.
func (e *Engine) flightSACK(t *TCB, ev *ackEvent, left, right seq.Num) (added uint32, done bool) {
	i := e.flightFind(t, ev, left)
	if i == 0 {
		return 0, false
	}
	done = true
	for i != 0 && e.flights[i].left.LT(right) {
		if ev.walk == 0 {
			e.root.mib.SACKWalkLimited++
			done = false
			break
		}
		ev.walk--
		f := &e.flights[i]
		if f.flags&flightSACKed == 0 {
			l, r := seq.Max(left, f.left), seq.Min(right, f.right)
			j := e.markSACKed(t, ev, i, l, r)
			if j == 0 {
				done = false
			} else {
				added += uint32(r - l)
				i = j
			}
		}
		t.fl.moveHint(t.snd.mode, i)
		i = e.flights[i].next
	}
	return added, done
}

// markSACKed marks the octets [l, r) of entry i and returns the entry that holds them then, or 0 if
// there is none for them.
func (e *Engine) markSACKed(t *TCB, ev *ackEvent, i uint32, l, r seq.Num) uint32 {
	f := &e.flights[i]
	p, q := f.prev, f.next
	joinsPrev := l == f.left && p != 0 && e.flights[p].flags&flightSACKed != 0
	joinsNext := r == f.right && q != 0 && e.flights[q].flags&flightSACKed != 0
	if !joinsPrev && !joinsNext {
		if r != f.right && e.splitFlight(t, i, r) == 0 {
			return 0
		}
		if l != f.left {
			j := e.splitFlight(t, i, l)
			if j == 0 {
				return 0
			}
			i, f = j, &e.flights[j]
		}
	}
	n := uint32(r - l)
	segs := segments(n, t.effMSS())
	t.arrived(ev, f, r, n)
	e.discount(t, f, n)
	t.snd.sacked += n
	switch {
	case joinsPrev:
		e.flights[p].right = r
		e.countSegs(t, p, segs)
		f.left = r
		if r == f.right {
			e.dropFlight(t, i)
			if joinsNext {
				n := &e.flights[q]
				t.fl.segs -= uint32(n.segs)
				e.flights[p].right = n.right
				e.countSegs(t, p, uint32(n.segs))
				e.dropFlight(t, q)
			}
		}
		return p
	case joinsNext:
		e.flights[q].left = l
		e.countSegs(t, q, segs)
		f.right = l
		f.flags &^= flightBorder
		if l == f.left {
			e.dropFlight(t, i)
		}
		return q
	}
	e.unlinkState(t, i)
	f.flags = flightSACKed
	f.segs = 0
	e.countSegs(t, i, segs)
	return i
}

// countSegs adds n to the segments of the SACKed entry i.
func (e *Engine) countSegs(t *TCB, i, n uint32) {
	f := &e.flights[i]
	n = min(n, 1<<16-1-uint32(f.segs))
	f.segs += uint16(n)
	t.fl.segs += n
}

// segments returns how many segments n octets are, at least one.
func segments(n, mss uint32) uint32 {
	if n <= mss {
		return 1
	}
	return (n + mss - 1) / mss
}

// splitFlight cuts entry i at sequence number at and returns the entry of the second part, 0 if the pool
// is short. Precondition: at lies inside i, which is not SACKed.
func (e *Engine) splitFlight(t *TCB, i uint32, at seq.Num) uint32 {
	j := e.allocFlight(t)
	if j == 0 {
		return 0
	}
	f, g := &e.flights[i], &e.flights[j]
	*g = *f
	f.right, g.left = at, at
	f.flags &^= flightBorder
	g.prev, f.next = i, j
	if g.next != 0 {
		e.flights[g.next].prev = j
	} else {
		t.fl.tail = j
	}
	e.linkAfter(t, i, j)
	return j
}

// markLost makes the outstanding entry i lost, for want of capacity as far as anybody knows.
func (e *Engine) markLost(t *TCB, now vtime.Time, i uint32) {
	f := &e.flights[i]
	n := uint32(f.right - f.left)
	if f.flags&flightRxt != 0 {
		e.root.mib.LostRetrans++
	}
	t.rate.lost += uint64(n)
	e.setLost(t, i)
	e.control(t).OnLost(&cc.Lost{
		Now: now, MSS: t.effMSS(), Octets: n, TxInFlight: f.inFlight, LostSince: uint32(t.rate.lost) - f.lost,
		AppLimited: f.flags&flightAppLimited != 0, TotalDelivered: t.rate.delivered,
	})
}

// setLost makes the outstanding entry i lost.
func (e *Engine) setLost(t *TCB, i uint32) {
	f := &e.flights[i]
	n := uint32(f.right - f.left)
	if f.flags&flightRxt != 0 {
		t.fl.rxt -= n
	}
	t.fl.lost += n
	e.unlinkState(t, i)
	f.flags |= flightLost
	e.linkLost(t, i)
}

// loseFlight makes everything lost that was outstanding at rec.timeoutAt, because it has to be sent in another form.
// It goes on by the reordering timer when that is much.
func (e *Engine) loseFlight(t *TCB, now vtime.Time) {
	t.snd.mode &^= sendResend
	walk := maxFlightWalk
	for i := t.fl.oldest; i != 0 && e.flights[i].sentAt <= t.rec.timeoutAt; walk-- {
		if walk == 0 {
			t.snd.mode |= sendResend
			e.walkOn(t, now)
			return
		}
		next := e.flights[i].newer
		e.setLost(t, i)
		i = next
	}
}

// loseBefore makes the outstanding octets before end lost, because they have to be sent in another form. Precondition:
// they are those of one segment, so that the walk is short.
func (e *Engine) loseBefore(t *TCB, end seq.Num) {
	for i := t.fl.head; i != 0 && e.flights[i].left.LT(end); i = e.flights[i].next {
		f := &e.flights[i]
		if !f.outstanding() {
			continue
		}
		if end.LT(f.right) {
			e.splitFlight(t, i, end) // if there is no entry for the rest, it goes again too
		}
		e.setLost(t, i)
	}
}

// linkLost puts i in the list of lost entries, by sequence number as far as a short walk finds its place.
func (e *Engine) linkLost(t *TCB, i uint32) {
	fl, f := &t.fl, &e.flights[i]
	if fl.lostHead != 0 && f.left.LT(e.flights[fl.lostHead].left) {
		f.older, f.newer = 0, fl.lostHead
		e.flights[fl.lostHead].older = i
		fl.lostHead = i
		return
	}
	p := fl.lostTail
	for n := maxOrderWalk; n > 0 && p != 0 && f.left.LT(e.flights[p].left); n-- {
		p = e.flights[p].older
	}
	if p == 0 {
		f.older, f.newer = 0, 0
		fl.lostHead, fl.lostTail = i, i
		return
	}
	e.linkAfter(t, p, i)
}

// unlose makes the lost entry i outstanding again, because it was not lost.
func (e *Engine) unlose(t *TCB, i uint32) {
	fl, f := &t.fl, &e.flights[i]
	n := uint32(f.right - f.left)
	fl.lost -= n
	t.rate.lost -= uint64(n)
	if f.flags&flightRxt != 0 {
		fl.rxt += n
	}
	e.unlinkState(t, i)
	f.flags &^= flightLost
	// It belongs near the begin of the list by time. Where a short walk does not find its place it is
	// taken for younger.
	p, q := uint32(0), fl.oldest
	for k := maxOrderWalk; k > 0 && q != 0 && e.flights[q].sentAt < f.sentAt; k-- {
		p, q = q, e.flights[q].newer
	}
	if q != 0 && e.flights[q].sentAt < f.sentAt {
		// The place is not found: after p it would be too old for its neighbours.
		p, q = fl.newest, 0
		if last := e.flights[p].sentAt; f.sentAt < last {
			from := f.firstSent()
			f.sentAt = last
			f.widen(from)
		}
	}
	if p != 0 {
		e.linkAfter(t, p, i)
		return
	}
	f.older, f.newer = 0, q
	if q != 0 {
		e.flights[q].older = i
	} else {
		fl.newest = i
	}
	fl.oldest = i
}

// resend turns up to n octets at the left of entry i, outstanding or lost, into octets sent again now, and
// returns how many it turned. When the pool is too short to cut the entry all of it counts as sent; RACK or
// a timeout finds out what was not.
func (e *Engine) resend(t *TCB, now vtime.Time, i, n uint32) {
	fl, f := &t.fl, &e.flights[i]
	if p := f.prev; p != 0 && p == fl.newest && e.flights[p].sentAt == now &&
		e.flights[p].flags&(flightRxt|flightBorder) == flightRxt {
		// It joins what was sent again just before.
		g := &e.flights[p]
		n = min(n, uint32(f.right-f.left))
		e.discount(t, f, n)
		fl.rxt += n
		f.left = f.left.Add(n)
		g.right = f.left
		g.inFlight = t.pipe()
		if f.left == f.right {
			g.flags |= f.flags & flightBorder
			e.dropFlight(t, i)
		}
		return
	}
	if n < uint32(f.right-f.left) && e.splitFlight(t, i, f.left.Add(n)) == 0 {
		e.root.mib.FlightCoarse++
	}
	n = uint32(f.right - f.left)
	f.flags &^= flightAppLimited
	t.snapshot(f, now) // while what is lost is not in the network
	e.unlinkState(t, i)
	e.discount(t, f, n)
	fl.rxt += n
	f.flags = flightRxt | f.flags&(flightBorder|flightAppLimited)
	f.sentAt, f.span = now, 0
	f.inFlight = t.pipe()
	e.linkNewest(t, i)
}

// joinLost lengthens the lost entry i by the lost entries after it, to at most mss octets if that takes
// whole ones: small segments are sent again together.
func (e *Engine) joinLost(t *TCB, i, mss uint32) {
	f := &e.flights[i]
	for j := f.next; j != 0; j = f.next {
		g := &e.flights[j]
		if g.flags&flightLost == 0 || f.flags&flightBorder != 0 || uint32(g.right-f.left) > mss {
			return
		}
		f.right = g.right
		f.flags |= g.flags
		g.left = g.right
		e.dropFlight(t, j)
	}
}

// putFlight gives entry i back to the pool.
func (e *Engine) putFlight(i uint32) {
	r := e.root
	e.flights[i].next = r.freeFlight
	r.freeFlight = i
	r.freedFlights++
}

// clearFlight forgets everything in flight.
func (e *Engine) clearFlight(t *TCB) {
	if fl := &t.fl; fl.n > 0 {
		r := e.root
		e.flights[fl.tail].next = r.freeFlight
		r.freeFlight = fl.head
		r.freedFlights += fl.n
	}
	t.fl = flightVars{}
	t.snd.sacked = 0
}

// linkNewest appends i to the list by time.
func (e *Engine) linkNewest(t *TCB, i uint32) {
	fl, f := &t.fl, &e.flights[i]
	f.older, f.newer = fl.newest, 0
	if fl.newest != 0 {
		e.flights[fl.newest].newer = i
	} else {
		fl.oldest = i
	}
	fl.newest = i
}

// linkAfter puts j after i in the list of i's state.
func (e *Engine) linkAfter(t *TCB, i, j uint32) {
	f, g := &e.flights[i], &e.flights[j]
	g.older, g.newer = i, f.newer
	f.newer = j
	switch {
	case g.newer != 0:
		e.flights[g.newer].older = j
	case f.flags&flightLost != 0:
		t.fl.lostTail = j
	default:
		t.fl.newest = j
	}
}

// unlinkState takes i, which is not SACKed, out of the list of its state.
func (e *Engine) unlinkState(t *TCB, i uint32) {
	f := &e.flights[i]
	first, last := &t.fl.oldest, &t.fl.newest
	if f.flags&flightLost != 0 {
		first, last = &t.fl.lostHead, &t.fl.lostTail
	}
	if f.older != 0 {
		e.flights[f.older].newer = f.newer
	} else {
		*first = f.newer
	}
	if f.newer != 0 {
		e.flights[f.newer].older = f.older
	} else {
		*last = f.older
	}
}
