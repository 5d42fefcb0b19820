package server

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"opentoe/sockshim/shm"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
	"opentoe/toe"
)

// placeholder makes a kernel socket and returns it with its cookie.
func placeholder(t testing.TB) (fd int, cookie uint64) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	require.NoError(t, err)
	return fd, cookie
}

// held opens a connection whose placeholder is fd.
func (r *rig) held(cookie uint64) (slot uint32, c *fakeConn) {
	n := r.mem.SlotLoans[0].Take()
	p := &r.mem.Slots[n]
	p.CookieLo, p.CookieHi = uint32(cookie), uint32(cookie>>32)
	p.ReqFamily, p.ReqLocalPort, p.ReqRemotePort = 4, uint16(1024+n), 80
	p.ReqRemoteAddr = wire.AddrFrom4([4]byte{10, 7, 0, 2})
	r.post(0, shm.OpActOpenReq, n, 0)
	r.dev.iterate()
	c = r.dev.conns[r.dev.lastTID]
	c.est = true
	r.dev.up.Notify(c.sock, toe.Event{Kind: toe.EventEstablished, Flow: &c.flow})
	return n, c
}

// live reports whether the device still has the connection; gone likewise reads safely.
func (r *rig) live(c *fakeConn) (live bool) {
	_ = r.dev.Do(0, func(vtime.Time) {
		for _, o := range r.dev.conns {
			live = live || o == c
		}
	})
	return live
}

func TestSharedSocketEndsWithItsLastDescriptor(t *testing.T) {
	for _, tc := range []struct {
		name    string
		orderly bool
	}{{"closed by every holder", true}, {"the last holder died", false}} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, 1, nil)
			watch, err := r.srv.watchDestroys()
			require.NoError(t, err)
			defer watch.Close()
			fd, cookie := placeholder(t)
			dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
			require.NoError(t, err)
			slot, c := r.held(cookie)
			atomic.StoreUint32(&r.mem.Slots[slot].Shared, 1)
			if tc.orderly {
				r.post(0, shm.OpCloseShared, slot, 0)
				r.dev.iterate()
			}
			// The client dies; somebody else may hold the socket.
			r.c.cred.Pid = 1 << 30 // no process has it
			r.srv.clientGone(r.c)
			require.NoError(t, unix.Close(fd))
			require.True(t, r.live(c), "a descriptor is left")
			require.NoError(t, unix.Close(dup))
			if tc.orderly {
				require.Eventually(t, func() bool {
					r.dev.mu.Lock()
					defer r.dev.mu.Unlock()
					return c.fin && c.released
				}, waitFor, tick)
			} else {
				require.Eventually(t, func() bool { return !r.live(c) }, waitFor, tick)
				require.False(t, c.fin)
			}
			require.EqualValues(t, 1, r.srv.Counters().Destroyed)
		})
	}
}

func TestClientThatDiesResets(t *testing.T) {
	r := newRig(t, 1, nil)
	fd, cookie := placeholder(t)
	defer unix.Close(fd)
	_, c := r.held(cookie)
	r.c.cred.Pid = 1 << 30
	r.srv.clientGone(r.c)
	require.False(t, r.live(c))
	require.False(t, c.fin)
	require.Eventually(t, func() bool { return r.srv.Usage().Regions == 0 }, waitFor, tick)
	require.EqualValues(t, 1, r.srv.Counters().Died)
}

func TestClientThatSaysByeCloses(t *testing.T) {
	r := newRig(t, 1, nil)
	_, idle := r.held(0)
	_, unread := r.held(0)
	_, written := r.held(0)
	r.deliver(unread, 10)
	wslot := uint32(written.sock) & (1<<idSlotBits - 1)
	r.write(wslot, 1000, 5) // tx_prod moved, but TX_DATA never came
	r.c.bye.Store(true)
	r.srv.clientGone(r.c)
	require.True(t, idle.fin && idle.released)
	require.False(t, r.live(unread), "unread octets: reset")
	require.True(t, written.fin)
	require.EqualValues(t, 1000, written.end, "what was written is delivered")
	b := make([]byte, 1000)
	_ = r.dev.Do(0, func(vtime.Time) { require.True(t, r.dev.up.Fetch(written.sock, 0, b)) })
	require.EqualValues(t, 1, r.srv.Usage().Regions, "the region lives while the device delivers")
	r.dev.finishAll()
	require.Eventually(t, func() bool { return r.srv.Usage().Regions == 0 }, waitFor, tick)
}

