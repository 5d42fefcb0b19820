package softdev

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/ports"
	"opentoe/tcpoffload"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
	"opentoe/toe"
)

// pattern is the octet at position pos of every test stream, of period patternLen.
const patternLen = 1<<16 - 15 // prime-like: no power of two hides an offset error

var pattern = func() []byte {
	b := make([]byte, 2*patternLen)
	for i := range b {
		p := uint32(i % patternLen)
		b[i] = byte(p*2654435761>>13 ^ p)
	}
	return b
}()

func fetchPattern(pos uint64, b []byte) {
	for len(b) > 0 {
		n := copy(b, pattern[pos%patternLen:])
		b, pos = b[n:], pos+uint64(n)
	}
}

// fakeSock is one socket of a fakeUpper with the program that uses it: it writes total octets,
// reads whatever comes, checks it, and closes after the peer has.
type fakeSock struct {
	id       toe.SockID
	tid      toe.TID
	flow     wire.Flow
	rx       []byte // ring of the receive stream; its length is the receive limit
	readable uint64
	read     uint64
	wrong    int // octets that were not as sent
	total    uint64
	written  uint64
	acked    uint64
	sndbuf   uint64
	peerEnd  uint64
	peerFIN  bool
	closed   bool // SendFIN was called
	hold     bool // do not read
	events   []toe.EventKind
	finished bool
	end      toe.End
	check    []byte
}

// fakeUpper is a socket layer with programs in it, for one worker. Socket n has ID n+1.
type fakeUpper struct {
	dev        *Device
	socks      []*fakeSock
	rcvbuf     int
	sndbuf     uint64
	total      uint64     // of accepted sockets
	refuse     bool       // PassEstablish says no
	noRoom     toe.Reason // what Admits says
	asked      []int      // handshakes under way, each time that Admits was asked
	full       bool       // Reserve says no
	noCheck    bool       // benchmarks: do not compare, do not record events
	accepted   int
	lastListen toe.ListenID // of the connection accepted last
	reserved   int
	slept      int
}

func (u *fakeUpper) add(total uint64) *fakeSock {
	s := &fakeSock{
		id: toe.SockID(len(u.socks) + 1), rx: make([]byte, u.rcvbuf), sndbuf: u.sndbuf, total: total,
		check: make([]byte, u.rcvbuf),
	}
	u.socks = append(u.socks, s)
	return s
}

func (u *fakeUpper) sock(id toe.SockID) *fakeSock { return u.socks[id-1] }

func (u *fakeUpper) Poll(w int, now vtime.Time) int {
	n := 0
	for _, s := range u.socks {
		if s.finished {
			u.consume(s) // a program may read after the end
		} else if s.tid != 0 {
			n += u.program(s)
		}
	}
	return n
}

// program lets the socket's program run and returns how many calls it made.
func (u *fakeUpper) program(s *fakeSock) int {
	n := 0
	if !s.hold && s.read < s.readable {
		u.consume(s)
		u.dev.Received(s.tid, s.read)
		n++
	}
	if room := s.acked + s.sndbuf; s.written < s.total && s.written < room {
		s.written = min(s.total, room)
		u.dev.Output(s.tid, s.written, false)
		n++
	}
	if !s.closed && s.written == s.total && s.peerFIN && s.read == s.peerEnd {
		s.closed = true
		u.dev.SendFIN(s.tid)
		n++
	}
	return n
}

func (u *fakeUpper) consume(s *fakeSock) {
	if u.noCheck {
		s.read = s.readable
		return
	}
	want := s.check[:s.readable-s.read]
	fetchPattern(s.read, want)
	for _, c := range want {
		if s.rx[s.read%uint64(len(s.rx))] != c {
			s.wrong++
		}
		s.read++
	}
}

func (u *fakeUpper) Sleep(int) bool { u.slept++; return true }
func (u *fakeUpper) Awake(int)      {}

func (u *fakeUpper) Admits(_ int, _ toe.ListenID, handshakes int) toe.Reason {
	u.asked = append(u.asked, handshakes)
	return u.noRoom
}

func (u *fakeUpper) PassEstablish(w int, l toe.ListenID, tid toe.TID, f *wire.Flow) (toe.SockID, bool) {
	if u.refuse {
		return 0, false
	}
	s := u.add(u.total)
	s.tid, s.flow = tid, *f
	u.dev.Accepted(w, l, 1)
	u.accepted++
	u.lastListen = l
	return s.id, true
}

func (u *fakeUpper) Reserve(id toe.SockID, n uint32) bool { u.reserved++; return !u.full }

func (u *fakeUpper) Place(id toe.SockID, pos uint64, b []byte) {
	s := u.sock(id)
	if pos+uint64(len(b)) > s.read+uint64(len(s.rx)) {
		panic("placed beyond the receive limit")
	}
	n := copy(s.rx[pos%uint64(len(s.rx)):], b)
	copy(s.rx, b[n:])
}

func (u *fakeUpper) Fetch(id toe.SockID, pos uint64, b []byte) bool {
	if pos+uint64(len(b)) > u.sock(id).written {
		return false
	}
	fetchPattern(pos, b)
	return true
}

