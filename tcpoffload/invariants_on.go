//go:build invariants

package tcpoffload

// What must hold of every connection between two calls of the engine.

import (
	"fmt"

	"opentoe/tcpoffload/seq"
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
	s, v, r := &t.snd, &t.rcv, &t.rec
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
	must(t.flags&flagFinSent != 0 || t.sndPos(uint32(s.nxt)) <= s.end, "sent <= queued")
	must(r.lost.LEQ(s.nxt), "lost <= SND.NXT")
	must(t.ca == caOpen || r.highRxt.LEQ(r.lost), "HighRxt <= lost")
	must(s.una == s.nxt || t.deadline[TimerRexmt] != vtime.Never, "retransmission timer runs while something is in flight")
	sum := e.checkRanges(t, s.score, int(s.nscore), s.una, s.nxt)
	must(t.flags&flagSACK == 0 || sum == s.sacked, "sacked counts the scoreboard")
	e.checkRanges(t, v.reasm, int(v.nreasm), v.nxt.Add(1), v.adv)
}

// checkRanges panics unless the list is sorted, disjoint, not touching, of length n and in [lo, hi].
func (e *Engine) checkRanges(t *TCB, head uint32, n int, lo, hi seq.Num) (sum uint32) {
	for i := head; i != 0; i = e.ranges[i].next {
		g := &e.ranges[i]
		if g.left.LT(lo) || !g.left.LT(g.right) || g.right.GT(hi) {
			panic(fmt.Sprintf("tcpoffload: invariant violated: range [%d,%d) outside [%d,%d]: %v", g.left, g.right, lo, hi, t.flow))
		}
		lo = g.right.Add(1)
		sum += uint32(g.right - g.left)
		n--
	}
	if n != 0 {
		panic("tcpoffload: invariant violated: list length")
	}
	return sum
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
		for i := sc.head[q]; i != 0; i = e.syns[i-e.synBase].next {
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