// TestProbeFollowsCommands has a socket passed on before the worker has looked at the command that opens it.
func TestProbeFollowsCommands(t *testing.T) {
	r := newRig(t, 1, nil)
	fd, cookie := placeholder(t)
	defer unix.Close(fd)
	child, _ := r.newClient()
	n := r.mem.SlotLoans[0].Take()
	p := &r.mem.Slots[n]
	p.CookieLo, p.CookieHi = uint32(cookie), uint32(cookie>>32)
	p.ReqFamily, p.ReqLocalPort, p.ReqRemotePort = 4, 1024, 80
	p.ReqRemoteAddr = wire.AddrFrom4([4]byte{10, 7, 0, 2})
	r.post(0, shm.OpActOpenReq, n, 0)
	var m shm.Msg
	fds, errno := child.probe(&m, []int{fd})
	require.Zero(t, errno)
	require.Equal(t, []int{r.reg.fd}, fds)
	require.Equal(t, n, m.Slot)
}

func TestProbe(t *testing.T) {
	r := newRig(t, 1, nil)
	fd, cookie := placeholder(t)
	defer unix.Close(fd)
	slot, _ := r.held(cookie)
	child, _ := r.newClient()
	probe := func(c *client) (shm.Msg, []int, unix.Errno) {
		dup, err := unix.Dup(fd)
		require.NoError(t, err)
		defer unix.Close(dup)
		var m shm.Msg
		fds, errno := c.probe(&m, []int{dup})
		return m, fds, errno
	}
	m, fds, errno := probe(child)
	require.Zero(t, errno)
	require.Equal(t, []int{r.reg.fd}, fds)
	require.Equal(t, []uint32{r.reg.id, slot}, []uint32{m.RegionId, m.Slot})
	require.EqualValues(t, 1, r.mem.Slots[slot].Shared)
	_, fds, errno = probe(child)
	require.Zero(t, errno)
	require.Empty(t, fds, "it has the region already")

	// The child may name the slot in its own queue now.
	child.own.mem.CmdQs[0].Post(shm.Command{Op: shm.OpShutdown, Region: uint16(r.reg.id), Slot: slot, Arg: shm.ShutWR}, nil)
	r.dev.iterate()
	require.Zero(t, r.srv.Counters().Violations)
	require.True(t, r.dev.conns[r.dev.lastTID].fin)

	// Another user gets nothing, root included: neither could trust the other's memory.
	stranger, _ := r.newClient()
	for _, uid := range [][2]uint32{{1000, 4242}, {1000, 0}, {0, 1000}} {
		r.c.cred.Uid, stranger.cred.Uid = uid[0], uid[1]
		_, fds, errno = probe(stranger)
		require.Equal(t, unix.EACCES, errno)
		require.Empty(t, fds)
		require.Nil(t, stranger.region(r.reg.id))
	}
	require.EqualValues(t, 3, r.srv.Counters().ProbesRefused)
	// But who has the region by its token may be anybody: a worker that has given up being root.
	require.Zero(t, stranger.attach(&shm.Msg{Token: r.mem.Header.Token}))
	_, _, errno = probe(stranger)
	require.Zero(t, errno)

	plain, _ := placeholder(t)
	_, errno = child.probe(&m, []int{plain})
	require.Equal(t, unix.ENOENT, errno)
	unix.Close(plain)
}

// A client that has been led to another's region leaves it again, with what it has said about it heard.
func TestDetach(t *testing.T) {
	r := newRig(t, 1, nil)
	fd, cookie := placeholder(t)
	slot, c := r.held(cookie)
	other, _ := r.newClient()
	probe := func() (fds []int) {
		dup, err := unix.Dup(fd)
		require.NoError(t, err)
		defer unix.Close(dup)
		fds, errno := other.probe(&shm.Msg{}, []int{dup})
		require.Zero(t, errno)
		return fds
	}
	for range 2 {
		require.Len(t, probe(), 1, "the region's file comes with the answer")
		require.Zero(t, other.detach(&shm.Msg{RegionId: r.reg.id}))
	}
	require.Equal(t, unix.ENOENT, other.detach(&shm.Msg{RegionId: r.reg.id}), "it has left")
	require.Equal(t, unix.ENOENT, other.detach(&shm.Msg{RegionId: other.own.id}), "its own it keeps")

	// Who opened the region goes. It stays for the other one, until that one leaves.
	probe()
	r.c.bye.Store(true)
	r.srv.clientGone(r.c)
	require.EqualValues(t, 2, r.srv.Usage().Regions)
	other.own.mem.CmdQs[0].Post(shm.Command{Op: shm.OpShutdown, Region: uint16(r.reg.id), Slot: slot, Arg: shm.ShutWR}, nil)
	require.Zero(t, other.detach(&shm.Msg{RegionId: r.reg.id}))
	require.True(t, c.fin, "what was posted before counts")
	require.True(t, r.live(c), "its descriptor is still open")
	require.Zero(t, r.srv.Counters().Violations)

	// It may not name the slots any more.
	other.own.mem.CmdQs[0].Post(shm.Command{Op: shm.OpShutdown, Region: uint16(r.reg.id), Slot: slot, Arg: shm.ShutWR}, nil)
	r.dev.iterate()
	require.Eventually(t, func() bool { return r.srv.Counters().Violations[violationRegion] == 1 }, waitFor, tick)
	unix.Close(fd)
}

