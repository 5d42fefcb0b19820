package softdev

import (
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"opentoe/ports"
	"opentoe/tcpoffload"
	"opentoe/tcpoffload/vtime"
	"opentoe/toe"
)

// threads is a pair with real worker threads. The fakeUppers belong to the workers: tests look at
// them by Do.
type threads struct{ *pair }

// wakingUpper counts how often its worker wakes.
type wakingUpper struct {
	*fakeUpper
	awake atomic.Int32
}

func (u *wakingUpper) Awake(int) { u.awake.Add(1) }

func newThreads(t *testing.T, mode PollMode, events bool) *threads {
	p := &pair{t: t}
	th := &threads{p}
	p.q[0], p.q[1] = newMemWire(t, 512, events)
	for i := range 2 {
		cfg := Config{
			Name: "toe0", Ports: []PortQueues{{Port: testPort(t, i, false), Queues: []ports.Queue{p.q[i]}}},
			MaxConns: 64, MaxListeners: 4, Tunables: tcpoffload.DefaultTunables(), Poll: mode,
		}
		if events {
			cfg.Ports[0].WaitFDs = [][]int{{p.q[i].fd}}
		}
		d, err := New(cfg)
		require.NoError(t, err)
		p.dev[i], p.w[i] = d, d.workers[0]
		p.up[i] = &fakeUpper{dev: d, rcvbuf: 64 << 10, sndbuf: 256 << 10}
		require.NoError(t, d.Attach(&wakingUpper{fakeUpper: p.up[i]}))
		t.Cleanup(func() {
			if err := d.Detach(); err != nil {
				require.ErrorIs(t, err, toe.ErrDetached)
			}
			require.NoError(t, d.Close())
		})
	}
	return th
}

// on runs f on end i's worker.
func (th *threads) on(i int, f func()) {
	th.t.Helper()
	require.NoError(th.t, th.dev[i].Do(0, func(vtime.Time) { f() }))
}

// wait waits until done, which runs on end i's worker, is true.
func (th *threads) wait(i int, done func() bool) {
	th.t.Helper()
	require.Eventually(th.t, func() (ok bool) {
		th.on(i, func() { ok = done() })
		return ok
	}, time.Minute, time.Millisecond)
}

func TestThreads(t *testing.T) {
	for _, c := range []struct {
		name   string
		mode   PollMode
		events bool
	}{{"adaptive", Adaptive, true}, {"adaptive, port without events", Adaptive, false}, {"busy", Busy, true}} {
		t.Run(c.name, func(t *testing.T) {
			th := newThreads(t, c.mode, c.events)
			require.Equal(t, toe.Offloaded, th.dev[1].ListenStart(&toe.Listener{ID: 7, Port: 80, Backlog: 4, Opt: toe.SocketOptions{RcvBuf: 64 << 10}}))
			var client *fakeSock
			th.on(1, func() { th.up[1].total = 5 << 20 })
			th.on(0, func() { client = th.connect(0, netip.Addr{}, addr4[1], 1<<20) })
			th.wait(0, func() bool { return client.read == 5<<20 && client.acked == 1<<20 })
			th.on(0, func() { client.closed = true; th.dev[0].SendFIN(client.tid) })
			th.wait(0, func() bool { return client.finished })
			th.wait(1, func() bool { return th.up[1].socks[0].finished })
			require.Zero(t, client.wrong+th.up[1].socks[0].wrong)

			s, err := th.dev[0].Snapshot(0)
			require.NoError(t, err)
			require.EqualValues(t, 1, s.MIB.ActiveOpens)
			require.NotZero(t, s.Busy)
			if c.mode == Busy {
				require.Zero(t, s.Sleeps)
			}
			for i := range 2 {
				require.NoError(t, th.dev[i].Detach())
				require.ErrorIs(t, th.dev[i].Detach(), toe.ErrDetached)
				require.ErrorIs(t, th.dev[i].Do(0, func(vtime.Time) {}), toe.ErrDetached)
			}
			_, err = th.dev[0].Snapshot(0)
			require.NoError(t, err, "the last counters remain")
		})
	}
}

// asleep waits until end i's worker sleeps.
func (th *threads) asleep(i int) {
	th.t.Helper()
	require.Eventually(th.t, th.w[i].waiter.asleep.Load, time.Minute, time.Millisecond)
}

func TestSleepEndsOn(t *testing.T) {
	th := newThreads(t, Adaptive, true)
	up := th.w[0].up.(*wakingUpper)
	t.Run("a posted function", func(t *testing.T) {
		th.asleep(0)
		done := make(chan struct{})
		require.NoError(t, th.dev[0].Post(0, func(vtime.Time) { close(done) }))
		<-done
	})
	t.Run("a client's eventfd", func(t *testing.T) {
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
		require.NoError(t, err)
		defer unix.Close(fd)
		require.NoError(t, th.dev[0].AddWakeFD(0, fd))
		require.Error(t, th.dev[0].AddWakeFD(0, fd))
		for range 3 { // nobody reads it: each write must be an edge
			th.asleep(0)
			before := up.awake.Load()
			_, err = unix.Write(fd, []byte{1, 0, 0, 0, 0, 0, 0, 0})
			require.NoError(t, err)
			require.Eventually(t, func() bool { return up.awake.Load() > before }, time.Minute, time.Millisecond)
		}
		require.NoError(t, th.dev[0].RemoveWakeFD(0, fd))
		require.Error(t, th.dev[0].RemoveWakeFD(0, fd))
	})
	t.Run("a frame, and a timer", func(t *testing.T) {
		th.asleep(0)
		th.asleep(1)
		var s *fakeSock
		// Nobody listens and nobody knows the neighbours: ARP, SYN and RST, each of which has to
		// wake a sleeper; then ARP requests by timer for one that does not exist.
		th.on(0, func() { s = th.connect(0, netip.Addr{}, addr4[1], 0) })
		th.wait(0, func() bool { return s.finished })
		require.Equal(t, toe.EndRefused, s.end)
		th.on(0, func() { s = th.connect(0, netip.Addr{}, netip.MustParseAddr("10.9.0.9"), 0) })
		th.wait(0, func() bool { return s.finished })
		require.Equal(t, toe.EndUnreachable, s.end)
	})
	t.Run("nothing else", func(t *testing.T) {
		th.asleep(0)
		before, err := th.dev[0].Snapshot(0)
		require.NoError(t, err)
		th.asleep(0)
		time.Sleep(50 * time.Millisecond) // an observation period: nothing may happen in it
		after, err := th.dev[0].Snapshot(0)
		require.NoError(t, err)
		require.Less(t, after.Sleeps-before.Sleeps, uint64(5))
	})
}

