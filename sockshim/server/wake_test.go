package server

import (
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/sockshim/shm"
)

// allocEQs makes n event queues and returns their numbers; nothing stands in them.
func (r *rig) allocEQs(n int) (list []uint32) {
	for range n {
		m := shm.Msg{RegionId: r.reg.id}
		require.Zero(r.t, r.c.eqAlloc(&m, []int{eventFD(r.t)}))
		atomic.StoreUint32(&r.mem.EQs[m.Eq].Overflow, 0)
		list = append(list, m.Eq)
	}
	return list
}

// TestSharedEventQueueBits: beyond the queues with a bit of their own, several have one; each of them
// hears of everything, whether or not another has looked.
func TestSharedEventQueueBits(t *testing.T) {
	r := newRig(t, 1, nil)
	slot, c, _ := r.connect(0)
	other, c2, _ := r.connect(0)
	p := &r.mem.Slots[slot]
	r.dev.iterate()
	list := r.allocEQs(shm.EQOwn + 17)
	const group = 64 - shm.EQOwn
	a, b := list[shm.EQOwn], list[shm.EQOwn+group]
	require.Equal(t, shm.EQBit(a), shm.EQBit(b))
	require.NotEqual(t, shm.EQBit(a), shm.EQBit(a+1))
	atomic.StoreUint64(&p.EqMask, shm.EQBit(a))
	for range 3 { // the client of b never looks
		r.deliver(c, 100)
		r.dev.iterate()
		require.Equal(t, slot, r.mem.EQs[a].Pop())
		require.Zero(t, r.mem.EQs[a].Pop())
	}
	atomic.StoreUint32(&r.mem.EQs[b].Sleeping, 1)
	before := r.l.workers[0].stats.Signals
	r.deliver(c, 100)
	r.deliver(c2, 100)
	r.dev.iterate()
	require.Equal(t, before+1, r.l.workers[0].stats.Signals)
	for range 4 {
		require.Equal(t, slot, r.mem.EQs[b].Pop())
	}
	require.Zero(t, r.mem.EQs[b].Pop(), "nothing of slot %d, which did not ask", other)
	require.Zero(t, r.mem.EQs[a+1].Pop(), "another bit")
	for _, eq := range list {
		require.Zero(t, r.c.eqFree(&shm.Msg{RegionId: r.reg.id, Eq: eq}))
	}
	r.deliver(c, 100)
	r.dev.iterate() // the bit is still set, nobody has the queues
}

// TestManyEventQueues: a region has all the queues that it says.
func TestManyEventQueues(t *testing.T) {
	r := newRig(t, 1, nil)
	list := r.allocEQs(shm.MaxEQs)
	require.Len(t, list, shm.MaxEQs)
	m := shm.Msg{RegionId: r.reg.id}
	require.NotZero(t, r.c.eqAlloc(&m, []int{eventFD(t)}))
	require.Zero(t, r.c.eqFree(&shm.Msg{RegionId: r.reg.id, Eq: list[300]}))
	require.Equal(t, list[300], r.allocEQs(1)[0])
}

// TestExclusiveEventQueues: of those that want to share the news one that sleeps hears of it, in turn;
// all do when nobody sleeps, and who did not ask for that always does.
func TestExclusiveEventQueues(t *testing.T) {
	r := newRig(t, 1, nil)
	slot, c, _ := r.connect(0)
	p := &r.mem.Slots[slot]
	r.dev.iterate()
	list := r.allocEQs(4)
	told := func() (who []int) {
		r.deliver(c, 100)
		r.dev.iterate()
		for i, eq := range list {
			if r.mem.EQs[eq].Pop() != 0 {
				require.Zero(t, r.mem.EQs[eq].Pop())
				atomic.AndUint64(&p.EqPending, ^shm.EQBit(eq))
				who = append(who, i)
			}
		}
		return who
	}
	sleep := func(who ...int) {
		for _, i := range who {
			atomic.StoreUint32(&r.mem.EQs[list[i]].Sleeping, 1)
		}
	}
	atomic.StoreUint64(&p.EqMask, shm.EQBit(list[0])|shm.EQBit(list[1])|shm.EQBit(list[2])|shm.EQBit(list[3]))
	atomic.StoreUint64(&p.EqExclusive, shm.EQBit(list[1])|shm.EQBit(list[2])|shm.EQBit(list[3]))
	require.Equal(t, []int{0, 1, 2, 3}, told(), "nobody sleeps")
	counts := map[int]int{}
	for range 9 {
		sleep(1, 2, 3)
		who := told()
		require.Len(t, who, 2)
		require.Zero(t, who[0])
		counts[who[1]]++
	}
	require.Equal(t, map[int]int{1: 3, 2: 3, 3: 3}, counts)
	for _, eq := range list {
		atomic.StoreUint32(&r.mem.EQs[eq].Sleeping, 0)
	}
	sleep(2)
	require.Equal(t, []int{0, 2}, told())
}

// TestFullEventQueue: what found no room is told by the overflow flag, and is pushed again when there is room.
func TestFullEventQueue(t *testing.T) {
	r := newRig(t, 1, nil)
	slot, c, _ := r.connect(0)
	p := &r.mem.Slots[slot]
	r.dev.iterate()
	list := r.allocEQs(1)
	eq := &r.mem.EQs[list[0]]
	atomic.StoreUint64(&p.EqMask, shm.EQBit(list[0]))
	for i := range eq.Entry {
		atomic.StoreUint32(&eq.Entry[i], slot+1) // other sockets
	}
	r.deliver(c, 100)
	r.dev.iterate()
	require.EqualValues(t, 1, atomic.SwapUint32(&eq.Overflow, 0))
	for eq.Pop() != 0 {
	}
	r.deliver(c, 100)
	r.dev.iterate()
	require.Zero(t, atomic.LoadUint32(&eq.Overflow))
	require.Equal(t, slot, eq.Pop())
}

// TestAskedAfterTheChange: who asks for a socket's events after a change has seen it, and does not hear
// of it again.
func TestAskedAfterTheChange(t *testing.T) {
	r := newRig(t, 1, nil)
	slot, c, _ := r.connect(0)
	p := &r.mem.Slots[slot]
	r.dev.iterate()
	eq := r.allocEQs(1)[0]
	r.deliver(c, 100)
	atomic.StoreUint64(&p.EqMask, shm.EQBit(eq))
	r.dev.iterate()
	require.Zero(t, r.mem.EQs[eq].Pop())
	r.deliver(c, 100)
	r.dev.iterate()
	require.Equal(t, slot, r.mem.EQs[eq].Pop())
}

// TestListenerGone: who waits for the end of a listener is told of it when its slot is free.
func TestListenerGone(t *testing.T) {
	r := newRig(t, 1, nil)
	slot, _ := r.listen(0, 8080)
	p := &r.mem.Slots[slot]
	r.dev.iterate()
	eq := r.allocEQs(1)[0]
	atomic.StoreUint64(&p.EqMask, shm.EQBit(eq))
	r.post(0, shm.OpCloseConReq, slot, 0)
	r.settle(func() bool { return atomic.LoadUint32(&p.State) == shm.SlotFree })
	require.Equal(t, slot, r.mem.EQs[eq].Pop())
	r.check()
}
