package shm

import (
	"runtime"
	"sync/atomic"
)

// Command is a copy of one command-queue entry.
type Command struct {
	Op, Flags uint8
	Region    uint16
	Slot, Arg uint32
}

// CmdReader is toed's end of a command queue. It keeps the true head.
type CmdReader struct {
	q    *CmdQ
	head uint32
}

// NewCmdReader returns a reader at the start of q. Precondition: q is fresh.
func NewCmdReader(q *CmdQ) CmdReader { return CmdReader{q: q} }

// Empty reports whether no entry is ready. It touches one cache line.
func (r *CmdReader) Empty() bool {
	e := &r.q.Entry[r.head%CmdEntries]
	return atomic.LoadUint32(&e.Stamp) != r.head+1
}

// Next takes the next entry, if one is ready. The fields are copies; nothing about them is
// checked.
func (r *CmdReader) Next() (c Command, ok bool) {
	e := &r.q.Entry[r.head%CmdEntries]
	if atomic.LoadUint32(&e.Stamp) != r.head+1 {
		return Command{}, false
	}
	w := e.words()
	op := atomic.LoadUint32(&w[1])
	c = Command{
		Op: uint8(op), Flags: uint8(op >> 8), Region: uint16(op >> 16),
		Slot: atomic.LoadUint32(&w[2]), Arg: atomic.LoadUint32(&w[3]),
	}
	atomic.StoreUint32(&e.Stamp, r.head+CmdEntries)
	r.head++
	return c, true
}

// Post appends c, for a client, and reports whether it did. It takes its place at once; while the
// queue is full it calls wait, which may wake the worker, and gives up when that returns false: the
// queue is then unusable, so toed had better be gone.
func (q *CmdQ) Post(c Command, wait func() bool) bool {
	_, ok := q.PostAt(c, wait)
	return ok
}

// Taken reports whether the worker has taken the command in place p.
func (q *CmdQ) Taken(p uint32) bool { return atomic.LoadUint32(&q.Entry[p%CmdEntries].Stamp) != p+1 }

// PostAt is Post, and returns the command's place.
func (q *CmdQ) PostAt(c Command, wait func() bool) (p uint32, ok bool) {
	p = atomic.AddUint32(&q.Tail, 1) - 1
	e := &q.Entry[p%CmdEntries]
	for atomic.LoadUint32(&e.Stamp) != p {
		if !wait() {
			return p, false
		}
		runtime.Gosched()
	}
	w := e.words()
	atomic.StoreUint32(&w[1], uint32(c.Op)|uint32(c.Flags)<<8|uint32(c.Region)<<16)
	atomic.StoreUint32(&w[2], c.Slot)
	atomic.StoreUint32(&w[3], c.Arg)
	atomic.StoreUint32(&e.Stamp, p+1)
	return p, true
}
