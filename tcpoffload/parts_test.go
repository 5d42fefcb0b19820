package tcpoffload

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/seq"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// TestWheel compares the wheel with a list of deadlines, over spans from microseconds to months.
func TestWheel(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 50 {
		e, err := New(Config{Memory: NewMemory(64, 1), Tunables: DefaultTunables()})
		require.NoError(t, err)
		out := NewOutput(16, 16)
		now := vtime.Time(rng.Int64N(1 << 50))
		e.Expire(now, out)
		due := map[uint32]vtime.Time{}
		for i := range uint32(60) {
			tcb := e.allocConn(&wire.Flow{LocalPort: uint16(i) + 1})
			e.setState(tcb, StateSynSent)
			d := vtime.Duration(rng.Int64N(1 << (10 + rng.IntN(45))))
			e.setTimer(tcb, Timer2MSL, now.Add(d))
			if rng.IntN(3) == 0 { // moved: later, or earlier
				d = vtime.Duration(rng.Int64N(1 << (10 + rng.IntN(45))))
				e.setTimer(tcb, Timer2MSL, now.Add(d))
			}
			due[tcb.self] = now.Add(d)
		}
		for len(due) > 0 {
			next := e.NextDeadline()
			require.NotEqual(t, vtime.Never, next, "round %d", round)
			first := vtime.Never
			for _, d := range due {
				first = min(first, d)
			}
			require.LessOrEqual(t, next, first+1<<tickShift, "never later than a tick after the first deadline")
			now = max(now, next)
			e.Expire(now, out)
			out.Reset()
			for i, d := range due {
				gone := e.conns[i].state == StateClosed
				require.False(t, gone && d > now, "fired early")
				require.False(t, !gone && d+1<<tickShift < now && e.NextDeadline() > now, "fired late")
				if gone {
					delete(due, i)
				}
			}
		}
		require.Equal(t, vtime.Never, e.NextDeadline())
	}
}

// TestExpireStopsForWantOfRoom: the caller drains and calls again; nothing is lost.
func TestExpireStopsForWantOfRoom(t *testing.T) {
	e, err := New(Config{Memory: NewMemory(64, 1), Tunables: DefaultTunables()})
	require.NoError(t, err)
	for i := range uint16(40) {
		tcb := e.allocConn(&wire.Flow{LocalPort: i + 1})
		e.setState(tcb, StateSynSent)
		e.setTimer(tcb, Timer2MSL, 1000)
	}
	out := NewOutput(4, 4)
	now, fired := vtime.Time(vtime.Second), 0
	for e.NextDeadline() <= now {
		e.Expire(now, out)
		require.NotEmpty(t, out.Actions)
		fired += len(out.Actions)
		out.Reset()
	}
	require.Equal(t, 40, fired)
}

// TestRanges compares the interval lists with a set of octets, around the wrap.
func TestRanges(t *testing.T) {
	const span = 300
	base := seq.Num(0xffffffff) - span/2
	rng := rand.New(rand.NewPCG(3, 4))
	e, err := New(Config{Memory: NewMemory(1, 1), Tunables: DefaultTunables()})
	require.NoError(t, err)
	for range 200 {
		tcb := new(TCB)
		var model [span]bool
		low := 0
		for range 60 {
			if rng.IntN(5) == 0 {
				to := low + rng.IntN(10)
				for i := low; i < to && i < span; i++ {
					model[i] = false
				}
				low = min(to, span-1)
				e.trimRanges(tcb, base.Add(uint32(to)))
			} else {
				l := low + rng.IntN(span-low)
				r := min(l+1+rng.IntN(30), span)
				if l == r {
					continue
				}
				var want uint32
				for i := l; i < r; i++ {
					if !model[i] {
						want++
					}
					model[i] = true
				}
				added, ok := e.insertRange(tcb, base.Add(uint32(l)), base.Add(uint32(r)))
				require.True(t, ok)
				require.Equal(t, want, added)
				if want > 0 {
					last := &e.ranges[tcb.reasm.newest]
					require.True(t, last.left.LEQ(base.Add(uint32(l))) && last.right.GEQ(base.Add(uint32(r))), "it grew last")
				}
			}
			requireSame(t, e, tcb, base, model[:])
		}
		e.clearRanges(tcb)
		require.Equal(t, TCB{}, *tcb)
	}
}