func TestAttachByToken(t *testing.T) {
	r := newRig(t, 1, nil)
	child, _ := r.newClient()
	require.Equal(t, unix.ENOENT, child.attach(&shm.Msg{Token: [shm.TokenBytes]byte{1}}))
	m := shm.Msg{Token: r.mem.Header.Token}
	require.Zero(t, child.attach(&m))
	require.Equal(t, r.reg.id, m.RegionId)
	// The parent goes; its region stays for the child.
	slot, _ := r.held(0)
	atomic.StoreUint32(&r.mem.Slots[slot].Shared, 1)
	r.c.bye.Store(true)
	r.srv.clientGone(r.c)
	require.EqualValues(t, 2, r.srv.Usage().Regions)
	child.bye.Store(true)
	r.srv.clientGone(child)
	r.dev.finishAll()
	require.Eventually(t, func() bool { return r.srv.Usage() == Usage{} }, waitFor, tick)
}

func TestSecondServerIsRefused(t *testing.T) {
	r := newRig(t, 1, nil)
	_, err := New(r.srv.cfg)
	require.ErrorIs(t, err, ErrServed)
	require.ErrorContains(t, err, "pid "+strconv.Itoa(os.Getpid()))
	require.ErrorContains(t, err, r.srv.cfg.Dir)
}

func TestProcessAlive(t *testing.T) {
	require.True(t, processAlive(int32(os.Getpid())))
	require.False(t, processAlive(1<<30))
}

func TestCookies(t *testing.T) {
	c := newCookies()
	const n = 5000
	for i := uint64(1); i <= n; i++ {
		c.put(i*3, place(1, uint32(i)))
		c.put(i*3, place(2, uint32(i))) // a second claim
	}
	for i := uint64(1); i <= n; i += 2 {
		c.delete(i*3, place(1, uint32(i)))
	}
	for i := uint64(1); i <= n; i++ {
		want := []uint64{place(2, uint32(i))}
		if i%2 == 0 {
			want = append(want, place(1, uint32(i)))
		}
		require.ElementsMatch(t, want, c.get(nil, i*3))
		require.Empty(t, c.get(nil, i*3+1))
	}
}

// TestCookiesCrowd: a client that claims one cookie with all its slots, or cookies of its choice, does
// not lengthen the search for others'.
func TestCookiesCrowd(t *testing.T) {
	c := newCookies()
	longest := func() (n int) {
		run := 0
		for i := range *c.table.Load() {
			if run++; (*c.table.Load())[i].key.Load() == 0 {
				run = 0
			}
			n = max(n, run)
		}
		return n
	}
	for slot := range uint32(4096) {
		c.put(77, place(1, slot))
	}
	require.Equal(t, 1, longest())
	require.Equal(t, []uint64{place(1, 4095)}, c.get(nil, 77), "the last claim counts")
	c.delete(77, place(1, 5))
	require.Len(t, c.get(nil, 77), 1, "one that was replaced is not there to be deleted")
	for _, shift := range []uint{0, 10, 16, 32, 50} {
		c = newCookies()
		for i := range uint64(4096) {
			c.put((i+1)<<shift, place(1, uint32(i)))
		}
		require.Less(t, longest(), 256, "cookies that differ from bit %d on", shift)
	}
}

