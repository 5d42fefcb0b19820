package server

import (
	"sync/atomic"
	"testing"

	"opentoe/sockshim/shm"
	"opentoe/toe"
)

// BenchmarkReceive is a segment's way into a client's memory and its acknowledgement by the
// reader, one in eight segments.
func BenchmarkReceive(b *testing.B) {
	r := newRig(b, 1, nil)
	slot, c, _ := r.connect(0)
	p := &r.mem.Slots[slot]
	const n = 1448
	b.SetBytes(n)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if !r.deliver(c, n) {
			b.Fatal("no room")
		}
		if i%8 == 7 {
			atomic.StoreUint64(&p.RxCons, c.placed)
			r.post(0, shm.OpRxDataAck, slot, 0)
			r.dev.iterate()
		}
	}
}

// BenchmarkSend is a write of eight segments, their fetching and their acknowledgement.
func BenchmarkSend(b *testing.B) {
	r := newRig(b, 1, nil)
	slot, c, _ := r.connect(0)
	const n = 1448
	b.SetBytes(8 * n)
	b.ReportAllocs()
	for b.Loop() {
		r.write(slot, 8*n, 1)
		r.post(0, shm.OpTxData, slot, 0)
		r.dev.iterate()
		for ; c.sent < c.end; c.sent += n {
			if !r.dev.up.Fetch(c.sock, c.sent, r.buf[:n]) {
				b.Fatal("octets lost")
			}
		}
		r.dev.up.Notify(c.sock, toe.Event{Kind: toe.EventAcked, Pos: c.sent})
	}
}

// BenchmarkIdlePoll is what a client costs a worker that has nothing to do for it.
func BenchmarkIdlePoll(b *testing.B) {
	r := newRig(b, 1, nil)
	for b.Loop() {
		r.l.Poll(0, 0)
	}
}
