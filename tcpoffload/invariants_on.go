//go:build invariants

package tcpoffload

// What must hold of every connection between two calls of the engine.

import (
	"fmt"

	"opentoe/tcpoffload/cc"
	"opentoe/tcpoffload/vtime"
)

// check panics if an invariant of t does not hold. t may have been freed by the step checked.
func (e *Engine) check(t *TCB) {
	if t.state == StateClosed {
		return
	}
	must := func(ok bool, what string) {
		if !ok {
			panic(fmt.Sprintf("tcpoffload: invariant violated: %s: %v %+v", what, t.flow, *t))
		}
	}
	s, v := &t.snd, &t.rcv
	must(len(e.portUse) == 0 || e.portUse[t.flow.LocalPort] > 0, "the local port is in use")
	must(s.una.LEQ(s.nxt), "SND.UNA <= SND.NXT")
	must(s.una64 == uint64(uint32(s.una-s.iss))|s.una64&^0xffffffff, "una64 agrees with SND.UNA")
	must(v.nxt64&0xffffffff == uint64(uint32(v.nxt-v.irs)) || isOpening.has(t.state), "nxt64 agrees with RCV.NXT")
	must(v.nxt.LEQ(v.adv.Add(1)), "RCV.NXT <= advertised edge, but for a FIN")
	must(t.deadline[TimerRexmt] == vtime.Never || t.deadline[TimerPersist] == vtime.Never, "retransmit and persist timers exclude each other")
	must((t.pend == 0) || t.flags&flagQueued != 0, "jobs only on the transmit list")
	if when, _ := t.earliest(); when != vtime.Never {
		must(t.wheelAt <= when, "wheel entry before the earliest deadline")
	}
	if isOpening.has(t.state) || t.state == StateTimeWait {
		return
	}
	must(v.read <= t.rcvPos(), "read <= received")
	must(t.cc.Cwnd > 0 && t.cc.Cwnd <= 1<<30, "congestion window within its bounds")
	must((t.model != 0) == (t.cc.Algorithm() == cc.BBR), "a model for those that need one")
	must(t.pace.left <= max(64<<10, 2*t.snd.mss), "a quantum within its bounds")
	must(t.flags&flagFinSent != 0 || t.sndPos(uint32(s.nxt)) <= s.end, "sent <= queued")
	must(s.una == s.nxt || t.deadline[TimerRexmt] != vtime.Never, "retransmission timer runs while something is in flight")
	e.checkFlight(t)
	e.checkRanges(t)
	e.checkBorders(t)
}

// checkBorders panics unless the borders are sorted, not beyond the end of the send stream, and counted.
func (e *Engine) checkBorders(t *TCB) {
	b := &t.borders
	n, last, at := uint32(0), uint32(0), t.snd.una
	for i := b.head; i != 0; i = e.ranges[i].next {
		if n > 0 && e.ranges[i].left.LEQ(at) {
			panic("tcpoffload: invariant violated: borders are in order")
		}
		last, at = i, e.ranges[i].left
		n++
	}
	if n != b.n || last != b.tail || (n != 0) != (t.snd.mode&sendBorders != 0) {
		panic("tcpoffload: invariant violated: borders are counted")
	}
	if n != 0 && at.GT(t.snd.iss.Add(1+uint32(t.snd.end))) {
		panic("tcpoffload: invariant violated: borders lie in the send stream")
	}
}

// checkRanges panics unless the octets beyond a hole are sorted, disjoint, not touching, in the window, and
// all of them linked by the time of growth.
func (e *Engine) checkRanges(t *TCB) {
	v := &t.rcv
	must := func(ok bool, what string) {
		if !ok {
			panic(fmt.Sprintf("tcpoffload: invariant violated: reassembly: %s: %v %+v", what, t.flow, *t))
		}
	}
	n, last, lo := uint32(0), uint32(0), v.nxt.Add(1)
	for i := v.reasm; i != 0; i = e.ranges[i].next {
		g := &e.ranges[i]
		must(lo.LEQ(g.left) && g.left.LT(g.right) && g.right.LEQ(v.adv), "range in its place")
		lo, last = g.right.Add(1), i
		n++
	}
	must(n == t.reasm.n && last == t.reasm.tail, "length and tail")
	newer := uint32(0)
	for i := t.reasm.newest; i != 0; i = e.ranges[i].older {
		must(e.ranges[i].newer == newer, "order of growth")
		newer = i
		n--
	}
	must(n == 0, "order of growth is complete")
}

