package server

import (
	"sync/atomic"

	"opentoe/tcpoffload/vtime"
)

// violation is a way in which a client can break the contract of toe_shm.h.
type violation uint8

const (
	violationOp        violation = iota // unknown command
	violationRegion                     // names a region that it is not attached to
	violationSlot                       // names a slot that this worker does not have
	violationCursor                     // a stream cursor moved back or too far
	violationDirectory                  // a directory is not what it was, or leads nowhere
	violationChunk                      // names a chunk that was not lent to it
	violationLoan                       // a loan's cursor is nonsense
	violationOption                     // unknown option
	violationEvent                      // made an event queue's eventfd hold up a worker
	numViolations
)

var violationNames = [numViolations]string{
	"command", "region", "slot", "cursor", "directory", "chunk", "loan", "option", "event",
}

// violate notes that the client of sh broke the contract. Its end comes after the poll: the upcall
// or command under way finishes first.
func (sh *share) violate(v violation) {
	if sh.dead {
		return
	}
	sh.dead = true
	sh.w.broken = append(sh.w.broken, sh)
	sh.reg.violated(v)
}

// endBroken resets the connections of regions that violate.
func (w *worker) endBroken() {
	for len(w.broken) > 0 {
		sh := w.broken[len(w.broken)-1]
		w.broken = w.broken[:len(w.broken)-1]
		sh.end()
	}
}

// end resets every socket of the share and marks it dead: the region is detached on all workers.
func (sh *share) end() {
	sh.dead = true
	for i := range sh.seen.Load() {
		n := sh.slotBase + i
		s := sh.sock(n)
		if s.state >= sockListening {
			s.held = false
			sh.abort(n)
		}
	}
}

// detach marks the region dead for its clients, and ends it on every worker. [control]
func (r *region) detach() {
	r.srv.mu.Lock()
	defer r.srv.mu.Unlock()
	if r.srv.regions[r.id] != r {
		return // it has gone meanwhile
	}
	atomic.StoreUint32(&r.mem.Header.Detached, 1)
	for _, w := range r.l.workers {
		_ = r.l.dev.Do(w.id, func(vtime.Time) {
			if sh := w.share(r); sh != nil {
				sh.end()
			}
		})
	}
}