// requireSame demands that the list is exactly the runs of model.
func requireSame(t *testing.T, e *Engine, tcb *TCB, base seq.Num, model []bool) {
	t.Helper()
	i, runs, last := tcb.rcv.reasm, 0, uint32(0)
	for at := 0; at < len(model); at++ {
		if !model[at] {
			continue
		}
		from := at
		for at < len(model) && model[at] {
			at++
		}
		require.NotZero(t, i)
		r := e.ranges[i]
		require.Equal(t, [2]int{from, at}, [2]int{int(r.left - base), int(r.right - base)})
		last, i = i, r.next
		runs++
	}
	require.Zero(t, i)
	require.Equal(t, last, tcb.reasm.tail)
	require.Equal(t, uint32(runs), tcb.reasm.n)
	for i := tcb.reasm.newest; i != 0; i = e.ranges[i].older {
		runs--
	}
	require.Zero(t, runs, "order of growth")
}

// TestRangePoolIsShared lets the lists of many connections grow without need: one that comes last has
// its first range all the same, and more as soon as others give back.
func TestRangePoolIsShared(t *testing.T) {
	const conns = 100
	e, err := New(Config{Memory: NewMemoryOf(Sizes{Conns: conns, Listeners: 1, Ranges: 1000}), Tunables: DefaultTunables()})
	require.NoError(t, err)
	var tcbs [conns]TCB
	grow := func(i int) bool {
		l := seq.Num(10 * (tcbs[i].reasm.n + 1))
		_, ok := e.insertRange(&tcbs[i], l, l+5)
		return ok
	}
	for i := range tcbs {
		for grow(i) {
		}
		require.NotZero(t, tcbs[i].reasm.n, "list %d", i)
	}
	require.InDelta(t, 800, tcbs[0].reasm.n, 8, "a list alone may be long")
	_, ok := e.insertRange(&tcbs[0], 0, 1<<20)
	require.True(t, ok, "joining needs no entry")
	require.Equal(t, uint32(1), tcbs[0].reasm.n)
	for range 10 {
		require.True(t, grow(conns-1))
	}
}

func TestRangePoolEmpty(t *testing.T) {
	m := NewMemory(1, 1)
	m.Ranges = m.Ranges[:2]
	e, err := New(Config{Memory: m, Tunables: DefaultTunables()})
	require.NoError(t, err)
	var tcbs [2]TCB
	for i := range tcbs {
		_, ok := e.insertRange(&tcbs[i], 10, 15)
		require.Equal(t, i == 0, ok)
	}
	require.Equal(t, uint64(1), e.MIB().ReasmPoolEmpty)
}

// TestRangeWalkIsBounded: octets in the middle of very many islands are not looked for at any price.
func TestRangeWalkIsBounded(t *testing.T) {
	e, err := New(Config{Memory: NewMemory(1, 1), Tunables: DefaultTunables()})
	require.NoError(t, err)
	tcb := new(TCB)
	for i := range uint32(4000) {
		_, ok := e.insertRange(tcb, seq.Num(10*i), seq.Num(10*i+5))
		require.True(t, ok, "at the end no walk is needed")
	}
	_, ok := e.insertRange(tcb, 5, 6)
	require.True(t, ok, "near the begin")
	_, ok = e.insertRange(tcb, 30_005, 30_006)
	require.False(t, ok)
	_, ok = e.insertRange(tcb, 10_005, 10_006)
	require.True(t, ok)
	_, ok = e.insertRange(tcb, 18_005, 18_006)
	require.True(t, ok, "beside the last one")
}