func TestManyWorkers(t *testing.T) {
	r := newRig(t, 3, nil)
	// An open on the wrong worker is sent to the right one.
	r.dev.steer = 2
	slot := r.mem.SlotLoans[0].Take()
	p := &r.mem.Slots[slot]
	p.ReqFamily, p.ReqLocalPort, p.ReqRemotePort = 4, 1, 80
	p.ReqRemoteAddr = wire.AddrFrom4([4]byte{10, 7, 0, 2})
	r.post(0, shm.OpActOpenReq, slot, 0)
	r.dev.iterate()
	require.EqualValues(t, shm.SlotDeclined, p.State)
	require.EqualValues(t, shm.ReasonSteer, p.Reason)
	require.EqualValues(t, 2, p.Steer)
	slot2, c, _ := r.connect(2)
	require.EqualValues(t, 2, r.mem.Slots[slot2].Worker)
	require.True(t, r.deliver(c, 100))

	// A listener's connections may come on any worker; the records come to the listener's slot.
	r.dev.steer = 0
	lslot := r.mem.SlotLoans[1].Take()
	lp := &r.mem.Slots[lslot]
	lp.ReqFamily, lp.ReqLocalPort = 4, 8080
	r.post(1, shm.OpPassOpenReq, lslot, 10)
	require.Eventually(t, func() bool {
		r.dev.iterate()
		return atomic.LoadUint32(&lp.State) == shm.SlotListen
	}, waitFor, tick)
	var id toe.ListenID
	for id = range r.dev.listens {
	}
	for w := range 3 {
		flow := wire.Flow{
			Local: wire.AddrFrom(fakePrefix.Addr()), LocalPort: 8080,
			Remote: wire.AddrFrom4([4]byte{10, 7, 0, 9}), RemotePort: uint16(w + 1),
		}
		tid, fc := r.dev.add(flow)
		var ok bool
		fc.sock, ok = r.dev.up.PassEstablish(w, id, tid, &flow)
		require.True(t, ok)
		r.dev.iterate()
		require.EqualValues(t, (w+1)*shm.SizeofAccept, atomic.LoadUint64(&lp.RxProd))
		var rec [shm.SizeofAccept]byte
		require.True(t, r.mem.ReadStream(&lp.RxEntry, lp.RxDir, uint64(w)*shm.SizeofAccept, rec[:]))
		a := shm.ParseAccept(rec)
		require.EqualValues(t, w, r.mem.Slots[a.Slot].Worker)
		require.EqualValues(t, w+1, r.mem.Slots[a.Slot].RemotePort)
		if w < 2 {
			r.post(w, shm.OpPassAcceptRpl, a.Slot, lslot)
			r.dev.iterate()
			require.Equal(t, w+1, r.dev.accepted)
		}
	}
	// Closing the listener resets the one that was not accepted, on its own worker.
	conns := len(r.dev.conns)
	r.post(1, shm.OpCloseConReq, lslot, 0)
	require.Eventually(t, func() bool {
		r.dev.iterate()
		r.dev.mu.Lock()
		defer r.dev.mu.Unlock()
		return len(r.dev.conns) == conns-1 && len(r.dev.listens) == 0
	}, waitFor, tick)
	r.check()
}

// free reports whether nothing of worker 0's share is held but what is lent.
func (r *rig) free() bool {
	sh := r.l.workers[0].active[0]
	lent, ok := sh.chunkLoan.Len()
	require.True(r.t, ok)
	return sh.busy == 0 && sh.chunks.Len() == sh.chunks.Avail()+int(lent)
}

// TestUnannouncedIsFreed: a connection ends while its client has written what toed has not heard of.
func TestUnannouncedIsFreed(t *testing.T) {
	for name, end := range map[string]func(r *rig, slot uint32, tid toe.TID){
		"reset by the peer": func(r *rig, slot uint32, tid toe.TID) {
			r.dev.finish(tid, toe.EndReset)
			r.post(0, shm.OpCloseConReq, slot, 0)
		},
		"aborted": func(r *rig, slot uint32, _ toe.TID) { r.post(0, shm.OpAbortReq, slot, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 1, nil)
			for range 8 {
				slot, _, tid := r.connect(0)
				r.write(slot, 5*shm.ChunkBytes+1, 1)
				end(r, slot, tid)
				r.dev.iterate()
				require.True(t, r.free())
			}
			require.Zero(t, r.srv.Counters().Violations)
			r.check()
		})
	}
}

// TestStragglers: commands that come after the close of their socket do nothing, whatever they are.
func TestStragglers(t *testing.T) {
	r := newRig(t, 1, nil)
	slot, c, tid := r.connect(0)
	// Something out of order has come: what was placed ends beyond what can be read.
	r.deliver(c, 100)
	require.True(t, r.dev.up.Reserve(c.sock, 50))
	r.dev.up.Place(c.sock, 200, r.buf[:50])
	r.mem.Slots[slot].RxCons = 100
	r.write(slot, 10, 1)
	r.post(0, shm.OpCloseConReq, slot, 0)
	for op := uint8(1); op < numOps; op++ {
		if op != shm.OpSetTCBField {
			r.post(0, op, slot, 3)
		}
	}
	r.dev.iterate()
	require.Zero(t, r.srv.Counters().Violations)
	require.True(t, r.live(c), "an abort after the close comes too late")
	require.True(t, c.fin && c.released)
	require.EqualValues(t, 10, c.end)
	r.dev.finish(tid, toe.EndClosed)
	r.dev.iterate()
	require.True(t, r.free())
}

// TestWriterHasRead: TX_DATA takes over what was read as well.
func TestWriterHasRead(t *testing.T) {
	r := newRig(t, 1, nil)
	slot, c, _ := r.connect(0)
	r.deliver(c, 5000)
	atomic.StoreUint64(&r.mem.Slots[slot].RxCons, 5000)
	r.write(slot, 10, 1)
	r.post(0, shm.OpTxData, slot, 0)
	r.dev.iterate()
	require.EqualValues(t, 5000, c.read)
	require.EqualValues(t, 10, c.end)
	require.Zero(t, r.mem.Slots[slot].RxEntry[0], "the chunk is given back")
}

