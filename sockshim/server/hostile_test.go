package server

import (
	"encoding/binary"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"opentoe/sockshim/shm"
	"opentoe/tcpoffload/vtime"
	"opentoe/toe"
)

func eventFD(t testing.TB) int {
	t.Helper()
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	require.NoError(t, err)
	return fd
}

// TestViolations breaks the contract in each way; each is counted by its name, ends the client's
// region and leaves another client alone.
func TestViolations(t *testing.T) {
	const other = 250 // a slot that exists and is not in use
	cases := []struct {
		name string
		want violation
		do   func(r *rig, slot uint32, c *fakeConn)
	}{
		{"unknown command", violationOp, func(r *rig, slot uint32, _ *fakeConn) { r.post(0, 99, slot, 0) }},
		{"command zero", violationOp, func(r *rig, slot uint32, _ *fakeConn) { r.post(0, 0, slot, 0) }},
		{"slot out of range", violationSlot, func(r *rig, _ uint32, _ *fakeConn) { r.post(0, shm.OpTxData, 1<<20, 0) }},
		{"slot zero", violationSlot, func(r *rig, _ uint32, _ *fakeConn) { r.post(0, shm.OpTxData, 0, 0) }},
		{"another region", violationRegion, func(r *rig, slot uint32, _ *fakeConn) {
			r.mem.CmdQs[0].Post(shm.Command{Op: shm.OpTxData, Region: uint16(r.reg.id + 1), Slot: slot}, nil)
		}},
		{"unknown option", violationOption, func(r *rig, slot uint32, _ *fakeConn) {
			r.post(0, shm.OpSetTCBField, slot, 77)
		}},
		{"more borders than fit", violationCursor, func(r *rig, slot uint32, _ *fakeConn) {
			r.mem.Slots[slot].EorProd = shm.EORs + 1
			r.write(slot, 1, 'x')
			r.post(0, shm.OpTxData, slot, 0)
		}},
		{"tx_prod beyond the limit", violationCursor, func(r *rig, slot uint32, _ *fakeConn) {
			r.mem.Slots[slot].TxProd = txLimitInitial + 1
			r.post(0, shm.OpTxData, slot, 0)
		}},
		{"tx_prod moves back", violationCursor, func(r *rig, slot uint32, _ *fakeConn) {
			r.write(slot, 100, 1)
			r.post(0, shm.OpTxData, slot, 0)
			r.dev.iterate()
			r.mem.Slots[slot].TxProd = 99
			r.post(0, shm.OpTxData, slot, 0)
		}},
		{"rx_cons beyond rx_prod", violationCursor, func(r *rig, slot uint32, c *fakeConn) {
			r.deliver(c, 100)
			r.mem.Slots[slot].RxCons = 101
			r.post(0, shm.OpRxDataAck, slot, 0)
		}},
		{"rx_cons moves back", violationCursor, func(r *rig, slot uint32, c *fakeConn) {
			r.deliver(c, 100)
			r.mem.Slots[slot].RxCons = 100
			r.post(0, shm.OpRxDataAck, slot, 0)
			r.dev.iterate()
			r.mem.Slots[slot].RxCons = 50
			r.post(0, shm.OpRxDataAck, slot, 0)
		}},
		{"a chunk that was not lent", violationChunk, func(r *rig, slot uint32, _ *fakeConn) {
			p := &r.mem.Slots[slot]
			p.TxEntry[0], p.TxProd = other, 10
			r.post(0, shm.OpTxData, slot, 0)
		}},
		{"a chunk that is no chunk", violationChunk, func(r *rig, slot uint32, _ *fakeConn) {
			p := &r.mem.Slots[slot]
			p.TxEntry[0], p.TxProd = 1<<27, 10
			r.post(0, shm.OpTxData, slot, 0)
		}},
		{"one chunk in two streams", violationChunk, func(r *rig, slot uint32, _ *fakeConn) {
			second, _, _ := r.connect(0)
			r.write(slot, 10, 1)
			r.post(0, shm.OpTxData, slot, 0)
			q := &r.mem.Slots[second]
			q.TxEntry[0], q.TxProd = r.mem.Slots[slot].TxEntry[0], 10
			r.post(0, shm.OpTxData, second, 0)
		}},
		{"a directory that was not lent", violationDirectory, func(r *rig, slot uint32, _ *fakeConn) {
			p := &r.mem.Slots[slot]
			p.TxDir, p.TxProd = shm.MakeDir(1, other), 10
			r.post(0, shm.OpTxData, slot, 0)
		}},
		{"a directory of level 9", violationDirectory, func(r *rig, slot uint32, _ *fakeConn) {
			p := &r.mem.Slots[slot]
			p.TxDir, p.TxProd = shm.MakeDir(9, 1), 10
			r.post(0, shm.OpTxData, slot, 0)
		}},
		{"an announced chunk vanishes", violationDirectory, func(r *rig, slot uint32, c *fakeConn) {
			r.write(slot, 10, 1)
			r.post(0, shm.OpTxData, slot, 0)
			r.dev.iterate()
			r.mem.Slots[slot].TxEntry[0] = 0
			_ = r.dev.Do(0, func(vtime.Time) { require.False(r.t, r.dev.up.Fetch(c.sock, 0, r.buf[:10])) })
		}},
		{"a receive entry is overwritten", violationDirectory, func(r *rig, slot uint32, c *fakeConn) {
			r.deliver(c, 10)
			r.mem.Slots[slot].RxEntry[0] = other
			r.deliver(c, 10)
		}},
		{"a loan's cursor runs ahead", violationLoan, func(r *rig, slot uint32, _ *fakeConn) {
			atomic.AddUint32(&r.mem.ChunkLoans[0].Cons, 5000)
			r.post(0, shm.OpTxCreditReq, slot, 0)
		}},
		{"the slot loan's cursor runs ahead", violationLoan, func(r *rig, slot uint32, _ *fakeConn) {
			atomic.AddUint32(&r.mem.SlotLoans[0].Cons, 5000)
			r.post(0, shm.OpTxCreditReq, slot, 0)
		}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, 1, nil)
			slot, c, _ := r.connect(0)
			bystander, _ := r.newClient()
			tc.do(r, slot, c)
			r.dev.iterate()
			r.dev.iterate()
			require.Eventually(t, r.mem.Detached, waitFor, tick)
			require.EqualValues(t, 1, r.srv.Counters().Violations[tc.want], "counted as %s", violationNames[tc.want])
			_ = r.dev.Do(0, func(vtime.Time) { require.Empty(t, r.dev.conns, "its connections are reset") })
			n, _, _, _, _ := r.hung.ReadMsgUnix(make([]byte, 1), nil)
			require.Zero(t, n, "it is hung up on")
			require.False(t, bystander.own.mem.Detached())
			_ = r.dev.Do(0, func(vtime.Time) { require.False(t, r.l.workers[0].share(bystander.own).dead) })
		})
	}
}

