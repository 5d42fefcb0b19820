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

// The kernel rounds what a program sets for TCP_DEFER_ACCEPT; so does toed.
func TestDeferral(t *testing.T) {
	fd, _ := placeholder(t)
	defer unix.Close(fd)
	for _, seconds := range []int{0, 1, 2, 3, 4, 7, 8, 30, 63, 64, 127, 128, 200, 247, 248, 3600, 1 << 30} {
		require.NoError(t, unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, seconds))
		want, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT)
		require.NoError(t, err)
		require.Equal(t, vtime.Duration(want)*vtime.Second, deferral(uint32(seconds)), "%d", seconds)
	}
}

func TestDeferAccept(t *testing.T) {
	const backlog = 10 // of the rig's listeners
	r := newRig(t, 2, nil)
	lslot, id := r.listen(0, 8080)
	p := &r.mem.Slots[lslot]
	atomic.StoreUint64(&p.ReqValue, 100)
	r.post(0, shm.OpSetTCBField, lslot, shm.OptDeferAccept)
	r.dev.iterate()
	on := func(w int, f func(sh *share)) {
		_ = r.dev.Do(w, func(vtime.Time) { f(r.l.workers[w].share(r.reg)) })
		r.dev.iterate()
		r.dev.iterate() // a record for the other worker
	}
	waiting := func() int { return int(atomic.LoadUint64(&p.RxProd)) / shm.SizeofAccept }
	counted := func() int { r.dev.iterate(); return r.dev.accepted }

	// Octets show a connection, on its listener's worker and on another, and so does an end.
	for w := range 2 {
		_, c, ok := r.incoming(w, id)
		require.True(t, ok)
		require.Equal(t, 2*w+1, counted(), "the device is told that it waits in no queue")
		require.Equal(t, 2*w, waiting())
		require.True(t, r.deliver(c, 1))
		r.dev.iterate()
		require.Equal(t, 2*w+1, waiting())
		_, c, _ = r.incoming(w, id)
		on(w, func(*share) { r.dev.up.Notify(c.sock, toe.Event{Kind: toe.EventPeerClose}) })
		require.Equal(t, 2*w+2, waiting())
	}
	// One that is reset before has never been.
	_, reset, _ := r.incoming(1, id)
	on(1, func(*share) {
		delete(r.dev.conns, r.dev.lastTID)
		r.dev.up.Notify(reset.sock, toe.Event{Kind: toe.EventFinished, End: toe.EndReset})
	})
	require.Equal(t, 4, waiting())
	on(1, func(sh *share) { require.Equal(t, 2, sh.busy) })
	// A client cannot have one that it was not shown.
	slot, _, _ := r.incoming(1, id)
	r.post(1, shm.OpPassAcceptRpl, slot, lslot)
	on(1, func(sh *share) { require.True(t, sh.sock(slot).unaccepted()); sh.abort(slot) })

	// Time shows those that it is up for.
	first, _, _ := r.incoming(0, id)
	later, _, _ := r.incoming(0, id)
	on(0, func(sh *share) {
		sh.sock(later).keptUntil = sh.sock(later).keptUntil.Add(1)
		sh.w.now = sh.sock(first).keptUntil
		sh.showOverdue()
		require.Equal(t, []uint32{later}, sh.kept)
		require.True(t, sh.looking, "the other's time comes, too")
	})
	require.Equal(t, 5, waiting())
	on(0, func(sh *share) { sh.w.now = sh.lookAt; sh.showOverdue(); require.Empty(t, sh.kept) })
	require.Equal(t, 6, waiting())

	// No more than the backlog are kept back.
	for i := range backlog + 2 {
		_, _, ok := r.incoming(i%2, id)
		require.True(t, ok)
	}
	r.dev.iterate()
	require.Equal(t, 6+2, waiting())

	// All go with the listener.
	r.post(0, shm.OpCloseConReq, lslot, 0)
	r.settle(func() bool {
		return r.l.workers[0].share(r.reg).busy == 0 && r.l.workers[1].share(r.reg).busy == 0
	})
}

// What is kept back is shown in time without anybody's doing.
func TestDeferAcceptEnds(t *testing.T) {
	r := newRig(t, 1, nil)
	lslot, id := r.listen(0, 8080)
	p := &r.mem.Slots[lslot]
	atomic.StoreUint64(&p.ReqValue, 1)
	r.post(0, shm.OpSetTCBField, lslot, shm.OptDeferAccept)
	r.dev.iterate()
	n, _, _ := r.incoming(0, id)
	_ = r.dev.Do(0, func(vtime.Time) {
		sh := r.l.workers[0].share(r.reg)
		sh.sock(n).keptUntil = 0 // its second is over by the rig's clock, which stands
	})
	require.Eventually(t, func() bool { r.dev.iterate(); return atomic.LoadUint64(&p.RxProd) == shm.SizeofAccept }, waitFor, tick)
}