func TestRTO(t *testing.T) {
	const us = vtime.Microsecond
	for _, c := range []struct {
		name         string
		srtt, rttvar vtime.Duration
		want         vtime.Duration
	}{
		{"minimum", 100 * us, 50 * us, 200*ms + 100*us},
		{"plain", 300 * ms, 60 * ms, 540 * ms},
		{"steady", 300 * ms, 0, 500 * ms},
		{"maximum", 100 * sec, 30 * sec, 120 * sec},
	} {
		require.Equal(t, c.want, rtoFor(c.srtt, c.rttvar, 200*ms, 120*sec), c.name)
	}
	var r rttVars
	r.sample(100*ms, ms, 120*sec)
	require.Equal(t, [3]vtime.Duration{100 * ms, 50 * ms, 300 * ms}, [3]vtime.Duration{r.srtt, r.rttvar, r.rto})
	r.sample(180*ms, ms, 120*sec)
	require.Equal(t, [2]vtime.Duration{110 * ms, 50*ms + 30*ms/4}, [2]vtime.Duration{r.srtt, r.rttvar})
	for _, c := range []struct {
		at   vtime.Time
		rtt  vtime.Duration
		want vtime.Duration
	}{{0, 100 * ms, 100 * ms}, {1, 180 * ms, 100 * ms}, {2, 90 * ms, 90 * ms}, {3 + vtime.Time(minRTTWindow), 95 * ms, 95 * ms}} {
		r.atLeast(c.at, c.rtt)
		require.Equal(t, c.want, r.min)
	}

	for n, want := range []vtime.Duration{200 * ms, 400 * ms, 800 * ms, sec, sec} {
		require.Equal(t, want, backedOff(200*ms, uint8(n), sec))
	}
	require.Equal(t, 60*sec, backedOff(sec, 255, 60*sec))
}

func TestWindowHelpers(t *testing.T) {
	for limit, want := range map[uint32]uint8{1: 0, 65535: 0, 65536: 1, 6 << 20: 7, 1 << 30: 14} {
		require.Equal(t, want, scaleFor(limit), "limit %d", limit)
		require.LessOrEqual(t, limit>>scaleFor(limit), uint32(65536))
	}
	require.Equal(t, uint32(0), freeSpace(100, 100))
	require.Equal(t, uint32(0), freeSpace(100, 200), "a limit that was lowered")
	require.Equal(t, uint32(60), freeSpace(100, 40))
	near := seq.Num(0xfffffff0)
	require.Equal(t, near.Add(128), edgeFor(near, 255, 7), "rounded down to the scale")
	require.Equal(t, near.Add(65535<<7), edgeFor(near, 1<<30, 7), "at most what the field expresses")
	require.Equal(t, uint32(1460), swsStep(100_000, 1460))
	require.Equal(t, uint32(1024), swsStep(2048, 1460))
}

func TestNewRefusesNonsense(t *testing.T) {
	good := func() Config { return Config{Memory: NewMemory(2, 2), Tunables: DefaultTunables()} }
	for name, edit := range map[string]func(c *Config){
		"no memory":     func(c *Config) { c.Memory = nil },
		"short conns":   func(c *Config) { c.Memory.Conns = c.Memory.Conns[:1] },
		"odd buckets":   func(c *Config) { c.Memory.Buckets = make([]uint32, 3) },
		"wheel":         func(c *Config) { c.Memory.Wheel = nil },
		"SYN cache":     func(c *Config) { c.Memory.HalfOpens = nil },
		"TIME-WAIT":     func(c *Config) { c.Memory.TimeWaits = nil },
		"odd cookies":   func(c *Config) { c.Memory.FastOpens = c.Memory.FastOpens[:100] },
		"MTU":           func(c *Config) { c.MTU = 100 },
		"segment size":  func(c *Config) { c.DeviceSegments, c.MaxSegSize = true, 1<<17 },
		"foreign table": func(c *Config) { c.Memory.Root[0].format = 1 },
	} {
		c := good()
		edit(&c)
		_, err := New(c)
		require.ErrorIs(t, err, ErrConfig, name)
	}
	c := good()
	c.Tunables.RTOMin = 0
	_, err := New(c)
	require.ErrorIs(t, err, ErrTunable)
	require.Panics(t, func() { NewMemory(0, 1) })
	require.Panics(t, func() { NewMemoryOf(Sizes{Conns: 1, Listeners: 1, HalfOpens: MaxRecords + 1}) })
}

