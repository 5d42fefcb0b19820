package softdev

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"opentoe/pmd/frame"
	"opentoe/ports"
	"opentoe/tcpoffload"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
	"opentoe/toe"
)

// fork is a device with two ports, and a peer device on each wire, driven by hand like a pair.
type fork struct {
	t    testing.TB
	now  vtime.Time
	dev  [3]*Device // the one with two ports, the peer of port 0, the peer of port 1
	up   [3]*fakeUpper
	w    [3]*worker
	near [2]*memQueue // the forked device's queues
}

// The wires' prefixes, ours .1 and ::1, the peers' .2 and ::2. The second wire is narrower, and the
// way to the rest of the world.
var forkNets = [2]struct {
	v4, v6 string
	mtu    int
}{{"10.9.0.%d/24", "fd09::%d/64", 1500}, {"10.8.0.%d/24", "fd08::%d/64", 1400}}

func forkAddr(port, host int) netip.Addr {
	return netip.MustParsePrefix(fmt.Sprintf(forkNets[port].v4, host)).Addr()
}

func forkPort(t testing.TB, port, host int) *ports.Port {
	n := forkNets[port]
	cfg := ports.Config{
		Name: fmt.Sprintf("mem%d", port), MAC: wire.MAC{2, 0, 0, 0, byte(port), byte(host)}, MTU: n.mtu, Workers: 1,
		Addresses: []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf(n.v4, host)), netip.MustParsePrefix(fmt.Sprintf(n.v6, host))},
	}
	if port == 1 && host == 1 {
		cfg.Routes = []ports.Route{{Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: forkAddr(1, 2)}}
	}
	p, err := ports.New(cfg)
	require.NoError(t, err)
	return p
}

func newFork(t testing.TB) *fork {
	f := &fork{t: t, now: vtime.Time(vtime.Second)}
	var two []PortQueues
	var peers [2]PortQueues
	for i := range 2 {
		near, far := newMemWire(t, 256, false)
		f.near[i] = near
		two = append(two, PortQueues{Port: forkPort(t, i, 1), Queues: []ports.Queue{near}})
		peers[i] = PortQueues{Port: forkPort(t, i, 2), Queues: []ports.Queue{far}}
	}
	for i, list := range [][]PortQueues{two, peers[:1], peers[1:]} {
		d, err := New(Config{Name: "toe0", Ports: list, MaxConns: 64, MaxListeners: 4, Tunables: tcpoffload.DefaultTunables()})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, d.Close()) })
		f.dev[i], f.w[i] = d, d.workers[0]
		f.up[i] = &fakeUpper{dev: d, rcvbuf: 64 << 10, sndbuf: 256 << 10}
		f.w[i].up = f.up[i]
		f.w[i].clock = func() vtime.Time { return f.now }
		f.w[i].now = f.now
		f.w[i].mail.start()
		require.Equal(t, toe.Offloaded, f.w[i].listen(&toe.Listener{ID: 7, Port: 80, V6: true, Backlog: 16, Opt: toe.SocketOptions{RcvBuf: 64 << 10}}))
	}
	return f
}

func (f *fork) open(i int, local, remote netip.Addr, total uint64) (*fakeSock, toe.Reason) {
	s := f.up[i].add(total)
	r := toe.ConnectRequest{Sock: s.id, Flow: wire.Flow{Remote: wire.AddrFrom(remote), RemotePort: 80, LocalPort: 40000 + uint16(s.id)}}
	if local.IsValid() {
		r.Flow.Local = wire.AddrFrom(local)
	}
	r.Opt.RcvBuf = 64 << 10
	var reason toe.Reason
	s.tid, reason = f.dev[i].Connect(0, &r)
	require.Equal(f.t, f.dev[i].CanOffload(&r), reason)
	return s, reason
}

func (f *fork) run(limit vtime.Duration, done func() bool) {
	f.t.Helper()
	end := f.now.Add(limit)
	for !done() {
		if f.now.After(end) {
			f.t.Fatalf("not done after %v: %+v", limit, f.w[0].count)
		}
		work, next := 0, vtime.Never
		for _, w := range f.w {
			w.tick()
			work += w.iterate()
			next = min(next, w.nextDeadline())
		}
		if soon := f.now.Add(5 * vtime.Microsecond); work > 0 || next < soon {
			next = soon
		}
		if next != vtime.Never {
			f.now = next
		}
	}
}

