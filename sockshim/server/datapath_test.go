package server

import (
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"golang.org/x/sys/unix"

	"opentoe/sockshim/shm"
	"opentoe/tcpoffload/vtime"
	"opentoe/toe"
)

// TestNoAllocation drives a connection both ways; the data path must not allocate.
func TestNoAllocation(t *testing.T) {
	r := newRig(t, 1, nil)
	slot, c, _ := r.connect(0)
	p := &r.mem.Slots[slot]
	segment := make([]byte, 1448)
	step := func() {
		// Send: the client writes, the device fetches and is acknowledged.
		r.write(slot, 5000, 7)
		if atomic.OrUint32(&p.CmdPending, 1<<shm.OpTxData)&(1<<shm.OpTxData) == 0 {
			r.post(0, shm.OpTxData, slot, 0)
		}
		r.dev.iterate()
		for c.sent < c.end {
			b := segment[:min(uint64(len(segment)), c.end-c.sent)]
			if !r.dev.up.Fetch(c.sock, c.sent, b) || b[0] != 7 || b[len(b)-1] != 7 {
				panic("octets lost")
			}
			c.sent += uint64(len(b))
		}
		r.dev.up.Notify(c.sock, toe.Event{Kind: toe.EventAcked, Pos: c.sent})
		// Receive: the device places, the client reads.
		for range 4 {
			if !r.deliver(c, 1448) {
				panic("no room")
			}
		}
		atomic.StoreUint64(&p.RxCons, c.placed)
		if atomic.OrUint32(&p.CmdPending, 1<<shm.OpRxDataAck)&(1<<shm.OpRxDataAck) == 0 {
			r.post(0, shm.OpRxDataAck, slot, 0)
		}
		r.dev.iterate()
		r.dev.up.Sleep(0)
		r.dev.up.Awake(0)
	}
	require.Zero(t, testing.AllocsPerRun(2000, step))
	require.Equal(t, c.end, c.sent)
	require.Equal(t, c.placed, c.read)
	r.check()
	// Everything is read and acknowledged and the worker has slept: nothing is held but the loan.
	require.True(t, r.dev.up.Sleep(0))
	sh := r.l.workers[0].active[0]
	lent, ok := sh.chunkLoan.Len()
	require.True(t, ok)
	require.Equal(t, sh.chunks.Len(), sh.chunks.Avail()+int(lent))
}

// TestDirectoryLevels holds more in flight than one directory chunk can name, both ways, out of
// order on the receiving side.
func TestDirectoryLevels(t *testing.T) {
	r := newRig(t, 1, func(c *Config) { c.Memory = 160 << 20 })
	slot, c, _ := r.connect(0)
	sh := r.l.workers[0].active[0]
	idle := sh.chunks.Avail()
	p := &r.mem.Slots[slot]
	const total = 100 << 20 // above 64 MiB: level 2
	seg := r.buf[:16000]
	octet := func(pos uint64) byte { return byte(pos * 2654435761 >> 13) }
	for round := range 2 {
		base := c.placed
		for pos := base; pos < base+total; pos += uint64(len(seg)) {
			at := pos
			if pos/uint64(len(seg))%8 == 0 && pos+2*uint64(len(seg)) < base+total {
				at = pos + uint64(len(seg)) // leave a hole, filled by the next
			}
			// As on the worker's thread: on a slow machine the pool is trimmed meanwhile.
			require.NoError(t, r.dev.Do(0, func(vtime.Time) {
				for _, at := range []uint64{at, pos} {
					for i := range seg {
						seg[i] = octet(at + uint64(i))
					}
					require.True(t, r.dev.up.Reserve(c.sock, uint32(len(seg))))
					r.dev.up.Place(c.sock, at, seg)
				}
				c.placed = pos + uint64(len(seg))
				r.dev.up.Notify(c.sock, toe.Event{Kind: toe.EventReadable, Pos: c.placed})
			}))
		}
		require.Equal(t, 2, shm.DirLevel(atomic.LoadUint32(&p.RxDir)), "round %d", round)
		got := make([]byte, 40000)
		for pos := base; pos < c.placed; {
			n := min(uint64(len(got)), c.placed-pos)
			require.True(t, r.mem.ReadStream(&p.RxEntry, atomic.LoadUint32(&p.RxDir), pos, got[:n]))
			for i := range got[:n] {
				if got[i] != octet(pos+uint64(i)) {
					t.Fatalf("octet %d is wrong", pos+uint64(i))
				}
			}
			pos += n
			atomic.StoreUint64(&p.RxCons, pos)
			r.post(0, shm.OpRxDataAck, slot, 0)
			r.dev.iterate()
		}
		require.Zero(t, r.srv.Counters().Violations)
		require.Equal(t, c.placed, c.read)
		require.Zero(t, atomic.LoadUint32(&p.RxDir), "an empty stream goes back to the slot's own directory")
		require.Equal(t, idle, sh.chunks.Avail())
	}
	r.check()
}