// listen opens a listener on worker w.
func (r *rig) listen(w int, port uint16) (slot uint32, id toe.ListenID) {
	slot = r.mem.SlotLoans[w].Take()
	p := &r.mem.Slots[slot]
	p.ReqFamily, p.ReqLocalPort = 4, port
	r.post(w, shm.OpPassOpenReq, slot, 10)
	require.Eventually(r.t, func() bool {
		r.dev.iterate()
		return atomic.LoadUint32(&p.State) == shm.SlotListen
	}, waitFor, tick)
	r.dev.mu.Lock()
	defer r.dev.mu.Unlock()
	for i, l := range r.dev.listens {
		if l.Port == port {
			id = i
		}
	}
	return slot, id
}

// incoming has worker w offer a connection of listener id.
func (r *rig) incoming(w int, id toe.ListenID) (slot uint32, c *fakeConn, ok bool) {
	r.dev.mu.Lock()
	defer r.dev.mu.Unlock()
	flow := wire.Flow{Local: wire.AddrFrom(fakePrefix.Addr()), LocalPort: 8080,
		Remote: wire.AddrFrom4([4]byte{10, 7, 0, 9}), RemotePort: uint16(r.dev.lastTID + 1)}
	tid, c := r.dev.add(flow)
	c.est = true
	if c.sock, ok = r.dev.up.PassEstablish(w, id, tid, &flow); !ok {
		delete(r.dev.conns, tid)
	}
	return uint32(c.sock) & (1<<idSlotBits - 1), c, ok
}

// settle lets the workers and errands come to an end.
func (r *rig) settle(done func() bool) {
	require.Eventually(r.t, func() bool {
		r.dev.iterate()
		r.dev.mu.Lock()
		defer r.dev.mu.Unlock()
		return done()
	}, waitFor, tick)
}

// TestCloseAfterAccept: a program accepts on one worker and closes the listener, which another worker
// has. What it has accepted lives, though the order of the two commands shows nowhere.
func TestCloseAfterAccept(t *testing.T) {
	r := newRig(t, 2, nil)
	lslot, id := r.listen(0, 8080)
	var accepted, waiting *fakeConn
	slot, accepted, _ := r.incoming(1, id)
	_, waiting, _ = r.incoming(1, id)
	r.dev.iterate()
	r.mem.Slots[lslot].RxCons = shm.SizeofAccept
	r.post(1, shm.OpPassAcceptRpl, slot, lslot)
	r.post(0, shm.OpCloseConReq, lslot, 0)
	// Only worker 0 has looked at its queue when the device stops listening.
	r.dev.mu.Lock()
	r.dev.up.Poll(0, 0)
	r.dev.mu.Unlock()
	require.Eventually(t, func() bool { return !r.live(waiting) }, waitFor, tick)
	require.True(t, r.live(accepted))
	r.settle(func() bool { return r.l.workers[0].share(r.reg).busy == 0 && r.l.workers[1].share(r.reg).busy == 1 })
	r.check()
}

// TestEstablishedWhileClosing: connections that are established on other workers while their listener
// closes, or for which its queue has no room, are reset and leave nothing behind.
func TestEstablishedWhileClosing(t *testing.T) {
	r := newRig(t, 2, nil)
	lslot, id := r.listen(0, 8080)
	// The listener's record cannot be stored.
	sh := r.l.workers[0].share(r.reg)
	var taken []uint32
	for c := sh.chunks.Take(shm.Receive); c != 0; c = sh.chunks.Take(shm.Receive) {
		taken = append(taken, c)
	}
	_, c, ok := r.incoming(1, id)
	require.True(t, ok)
	r.settle(func() bool { return len(r.dev.conns) == 0 && r.l.workers[1].share(r.reg).busy == 0 })
	require.False(t, r.live(c))
	for _, c := range taken {
		sh.chunks.Give(c, shm.Receive)
	}
	// It closes, and worker 1 has not heard of it.
	r.dev.mu.Lock() // the errand cannot go on
	r.mem.CmdQs[0].Post(shm.Command{Op: shm.OpCloseConReq, Region: uint16(r.reg.id), Slot: lslot}, nil)
	r.dev.up.Poll(0, 0)
	require.EqualValues(t, shm.SlotListen, atomic.LoadUint32(&r.mem.Slots[lslot].State), "not free yet")
	r.dev.mu.Unlock()
	_, _, _ = r.incoming(1, id)
	_, _, ok = r.incoming(0, id)
	r.settle(func() bool {
		return len(r.dev.conns) == 0 && r.l.workers[0].share(r.reg).busy == 0 && r.l.workers[1].share(r.reg).busy == 0
	})
	require.False(t, ok)
	require.NotEqualValues(t, shm.SlotListen, atomic.LoadUint32(&r.mem.Slots[lslot].State))
	r.check()
}