func (u *fakeUpper) Notify(id toe.SockID, e toe.Event) {
	s := u.sock(id)
	if !u.noCheck {
		s.events = append(s.events, e.Kind)
	}
	if s.finished {
		panic("an upcall after Finished")
	}
	switch e.Kind {
	case toe.EventEstablished:
		s.flow = *e.Flow
	case toe.EventReadable:
		s.readable = e.Pos
	case toe.EventAcked:
		s.acked = e.Pos
	case toe.EventPeerClose:
		s.peerFIN, s.peerEnd = true, e.Pos
	case toe.EventFinished:
		s.finished, s.end = true, e.End
	}
}

// pair is two devices joined by a wire in memory, driven by hand in virtual time on one thread.
type pair struct {
	t   testing.TB
	now vtime.Time
	dev [2]*Device
	up  [2]*fakeUpper
	w   [2]*worker
	q   [2]*memQueue
}

func newPair(t testing.TB, static bool) *pair {
	return newPairOf(t, [2]*ports.Port{testPort(t, 0, static), testPort(t, 1, static)})
}

func newPairOf(t testing.TB, ends [2]*ports.Port) *pair {
	p := &pair{t: t, now: vtime.Time(vtime.Second)}
	p.q[0], p.q[1] = newMemWire(t, 1024, false)
	for i := range 2 {
		d, err := New(Config{
			Name: "toe0", Ports: []PortQueues{{Port: ends[i], Queues: []ports.Queue{p.q[i]}}},
			MaxConns: 64, MaxListeners: 4, Tunables: tcpoffload.DefaultTunables(),
		})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, d.Close()) })
		p.dev[i] = d
		p.up[i] = &fakeUpper{dev: d, rcvbuf: 64 << 10, sndbuf: 256 << 10}
		p.w[i] = d.workers[0]
		p.w[i].up = p.up[i]
		p.w[i].clock = func() vtime.Time { return p.now }
		p.w[i].now = p.now
		p.w[i].mail.start()
	}
	return p
}

// listen makes end i listen on port 80.
func (p *pair) listen(i int) {
	l := &toe.Listener{ID: 7, Port: 80, V6: true, Backlog: 16}
	l.Opt.RcvBuf = uint32(p.up[i].rcvbuf)
	require.Equal(p.t, toe.Offloaded, p.w[i].listen(l))
}

// connect opens a connection from end i to port 80 of the other end; the program writes total octets.
func (p *pair) connect(i int, local, remote netip.Addr, total uint64) *fakeSock {
	s := p.up[i].add(total)
	r := toe.ConnectRequest{Sock: s.id, Flow: wire.Flow{
		Remote: wire.AddrFrom(remote), RemotePort: 80, LocalPort: 40000 + uint16(s.id),
	}}
	if local.IsValid() {
		r.Flow.Local = wire.AddrFrom(local)
	}
	r.Opt.RcvBuf = uint32(p.up[i].rcvbuf)
	tid, reason := p.dev[i].Connect(0, &r)
	require.Equal(p.t, toe.Offloaded, reason)
	require.False(p.t, r.Flow.Local.IsUnspecified(), "the device fills in its address")
	s.tid = tid
	return s
}

// turn runs one iteration of end i.
func (p *pair) turn(i int) int {
	p.w[i].tick()
	work := p.w[i].iterate()
	p.w[i].busy = work > 0
	return work
}

// step runs one iteration of both ends. Time passes by 5 µs, or to the next deadline when there
// was nothing to do.
func (p *pair) step() {
	work := p.turn(0) + p.turn(1)
	next := p.now.Add(5 * vtime.Microsecond)
	if work == 0 {
		next = max(next, min(p.w[0].nextDeadline(), p.w[1].nextDeadline()))
	}
	if next != vtime.Never {
		p.now = next
	}
}

// run steps until done says so, at most for the virtual time limit.
func (p *pair) run(limit vtime.Duration, done func() bool) {
	p.t.Helper()
	end := p.now.Add(limit)
	for !done() {
		if p.now.After(end) {
			p.t.Fatalf("not done after %v: %+v", limit, p.report())
		}
		p.step()
	}
}

func (p *pair) report() (r []any) {
	for i := range 2 {
		r = append(r, p.w[i].count, *p.w[i].eng.MIB(), *p.w[i].eng.Drops())
		for _, s := range p.up[i].socks {
			var info toe.ConnInfo
			p.dev[i].ConnInfo(s.tid, &info)
			r = append(r, s.events, s.readable, s.read, s.written, s.acked, info)
		}
	}
	return r
}

// open connects end 0 to end 1 and waits for both to know.
func (p *pair) open(toServer, toClient uint64) (client, server *fakeSock) {
	p.t.Helper()
	p.up[1].total = toClient
	n := len(p.up[1].socks)
	client = p.connect(0, netip.Addr{}, addr4[1], toServer)
	p.run(10*vtime.Second, func() bool { return len(client.events) > 0 && len(p.up[1].socks) > n })
	return client, p.up[1].socks[n]
}
