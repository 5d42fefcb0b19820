package tcpoffload

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/cc"
	"opentoe/tcpoffload/seq"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// FuzzArrive plays the input as a programme of segments, calls and time on two engines, one of them
// without header prediction. Neither may panic or break an invariant, and both have to answer alike:
// that is what allows header prediction to be there. In the end nothing may be left in their tables.
func FuzzArrive(f *testing.F) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 9))
		b := make([]byte, 600)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p := newPlay(t, b[:min(len(b), programmeCap)])
		p.rec.watch(t, p.run)
	})
}

// programmeCap bounds a programme of FuzzArrive, octets, so that they do not get longer and slower for ever.
const programmeCap = 4096

// TestRandomProgrammes is FuzzArrive over seeded input. Between them the programmes have to reach every part
// of the engine.
func TestRandomProgrammes(t *testing.T) {
	reached := map[string]uint64{}
	var cas [5]int // by caState
	seeds := uint64(4000)
	if testing.Short() {
		seeds = 500
	}
	for seed := range seeds {
		rng := rand.New(rand.NewPCG(seed, 11))
		b := make([]byte, 100+rng.IntN(2000))
		for i := 0; i+8 <= len(b); i += 8 {
			binary.LittleEndian.PutUint64(b[i:], rng.Uint64())
		}
		p := newPlay(t, b)
		p.rec.watch(t, p.run)
		m := p.e[0].MIB()
		for name, n := range map[string]uint64{
			"header prediction, ACKs": m.FastPathAcks, "header prediction, text": m.FastPathData,
			"reassembly": m.OutOfOrder, "retransmission": m.RetransSegs, "timeouts": m.Timeouts,
			"loss probes": m.LossProbes, "reordering timer": m.ReorderTimeouts, "ECN": m.ECNReductions,
			"pacing": m.PacingWaits, "window probes": m.ZeroWindowProbes, "path MTU probes": m.MTUProbes,
			"full pools": m.FlightPoolEmpty + m.FlightCoarse, "SYN cookies": m.SyncookiesRecv,
			"SYN cache": m.SynCacheEvicted, "TIME-WAIT": m.TimeWaits, "TIME-WAIT, used again": m.TimeWaitReused,
			"Fast Open": m.FastOpenPassive, "Fast Open, client": m.FastOpenActive, "active opens": m.ActiveOpens,
			"resets": m.EstabResets, "ICMP errors": m.ICMPErrors, "idle restart": m.IdleRestarts,
		} {
			reached[name] += n
		}
		for i, n := range p.cas {
			cas[i] += n
		}
	}
	for name, n := range reached {
		require.Positive(t, n, "the programmes reach %s", name)
	}
	for _, state := range []caState{caOpen, caDisorder, caRecovery, caLoss} {
		require.Positive(t, cas[state], "the programmes reach congestion state %d", state)
	}
}

// play runs one programme on two engines.
type play struct {
	t      *testing.T
	e      [2]*Engine
	out    [2]*Output
	now    vtime.Time
	in     []byte
	listen ListenerID
	flows  [6]wire.Flow // to the listener, and of active opens
	cur    int          // the flow in use
	h      Handle       // of a connection that may have ended
	synAck [6]TxSegment // last one sent on each flow
	wscale uint8        // that the peer offers
	cas    [5]int       // how often each congestion state was seen
	rec    recorder
}

// Addresses and first sequence number of the peers.
var (
	playLocal  = wire.AddrFrom4([4]byte{10, 0, 0, 1})
	playRemote = wire.AddrFrom4([4]byte{10, 0, 0, 2})
)

const playISS = seq.Num(0xfffff000)

