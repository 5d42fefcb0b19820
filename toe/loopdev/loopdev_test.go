package loopdev

import (
	"bytes"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
	"opentoe/toe"
)

var (
	addr = netip.MustParsePrefix("10.99.0.1/24")
	us   = wire.AddrFrom(addr.Addr())
)

// upper is an upper layer whose sockets are byte slices. The worker owns it; tests use on.
type upper struct {
	socks  map[toe.SockID]*sock
	last   toe.SockID
	refuse bool
	full   bool
	polls  atomic.Int64
	sleeps atomic.Int64
}

type sock struct {
	tid              toe.TID
	in, out          []byte
	acked            uint64
	est, eof, passed bool
	ended            bool
	end              toe.End
	events           []toe.EventKind
}

func (u *upper) Poll(int, vtime.Time) int { u.polls.Add(1); return 0 }
func (u *upper) Sleep(int) bool           { u.sleeps.Add(1); return true }
func (u *upper) Awake(int)                {}
func (u *upper) add() (toe.SockID, *sock) {
	u.last++
	s := &sock{}
	u.socks[u.last] = s
	return u.last, s
}
func (u *upper) Admits(int, toe.ListenID, int) toe.Reason { return toe.Offloaded }

func (u *upper) PassEstablish(_ int, _ toe.ListenID, tid toe.TID, _ *wire.Flow) (toe.SockID, bool) {
	if u.refuse {
		return 0, false
	}
	id, s := u.add()
	s.tid, s.est, s.passed = tid, true, true
	return id, true
}
func (u *upper) Reserve(toe.SockID, uint32) bool { return !u.full }
func (u *upper) Place(id toe.SockID, pos uint64, b []byte) {
	s := u.socks[id]
	if pos != uint64(len(s.in)) {
		panic("placed out of order")
	}
	s.in = append(s.in, b...)
}
func (u *upper) Fetch(id toe.SockID, pos uint64, b []byte) bool {
	return copy(b, u.socks[id].out[pos:]) == len(b)
}
func (u *upper) Notify(id toe.SockID, e toe.Event) {
	s := u.socks[id]
	if s.ended {
		panic("an upcall after the last")
	}
	s.events = append(s.events, e.Kind)
	switch e.Kind {
	case toe.EventEstablished:
		s.est = true
	case toe.EventReadable:
		if e.Pos != uint64(len(s.in)) {
			panic("readable but not placed")
		}
	case toe.EventAcked:
		s.acked = e.Pos
	case toe.EventPeerClose:
		s.eof = true
	case toe.EventFinished:
		s.ended, s.end = true, e.End
	}
}

// bench is a device with its upper layer.
type bench struct {
	t *testing.T
	d *Device
	u *upper
}

func start(t *testing.T, rcvBuf uint32) *bench {
	d, err := New(Config{Name: "toe0", Prefixes: []netip.Prefix{addr}, RcvBuf: rcvBuf})
	require.NoError(t, err)
	b := &bench{t, d, &upper{socks: map[toe.SockID]*sock{}}}
	require.NoError(t, d.Attach(b.u))
	require.ErrorIs(t, d.Attach(b.u), toe.ErrBusy)
	t.Cleanup(func() { _ = d.Detach() })
	return b
}

// on runs f as the worker; the effects have come when the next on begins, or the one after for what
// takes another iteration.
func (b *bench) on(f func()) {
	require.NoError(b.t, b.d.Do(0, func(vtime.Time) { f() }))
}

// settle lets the worker finish what it has begun.
func (b *bench) settle() {
	for {
		idle := false
		b.on(func() { idle = len(b.d.workers[0].active) == 0 })
		if idle {
			return
		}
	}
}

func (b *bench) listen(backlog int) {
	require.Equal(b.t, toe.Offloaded, b.d.ListenStart(&toe.Listener{ID: 1, Addr: us, Port: 80, Backlog: backlog}))
}

func (b *bench) connect(port uint16) *sock {
	var s *sock
	b.on(func() {
		var id toe.SockID
		id, s = b.u.add()
		tid, reason := b.d.Connect(0, &toe.ConnectRequest{
			Sock: id, Flow: wire.Flow{Remote: us, RemotePort: 80, LocalPort: port},
		})
		require.Equal(b.t, toe.Offloaded, reason)
		s.tid = tid
	})
	return s
}

// passed returns the last socket that came by a listener.
func (b *bench) passed() (p *sock) {
	b.on(func() {
		for id := b.u.last; id > 0 && p == nil; id-- {
			if b.u.socks[id].passed {
				p = b.u.socks[id]
			}
		}
	})
	return p
}

func (b *bench) pair() (x, y *sock) {
	x = b.connect(uint16(1000 + b.u.last))
	b.settle()
	require.True(b.t, x.est)
	return x, b.passed()
}

func TestData(t *testing.T) {
	b := start(t, 0)
	b.listen(4)
	x, y := b.pair()
	text := bytes.Repeat([]byte("0123456789"), 30000)
	b.on(func() {
		x.out = text
		b.d.Output(x.tid, uint64(len(text)), false)
	})
	b.settle()
	require.Len(t, y.in, 256<<10, "the reader's limit")
	for len(y.in) < len(text) {
		b.on(func() { b.d.Received(y.tid, uint64(len(y.in))) })
		b.settle()
	}
	require.Equal(t, text, y.in)
	require.EqualValues(t, len(text), x.acked)

	b.on(func() { b.u.full = true; x.out = append(x.out, 'x'); b.d.Output(x.tid, uint64(len(x.out)), false) })
	b.on(func() { require.Len(t, y.in, len(text)) })
	b.on(func() { b.u.full = false })
	b.settle()
	require.Len(t, y.in, len(text)+1)
}

