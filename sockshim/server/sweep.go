package server

import (
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// A stream that is empty still has the chunk that it ends in, because the next octets will soon
// follow. When they do not, the chunk is given back: memory goes with octets in flight, not with
// connections.

// noteQuiet remembers that slot n may hold a chunk for nothing. When the list is full, n waits for
// its next occasion.
func (sh *share) noteQuiet(n uint32) {
	s, w := sh.sock(n), sh.w
	if !s.quiet && len(w.quiet) < cap(w.quiet) {
		s.quiet = true
		w.quiet = append(w.quiet, ref{sh, n})
	}
}

// sweep looks at a batch of the sockets noted, those noted first, and frees what they do not need.
func (w *worker) sweep() {
	if w.thread == 0 {
		w.thread = uint32(unix.Gettid()) // a worker is one thread for all its life
	}
	n := min(len(w.quiet), sweepBatch)
	for _, r := range w.quiet[:n] {
		s, p := r.sh.sock(r.slot), r.sh.slot(r.slot)
		if !s.quiet || r.sh.dead {
			continue
		}
		s.quiet = false
		r.sh.takeTail(r.slot)
		// A reader need not say that it has read everything; it shows.
		if s.rxCons != s.rxEnd && atomic.LoadUint64(&p.RxCons) == s.rxEnd {
			r.sh.rxAck(r.slot)
		}
	}
	w.quiet = w.quiet[:copy(w.quiet, w.quiet[n:])]
}