// newPlay makes the engines that the first octets of b describe, with small tables.
func newPlay(t *testing.T, b []byte) *play {
	p := &play{t: t, now: vtime.Time(sec), in: b}
	for i := range p.flows {
		p.flows[i] = wire.Flow{Local: playLocal, LocalPort: 80, Remote: playRemote, RemotePort: 1000 + uint16(i)}
		if i >= 4 {
			p.flows[i].LocalPort, p.flows[i].RemotePort = 81+uint16(i), 80
		}
	}
	tun := DefaultTunables()
	b0, b1, b2 := p.byte(), p.byte(), p.byte()
	tun.UTO, tun.MTUProbing, tun.Pacing = b0&1 != 0, MTUProbing(b0>>1%3), b0&8 != 0
	tun.IdleRestart, tun.AbortOnOverflow, tun.WindowScale = b0&16 == 0, b0&32 != 0, b0&128 == 0
	tun.CC, tun.SynCookies = cc.Algorithm((1+b1)%cc.NumAlgorithms), SynCookieMode((1+b1>>2)%3)
	tun.FastOpen, tun.ECN = FastOpenMode(3-b1>>4%4), ECNMode(1+b1>>6%3)
	p.wscale = [...]uint8{2, 7, 14, 0}[b2%4]
	tun.MaxRcvBuf = [...]uint32{6 << 20, 1 << 30, 64 << 10, 256 << 10}[b2>>2%4]
	tun.DefaultRcvBuf = min(tun.DefaultRcvBuf, tun.MaxRcvBuf)
	if b2&16 != 0 {
		tun.DefaultRcvBuf = tun.MaxRcvBuf
	}
	if b2&32 != 0 {
		tun.InitCwnd, tun.DefaultSndBuf = 64, 8<<10
	}
	cfg := Config{Tunables: tun, Seed: 3, ISNKey: [16]byte{4}, DeviceSegments: b0&64 != 0}
	if b2&64 != 0 {
		cfg.MTU = 9000
	}
	for i := range p.e {
		m := NewMemoryOf(Sizes{Conns: 6, Listeners: 2, HalfOpens: 3, TimeWaits: 2, FastOpens: 4, Flights: 16, Ranges: 6})
		m.Paths = m.Paths[:16]
		cfg.Memory = m
		e, err := New(cfg)
		require.NoError(t, err)
		p.e[i], p.out[i] = e, NewOutput(64, 64)
	}
	p.e[1].slow = true
	return p
}

func (p *play) byte() byte {
	if len(p.in) == 0 {
		return 0
	}
	b := p.in[0]
	p.in = p.in[1:]
	return b
}

// near returns a number at a small distance from n, mostly none.
func (p *play) near(n seq.Num) seq.Num {
	switch b := p.byte(); {
	case b < 140:
		return n
	case b < 200:
		return n.Add(uint32(b-140) * 100)
	case b < 240:
		return n - seq.Num(uint32(b-200)*100)
	default:
		return n.Add(uint32(p.byte())<<24 | uint32(p.byte()))
	}
}

// conn returns the connection of the flow in use, or nil.
func (p *play) conn() *TCB {
	if i := p.e[0].lookup(&p.flows[p.cur]); i != 0 {
		return &p.e[0].conns[i]
	}
	return nil
}

// run plays the programme: a listener, a SYN to it, then what it says.
func (p *play) run() {
	b := p.byte()
	opt := SocketOptions{NoSACK: b&1 != 0, NoTimestamp: b&2 != 0, Keepalive: b&4 != 0, NoDelay: b&8 != 0, FastOpen: uint32(b >> 4 % 3)}
	if b&64 != 0 {
		opt.NotSentLowat = 3000
	}
	if b&128 != 0 {
		opt.MaxPacingRate = 1 << 20
	}
	p.call(Call{Kind: CallListen, Flow: wire.Flow{LocalPort: 80}, Value: 3, Opt: opt})
	p.syn()
	for len(p.in) > 0 {
		switch op := p.byte(); {
		case op < 90:
			p.segment()
		case op < 140:
			p.honest()
		case op < 150:
			p.cur = int(op) % len(p.flows)
		case op < 200:
			p.randomCall()
		default:
			p.pass(op)
		}
		p.each(func(e *Engine, out *Output) { e.Transmit(p.now, 16, out) })
		if t := p.conn(); t != nil {
			p.cas[t.ca]++
		}
	}
	p.end()
}

// pass lets time go by.
func (p *play) pass(op byte) {
	switch d := vtime.Duration(p.byte()); {
	case op < 220:
		p.now = p.now.Add(d * 50 * vtime.Microsecond)
	case op < 230:
		p.now = p.now.Add(d * 50 * vtime.Millisecond)
	case op < 252:
		if at := p.e[0].NextDeadline(); at != vtime.Never {
			p.now = max(p.now, at)
		}
	default:
		p.now = p.now.Add(d * vtime.Minute)
	}
	p.each(func(e *Engine, out *Output) { e.Expire(p.now, out) })
}

