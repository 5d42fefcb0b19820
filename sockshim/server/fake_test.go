package server

import (
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"opentoe/sockshim/shm"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
	"opentoe/toe"
)

// fakeDev is a device whose worker is the test: iterate is one turn of its loop. It keeps the
// device's side of the contract and remembers what it was told.
type fakeDev struct {
	toe.BaseDevice
	mu      sync.Mutex // held while "the worker" runs
	up      toe.UpperLayer
	postMu  sync.Mutex
	posted  []func(vtime.Time)
	workers int
	steer   int

	conns    map[toe.TID]*fakeConn
	order    []toe.TID
	lastTID  toe.TID
	accepted int
	rsts     int
	listens  map[toe.ListenID]*toe.Listener
	lastOpt  toe.SocketOptions // of the last Connect
	options  []fakeOption
	urgent   []uint64 // ends of OutputUrgent
	borders  []uint64 // ends of OutputBorder
	ends     []uint64 // of Output
	synRoom  uint32   // what Connect answers
	onListen func()   // called by ListenStart, may be nil
}

type fakeConn struct {
	sock               toe.SockID
	flow               wire.Flow
	end, sent          uint64 // send stream
	placed, read       uint64 // receive stream; placed is also readable
	fin, released, est bool
}

func newFake(workers int) *fakeDev {
	return &fakeDev{
		workers: workers, conns: map[toe.TID]*fakeConn{}, listens: map[toe.ListenID]*toe.Listener{},
		order: make([]toe.TID, 0, 1<<16),
	}
}

var fakePrefix = netip.MustParsePrefix("10.7.0.1/24")

func (d *fakeDev) Name() string { return "fake0" }
func (d *fakeDev) Info() toe.Info {
	return toe.Info{Type: "fake", Workers: d.workers, Ports: []toe.PortInfo{{MTU: 1500, Prefixes: []netip.Prefix{fakePrefix}}, {MTU: 1500, Kernel: true, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.8.0.1/24")}}}}
}
func (d *fakeDev) Attach(up toe.UpperLayer) error { d.up = up; return nil }
func (d *fakeDev) Detach() error                  { return nil }
func (d *fakeDev) Do(_ int, f func(vtime.Time)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	f(0)
	return nil
}
func (d *fakeDev) Post(_ int, f func(vtime.Time)) error {
	d.postMu.Lock()
	defer d.postMu.Unlock()
	d.posted = append(d.posted, f)
	return nil
}
func (d *fakeDev) AddWakeFD(int, int) error                  { return nil }
func (d *fakeDev) RemoveWakeFD(int, int) error               { return nil }
func (d *fakeDev) CanOffload(*toe.ConnectRequest) toe.Reason { return toe.Offloaded }
func (d *fakeDev) SteerConnect(*wire.Flow) int               { return d.steer }
func (d *fakeDev) Accepted(_ int, _ toe.ListenID, n int)     { d.accepted += n }
func (d *fakeDev) SetOption(t toe.TID, o toe.Option, v int64) error {
	d.options = append(d.options, fakeOption{tid: t, o: o, value: v})
	return nil
}
func (d *fakeDev) ListenOption(id toe.ListenID, o toe.Option, v int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.options = append(d.options, fakeOption{listen: id, o: o, value: v})
	return nil
}
func (d *fakeDev) OutputUrgent(t toe.TID, end uint64) {
	d.urgent = append(d.urgent, end)
	d.Output(t, end, false)
}
func (d *fakeDev) OutputBorder(t toe.TID, end uint64) {
	d.borders = append(d.borders, end)
	d.Output(t, end, false)
}
func (d *fakeDev) ConnInfo(t toe.TID, info *toe.ConnInfo) bool {
	c := d.conns[t]
	if c == nil {
		return false
	}
	*info = toe.ConnInfo{Flow: c.flow, Sock: c.sock, State: "ESTABLISHED"}
	if c.fin {
		info.State = "FIN-WAIT-1"
	}
	return true
}
func (d *fakeDev) ListenStart(l *toe.Listener) toe.Reason {
	d.mu.Lock()
	defer d.mu.Unlock()
	k := *l
	d.listens[l.ID] = &k
	if d.onListen != nil {
		d.onListen()
	}
	return toe.Offloaded
}
func (d *fakeDev) ListenStop(id toe.ListenID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.listens, id)
}
func (d *fakeDev) add(flow wire.Flow) (toe.TID, *fakeConn) {
	d.lastTID++
	c := &fakeConn{flow: flow}
	d.conns[d.lastTID] = c
	d.order = append(d.order, d.lastTID)
	return d.lastTID, c
}
func (d *fakeDev) Connect(_ int, r *toe.ConnectRequest) (toe.TID, toe.Reason) {
	flow := r.Flow
	flow.Local = wire.AddrFrom(fakePrefix.Addr())
	tid, c := d.add(flow)
	c.sock = r.Sock
	d.lastOpt = r.Opt
	if r.Opt.FastOpenHold {
		r.SynRoom = d.synRoom
	}
	return tid, toe.Offloaded
}
func (d *fakeDev) Output(t toe.TID, end uint64, _ bool) {
	if c := d.conns[t]; c != nil {
		if end < c.end {
			panic("output moved back")
		}
		c.end = end
		d.ends = append(d.ends, end)
	}
}
func (d *fakeDev) Received(t toe.TID, pos uint64) {
	if c := d.conns[t]; c != nil {
		if pos < c.read || pos > c.placed {
			panic("received out of range")
		}
		c.read = pos
	}
}
func (d *fakeDev) SendFIN(t toe.TID) {
	if c := d.conns[t]; c != nil {
		c.fin = true
	}
}
func (d *fakeDev) SendRST(t toe.TID) { d.rsts++; delete(d.conns, t) }
func (d *fakeDev) Release(t toe.TID) {
	if c := d.conns[t]; c != nil {
		c.released = true
	}
}

// iterate runs what was posted and polls the workers.
func (d *fakeDev) iterate() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.postMu.Lock()
	list := d.posted
	d.posted = nil
	d.postMu.Unlock()
	for _, f := range list {
		f(0)
	}
	n := len(list)
	for w := range d.workers {
		n += d.up.Poll(w, 0)
	}
	return n
}

// finishAll ends every connection in order, as the worker.
func (d *fakeDev) finishAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for tid := range d.conns {
		d.finish(tid, toe.EndClosed)
	}
}