// TestAcceptQueueOutlivesItsOwner: the process that opened a listener ends, and the one that has
// inherited it has not yet made itself known: what waits for accept goes on waiting.
func TestAcceptQueueOutlivesItsOwner(t *testing.T) {
	r := newRig(t, 1, nil)
	watch, err := r.srv.watchDestroys()
	require.NoError(t, err)
	defer watch.Close()
	fd, cookie := placeholder(t)
	lslot := r.mem.SlotLoans[0].Take()
	p := &r.mem.Slots[lslot]
	p.CookieLo, p.CookieHi, p.ReqFamily, p.ReqLocalPort = uint32(cookie), uint32(cookie>>32), 4, 8080
	r.post(0, shm.OpPassOpenReq, lslot, 10)
	r.settle(func() bool { return atomic.LoadUint32(&p.State) == shm.SlotListen })
	atomic.StoreUint32(&p.Shared, 1)
	_, c, ok := r.incoming(0, 1)
	require.True(t, ok)
	r.c.bye.Store(true)
	r.srv.clientGone(r.c)
	require.True(t, r.live(c))
	require.False(t, c.released)
	require.NoError(t, unix.Close(fd))
	r.settle(func() bool { return len(r.dev.conns) == 0 })
	require.Eventually(t, func() bool { return r.srv.Usage().Regions == 0 }, waitFor, tick)
}

// TestRecount: the kernel's message is lost. toed finds out which sockets nobody has any more, and
// leaves alone those that somebody has.
func TestRecount(t *testing.T) {
	r := newRig(t, 1, nil)
	r.srv.destroys = true // but nobody listens to them
	kept, keptCookie := placeholder(t)
	defer unix.Close(kept)
	lost, lostCookie := placeholder(t)
	_, keptConn := r.held(keptCookie)
	slot, lostConn := r.held(lostCookie)
	for _, n := range []uint32{slot, slot - 1, slot + 1} {
		atomic.StoreUint32(&r.mem.Slots[n].Shared, 1)
	}
	_, waiting := r.srv.claimed(false)
	require.False(t, waiting, "their client can tell")
	r.c.cred.Pid = 1 << 30
	r.srv.clientGone(r.c)
	require.True(t, r.live(keptConn) && r.live(lostConn))

	missing := map[uint64]bool{}
	recount := func() {
		list, waiting := r.srv.claimed(false)
		require.True(t, waiting)
		require.Contains(t, list, keptCookie)
		held, err := heldSockets()
		require.NoError(t, err)
		require.True(t, held[keptCookie])
		missing = r.srv.recount(list, held, missing)
	}
	recount()
	require.Empty(t, missing)
	require.NoError(t, unix.Close(lost))
	recount()
	require.Equal(t, map[uint64]bool{lostCookie: true}, missing)
	require.True(t, r.live(lostConn), "it may be on its way")
	recount()
	require.False(t, r.live(lostConn))
	require.True(t, r.live(keptConn))
}

// TestDestroysOfOthers: connections of the machine that are none of ours do not fill the buffer.
// TestNoDestroyMessages: where the kernel does not tell which sockets are gone, toed finds out.
func TestNoDestroyMessages(t *testing.T) {
	r := newRig(t, 1, nil)
	require.True(t, r.srv.countAlone(unix.EPROTONOSUPPORT))
	stop := make(chan struct{})
	defer close(stop)
	r.srv.wg.Go(func() { r.srv.keepRecounting(true, stop) })
	kept, keptCookie := placeholder(t)
	defer unix.Close(kept)
	fd, cookie := placeholder(t)
	copied, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	require.NoError(t, err)
	_, keptConn := r.held(keptCookie)
	slot, c := r.held(cookie)
	for n := slot - 1; n <= slot+1; n++ {
		atomic.StoreUint32(&r.mem.Slots[n].Shared, 1)
	}
	// Each of two processes closes its copy, and both live on.
	for i, n := range []int{fd, copied} {
		r.post(0, shm.OpCloseShared, slot, 0)
		r.dev.iterate()
		require.True(t, r.live(c), "copy %d", i)
		require.NoError(t, unix.Close(n))
	}
	require.Eventually(t, func() bool {
		r.dev.mu.Lock()
		defer r.dev.mu.Unlock()
		return c.fin && c.released
	}, waitFor, tick)
	require.True(t, r.live(keptConn))
}

// TestServeWithoutDestroyMessages: a server whose kernel does not tell serves all the same.
func TestServeWithoutDestroyMessages(t *testing.T) {
	r := newRig(t, 1, nil)
	r.srv.watch = func() (*os.File, error) { return nil, unix.EPROTONOSUPPORT }
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- r.srv.Serve(ctx) }()
	require.Eventually(t, func() bool {
		r.srv.mu.Lock()
		defer r.srv.mu.Unlock()
		return r.srv.destroys
	}, waitFor, tick)
	cancel()
	require.NoError(t, <-served)
}