// TestSendLimitGrows has a writer who is held up by the limit while the device keeps up.
func TestSendLimitGrows(t *testing.T) {
	r := newRig(t, 1, nil)
	slot, c, _ := r.connect(0)
	p := &r.mem.Slots[slot]
	require.EqualValues(t, txLimitInitial, p.TxLimit)
	r.write(slot, txLimitInitial, 1)
	r.post(0, shm.OpTxData, slot, 0)
	r.dev.iterate()
	require.EqualValues(t, txLimitInitial, c.end)
	atomic.StoreUint32(&p.TxNospace, 1)
	for ; c.sent < c.end; c.sent += 1000 {
		require.True(t, r.dev.up.Fetch(c.sock, c.sent, r.buf[:min(1000, c.end-c.sent)]))
	}
	seq := atomic.LoadUint32(&p.EventSeq)
	r.dev.up.Notify(c.sock, toe.Event{Kind: toe.EventAcked, Pos: 1000})
	require.EqualValues(t, 2*txLimitInitial, atomic.LoadUint64(&p.TxLimit))
	require.Zero(t, atomic.LoadUint32(&p.TxNospace), "the writer is told")
	require.NotEqual(t, seq, atomic.LoadUint32(&p.EventSeq))
	r.dev.up.Notify(c.sock, toe.Event{Kind: toe.EventAcked, Pos: c.end})
	require.Equal(t, c.end, atomic.LoadUint64(&p.TxCons))
}

// TestStarvedWriter takes the whole loan; a writer who asks is woken when chunks come back.
func TestStarvedWriter(t *testing.T) {
	r := newRig(t, 1, func(c *Config) { c.Memory = minMemory })
	slot, c, _ := r.connect(0)
	p := &r.mem.Slots[slot]
	limit := int(p.TxLimit)
	// Two connections together want more than there is.
	slot2, c2, _ := r.connect(0)
	sh := r.l.workers[0].active[0]
	fill := func(slot uint32, c *fakeConn) {
		for want := limit; want >= shm.ChunkBytes; want -= shm.ChunkBytes {
			if n, _ := sh.chunkLoan.Len(); n == 0 {
				break
			}
			r.write(slot, shm.ChunkBytes, 3)
			r.post(0, shm.OpTxData, slot, 0)
			r.dev.iterate()
		}
	}
	fill(slot, c)
	r.deliver(c, 60000)
	r.deliver(c, 60000)
	r.deliver(c, 60000)
	fill(slot2, c2)
	for sh.chunks.Avail() > 0 {
		require.True(t, r.deliver(c, 30000) || sh.chunks.Avail() <= sh.rxFloor+rxDirectories+2)
		if sh.chunks.Avail() <= sh.rxFloor+rxDirectories+2 {
			break
		}
	}
	for n, _ := sh.chunkLoan.Len(); n > 0 || sh.chunks.Avail() > 0; n, _ = sh.chunkLoan.Len() {
		require.NotZero(t, r.mem.ChunkLoans[0].Take()) // another socket of the client takes the rest
		sh.topUp()
	}
	p2 := &r.mem.Slots[slot2]
	atomic.StoreUint32(&p2.TxNospace, 1)
	r.post(0, shm.OpTxCreditReq, slot2, 0)
	r.dev.iterate()
	require.EqualValues(t, 1, atomic.LoadUint32(&p2.TxNospace), "nothing to give")
	seq := atomic.LoadUint32(&p2.EventSeq)
	r.dev.up.Notify(c.sock, toe.Event{Kind: toe.EventAcked, Pos: c.end})
	r.dev.iterate()
	require.Zero(t, atomic.LoadUint32(&p2.TxNospace))
	require.NotEqual(t, seq, atomic.LoadUint32(&p2.EventSeq))
	n, _ := sh.chunkLoan.Len()
	require.NotZero(t, n)
}