// done says whether s has sent its stream and read n octets.
func (s *fakeSock) done(n uint64) bool { return s.acked == s.total && s.read == n }

// A device with two ports listens on both, opens connections through both, and carries all of them
// at the same time; each port's MTU bounds its segments.
func TestTwoPorts(t *testing.T) {
	f := newFork(t)
	const size = 300_000
	for _, u := range f.up {
		u.total = size
	}
	var socks []*fakeSock
	for port := range 2 {
		active, reason := f.open(0, netip.Addr{}, forkAddr(port, 2), size)
		require.Equal(t, toe.Offloaded, reason)
		passive, reason := f.open(1+port, netip.Addr{}, forkAddr(port, 1), size)
		require.Equal(t, toe.Offloaded, reason)
		socks = append(socks, active, passive)
	}
	f.run(vtime.Minute, func() bool {
		all := true
		for _, s := range socks {
			all = all && s.done(size)
		}
		return all
	})
	var info toe.ConnInfo
	seen := map[uint32]int{}
	f.dev[0].EachConn(0, 0, func(_ toe.TID, c *toe.ConnInfo) { info = *c; seen[info.SndMSS]++ })
	require.Equal(t, map[uint32]int{1500 - 52: 2, 1400 - 52: 2}, seen, "timestamps take 12 octets")
	for _, s := range socks {
		require.Zero(t, s.wrong)
	}
	snap, err := f.dev[0].Snapshot(0)
	require.NoError(t, err)
	for i, p := range snap.Ports {
		require.EqualValues(t, f.near[i].sent, p.TxFrames)
		require.Greater(t, p.TxOctets, uint64(2*size))
		require.Greater(t, p.RxOctets, uint64(2*size))
	}
	addrs := f.dev[0].Info()
	require.Len(t, addrs.Prefixes(), 4)
}

// The route with the longest prefix chooses the port, a local address decides, and a port neither
// answers nor carries what is another's.
func TestPortChoice(t *testing.T) {
	f := newFork(t)
	far, other := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	for _, c := range []struct {
		name          string
		local, remote netip.Addr
		want          toe.Reason
		port          int
	}{
		{"on link", netip.Addr{}, forkAddr(0, 2), toe.Offloaded, 0},
		{"on the other link", netip.Addr{}, forkAddr(1, 2), toe.Offloaded, 1},
		{"default route", netip.Addr{}, far, toe.Offloaded, 1},
		{"bound", forkAddr(1, 1), forkAddr(1, 2), toe.Offloaded, 1},
		{"bound where a longer prefix is not", forkAddr(1, 1), forkAddr(0, 2), toe.Offloaded, 1},
		{"bound where no route is", forkAddr(0, 1), far, toe.ReasonNoRoute, 0},
		{"no route of the family", netip.Addr{}, other, toe.ReasonNoRoute, 0},
		{"to the other port", netip.Addr{}, forkAddr(1, 1), toe.ReasonLoopback, 0},
		{"to the other port, bound", forkAddr(0, 1), forkAddr(1, 1), toe.ReasonLoopback, 0},
		{"from somebody else", netip.MustParseAddr("10.9.0.9"), forkAddr(0, 2), toe.ReasonLocalAddr, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, reason := f.open(0, c.local, c.remote, 0)
			require.Equal(t, c.want, reason)
			if reason == toe.Offloaded {
				var info toe.ConnInfo
				require.True(t, f.dev[0].ConnInfo(s.tid, &info))
				port, ok := f.dev[0].home(info.Flow.Local)
				require.True(t, ok)
				require.Equal(t, c.port, port)
				f.dev[0].SendRST(s.tid)
				s.tid = 0
			}
		})
	}
	for addr, want := range map[netip.Addr]toe.Reason{forkAddr(0, 1): toe.Offloaded, forkAddr(1, 1): toe.Offloaded, forkAddr(1, 2): toe.ReasonLocalAddr} {
		require.Equal(t, want, listenHere(f.dev[0], addr))
	}

	// A SYN for the other port's address.
	b := buildFrame(t, segment{srcMAC: wire.MAC{2, 0, 0, 0, 0, 2}, dstMAC: wire.MAC{2, 0, 0, 0, 0, 1}, src: forkAddr(0, 2), dst: forkAddr(1, 1), tcp: synTo80().tcp})
	f.w[0].in = &f.w[0].lanes[0]
	f.w[0].input(f.w[0].in, &frame.Frame{Data: b})
	require.EqualValues(t, 1, f.w[0].count.Drops[DropNotOurAddress])
}