func TestDestroysOfOthers(t *testing.T) {
	r := newRig(t, 1, nil)
	watch, err := r.srv.watchDestroys()
	require.NoError(t, err)
	require.NoError(t, watch.Close()) // our own reader, to see what passes
	s, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_SOCK_DIAG)
	require.NoError(t, err)
	defer unix.Close(s)
	require.NoError(t, unconnected(s))
	require.NoError(t, unix.Bind(s, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1<<(groupTCPDestroy-1) | 1<<(groupTCP6Destroy-1)}))
	cookieOf := func(c net.Conn) (cookie uint64) {
		raw, err := c.(*net.TCPConn).SyscallConn()
		require.NoError(t, err)
		_ = raw.Control(func(fd uintptr) {
			cookie, err = unix.GetsockoptUint64(int(fd), unix.SOL_SOCKET, unix.SO_COOKIE)
		})
		require.NoError(t, err)
		return cookie
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	conn, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	peer, err := ln.Accept()
	require.NoError(t, err)
	theirs, theirPeers := cookieOf(conn), cookieOf(peer)
	require.NoError(t, conn.Close())
	_, err = peer.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
	require.NoError(t, peer.Close())
	// Sockets that others on the machine close, unconnected as well, may fill our reader's buffer; what the kernel
	// then leaves out may be the message of ours. Another one is closed for each look.
	seen, ours := map[uint64]bool{}, map[uint64]bool{}
	passed := false
	buf := make([]byte, 64<<10)
	require.Eventually(t, func() bool {
		fd, cookie := placeholder(t)
		require.NoError(t, unix.Close(fd))
		ours[cookie] = true
		for !passed {
			n, err := unix.Read(s, buf)
			switch {
			case errors.Is(err, unix.ENOBUFS):
				continue
			case err != nil:
				return false
			}
			lo, hi := binary.NativeEndian.Uint32(buf[cookieOff:n]), binary.NativeEndian.Uint32(buf[cookieOff+4:n])
			c := uint64(hi)<<32 | uint64(lo)
			seen[c] = true
			passed = ours[c]
		}
		return true
	}, waitFor, tick)
	require.False(t, seen[theirs] || seen[theirPeers])
}

// TestLockFileRemoved: a server that ends takes its lock file with it, and another one may have opened
// the file just before. It must not believe that it has the directory by that.
func TestLockFileRemoved(t *testing.T) {
	s := &Server{cfg: Config{Dir: t.TempDir()}}
	require.NoError(t, s.takeDir())
	defer s.lock.Close()
	late := &Server{cfg: s.cfg}
	require.ErrorIs(t, late.takeDir(), ErrServed)
	require.True(t, stands(s.lock))
	require.NoError(t, os.Remove(s.lock.Name()))
	require.False(t, stands(s.lock))
	require.NoError(t, late.takeDir())
	defer late.lock.Close()
	require.True(t, stands(late.lock))
	require.False(t, stands(s.lock), "another file has the name")
}

// TestFalseClaim: a client says of an accepted socket that it is one that another client has opened. Its region
// does not wait for that one's end.
func TestFalseClaim(t *testing.T) {
	for _, opened := range []bool{false, true} {
		r := newRig(t, 1, nil)
		r.srv.destroys = true // but nobody listens to them
		fd, cookie := placeholder(t)
		defer unix.Close(fd)
		_, victim := r.held(cookie)

		liar, _ := r.newClient()
		mem, err := shm.Open(liar.own.fd)
		require.NoError(t, err)
		was := *r
		r.c, r.reg, r.mem = liar, liar.own, mem
		slot, _ := r.open(1)
		*r = was
		_ = r.dev.Do(0, func(vtime.Time) {
			sh := r.l.workers[0].share(liar.own)
			sh.disclaim(slot)
			sh.sock(slot).opened = opened
			sh.claim(slot, cookie)
		})
		r.srv.clientGone(liar) // its process lives
		r.settle(func() bool { return true })
		if opened {
			require.Equal(t, 2, r.srv.Usage().Regions, "who has opened it may have passed it on")
		} else {
			require.Eventually(t, func() bool { r.dev.iterate(); return r.srv.Usage().Regions == 1 }, waitFor, tick)
		}
		require.True(t, r.live(victim))
		require.NoError(t, mem.Close())
	}
}