// finish ends a connection.
func (d *fakeDev) finish(t toe.TID, end toe.End) {
	c := d.conns[t]
	delete(d.conns, t)
	d.up.Notify(c.sock, toe.Event{Kind: toe.EventFinished, End: end})
}

// rig is a server over a fakeDev with one client, whose side the test plays by hand.
type rig struct {
	t    testing.TB
	srv  *Server
	dev  *fakeDev
	l    *layer
	c    *client
	reg  *region
	mem  *shm.Region // the client's mapping
	buf  []byte
	hung *net.UnixConn // the client's end of the control connection
}

func newRig(t testing.TB, workers int, edit func(*Config)) *rig {
	t.Helper()
	dev := newFake(workers)
	reg := toe.NewRegistry()
	require.NoError(t, reg.Register(dev))
	cfg := Config{
		Dir: t.TempDir(), Registry: reg, Slots: 256, Memory: 4 << 20,
		Log: slog.New(slog.DiscardHandler),
	}
	if edit != nil {
		edit(&cfg)
	}
	srv, err := New(cfg)
	require.NoError(t, err)
	require.NoError(t, reg.RegisterSocketLayer(srv))
	require.NoError(t, reg.Activate("fake0"))
	r := &rig{t: t, srv: srv, dev: dev, l: srv.layer, buf: make([]byte, 64<<10)}
	r.c, r.hung = r.newClient()
	r.reg = r.c.own
	r.mem, err = shm.Open(r.reg.fd)
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = r.mem.Close()
		require.NoError(t, reg.Deactivate("fake0"))
		require.NoError(t, srv.Close())
	})
	return r
}

// newClient says HELLO as a client whose control connection nobody serves.
func (r *rig) newClient() (*client, *net.UnixConn) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	require.NoError(r.t, err)
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "control")
		conn, err := net.FileConn(f)
		require.NoError(r.t, err)
		_ = f.Close()
		ends[i] = conn.(*net.UnixConn)
		r.t.Cleanup(func() { _ = conn.Close() })
	}
	c := &client{srv: r.srv, conn: ends[0]}
	require.NoError(r.t, c.readCred())
	r.srv.mu.Lock()
	r.srv.clients[c] = struct{}{}
	r.srv.mu.Unlock()
	_, errno := c.hello(&shm.Msg{Type: shm.MsgHello, Magic: shm.Magic, Abi: shm.ABI})
	require.Zero(r.t, errno)
	r.t.Cleanup(func() {
		if !c.ended.Load() {
			r.srv.clientGone(c) // as the goroutine that would serve it does
		}
	})
	return c, ends[1]
}