// syn lets a SYN of the flow in use arrive, perhaps with ECN, text, and a Fast Open cookie that may be wrong.
func (p *play) syn() {
	g := Segment{Flow: p.flows[p.cur], Flags: wire.SYN, Seq: playISS, Wnd: 60000}
	g.Opt = wire.Options{Set: allOptions, MSS: 1460, WScale: p.wscale, TSVal: 1 + uint32(p.now.Sub(0)/vtime.Second)}
	b := p.byte()
	if b&1 != 0 {
		g.Flags |= wire.ECE | wire.CWR
	}
	if b&2 != 0 {
		p.e[0].putFastOpenCookie(&g.Flow, &g.Opt, false)
		g.Opt.Cookie[0] ^= b >> 2 & b >> 3 & 1
		g.Len = uint32(b>>4) * 100
	}
	if b&8 != 0 {
		g.Opt.Set &^= wire.OptionSet(p.byte()) & allOptions
		g.Opt.MSS = uint16(p.byte()) << 5
		g.Seq = p.near(g.Seq)
	}
	p.arrive(&g)
}

// segment lets a segment arrive, made from the present state of the connection.
func (p *play) segment() {
	e, flow := p.e[0], &p.flows[p.cur]
	g := Segment{Flow: *flow, Flags: wire.ACK, Wnd: uint16(p.byte()) << 8}
	switch i := e.lookupAny(flow); {
	case i >= e.twBase:
		w := &e.tws[i-e.twBase]
		g.Seq, g.Ack = p.near(w.rcvNxt), p.near(w.sndNxt)
		if w.withTS {
			g.Opt.Set, g.Opt.TSVal = wire.OptTimestamps, w.tsRecent+uint32(p.byte()%4)-1
		}
		if p.byte() < 60 {
			g.Flags = wire.SYN
			g.Opt.Set |= allOptions
		}
	case i >= e.synBase:
		h := &e.syns[i-e.synBase]
		g.Seq, g.Ack = p.near(h.irs.Add(1)), p.near(h.iss.Add(1))
		if h.flags&synTS != 0 {
			g.Opt.Set, g.Opt.TSVal = wire.OptTimestamps, h.tsRecent+uint32(p.byte()%4)-1
		}
	case i == 0 && p.byte() < 128:
		p.syn()
		return
	case i == 0: // it may answer a SYN cookie
		s := &p.synAck[p.cur]
		g.Seq, g.Ack = p.near(s.Ack), p.near(s.Seq.Add(1))
		if s.Opt.Set&wire.OptTimestamps != 0 {
			g.Opt.Set, g.Opt.TSVal, g.Opt.TSEcr = wire.OptTimestamps, s.Opt.TSEcr, s.Opt.TSVal
		}
	case e.conns[i].state == StateSynSent:
		p.synSent(&g, &e.conns[i])
	default:
		p.synchronized(&g, &e.conns[i])
	}
	switch b := p.byte(); {
	case b < 100:
		g.Len = uint32(b) * 14
	case b > 250:
		g.Len = 9000
	}
	if b := p.byte(); b > 100 {
		g.ECN, g.Segs = wire.ECN(b%4), uint16(b%5)
		if b%7 == 0 {
			g.Flags |= wire.ECE
		}
		if b > 250 {
			g.Opt.Set |= wire.OptUserTimeout
			g.Opt.UserTimeout = uint16(p.byte())<<8 | uint16(b)
		}
	}
	if b := p.byte(); b > 230 {
		g.Flags ^= wire.Flags(p.byte())
		g.Urg = uint16(p.byte())
	}
	p.arrive(&g)
}

// synSent makes g the answer to our SYN: a SYN-ACK, a SYN of a simultaneous open, or nonsense.
func (p *play) synSent(g *Segment, t *TCB) {
	g.Flags, g.Seq, g.Ack = wire.SYN|wire.ACK, playISS, p.near(t.snd.nxt)
	g.Opt = wire.Options{Set: allOptions, MSS: 1400, WScale: p.wscale, TSVal: 1, TSEcr: t.tsVal(p.now)}
	if b := p.byte(); b < 60 {
		g.Flags = wire.SYN
	} else if t.fastOpen&fastAsked != 0 && b&3 != 0 {
		g.Opt.Set |= wire.OptFastOpen
		g.Opt.CookieLen = 8
	}
}

// synchronized makes g a segment near what connection t expects.
func (p *play) synchronized(g *Segment, t *TCB) {
	g.Seq, g.Ack = p.near(t.rcv.nxt), p.near(t.snd.nxt)
	if p.byte()%3 == 0 {
		g.Ack = p.near(t.snd.una)
	}
	p.stamp(g, t, uint32(p.byte()))
	if p.byte()%6 == 0 {
		g.Opt.Set |= wire.OptSACK
		g.Opt.NumSACK = 1 + p.byte()%4
		for k := range g.Opt.NumSACK {
			l := t.snd.una.Add(uint32(p.byte()) * 100)
			g.Opt.SACK[k] = wire.SACKBlock{Left: l, Right: l.Add(uint32(p.byte()) * 20)}
		}
	}
}