// TestHungUpAndGoingOn: a client that has hung up goes on writing into its queue, while something keeps its
// region. Nobody hears it, the worker sleeps all the same, and what it had is over when the kernel says so.
func TestHungUpAndGoingOn(t *testing.T) {
	r := newRig(t, 1, nil)
	r.srv.destroys = true
	fd, cookie := placeholder(t)
	defer unix.Close(fd)
	_, _ = r.held(cookie)
	// A second one with the same cookie takes the claim over: this one ends with the client.
	_, _ = r.held(cookie)
	posted := shm.Command{Op: shm.OpActOpenReq, Region: uint16(r.reg.id), Slot: r.mem.SlotLoans[0].Take()}
	p := &r.mem.Slots[posted.Slot]
	p.ReqFamily, p.ReqLocalPort, p.ReqRemotePort, p.ReqRemoteAddr = 4, 99, 80, wire.AddrFrom4([4]byte{10, 7, 0, 2})
	r.srv.clientGone(r.c)
	held := func() (n int) {
		for _, s := range r.srv.Sockets() {
			if !s.Detached {
				n++
			}
		}
		return n
	}
	require.Equal(t, 1, held(), "the one with the claim")
	require.True(t, r.mem.CmdQs[0].Post(posted, nil))
	require.True(t, r.dev.up.Sleep(0))
	r.dev.up.Awake(0)
	r.dev.iterate()
	require.Equal(t, 1, held())
	r.srv.socketGone(cookie)
	r.dev.finishAll()
	require.Eventually(t, func() bool { r.dev.iterate(); return r.srv.Usage().Regions == 0 }, waitFor, tick)
}

// TestEstablishedWhileListening: the device takes connections of a listener before it has said so to whoever
// listens. They wait in its queue.
func TestEstablishedWhileListening(t *testing.T) {
	r := newRig(t, 2, nil)
	var conns []*fakeConn
	r.dev.onListen = func() {
		for w := range 2 {
			flow := wire.Flow{Local: wire.AddrFrom(fakePrefix.Addr()), LocalPort: 8080,
				Remote: wire.AddrFrom4([4]byte{10, 7, 0, 9}), RemotePort: uint16(w + 1)}
			tid, c := r.dev.add(flow)
			conns = append(conns, c)
			for id := range r.dev.listens {
				var ok bool
				if c.sock, ok = r.dev.up.PassEstablish(w, id, tid, &flow); !ok {
					r.dev.SendRST(tid)
				}
			}
		}
	}
	lslot, _ := r.listen(0, 8080)
	p := &r.mem.Slots[lslot]
	r.settle(func() bool { return atomic.LoadUint64(&p.RxProd) == 2*shm.SizeofAccept })
	for _, c := range conns {
		require.True(t, r.live(c))
	}
	r.check()
}

// TestLastWords: a process has said goodbye and writes once more to a socket that is another's, while a child
// of its lives on with its region. That is no offence, and the child keeps what it has.
func TestLastWords(t *testing.T) {
	r := newRig(t, 1, nil)
	slot, c, _ := r.connect(0)
	atomic.StoreUint32(&r.mem.Slots[slot].Shared, 1)
	other, _ := r.newClient()
	child, _ := r.newClient()
	require.Zero(t, r.c.attach(&shm.Msg{Token: other.own.token}))
	require.Zero(t, child.attach(&shm.Msg{Token: r.reg.token}))
	require.Zero(t, child.attach(&shm.Msg{Token: other.own.token}))
	r.l.workers[0].share(r.reg).sock(slot).owner = child.own // it has used it
	r.c.bye.Store(true)
	r.srv.clientGone(r.c)
	require.True(t, r.mem.CmdQs[0].Post(shm.Command{Op: shm.OpTxData, Region: uint16(other.own.id), Slot: 1}, nil))
	r.write(slot, 10, 1)
	r.post(0, shm.OpTxData, slot, 0) // the child's: it is heard
	r.dev.iterate()
	require.EqualValues(t, 10, c.end)
	require.Zero(t, r.srv.Counters().Violations)
	require.False(t, r.mem.Detached())
	require.True(t, r.live(c))
}

// TestCloseBeforeGoodbye: a process closes a socket, says goodbye and ends. The kernel's word that the socket has
// gone may be faster than the worker that is to hear of the close; the peer sees a close all the same.
func TestCloseBeforeGoodbye(t *testing.T) {
	r := newRig(t, 1, nil)
	r.srv.destroys = true
	fd, cookie := placeholder(t)
	defer unix.Close(fd)
	slot, c := r.held(cookie)
	require.True(t, r.mem.CmdQs[0].Post(shm.Command{Op: shm.OpCloseConReq, Region: uint16(r.reg.id), Slot: slot}, nil))
	// So far its end has come when the kernel's word does.
	r.c.bye.Store(true)
	r.c.ended.Store(true)
	r.reg.orphan.Store(true)
	r.srv.socketGone(cookie)
	r.c.ended.Store(false)
	r.dev.mu.Lock()
	defer r.dev.mu.Unlock()
	require.Zero(t, r.dev.rsts)
	require.True(t, c.fin)
	require.True(t, c.released)
}