// checkFlight panics unless the flight list covers SND.UNA to SND.NXT without gaps, its entries are linked
// as their fate says and by the time of their last transmission, and the sums are right.
func (e *Engine) checkFlight(t *TCB) {
	s, fl := &t.snd, &t.fl
	must := func(ok bool, what string) {
		if !ok {
			panic(fmt.Sprintf("tcpoffload: invariant violated: flight list: %s: %v %+v", what, t.flow, *t))
		}
	}
	var n, sacked, lost, rxt, segs, prev, nOut, nLost uint32
	at, hint := s.una, fl.hint == 0
	for i := fl.head; i != 0; i = e.flights[i].next {
		f := &e.flights[i]
		must(f.left == at && f.left.LT(f.right) && f.prev == prev, "entry in its place")
		octets := uint32(f.right - f.left)
		switch f.flags & (flightSACKed | flightLost) {
		case flightSACKed:
			must(prev == 0 || e.flights[prev].flags&flightSACKed == 0, "SACKed neighbours are one")
			sacked += octets
			segs += uint32(f.segs)
		case flightLost:
			lost += octets
			nLost++
		case 0:
			nOut++
			if f.flags&flightRxt != 0 {
				rxt += octets
			}
		default:
			must(false, "SACKed and lost")
		}
		hint = hint || i == fl.hint
		at, prev = f.right, i
		n++
	}
	must(at == s.nxt && prev == fl.tail && n == fl.n, "covers what is in flight")
	must(hint, "hint is in the list")
	must(t.flags&flagSACK == 0 || sacked == s.sacked, "SACKed octets")
	must(lost == fl.lost && rxt == fl.rxt && segs == fl.segs, "lost, sent again, and SACKed segments")
	older, when := uint32(0), vtime.Time(0)
	for i := fl.oldest; i != 0; i = e.flights[i].newer {
		f := &e.flights[i]
		must(f.older == older && f.outstanding() && f.sentAt >= when, "order by time")
		older, when = i, f.sentAt
		nOut--
	}
	must(older == fl.newest && nOut == 0, "order by time is complete")
	older = 0
	for i := fl.lostHead; i != 0; i = e.flights[i].newer {
		f := &e.flights[i]
		must(f.older == older && f.flags&flightLost != 0, "lost list")
		older = i
		nLost--
	}
	must(older == fl.lostTail && nLost == 0, "lost list is complete")
}

// checkRecords panics if the lists of the SYN cache and of TIME-WAIT do not agree with each other. Large
// tables are not walked.
func (e *Engine) checkRecords() {
	must := func(ok bool, what string) {
		if !ok {
			panic("tcpoffload: invariant violated: " + what)
		}
	}
	sc, tw := &e.root.synCache, &e.root.timeWait
	if sc.live+tw.live > 256 {
		return
	}
	var queued, listed, resets uint32
	for q := range synQueues {
		at := vtime.Time(0)
		for i := sc.queues[q].head; i != 0; i = e.syns[i-e.synBase].next {
			h := &e.syns[i-e.synBase]
			must(h.listener != 0 && e.lsts[h.listener].used, "a half-open connection has a listener")
			must(synQueue(h.retries) == q && h.sentAt >= at, "queues of the SYN cache are in order")
			must(e.lookupAny(&h.flow) == i, "the flow table leads to half-open connections")
			must(sc.at <= h.sentAt.Add(e.synWait(q)), "the SYN cache looks at its entries in time")
			at = h.sentAt
			queued++
		}
	}
	for i := range e.lsts {
		if l := &e.lsts[i]; l.used {
			var n uint32
			for k := l.oldest; k != 0; k = e.syns[k-e.synBase].newer {
				n++
			}
			must(n == l.halfOpen && n <= l.backlog, "a listener counts its half-open connections")
			listed += n
			for k := l.next; k != 0; k = e.lsts[k].next {
				o := &e.lsts[k]
				must(!o.beside(l.port, l.addr, l.v6only) || l.group != 0 && l.group == o.group,
					"listeners that share an address are of one group")
			}
		}
	}
	for i := sc.resets; i != 0; i = e.syns[i-e.synBase].next {
		resets++
	}
	must(queued == listed && queued+resets == sc.live, "the SYN cache counts its entries")
	at, n := vtime.Time(0), uint32(0)
	for i := tw.head; i != 0; i = e.tws[i-e.twBase].next {
		w := &e.tws[i-e.twBase]
		must(w.expires >= at, "TIME-WAIT is in order")
		must(e.lookupAny(&w.flow) == i, "the flow table leads to TIME-WAIT")
		at = w.expires
		n++
	}
	must(n == tw.live, "TIME-WAIT counts its entries")
}
