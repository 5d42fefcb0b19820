package shm

import "sync/atomic"

// EQBit returns the bit of event queue eq in a slot's masks; from EQOwn on it is others' too.
func EQBit(eq uint32) uint64 {
	if eq < EQOwn {
		return 1 << eq
	}
	return 1 << (EQOwn + eq%(64-EQOwn))
}

// EQWriter is toed's end of an event queue. Several workers may push to one queue: a place is
// taken by compare-and-swap of the private cursor.
type EQWriter struct {
	eq   *EQ
	prod atomic.Uint32
}

// Reset starts the queue anew at its consumer's side, for a new owner, whom the overflow flag
// makes look at everything once. Precondition: nobody pushes or pops.
func (w *EQWriter) Reset(eq *EQ) {
	w.eq = eq
	w.prod.Store(0)
	clear(eq.Entry[:])
	atomic.StoreUint32(&eq.Cons, 0)
	atomic.StoreUint32(&eq.Sleeping, 0)
	atomic.StoreUint32(&eq.Overflow, 1)
}

// Push appends slot, or sets the overflow flag when there is no room. It reports whether slot stands
// in the queue, and whether the consumer sleeps and has to be signalled; it is told once per sleep.
func (w *EQWriter) Push(slot uint32) (stands, signal bool) {
	eq := w.eq
	for {
		p := w.prod.Load()
		e := &eq.Entry[p%EQEntries]
		if atomic.LoadUint32(e) != 0 {
			if w.prod.Load() != p {
				continue // another worker took the place meanwhile
			}
			atomic.StoreUint32(&eq.Overflow, 1)
			break
		}
		if w.prod.CompareAndSwap(p, p+1) {
			atomic.StoreUint32(e, slot)
			stands = true
			break
		}
	}
	return stands, atomic.LoadUint32(&eq.Sleeping) != 0 && atomic.SwapUint32(&eq.Sleeping, 0) != 0
}

// Sleeping reports whether the consumer sleeps and has not been signalled.
func (w *EQWriter) Sleeping() bool { return atomic.LoadUint32(&w.eq.Sleeping) != 0 }

// Pop takes the oldest entry, for a client; 0 means empty. Precondition: one caller at a time.
func (eq *EQ) Pop() uint32 {
	c := atomic.LoadUint32(&eq.Cons)
	e := &eq.Entry[c%EQEntries]
	slot := atomic.LoadUint32(e)
	if slot != 0 {
		atomic.StoreUint32(e, 0)
		atomic.StoreUint32(&eq.Cons, c+1)
	}
	return slot
}

// Empty reports whether Pop would find nothing and no overflow is flagged.
func (eq *EQ) Empty() bool {
	c := atomic.LoadUint32(&eq.Cons)
	return atomic.LoadUint32(&eq.Entry[c%EQEntries]) == 0 && atomic.LoadUint32(&eq.Overflow) == 0
}
