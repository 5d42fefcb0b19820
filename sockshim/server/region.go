package server

import (
	"fmt"
	"iter"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"opentoe/sockshim/shm"
	"opentoe/tcpoffload/vtime"
)

// region is one client's memory file. The client that said HELLO owns it; others may be attached.
// Fields without a comment are constant after newRegion.
type region struct {
	srv     *Server
	l       *layer
	id      uint32
	mem     *shm.Region
	token   [shm.TokenBytes]byte
	fd      int
	owner   *client  // for who opened and accepted through this region's queues
	account *account // of its user: its sockets and memory count there
	shares  []*share // one per worker
	eqs     [shm.MaxEQs]eventQueue
	clients map[*client]struct{} // attached; under Server.mu
	left    time.Time            // when the last of them went; under Server.mu
	orphan  atomic.Bool          // no client is attached: goes when its last socket does
	stuck   atomic.Bool          // an eventfd of it held up a worker: none is written any more
}

// eventQueue is the server's side of one event queue. Control goroutines open and close it; workers
// push while it is open. The descriptor is valid from before it is open until no worker can be
// writing it any more: a write that hangs is freed through it.
type eventQueue struct {
	w     shm.EQWriter
	open  atomic.Bool
	fd    atomic.Int32 // -1: none
	owner *client      // under Server.mu; nil: not allocated
}

// newRegion makes a region with a share on every worker. Precondition: Server.mu is held. [control]
func (s *Server) newRegion(l *layer, id uint32, owner *client) (*region, error) {
	memory, ok := owner.account.grant(&s.cfg, len(l.workers))
	if !ok {
		s.stats.OverMemory++
		return nil, errOverMemory
	}
	mem, fd, err := shm.Create(s.cfg.geometry(len(l.workers), memory), id)
	if err != nil {
		return nil, err
	}
	owner.account.memory += int64(mem.Bytes())
	mem.Populate(populateEQs, populateSlots, populateChunks)
	r := &region{
		srv: s, l: l, id: id, mem: mem, token: mem.Header.Token, fd: fd, owner: owner,
		account: owner.account, clients: map[*client]struct{}{},
	}
	for i := range r.eqs {
		r.eqs[i].fd.Store(-1)
	}
	for _, w := range l.workers {
		sh := newShare(w, r)
		r.shares = append(r.shares, sh)
		if err := l.dev.Do(w.id, func(vtime.Time) { w.adopt(sh) }); err != nil {
			r.remove()
			return nil, fmt.Errorf("server: region: %w", err)
		}
	}
	return r, nil
}

// shareOf returns the share that a slot belongs to, or nil.
func (r *region) shareOf(slot uint32) *share {
	for _, sh := range r.shares {
		if sh.slots.Has(slot) { // constant, so any thread may ask
			return sh
		}
	}
	return nil
}

// query returns what a policy may know of the region's owner.
func (r *region) query() Query {
	return Query{Program: r.owner.program, UID: r.owner.cred.Uid, PID: r.owner.cred.Pid}
}

// remove takes the region from the workers and unmaps it. Precondition: no socket of it lives, or
// the workers have ended; Server.mu is held. [control]
func (r *region) remove() {
	r.srv.keepDeclines(r)
	for _, w := range r.l.workers {
		if r.l.dev.Do(w.id, func(vtime.Time) { w.remove(r) }) != nil {
			w.remove(r) // the worker has ended
		}
	}
	for i := range r.eqs {
		q := &r.eqs[i]
		q.open.Store(false)
		if fd := q.fd.Swap(-1); fd >= 0 {
			unix.Close(int(fd))
		}
	}
	unix.Close(r.fd)
	r.account.memory -= int64(r.mem.Bytes())
	_ = r.mem.Close()
}

// allocEQ gives c a fresh event queue that signals fd, which the region then owns; -1 when there
// is none. Precondition: Server.mu is held.
func (r *region) allocEQ(c *client, fd int) int {
	for i := range r.eqs {
		q := &r.eqs[i]
		if q.owner != nil {
			continue
		}
		q.owner = c
		if i < shm.EQOwn {
			r.clearEQ(uint64(1) << i)
		}
		q.w.Reset(&r.mem.EQs[i])
		q.fd.Store(int32(fd))
		q.open.Store(true)
		return i
	}
	return -1
}

// clearEQ takes what the last client of an event queue has left in the slots out of them.
func (r *region) clearEQ(bit uint64) {
	for p := range r.usedSlots() {
		for _, mask := range []*uint64{&p.EqMask, &p.EqPending, &p.EqExclusive} {
			if atomic.LoadUint64(mask)&bit != 0 {
				atomic.AndUint64(mask, ^bit)
			}
		}
	}
}

// freeEQs takes c's event queues, those that which names, back, and reports whether there were any.
// Their descriptors are closed when no worker can be using them. Precondition: Server.mu is held.
func (r *region) freeEQs(c *client, which func(i int) bool) (freed bool) {
	for i := range r.eqs {
		if q := &r.eqs[i]; q.owner == c && which(i) {
			q.open.Store(false)
			freed = true
		}
	}
	if !freed {
		return false
	}
	r.l.barrier()
	for i := range r.eqs {
		if q := &r.eqs[i]; q.owner == c && which(i) {
			unix.Close(int(q.fd.Swap(-1)))
			q.owner = nil
		}
	}
	return true
}

// usedSlots yields the slots that were ever used.
func (r *region) usedSlots() iter.Seq[*shm.Slot] {
	return func(yield func(*shm.Slot) bool) {
		for _, sh := range r.shares {
			for i := range sh.seen.Load() {
				if !yield(&r.mem.Slots[sh.slotBase+i]) {
					return
				}
			}
		}
	}
}

// violated counts a violation and has the region detached soon. [any thread, does not wait]
func (r *region) violated(v violation) {
	go func() {
		r.srv.mu.Lock()
		r.srv.stats.Violations[v]++
		r.srv.mu.Unlock()
		r.srv.warnings.warn(r.srv.cfg.Log, "client broke the shared-memory contract and is detached",
			"program", r.owner.program, "pid", r.owner.cred.Pid, "violation", violationNames[v])
		r.detach()
		r.owner.hangUp()
	}()
}
