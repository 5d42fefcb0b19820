package server

import (
	"math/bits"
	"sync/atomic"

	"opentoe/sockshim/shm"
)

// wake publishes that a slot has changed in a way that waiters may care about. Who spins or looks
// sees it at once; sleepers are woken at the end of the iteration, once for all its changes.
func (sh *share) wake(n uint32) {
	atomic.AddUint32(&sh.slot(n).EventSeq, 1)
	s := sh.sock(n)
	if s.waking {
		return
	}
	w := sh.w
	if len(w.wakes) == cap(w.wakes) {
		w.flushWakes()
	}
	s.waking = true
	w.wakes = append(w.wakes, ref{sh, n})
}

// flushWakes wakes the waiters of every socket that stands in wakes.
func (w *worker) flushWakes() {
	for _, r := range w.wakes {
		r.sh.sock(r.slot).waking = false
		r.sh.wakeSleepers(r.slot)
	}
	w.wakes = w.wakes[:0]
}

// wakeSleepers wakes the callers that block on the slot and pushes it to the event queues that
// ask for it. Both masks are the client's: they decide only what of the client is woken.
func (sh *share) wakeSleepers(n uint32) {
	p := sh.slot(n)
	if s := sh.sock(n); s.signals != 0 {
		sh.signal(s)
	}
	if atomic.LoadUint32(&p.Waiters) != 0 {
		shm.FutexWake(&p.EventSeq)
		sh.w.stats.FutexWakes++
	}
	for mask := atomic.LoadUint64(&p.EqMask); mask != 0; mask &= mask - 1 {
		i := bits.TrailingZeros64(mask)
		bit := uint64(1) << i
		if atomic.LoadUint64(&p.EqPending)&bit != 0 || atomic.OrUint64(&p.EqPending, bit)&bit != 0 {
			continue
		}
		if q := &sh.reg.eqs[i]; q.open.Load() && q.w.Push(n) && !sh.reg.stuck.Load() {
			sh.w.signal(sh.reg, i, int(q.fd.Load()))
		}
	}
}