// stamp puts timestamps into g, if t has them, that v makes old, new or wrong.
func (p *play) stamp(g *Segment, t *TCB, v uint32) {
	if t.flags&flagTS != 0 && v%16 != 15 {
		g.Opt.Set |= wire.OptTimestamps
		g.Opt.TSVal = t.ts.recent + v%4
		g.Opt.TSEcr = t.tsVal(p.now) - v>>4
	}
}

// honest lets a segment arrive that a peer would send.
func (p *play) honest() {
	t := p.conn()
	if t == nil || isOpening.has(t.state) {
		p.segment()
		return
	}
	g := Segment{Flow: t.flow, Flags: wire.ACK, Wnd: 65535, Seq: t.rcv.nxt, Ack: t.snd.nxt}
	b := uint32(p.byte())
	p.stamp(&g, t, b&^15)
	switch n := b >> 4; b % 12 {
	case 0, 1: // all that was sent is acknowledged
	case 2: // a part of it
		g.Ack = t.snd.una.Add(min(n*t.effMSS(), uint32(t.snd.nxt-t.snd.una)))
	case 3: // text, perhaps of several segments
		g.Len, g.Segs, g.Ack = 1448*(1+n%4), uint16(1+n%4), t.snd.una
	case 4: // text beyond a hole
		g.Seq, g.Len, g.Ack = g.Seq.Add(1448*(1+n)), 1448, t.snd.una
	case 5, 6: // a hole in what was sent
		g.Ack = t.snd.una
		p.sack(&g, t, t.snd.una.Add(t.effMSS()*(1+n%5)), t.snd.nxt)
	case 7: // a duplicate, by DSACK (RFC 2883)
		p.sack(&g, t, t.snd.una-seq.Num(t.effMSS()), t.snd.una)
	case 8: // marks
		g.ECN = wire.CE
		g.Len = 100
		if n&1 != 0 {
			g.Flags |= wire.ECE
		}
	case 9: // a window of some size
		g.Wnd = uint16(n * n)
	case 10: // urgent octets
		g.Flags, g.Urg, g.Len = g.Flags|wire.URG, uint16(n), 5
	case 11:
		if n > 8 {
			g.Flags |= wire.FIN
		}
	}
	p.arrive(&g)
}

// sack puts the block from l to r into g if there is something in it and t knows SACK.
func (p *play) sack(g *Segment, t *TCB, l, r seq.Num) {
	if t.flags&flagSACK != 0 && l.LT(r) {
		g.Opt.Set |= wire.OptSACK
		g.Opt.NumSACK = 1
		g.Opt.SACK[0] = wire.SACKBlock{Left: l, Right: r}
	}
}

func (p *play) randomCall() {
	var end, placed uint64
	h := p.h // names nothing, or a connection of the past, or one of another flow
	if t := p.conn(); t != nil {
		h, end, placed = p.e[0].handle(t.self), t.snd.end, t.rcvPos()
	}
	b := p.byte()
	switch b % 20 {
	case 0:
		p.call(Call{Kind: CallClose, Handle: h})
	case 1:
		if p.byte() < 40 {
			p.call(Call{Kind: CallAbort, Handle: h})
		}
	case 2:
		if p.byte() < 60 {
			p.call(Call{Kind: CallDetach, Handle: h})
		}
	case 3, 4:
		p.call(Call{Kind: CallReceived, Handle: h, Pos: placed})
	case 5:
		p.call(Call{Kind: CallReceived, Handle: h, Pos: uint64(p.byte()) * 300})
	case 6:
		p.call(Call{Kind: CallSetOption, Handle: h, Option: Option(p.byte() % (uint8(OptionFastOpen) + 2)),
			Value: int64(p.byte()) << (p.byte() % 40)})
	case 7, 8:
		c := Call{Kind: CallOpen, Cookie: 1, Opt: SocketOptions{FastOpenConn: b > 128}}
		p.cur = 4 + int(b>>1)%2
		c.Flow = p.flows[p.cur]
		p.call(c)
		if t := p.conn(); t != nil && c.Opt.FastOpenConn {
			p.call(Call{Kind: CallSend, Handle: p.e[0].handle(t.self), Pos: 500})
		}
	case 9:
		id := p.listen
		if v := p.byte(); v > 20 {
			id = ListenerID(v)<<32 | 1
		}
		p.call(Call{Kind: CallUnlisten, Listener: id})
	case 10:
		c := Call{Kind: CallICMP, Flow: p.flows[p.cur], ICMP: ICMPKind(p.byte() % 5), Value: int64(p.byte()) * 8}
		if t := p.conn(); t != nil {
			c.Seq = p.near(t.snd.una)
		}
		p.call(c)
	case 11:
		p.call(Call{Kind: CallPathMTU, Handle: h, Value: int64(p.byte()) * 16})
	case 12:
		p.call(Call{Kind: CallAccepted, Listener: p.listen, Value: int64(p.byte()%4) - 1})
	case 13: // far more than a window
		p.call(Call{Kind: CallSend, Handle: h, Pos: end + uint64(p.byte())<<(b>>3)})
	default:
		v := p.byte()
		p.call(Call{Kind: CallSend, Handle: h, Pos: end + uint64(v)*200, More: b < 30, Urgent: b > 240})
	}
}