// FuzzCommand is a client that writes whatever it likes into its memory and its queues while a
// device goes on with its connections. Nothing may panic, and the accounts must be right.
func FuzzCommand(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15})
	f.Add([]byte("\x01\x04\x01\x00\x02\x90\x01\x05\x05\x05\x07\x07\x02\x00\x00\x80\x01"))
	for op := range byte(numOps + 1) {
		f.Add([]byte{0, 0, 1, op, 2, 1, op, 2, 3, 3, 4, 4, 5, 6, 6, 2, 140, 255, 255, 255, 1, op, 1})
	}
	r := newRig(f, 1, smallest)
	f.Fuzz(func(t *testing.T, in []byte) {
		was := *r
		defer func() { *r = was }()
		r.t = t
		r.c, r.hung = r.newClient()
		r.reg = r.c.own
		var err error
		r.mem, err = shm.Open(r.reg.fd)
		require.NoError(t, err)
		r.hostile(in)
		r.srv.clientGone(r.c)
		require.NoError(t, r.mem.Close())
		r.dev.finishAll()
		require.Eventually(t, func() bool {
			r.dev.iterate()
			r.srv.mu.Lock()
			defer r.srv.mu.Unlock()
			return len(r.srv.regions) == 1
		}, waitFor, 50*time.Microsecond)
		r.dev.order = r.dev.order[:0]
	})
}

