package pmd

/*
#cgo nocallback pmd_receive
#cgo nocallback pmd_transmit
#cgo nocallback pmd_refill
#include "pmd_port.h"
#include "pmd_queue.h"
*/
import "C"

import "opentoe/pmd/frame"

// Queue is one receive and transmit queue pair of a port, with its own buffers. One thread uses it
// at a time; that thread should have called [RegisterThread].
type Queue struct {
	w       *window     // C memory, shared with pmd_queue.c
	handle  C.uintptr_t // c, as the data path passes it
	c       *C.struct_pmd_queue
	pool    *C.struct_pmd_pool
	index   int
	ledger  *ledger
	waitFDs []int
	out     int // frames that bursts hold
}

// QueueCounters count what passed a queue since the port was opened.
type QueueCounters struct {
	RxFrames, RxBytes uint64
	RxDropped         uint64 // frames in several segments, too long for one buffer
	TxFrames, TxBytes uint64
	TxRefused         uint64 // frames dropped because the ring stayed full
	TxInvalid         uint64 // frames dropped: empty, outside of their buffer, not sendable by the device
	AllocFailed       uint64 // frames that Alloc could not give
}

// newQueue makes queue i of port with buffers from pool, which it takes over. prepare says that
// the device wants to see frames before it sends them.
func newQueue(port *Port, i int, pool *C.struct_pmd_pool, socket C.int, prepare bool) (*Queue, error) {
	q := &Queue{pool: pool, index: i, ledger: &port.eal.ledger}
	var prep C.int
	if prepare {
		prep = 1
	}
	rc := C.pmd_queue_new(port.id, C.uint16_t(i), pool, socket, prep, &q.c, &q.w)
	if err := check(rc, "allocate queue", ""); err != nil {
		return nil, err
	}
	q.handle = handleOf(q.c)
	return q, nil
}

// free returns the queue's memory. The device must be closed.
func (q *Queue) free() {
	C.pmd_queue_free(q.c)
	C.pmd_pool_free(q.pool)
}

// Index returns the queue's number on its port.
func (q *Queue) Index() int { return q.index }

// WaitFDs returns the descriptors that become readable when the queue has frames; see
// [Port.WaitFDs].
func (q *Queue) WaitFDs() []int { return q.waitFDs }

// Counters returns the queue's counters. Only for the thread that uses the queue.
func (q *Queue) Counters() QueueCounters {
	c := &q.w.counters
	return QueueCounters{
		RxFrames:    uint64(c.rx_frames),
		RxBytes:     uint64(c.rx_bytes),
		RxDropped:   uint64(c.rx_dropped),
		TxFrames:    uint64(c.tx_frames),
		TxBytes:     uint64(c.tx_bytes),
		TxRefused:   uint64(c.tx_refused),
		TxInvalid:   uint64(c.tx_invalid),
		AllocFailed: uint64(c.alloc_failed),
	}
}

// Outstanding returns how many of the queue's frames are in bursts: received or allocated, and
// neither transmitted nor freed. It is 0 between poll iterations unless frames leak. Only for the
// thread that uses the queue.
func (q *Queue) Outstanding() int { return q.out }

// Available returns how many buffers are free in the queue's pool. Buffers that threads cache count
// as free, those in the device, in bursts and in the queue's own stash do not.
func (q *Queue) Available() int { return int(C.pmd_pool_available(q.pool)) }

// Receive fills b with the frames that have arrived, at most [frame.MaxBurst], and returns how
// many. Frames that b still holds are freed first.
func (q *Queue) Receive(b *frame.Burst) int {
	q.Free(b)
	n := int(C.pmd_receive(q.handle))
	for i := range q.w.rx[:n] {
		d := &q.w.rx[i]
		*b.Push() = frame.Frame{
			Data:   octets(d, int(d.len), int(d.len)),
			Handle: uintptr(d.mbuf),
			Hash:   uint32(d.hash),
			Flags:  frame.Flags(d.flags),
		}
	}
	q.out += n
	q.ledger.take(b, n)
	return n
}

// Alloc appends up to n empty frames to b and returns how many: fewer when b is full or the pool
// is empty. Their Data has length 0 and room for a full frame of the port's MTU.
func (q *Queue) Alloc(b *frame.Burst, n int) int {
	n = min(n, b.Room())
	if n > int(q.w.stash_len) {
		C.pmd_refill(q.handle)
		if have := int(q.w.stash_len); n > have {
			q.w.counters.alloc_failed += C.uint64_t(n - have)
			n = have
		}
	}
	for range n {
		q.w.stash_len--
		d := &q.w.stash[q.w.stash_len]
		f := b.Push()
		f.Data = octets(d, 0, int(d.len))
		f.Handle = uintptr(d.mbuf)
	}
	q.out += n
	q.ledger.take(b, n)
	return n
}

// Transmit sends the frames of b in order, empties b and returns how many the device took; those
// it refused are freed and counted. A frame's Data may stand anywhere in its buffer.
func (q *Queue) Transmit(b *frame.Burst) int {
	frames := b.Frames()
	if len(frames) == 0 {
		return 0
	}
	q.ledger.give(frames)
	for i := range frames {
		f, d := &frames[i], &q.w.tx[i]
		d.data = address(f.Data)
		d.mbuf = C.uintptr_t(f.Handle)
		d.len = C.uint32_t(len(f.Data))
		d.flags = C.uint16_t(f.Flags)
		d.seg_size = C.uint16_t(f.SegSize)
		d.l2_len, d.l3_len, d.l4_len = C.uint8_t(f.L2Len), C.uint8_t(f.L3Len), C.uint8_t(f.L4Len)
	}
	b.Truncate(0)
	q.out -= len(frames)
	return int(C.pmd_transmit(q.handle, C.uint32_t(len(frames))))
}

// Free gives the frames of b back and empties b. The buffers return to their pool with the next
// call that crosses into C.
func (q *Queue) Free(b *frame.Burst) {
	frames := b.Frames()
	if len(frames) == 0 {
		return
	}
	q.ledger.give(frames)
	if int(q.w.frees_len)+len(frames) > len(q.w.frees) {
		C.pmd_refill(q.handle)
	}
	for i := range frames {
		q.w.frees[q.w.frees_len] = C.uintptr_t(frames[i].Handle)
		q.w.frees_len++
	}
	b.Truncate(0)
	q.out -= len(frames)
}

// The flags and sizes that C repeats must be Go's.
var (
	_ = [1]struct{}{}[C.PMD_BURST-frame.MaxBurst]
	_ = [1]struct{}{}[C.PMD_F_RX_IP_GOOD-frame.RxIPCsumGood]
	_ = [1]struct{}{}[C.PMD_F_RX_IP_BAD-frame.RxIPCsumBad]
	_ = [1]struct{}{}[C.PMD_F_RX_L4_GOOD-frame.RxL4CsumGood]
	_ = [1]struct{}{}[C.PMD_F_RX_L4_BAD-frame.RxL4CsumBad]
	_ = [1]struct{}{}[C.PMD_F_RX_HASH-frame.RxHash]
	_ = [1]struct{}{}[C.PMD_F_TX_IP-frame.TxIPCsum]
	_ = [1]struct{}{}[C.PMD_F_TX_TCP-frame.TxTCPCsum]
	_ = [1]struct{}{}[C.PMD_F_TX_TSO-frame.TxSegment]
)