// listenHere asks whether d would listen on addr; its workers do not run, so a consent is NoDevice.
func listenHere(d *Device, addr netip.Addr) toe.Reason {
	d.workers[0].mail.open = false
	defer func() { d.workers[0].mail.open = true }()
	if r := d.ListenStart(&toe.Listener{ID: 9, Port: 81, Addr: wire.AddrFrom(addr)}); r != toe.ReasonNoDevice {
		return r
	}
	return toe.Offloaded
}

// stingy is a port without a single frame to send.
type stingy struct{ *memQueue }

func (stingy) Alloc(*frame.Burst, int) int { return 0 }

// A port that has no frames neither holds up the other nor loses its own connections: what could not
// leave is counted and sent again.
func TestPortWithoutFrames(t *testing.T) {
	f := newFork(t)
	f.up[0].total = 0
	const size = 200_000
	slow, reason := f.open(0, netip.Addr{}, forkAddr(1, 2), size)
	require.Equal(t, toe.Offloaded, reason)
	f.run(vtime.Second, func() bool { return len(slow.events) > 0 })
	l := &f.w[0].lanes[1]
	l.queue.Free(&l.blank)
	l.queue = stingy{f.near[1]}

	quick, reason := f.open(0, netip.Addr{}, forkAddr(0, 2), size)
	require.Equal(t, toe.Offloaded, reason)
	f.run(vtime.Second, func() bool { return quick.done(0) })
	require.NotZero(t, f.w[0].count.Drops[DropNoFrame])
	require.Less(t, slow.acked, uint64(size))

	l.queue = f.near[1]
	f.run(vtime.Minute, func() bool { return slow.done(0) })
}

// A neighbour that does not answer ends the opens through its own port only.
func TestHopFailsOnOnePort(t *testing.T) {
	f := newFork(t)
	lost, reason := f.open(0, netip.Addr{}, netip.MustParseAddr("10.9.0.77"), 0)
	require.Equal(t, toe.Offloaded, reason)
	waiting, reason := f.open(0, netip.Addr{}, netip.MustParseAddr("192.0.2.1"), 0) // its gateway answers ARP and no more
	require.Equal(t, toe.Offloaded, reason)
	f.run(10*vtime.Second, func() bool { return lost.finished })
	require.Equal(t, toe.EndUnreachable, lost.end)
	require.False(t, waiting.finished)
}

// A socket whose interface went away reports an error at every look; the worker takes it off, or
// gives the socket up.
func TestWaiterIsNotKeptAwake(t *testing.T) {
	const forever = vtime.Duration(1) << 40
	t.Run("an error to take", func(t *testing.T) {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		require.NoError(t, err)
		defer unix.Close(fd)
		// A datagram to a closed port of ours comes back as an error.
		require.NoError(t, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
		require.NoError(t, unix.Connect(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: 9}))
		_, err = unix.Write(fd, []byte("x"))
		require.NoError(t, err)
		w, err := newWaiter([]int{fd}, false, vtime.Millisecond)
		require.NoError(t, err)
		defer w.close()
		require.True(t, w.block(forever))
		require.False(t, w.block(vtime.Microsecond))
		require.False(t, w.deaf)
	})
	t.Run("none", func(t *testing.T) {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		require.NoError(t, err)
		defer unix.Close(fd)
		w, err := newWaiter([]int{fd}, false, vtime.Millisecond)
		require.NoError(t, err)
		defer w.close()
		require.True(t, w.block(forever), "a socket that is not connected reports a hang-up")
		require.False(t, w.block(forever), "it ends no more sleeps, but the port is looked at")
		require.True(t, w.deaf)
	})
}