func (r *rig) post(w int, op uint8, slot, arg uint32) {
	ok := r.mem.CmdQs[w].Post(shm.Command{Op: op, Region: uint16(r.reg.id), Slot: slot, Arg: arg},
		func() bool { r.dev.iterate(); return true })
	require.True(r.t, ok)
}

// connect opens a connection and has the device establish it.
func (r *rig) connect(w int) (slot uint32, c *fakeConn, tid toe.TID) {
	slot = r.mem.SlotLoans[w].Take()
	require.NotZero(r.t, slot)
	p := &r.mem.Slots[slot]
	p.ReqFamily, p.ReqLocalPort, p.ReqRemotePort = 4, uint16(1024+slot), 80
	p.ReqRemoteAddr = wire.AddrFrom4([4]byte{10, 7, 0, 2})
	atomic.StoreUint32(&p.State, shm.SlotOpening)
	r.post(w, shm.OpActOpenReq, slot, 0)
	r.dev.iterate()
	require.EqualValues(r.t, shm.SlotSynSent, atomic.LoadUint32(&p.State))
	tid = r.dev.lastTID
	c = r.dev.conns[tid]
	c.est = true
	r.dev.up.Notify(c.sock, toe.Event{Kind: toe.EventEstablished, Flow: &c.flow})
	require.EqualValues(r.t, shm.SlotEstablished, atomic.LoadUint32(&p.State))
	return slot, c, tid
}

// write does what a client does to write n octets of the value v.
func (r *rig) write(slot uint32, n int, v byte) {
	p := &r.mem.Slots[slot]
	for n > 0 {
		i, off := p.TxProd>>shm.ChunkShift, int(p.TxProd%shm.ChunkBytes)
		e := r.mem.Entry(&p.TxEntry, p.TxDir, i)
		c := atomic.LoadUint32(e)
		if off == 0 || c == 0 {
			c = r.mem.ChunkLoans[p.Worker].Take()
			if c == 0 {
				panic("loan is empty")
			}
			atomic.StoreUint32(e, c)
		}
		k := min(n, shm.ChunkBytes-off)
		b := r.mem.Chunk(c)[off:][:k]
		b[0] = v
		for j := 1; j < k; j *= 2 {
			copy(b[j:], b[:j])
		}
		n -= k
		atomic.StoreUint64(&p.TxProd, p.TxProd+uint64(k))
	}
}

// deliver has the device place n octets at the end of the receive stream and announce them.
func (r *rig) deliver(c *fakeConn, n int) bool {
	r.dev.mu.Lock()
	defer r.dev.mu.Unlock()
	return r.deliverLocked(c, n)
}

// deliverLocked is deliver for the worker itself.
func (r *rig) deliverLocked(c *fakeConn, n int) bool {
	if !r.dev.up.Reserve(c.sock, uint32(n)) {
		return false
	}
	r.dev.up.Place(c.sock, c.placed, r.buf[:n])
	c.placed += uint64(n)
	r.dev.up.Notify(c.sock, toe.Event{Kind: toe.EventReadable, Pos: c.placed})
	return true
}

// check verifies the accounts of every share: each chunk and slot is in exactly one place.
func (r *rig) check() {
	for _, w := range r.l.workers {
		for _, sh := range w.active {
			free := 0
			for v := sh.slotBase; sh.chunks.Has(v - sh.slotBase + chunkBase(sh)); v++ {
				if sh.chunks.Use(v-sh.slotBase+chunkBase(sh)) == shm.Free {
					free++
				}
			}
			require.Equal(r.t, sh.chunks.Avail(), free)
			busy := 0
			for i := range sh.socks {
				s := &sh.socks[i]
				if s.state >= sockListening {
					busy++
				}
				require.LessOrEqual(r.t, s.txCons, s.txProd)
				require.LessOrEqual(r.t, s.rxCons, s.rxEnd)
			}
			require.Equal(r.t, sh.busy, busy)
		}
	}
}

func chunkBase(sh *share) uint32 {
	return 1 + uint32(sh.w.id)*uint32(sh.chunks.Len())
}