func (p *play) call(c Call) {
	var r [2]CallResult
	n := 0
	var k Call
	p.each(func(e *Engine, out *Output) { k = c; r[n] = e.Call(p.now, &k, out); n++ })
	if r[0] != r[1] {
		p.t.Fatalf("call %+v: %v, without header prediction %v", c, r[0], r[1])
	}
	if c.Kind == CallListen {
		p.listen = k.Listener
	}
}

func (p *play) arrive(g *Segment) {
	p.rec.received(p.now, g)
	var d [2]DropReason
	n := 0
	p.each(func(e *Engine, out *Output) { d[n] = e.Arrive(p.now, g, out); n++ })
	if d[0] != d[1] {
		p.t.Fatalf("segment %+v: %v, without header prediction %v", g, d[0], d[1])
	}
}

// each runs f on both engines and demands the same output.
func (p *play) each(f func(e *Engine, out *Output)) {
	for i, e := range p.e {
		f(e, p.out[i])
	}
	if !slices.Equal(p.out[0].Actions, p.out[1].Actions) {
		require.Equal(p.t, p.out[1].Actions, p.out[0].Actions)
	}
	if !slices.Equal(p.out[0].Segs, p.out[1].Segs) {
		require.Equal(p.t, p.out[1].Segs, p.out[0].Segs)
	}
	for i := range p.out[0].Segs {
		s := &p.out[0].Segs[i]
		p.rec.sent(p.now, s)
		if s.Flags.Has(wire.SYN | wire.ACK) {
			p.synAck[p.cur] = *s
		}
	}
	for _, a := range p.out[0].Actions {
		if a.Kind == ActPassEstablished {
			p.h = a.Handle
			p.e[0].SetCookie(p.h, 1)
			p.e[1].SetCookie(p.h, 1)
		}
	}
	p.out[0].Reset()
	p.out[1].Reset()
	if (p.e[1].NextDeadline() == vtime.Never) != (p.e[0].NextDeadline() == vtime.Never) {
		p.t.Fatalf("next deadline %v, without header prediction %v", p.e[0].NextDeadline(), p.e[1].NextDeadline())
	}
}

// end compares what the engines tell of their connections, then ends them all: nothing may be left in the
// tables.
func (p *play) end() {
	e := p.e[0]
	for h, ok := e.Next(0); ok; h, ok = e.Next(h.Index() + 1) {
		var a, b Info
		if p.e[0].Info(h, p.now, &a) != p.e[1].Info(h, p.now, &b) || a != b {
			require.Equal(p.t, b, a)
		}
		if h.Index() < e.twBase {
			p.call(Call{Kind: CallAbort, Handle: h})
		}
	}
	p.call(Call{Kind: CallUnlisten, Listener: p.listen})
	for range 100 {
		p.each(func(e *Engine, out *Output) { e.Transmit(p.now, 16, out) })
		if !e.Pending() {
			break
		}
	}
	p.now = p.now.Add(60 * vtime.Minute)
	p.each(func(e *Engine, out *Output) { e.Expire(p.now, out) })
	var m [2]MIB
	for i, e := range p.e {
		m[i] = *e.MIB()
		m[i].FastPathAcks, m[i].FastPathData = 0, 0
		if u := e.Usage(); u != (Usage{}) {
			p.t.Fatalf("left in the tables of engine %d: %+v", i, u)
		}
	}
	if m[0] != m[1] || m[0].CurrEstab != 0 {
		p.t.Fatalf("counters %+v, without header prediction %+v", m[0], m[1])
	}
}