func TestTunables(t *testing.T) {
	s := newScript(t, nil)
	for name, edit := range map[string]func(*Tunables){
		"RTOMin":        func(u *Tunables) { u.RTOMin = 130 * sec },
		"RTOMax":        func(u *Tunables) { u.RTOMax = 0 },
		"DelAck":        func(u *Tunables) { u.DelAck = sec },
		"DelAckSegs":    func(u *Tunables) { u.DelAckSegs = 0 },
		"SynCookies":    func(u *Tunables) { u.SynCookies = 9 },
		"FastOpen":      func(u *Tunables) { u.FastOpen = 16 },
		"DefaultRcvBuf": func(u *Tunables) { u.DefaultRcvBuf = u.MaxRcvBuf + 1 },
		"CC":            func(u *Tunables) { u.CC = 200 },
		"PersMin":       func(u *Tunables) { u.PersMin, u.PersMax = 30*sec, 20*sec },
	} {
		u := s.e.Tunables()
		edit(&u)
		err := s.e.SetTunables(u)
		require.ErrorIs(t, err, ErrTunable)
		require.ErrorContains(t, err, name)
		require.Equal(t, DefaultTunables(), s.e.Tunables())
	}
	u := s.e.Tunables()
	u.DelAck = 100 * ms
	require.NoError(t, s.e.SetTunables(u))
	s.passive(wire.OptMSS, SocketOptions{})
	s.noQuick()
	s.in(wire.ACK, 1, 10, 1)
	s.wait(99 * ms)
	s.quiet()
	s.wait(2 * ms)
	s.expect(wire.ACK, 1, 0, 11)
}

// TestMemoryOutlivesTheEngine: another engine goes on with the tables of one that died.
func TestMemoryOutlivesTheEngine(t *testing.T) {
	m := NewMemory(8, 4)
	s := newScript(t, func(c *Config) { c.Memory = m })
	s.passive(allOptions, SocketOptions{})
	s.send(1000)
	s.skip()
	s.in(wire.ACK, 501, 100, 1)
	s.skip()
	e, err := New(Config{Memory: m, Tunables: DefaultTunables(), Seed: 99, ISNKey: [16]byte{99}})
	require.NoError(t, err)
	s.e = e
	h, ok := e.Lookup(&s.flow)
	require.True(t, ok)
	require.Equal(t, s.h, h)
	s.in(wire.ACK, 1, 500, 1)
	require.Equal(t, uint64(600), s.action(ActReadable).Pos)
	s.skip()
	s.wait(400 * ms)
	s.expect(wire.ACK|wire.PSH, 1, 1000, 601)
	s.in(wire.ACK, 601, 0, 1001)
	s.close()
	s.expect(wire.ACK|wire.FIN, 1001, 0, 601)
}

func TestHandlesGoStale(t *testing.T) {
	s := newScript(t, func(c *Config) { c.Memory = NewMemory(1, 1) })
	s.passive(wire.OptMSS, SocketOptions{})
	old := s.h
	s.ok(s.call(Call{Kind: CallAbort}))
	s.flow.RemotePort++
	c := Call{Kind: CallOpen, Flow: s.flow, Cookie: 1}
	s.ok(s.e.Call(s.now, &c, s.out))
	require.Equal(t, old.Index(), c.Handle.Index())
	require.NotEqual(t, old, c.Handle)
	s.e.SetCookie(old, 42)
	cookie, ok := s.e.Cookie(c.Handle)
	require.True(t, ok)
	require.Equal(t, uint64(1), cookie)
	_, ok = s.e.Cookie(old)
	require.False(t, ok)
	require.False(t, s.e.Info(old, s.now, &Info{}))
	for _, h := range []Handle{0, old, 1 << 40, Handle(1<<32 | 500)} {
		require.Equal(t, CallNoConnection, s.e.Call(s.now, &Call{Kind: CallSend, Handle: h, Pos: 1}, s.out))
	}
	n, ok := s.e.Next(0)
	require.True(t, ok)
	require.Equal(t, c.Handle, n)
	_, ok = s.e.Next(n.Index() + 1)
	require.False(t, ok)

	// In small steps, which find the same.
	var found []Handle
	at, steps := uint32(0), 0
	for more := true; more; more = at != 0 {
		var h Handle
		was := at
		h, at = s.e.Scan(at, 1)
		require.True(t, at == 0 || at > was)
		if h != 0 {
			found = append(found, h)
		}
		steps++
	}
	require.Equal(t, []Handle{c.Handle}, found)
	require.Greater(t, steps, 1)
}