func TestClose(t *testing.T) {
	b := start(t, 0)
	b.listen(10)
	t.Run("both ways", func(t *testing.T) {
		x, y := b.pair()
		b.on(func() { x.out = []byte("bye"); b.d.Output(x.tid, 3, false); b.d.SendFIN(x.tid) })
		b.settle()
		require.True(t, y.eof)
		require.Equal(t, "bye", string(y.in))
		require.False(t, x.ended)
		b.on(func() { y.out = []byte("you too"); b.d.Output(y.tid, 7, false); b.d.SendFIN(y.tid) })
		b.settle()
		require.Equal(t, "you too", string(x.in))
		require.True(t, x.ended && y.ended && x.end == toe.EndClosed && y.end == toe.EndClosed)
	})
	t.Run("reset", func(t *testing.T) {
		x, y := b.pair()
		b.on(func() { b.d.SendRST(x.tid) })
		b.settle()
		require.True(t, y.ended)
		require.Equal(t, toe.EndReset, y.end)
		require.False(t, x.ended, "who resets hears no more")
	})
	t.Run("data after release", func(t *testing.T) {
		x, y := b.pair()
		b.on(func() { b.d.SendFIN(x.tid); b.d.Release(x.tid) })
		b.settle()
		require.True(t, x.ended && y.eof && !y.ended)
		b.on(func() { y.out = []byte("late"); b.d.Output(y.tid, 4, false) })
		b.settle()
		require.Equal(t, toe.EndReset, y.end)
	})
	t.Run("close after release", func(t *testing.T) {
		x, y := b.pair()
		b.on(func() { b.d.SendFIN(x.tid); b.d.Release(x.tid) })
		b.settle()
		b.on(func() { b.d.SendFIN(y.tid); b.d.Release(y.tid) })
		b.settle()
		require.True(t, y.ended)
		require.Equal(t, toe.EndClosed, y.end)
	})
	b.on(func() { require.Empty(t, b.d.workers[0].conns); require.Empty(t, b.d.workers[0].flows) })
}

func TestOpen(t *testing.T) {
	b := start(t, 0)
	x := b.connect(5)
	b.settle()
	require.Equal(t, toe.EndRefused, x.end, "nobody listens")
	b.listen(1)
	require.Equal(t, toe.ReasonInUse, b.d.ListenStart(&toe.Listener{ID: 2, Addr: us, Port: 80}))
	require.Equal(t, toe.ReasonLocalAddr, b.d.ListenStart(&toe.Listener{ID: 3, Addr: wire.AddrFrom4([4]byte{1, 2, 3, 4}), Port: 81}))

	b.pair()
	b.pair()
	z := b.connect(99)
	b.on(func() {})
	b.on(func() { require.False(t, z.est, "the backlog is full") })
	b.on(func() { b.d.Accepted(0, 1, 1) })
	b.settle()
	require.True(t, z.est)

	b.on(func() {
		_, reason := b.d.Connect(0, &toe.ConnectRequest{Flow: wire.Flow{Remote: us, RemotePort: 80, LocalPort: 99}})
		require.Equal(t, toe.ReasonInUse, reason)
		_, reason = b.d.Connect(0, &toe.ConnectRequest{Flow: wire.Flow{Remote: wire.AddrFrom4([4]byte{8, 8, 8, 8}), RemotePort: 80}})
		require.Equal(t, toe.ReasonNoRoute, reason)
		b.u.refuse = true
		b.d.Accepted(0, 1, 5)
	})
	r := b.connect(100)
	b.settle()
	require.Equal(t, toe.EndReset, r.end)
	b.d.ListenStop(1)
	s := b.connect(101)
	b.settle()
	require.Equal(t, toe.EndRefused, s.end)
}

func TestDetachResets(t *testing.T) {
	b := start(t, 0)
	b.listen(4)
	x, y := b.pair()
	require.NoError(t, b.d.Detach())
	require.True(t, x.ended && y.ended)
	require.Equal(t, toe.EndDeviceGone, x.end)
	require.ErrorIs(t, b.d.Detach(), toe.ErrDetached)
	require.ErrorIs(t, b.d.Do(0, func(vtime.Time) {}), toe.ErrDetached)
	require.ErrorIs(t, b.d.Post(0, func(vtime.Time) {}), toe.ErrDetached)
	require.NoError(t, b.d.Attach(b.u), "and again")
}

// TestSleepsAndWakes: an idle worker stops polling; an edge on a wake descriptor starts it.
func TestSleepsAndWakes(t *testing.T) {
	b := start(t, 0)
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	require.NoError(t, err)
	defer unix.Close(fd)
	require.NoError(t, b.d.AddWakeFD(0, fd))
	for range 3 {
		sleeps := b.u.sleeps.Load()
		_, err := unix.Write(fd, []byte{1, 0, 0, 0, 0, 0, 0, 0})
		require.NoError(t, err)
		require.Eventually(t, func() bool { return b.u.sleeps.Load() > sleeps }, waitFor, tick)
	}
	require.NoError(t, b.d.RemoveWakeFD(0, fd))
	require.Error(t, b.d.RemoveWakeFD(0, fd))
}
