package tcpoffload

// What the SYN cache and TIME-WAIT have in common: tables of compact records, of connections that have no TCB
// yet or none any more, which the flow table leads to and queues keep by time.

import "opentoe/tcpoffload/wire"

// record begins every entry of these tables.
type record struct {
	flow       wire.Flow
	hashNext   uint32 // next in the bucket, or in the free list
	gen        uint32 // part of the handle, as TCB.gen
	next, prev uint32 // queue by time, or list of resets to send
}

// recordTable says which entries of a table are in use. Links are indices as in the flow table.
type recordTable struct {
	free, fresh uint32 // free list; entries from position fresh on were never used
	live        uint32
}

// recordQueue is a list of entries by time: those that join go to its end.
type recordQueue struct{ head, tail uint32 }

// record returns the begin of entry i, which is no connection.
func (e *Engine) record(i uint32) *record {
	if i < e.twBase {
		return &e.syns[i-e.synBase].record
	}
	return &e.tws[i-e.twBase].record
}

// full reports whether every one of n entries is taken.
func (v *recordTable) full(n int) bool { return v.free == 0 && v.fresh == uint32(n) }

// takeRecord takes an entry of the table v, whose indices begin at base. Precondition: it is not full.
func (e *Engine) takeRecord(v *recordTable, base uint32) uint32 {
	v.live++
	if i := v.free; i != 0 {
		v.free = e.record(i).hashNext
		return i
	}
	i := base + v.fresh
	v.fresh++
	e.record(i).gen = 1
	return i
}

// closeRecord takes r, entry i, out of the flow table; its handle names nothing from now on.
func (e *Engine) closeRecord(r *record, i uint32) {
	e.hashRemove(&r.flow, i, &r.hashNext)
	r.gen = nextGen(r.gen)
}

// release gives r, entry i, which is closed and in no list, back to v.
func (v *recordTable) release(r *record, i uint32) {
	r.hashNext = v.free
	v.free = i
	v.live--
}

// enqueue puts r, entry i, which is in no queue, at the end of q.
func (e *Engine) enqueue(q *recordQueue, r *record, i uint32) {
	r.next, r.prev = 0, q.tail
	if q.tail != 0 {
		e.record(q.tail).next = i
	} else {
		q.head = i
	}
	q.tail = i
}

// dequeue takes r off q.
func (e *Engine) dequeue(q *recordQueue, r *record) {
	if r.prev != 0 {
		e.record(r.prev).next = r.next
	} else {
		q.head = r.next
	}
	if r.next != 0 {
		e.record(r.next).prev = r.prev
	} else {
		q.tail = r.prev
	}
}