// TestWakeOnlyDeclared: no futex, no eventfd while nobody has said that he sleeps.
func TestWakeOnlyDeclared(t *testing.T) {
	r := newRig(t, 1, nil)
	slot, c, _ := r.connect(0)
	p := &r.mem.Slots[slot]
	r.dev.iterate()
	before := r.l.workers[0].stats
	r.deliver(c, 100)
	r.dev.iterate()
	require.Equal(t, before.FutexWakes, r.l.workers[0].stats.FutexWakes)

	fd := eventFD(t)
	m := shm.Msg{RegionId: r.reg.id}
	require.Zero(t, r.c.eqAlloc(&m, []int{fd}))
	eq := &r.mem.EQs[m.Eq]
	atomic.StoreUint32(&eq.Overflow, 0)
	atomic.StoreUint64(&p.EqMask, 1<<m.Eq)
	r.deliver(c, 100)
	r.deliver(c, 100)
	r.dev.iterate()
	require.Equal(t, before.Signals, r.l.workers[0].stats.Signals, "the waiter has not said that it sleeps")
	require.Equal(t, slot, eq.Pop())
	require.Zero(t, eq.Pop(), "a slot stands in the queue once")
	r.deliver(c, 100)
	r.dev.iterate()
	require.Zero(t, eq.Pop(), "not pushed again before the client has cleared eq_pending")
	atomic.StoreUint64(&p.EqPending, 0)
	atomic.StoreUint32(&eq.Sleeping, 1)
	r.deliver(c, 100)
	r.dev.iterate()
	require.Equal(t, before.Signals+1, r.l.workers[0].stats.Signals)
	require.Zero(t, atomic.LoadUint32(&eq.Sleeping))
	require.Equal(t, slot, eq.Pop())
	require.Zero(t, r.c.eqFree(&m))
}

// TestQuietSocketsHoldNothing: connections that have sent and received a little and then say
// nothing have no chunk, though no reader has said that it read everything.
func TestQuietSocketsHoldNothing(t *testing.T) {
	r := newRig(t, 1, nil)
	sh := r.l.workers[0].active[0]
	for range 20 {
		slot, c, _ := r.connect(0)
		r.write(slot, 100, 1)
		r.post(0, shm.OpTxData, slot, 0)
		require.True(t, r.deliver(c, 100))
		atomic.StoreUint64(&r.mem.Slots[slot].RxCons, 100)
		r.dev.iterate()
		require.True(t, r.dev.up.Fetch(c.sock, 0, r.buf[:100]))
		r.dev.up.Notify(c.sock, toe.Event{Kind: toe.EventAcked, Pos: 100})
		c.sent = 100
	}
	for !r.dev.up.Sleep(0) {
		r.dev.iterate()
	}
	r.dev.up.Awake(0)
	lent, _ := sh.chunkLoan.Len()
	require.Equal(t, sh.chunks.Len(), sh.chunks.Avail()+int(lent))
	// And they go on.
	for i, tid := range r.dev.order {
		c := r.dev.conns[tid]
		slot := uint32(c.sock) & (1<<idSlotBits - 1)
		r.write(slot, 100, byte(i))
		r.post(0, shm.OpTxData, slot, 0)
		r.dev.iterate()
		require.True(t, r.dev.up.Fetch(c.sock, 100, r.buf[:100]))
		require.Equal(t, byte(i), r.buf[99])
		require.True(t, r.deliver(c, 100))
		atomic.StoreUint64(&r.mem.Slots[slot].RxCons, 200)
		r.post(0, shm.OpRxDataAck, slot, 0)
		r.dev.iterate()
		require.EqualValues(t, 200, c.read)
	}
	r.check()
}

// TestTrim: memory that a client once needed goes back to the system when it lies unused.
func TestTrim(t *testing.T) {
	r := newRig(t, 1, func(c *Config) { c.Memory = 64 << 20 })
	blocks := func() int64 {
		var st unix.Stat_t
		require.NoError(t, unix.Fstat(r.reg.fd, &st))
		return st.Blocks * 512
	}
	slot, c, _ := r.connect(0)
	before := blocks()
	for range 500 {
		require.True(t, r.deliver(c, 60000))
	}
	full := blocks()
	require.Greater(t, full-before, int64(25<<20))
	atomic.StoreUint64(&r.mem.Slots[slot].RxCons, c.placed)
	r.post(0, shm.OpRxDataAck, slot, 0)
	r.dev.iterate()
	r.srv.trim() // what was used since the last time stays
	require.Equal(t, full, blocks())
	for range 3 {
		r.srv.trim()
	}
	require.Less(t, blocks()-before, int64(2<<20))
	// The chunks can be used again.
	require.True(t, r.deliver(c, 60000))
	p := &r.mem.Slots[slot]
	got := make([]byte, 60000)
	require.True(t, r.mem.ReadStream(&p.RxEntry, atomic.LoadUint32(&p.RxDir), c.placed-60000, got))
	require.Equal(t, r.buf[:60000], got)
	r.check()
}