func TestDetachResetsConnections(t *testing.T) {
	th := newThreads(t, Adaptive, true)
	require.Equal(t, toe.Offloaded, th.dev[1].ListenStart(&toe.Listener{ID: 7, Port: 80, Backlog: 4, Opt: toe.SocketOptions{RcvBuf: 64 << 10}}))
	var client *fakeSock
	th.on(0, func() { client = th.connect(0, netip.Addr{}, addr4[1], 100) })
	th.wait(1, func() bool { return len(th.up[1].socks) == 1 && th.up[1].socks[0].read == 100 })
	require.NoError(t, th.dev[1].Detach())
	require.Equal(t, toe.EndDeviceGone, th.up[1].socks[0].end)
	th.wait(0, func() bool { return client.finished })
	require.Equal(t, toe.EndReset, client.end, "the peer hears of it")

	// It can be attached again, empty.
	require.NoError(t, th.dev[1].Attach(&fakeUpper{dev: th.dev[1], rcvbuf: 64 << 10}))
	th.on(0, func() { client = th.connect(0, netip.Addr{}, addr4[1], 100) })
	th.wait(0, func() bool { return client.finished })
	require.Equal(t, toe.EndRefused, client.end, "its listeners are gone")
}

func TestAttachFailures(t *testing.T) {
	base := func(i int) Config {
		q, _ := newMemWire(t, 8, false)
		return Config{Name: "toe0", Ports: []PortQueues{{Port: testPort(t, i, true), Queues: []ports.Queue{q}}},
			MaxConns: 4, MaxListeners: 4, Tunables: tcpoffload.DefaultTunables()}
	}
	up := &fakeUpper{}
	t.Run("driver refuses the thread", func(t *testing.T) {
		cfg := base(0)
		refused := errors.New("no lcore left")
		cfg.RegisterThread = func() error { return refused }
		d, err := New(cfg)
		require.NoError(t, err)
		require.ErrorIs(t, d.Attach(up), refused)
		require.ErrorIs(t, d.Detach(), toe.ErrDetached)
		require.NoError(t, d.Close())
		require.ErrorIs(t, d.Attach(up), toe.ErrBusy, "closed")
	})
	t.Run("no such processor", func(t *testing.T) {
		cfg := base(0)
		cfg.CPUs = []int{1000}
		d, err := New(cfg)
		require.NoError(t, err)
		require.ErrorContains(t, d.Attach(up), "processor 1000")
		require.NoError(t, d.Close())
	})
	t.Run("twice", func(t *testing.T) {
		d, err := New(base(0))
		require.NoError(t, err)
		up := &fakeUpper{dev: d}
		require.NoError(t, d.Attach(up))
		require.ErrorIs(t, d.Attach(up), toe.ErrBusy)
		require.ErrorIs(t, d.Close(), toe.ErrBusy)
		require.NoError(t, d.Detach())
		require.NoError(t, d.Close())
	})
}

// Functions posted while the worker stops either run or are refused; no Do hangs.
func TestDoDuringDetach(t *testing.T) {
	th := newThreads(t, Adaptive, true)
	var wg sync.WaitGroup
	var ran, promised atomic.Int64
	started := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				if th.dev[0].Do(0, func(vtime.Time) { ran.Add(1) }) != nil {
					return
				}
				promised.Add(1)
				if i == 0 {
					started <- struct{}{}
				}
			}
		})
	}
	for range 4 {
		<-started
	}
	require.NoError(t, th.dev[0].Detach())
	wg.Wait()
	require.Equal(t, promised.Load(), ran.Load())
	require.ErrorIs(t, th.dev[0].Post(1, nil), toe.ErrInvalid)
}

// A mailbox that is full refuses, and does not keep the device from stopping.
func TestFullMailbox(t *testing.T) {
	th := newThreads(t, Adaptive, true)
	hold, held := make(chan struct{}), make(chan struct{})
	require.NoError(t, th.dev[0].Post(0, func(vtime.Time) { close(held); <-hold }))
	<-held
	ran := 0
	for range maxMailbox {
		require.NoError(t, th.dev[0].Post(0, func(vtime.Time) { ran++ }))
	}
	require.ErrorIs(t, th.dev[0].Post(0, func(vtime.Time) {}), toe.ErrBusy)
	stopped := make(chan error)
	go func() { stopped <- th.dev[0].Detach() }()
	close(hold)
	require.NoError(t, <-stopped)
	require.Equal(t, maxMailbox, ran)
}