func TestManyFlowsAreFound(t *testing.T) {
	e, err := New(Config{Memory: NewMemory(2000, 1), Tunables: DefaultTunables(), Seed: 7})
	require.NoError(t, err)
	out := NewOutput(1, 8)
	handles := map[wire.Flow]Handle{}
	for i := range 2000 {
		f := wire.Flow{
			Local: wire.AddrFrom4([4]byte{10, 0, 0, 1}), LocalPort: 80,
			Remote: wire.AddrFrom4([4]byte{10, 1, 0, byte(i)}), RemotePort: uint16(1 + i/256),
		}
		c := Call{Kind: CallOpen, Flow: f}
		require.Equal(t, CallOK, e.Call(0, &c, out))
		handles[f] = c.Handle
	}
	for f, h := range handles {
		got, ok := e.Lookup(&f)
		require.True(t, ok)
		require.Equal(t, h, got)
	}
	longest := 0
	for _, i := range e.bucket {
		n := 0
		for ; i != 0; i = e.conns[i].hashNext {
			n++
		}
		longest = max(longest, n)
	}
	require.Less(t, longest, 9, "neighbouring flows spread over the buckets")
	for f, h := range handles {
		require.Equal(t, CallOK, e.Call(0, &Call{Kind: CallAbort, Handle: h}, out))
		_, ok := e.Lookup(&f)
		require.False(t, ok)
	}
	require.Zero(t, e.Conns())
}

func TestTransmitIsFairAndBounded(t *testing.T) {
	e, err := New(Config{Memory: NewMemory(8, 1), Tunables: DefaultTunables()})
	require.NoError(t, err)
	out := NewOutput(64, MaxArriveActions)
	var flows []wire.Flow
	var handles []Handle
	for i := range uint16(2) {
		f := wire.Flow{
			Local: wire.AddrFrom4([4]byte{10, 0, 0, 1}), LocalPort: 80 + i,
			Remote: wire.AddrFrom4([4]byte{10, 0, 0, 2}), RemotePort: 90,
		}
		c := Call{Kind: CallOpen, Flow: f}
		require.Equal(t, CallOK, e.Call(0, &c, out))
		e.Transmit(0, 1, out)
		syn := Segment{Flow: f, Flags: wire.SYN | wire.ACK, Ack: out.Segs[0].Seq.Add(1), Wnd: 65535}
		out.Reset()
		e.Arrive(0, &syn, out)
		e.Transmit(0, 1, out)
		out.Reset()
		e.conns[c.Handle.Index()].cc.Cwnd = 1 << 20
		flows, handles = append(flows, f), append(handles, c.Handle)
	}
	for _, h := range handles {
		require.Equal(t, CallOK, e.Call(0, &Call{Kind: CallSend, Handle: h, Pos: 60_000}, out))
	}
	require.Equal(t, 5, e.Transmit(0, 5, out), "the budget")
	out.Reset()
	e.Transmit(0, 64, out)
	require.Len(t, out.Segs, 64, "the room")
	seen := map[wire.Flow]int{}
	for _, s := range out.Segs {
		seen[s.Flow]++
	}
	require.InDelta(t, seen[flows[0]], seen[flows[1]], txQuantum)
	require.Panics(t, func() { e.Arrive(0, &Segment{}, NewOutput(1, 1)) })
}

func TestNamesAreComplete(t *testing.T) {
	for r := range NumDropReasons {
		require.NotEqual(t, "unknown", r.String())
	}
	for s := range numStates {
		require.NotEqual(t, "?", s.String())
	}
}
