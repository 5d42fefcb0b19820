package server

import (
	"math/bits"
	"sync/atomic"

	"opentoe/sockshim/shm"
)

// wake publishes that a slot has changed in a way that waiters may care about. Who spins or looks
// sees it at once; sleepers are woken at the end of the iteration, once for all its changes. Who asks
// only after the change sees it too: to him it would be news twice, which an edge must not be.
func (sh *share) wake(n uint32) {
	s, p := sh.sock(n), sh.slot(n)
	atomic.AddUint32(&p.EventSeq, 1)
	s.asked |= atomic.LoadUint64(&p.EqMask)
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
	s := sh.sock(n)
	mask := s.asked & atomic.LoadUint64(&p.EqMask)
	s.asked = 0
	if one := mask & atomic.LoadUint64(&p.EqExclusive); one != 0 && sh.pushToOne(n, p, one) {
		mask &^= one
	}
	for ; mask != 0; mask &= mask - 1 {
		if i := bits.TrailingZeros64(mask); i < shm.EQOwn {
			sh.pushTo(n, p, i)
			continue
		}
		// Who of them has looked cannot be told: all are told each time.
		for i := bits.TrailingZeros64(mask); i < shm.MaxEQs; i += 64 - shm.EQOwn {
			sh.push(n, i)
		}
	}
}

// pushTo pushes the slot to an event queue with a bit of its own, unless it stands there already, and reports
// whether it woke the queue's client by that.
func (sh *share) pushTo(n uint32, p *shm.Slot, i int) (woken bool) {
	bit := uint64(1) << i
	if atomic.LoadUint64(&p.EqPending)&bit != 0 || atomic.OrUint64(&p.EqPending, bit)&bit != 0 {
		return false
	}
	stands, woken := sh.push(n, i)
	if !stands {
		atomic.AndUint64(&p.EqPending, ^bit) // or it would be taken for standing there for ever
	}
	return woken
}

// push appends the slot to event queue i, if that is open and not full, and reports whether it stands
// there. It wakes the queue's client if that sleeps.
func (sh *share) push(n uint32, i int) (stands, woken bool) {
	q := &sh.reg.eqs[i]
	if !q.open.Load() {
		return false, false
	}
	stands, woken = q.w.Push(n)
	if woken && !sh.reg.stuck.Load() {
		sh.w.signal(sh.reg, i, int(q.fd.Load()))
	}
	return stands, woken
}

// pushToOne wakes one client of mask's queues that sleeps and has not been told yet, a different one each
// time; false if there is none. Who stops sleeping just then is told, but may look late: so another is.
func (sh *share) pushToOne(n uint32, p *shm.Slot, mask uint64) bool {
	s := sh.sock(n)
	mask &= (1<<shm.EQOwn - 1) &^ atomic.LoadUint64(&p.EqPending)
	for range bits.OnesCount64(mask) {
		i := bits.TrailingZeros64(mask & (^uint64(0) << s.lastWoken << 1))
		if i == 64 {
			i = bits.TrailingZeros64(mask)
		}
		s.lastWoken = uint8(i)
		if q := &sh.reg.eqs[i]; q.open.Load() && q.w.Sleeping() && sh.pushTo(n, p, i) {
			return true
		}
	}
	return false
}