// TestRandomClients is FuzzCommand with long inputs from fixed seeds.
func TestRandomClients(t *testing.T) {
	for seed := range 60 {
		in := make([]byte, 4000)
		_, _ = rand.NewChaCha8([32]byte{byte(seed)}).Read(in)
		hostile(t, in)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// smallest makes regions small, and their making quick.
func smallest(c *Config) { c.Slots, c.Memory = 16, minMemory }

// hostile plays the client that in describes.
func hostile(t testing.TB, in []byte) { newRig(t, 1, smallest).hostile(in) }

// hostile has the rig's client do what in describes.
func (r *rig) hostile(in []byte) {
	next := func() uint32 {
		if len(in) == 0 {
			return 0
		}
		b := in[0]
		in = in[1:]
		return uint32(b)
	}
	pick := func() *fakeConn {
		if len(r.dev.order) == 0 {
			return nil
		}
		return r.dev.conns[r.dev.order[int(next())%len(r.dev.order)]]
	}
	slots := uint32(r.mem.Geometry.Slots)
	for len(in) > 0 {
		r.dev.mu.Lock() // a detach may come on its own goroutine
		switch next() % 9 {
		case 0: // an honest open
			if n := r.mem.SlotLoans[0].Take(); n != 0 && n < slots && !r.mem.Detached() {
				p := &r.mem.Slots[n]
				p.ReqFamily, p.ReqLocalPort, p.ReqRemotePort = 4, uint16(n), 80
				p.ReqRemoteAddr[10], p.ReqRemoteAddr[11], p.ReqRemoteAddr[15] = 255, 255, 2
				r.command(shm.OpActOpenReq, n, 0)
			}
		case 1: // any command
			r.command(uint8(next()), next()%(slots+1), next())
		case 2: // any word of a slot
			p := &r.mem.Slots[1+next()%(slots-1)]
			words := []*uint64{&p.TxProd, &p.RxCons, &p.TxCons, &p.RxProd, &p.TxLimit, &p.EqMask, &p.EqPending, &p.ReqValue}
			*words[next()%uint32(len(words))] = uint64(next()) << (next() % 60)
		case 3: // any entry of a directory, and the references
			p := &r.mem.Slots[1+next()%(slots-1)]
			v := next() | next()<<(next()%25)
			switch k := next() % 36; {
			case k < 16:
				p.TxEntry[k] = v
			case k < 32:
				p.RxEntry[k-16] = v
			case k < 34:
				p.TxDir = v
			default:
				p.RxDir = v
			}
		case 4: // an honest write
			n := 1 + next()%(slots-1)
			p := &r.mem.Slots[n]
			if c := r.mem.ChunkLoans[0].Take(); c != 0 && c < uint32(r.mem.Chunks) {
				if e := r.mem.Entry(&p.TxEntry, p.TxDir, p.TxProd>>shm.ChunkShift); e != nil {
					*e = c
					p.TxProd += uint64(next())
					r.command(shm.OpTxData, n, 0)
				}
			}
		case 5: // the device receives
			if c := pick(); c != nil && c.est {
				r.deliverLocked(c, int(next())*64+1)
			}
		case 6: // the device sends and is acknowledged
			if c := pick(); c != nil && c.sent < c.end {
				n := min(c.end-c.sent, 1+uint64(next())*64)
				if r.dev.up.Fetch(c.sock, c.sent, r.buf[:n]) {
					c.sent += n
					r.dev.up.Notify(c.sock, toe.Event{Kind: toe.EventAcked, Pos: c.sent})
				}
			}
		case 7: // the device ends or establishes a connection
			c := pick()
			for tid, o := range r.dev.conns {
				if o != c {
					continue
				}
				if !c.est {
					c.est = true
					r.dev.up.Notify(c.sock, toe.Event{Kind: toe.EventEstablished, Flow: &c.flow})
				} else {
					r.dev.finish(tid, toe.End(next()%7))
				}
				break
			}
		case 8: // loans, queues and the header
			v := next() | next()<<24
			switch next() % 5 {
			case 0:
				r.mem.ChunkLoans[0].Cons = v
			case 1:
				r.mem.SlotLoans[0].Cons = v
			case 2:
				binary.NativeEndian.PutUint32(r.mem.Chunk(1 + v%uint32(r.mem.Chunks-1))[next()*4:], next())
			case 3:
				r.mem.CmdQs[0].Entry[v%shm.CmdEntries].Stamp = next()
			default:
				r.mem.Header.Nslots = v
			}
		}
		r.dev.up.Sleep(0)
		r.dev.up.Awake(0)
		r.dev.mu.Unlock()
		r.dev.iterate()
	}
	r.dev.iterate()
	r.dev.mu.Lock()
	r.check()
	r.dev.mu.Unlock()
}

// openDescriptors counts the process's open descriptors.
func openDescriptors(t testing.TB) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(list)
}

// TestHostileClientsLeaveNothing lets hostile clients come and go through the control socket, each with event
// queues, descriptors nobody asked for and an end without a word. What toed had open for them it closes.
func TestHostileClientsLeaveNothing(t *testing.T) {
	r := newRig(t, 1, smallest)
	r.serve()
	round := func(seed byte) {
		in := make([]byte, 400)
		_, _ = rand.NewChaCha8([32]byte{seed}).Read(in)
		conn := r.control()
		m, err := r.request(conn, helloMsg)
		require.NoError(t, err)
		require.Zero(t, m.Error)
		r.srv.mu.Lock()
		r.reg = r.srv.regions[m.RegionId]
		r.srv.mu.Unlock()
		old := r.mem
		r.mem, err = shm.Open(r.reg.fd)
		require.NoError(t, err)
		require.NoError(t, old.Close())
		for i, typ := range []uint32{shm.MsgEQAlloc, shm.MsgEQAlloc, shm.MsgEQFree, shm.MsgProbe, shm.MsgAttach, shm.MsgInfo, shm.MsgNoSlot, shm.MsgDetach, 99} {
			fd := eventFD(t)
			_, err := r.request(conn, shm.Msg{Type: typ, RegionId: m.RegionId, Eq: uint32(i) % 2}, fd)
			unix.Close(fd)
			require.NoError(t, err)
		}
		r.hostile(in)
		require.NoError(t, conn.Close())
		require.Eventually(t, func() bool {
			r.dev.iterate()
			r.srv.mu.Lock()
			defer r.srv.mu.Unlock()
			return len(r.srv.clients) == 1 && r.srv.regions[m.RegionId] == nil
		}, waitFor, tick)
	}
	round(0)
	before := openDescriptors(t)
	for seed := range byte(40) {
		round(1 + seed)
	}
	require.Eventually(t, func() bool { return openDescriptors(t) <= before }, waitFor, tick)
}

// command posts without waiting for room: the fuzzer may have broken the queue.
func (r *rig) command(op uint8, slot, arg uint32) {
	r.mem.CmdQs[0].Post(shm.Command{Op: op, Region: uint16(r.reg.id), Slot: slot, Arg: arg},
		func() bool { return false })
}

// jam makes an event queue whose eventfd is blocking and full, and octets arrive for a socket that
// waits on it: the worker's next write to the eventfd blocks. The answer names the queue.
func (r *rig) jam() shm.Msg {
	slot, c, _ := r.connect(0)
	fd := eventFD(r.t)
	mine, err := unix.Dup(fd)
	require.NoError(r.t, err)
	r.t.Cleanup(func() { unix.Close(mine) })
	m := shm.Msg{RegionId: r.reg.id}
	require.Zero(r.t, r.c.eqAlloc(&m, []int{fd}))
	_, err = unix.Write(mine, binary.NativeEndian.AppendUint64(nil, 1<<64-2))
	require.NoError(r.t, err)
	require.NoError(r.t, unix.SetNonblock(mine, false))
	atomic.StoreUint64(&r.mem.Slots[slot].EqMask, 1<<m.Eq)
	atomic.StoreUint32(&r.mem.EQs[m.Eq].Sleeping, 1)
	r.deliver(c, 100)
	return m
}

// TestStuckEventFD: a client makes its eventfd blocking and full; the worker gets free again and
// the client's region ends.
func TestStuckEventFD(t *testing.T) {
	r := newRig(t, 1, nil)
	r.jam()
	r.dev.iterate() // returns, though its write blocks
	require.Eventually(t, r.mem.Detached, waitFor, tick)
	require.EqualValues(t, 1, r.srv.Counters().Violations[violationEvent])
	require.Empty(t, r.dev.conns)
}

func TestNotAnEventFD(t *testing.T) {
	r := newRig(t, 1, nil)
	var p [2]int
	require.NoError(t, unix.Pipe2(p[:], unix.O_CLOEXEC))
	defer unix.Close(p[0])
	defer unix.Close(p[1])
	require.Equal(t, unix.EINVAL, r.c.eqAlloc(&shm.Msg{RegionId: r.reg.id}, []int{p[1]}))
}
