package tcpoffload

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/cc"
	"opentoe/tcpoffload/seq"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// FuzzArrive plays the input as a programme of segments, calls and time on two engines, one of them
// without header prediction. Neither may panic or break an invariant, and both have to answer alike:
// that is what allows header prediction to be there.
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
		p := newPlay(t)
		p.rec.watch(t, func() { p.run(b) })
	})
}

// TestRandomProgrammes is FuzzArrive over seeded input.
func TestRandomProgrammes(t *testing.T) {
	var mib MIB
	seeds := uint64(2000)
	if testing.Short() {
		seeds = 200
	}
	for seed := range seeds {
		rng := rand.New(rand.NewPCG(seed, 11))
		b := make([]byte, 100+rng.IntN(2000))
		for i := 0; i+8 <= len(b); i += 8 {
			binary.LittleEndian.PutUint64(b[i:], rng.Uint64())
		}
		p := newPlay(t)
		p.rec.watch(t, func() { p.run(b) })
		m := p.e[0].MIB()
		mib.FastPathAcks += m.FastPathAcks
		mib.FastPathData += m.FastPathData
		mib.OutOfOrder += m.OutOfOrder
		mib.RetransSegs += m.RetransSegs
	}
	require.Positive(t, mib.FastPathAcks, "the programmes reach header prediction")
	require.Positive(t, mib.FastPathData)
	require.Positive(t, mib.OutOfOrder)
	require.Positive(t, mib.RetransSegs)
}

// play runs one programme on two engines.
type play struct {
	t   *testing.T
	e   [2]*Engine
	out [2]*Output
	now vtime.Time
	h   Handle
	in  []byte
	end uint64
	rec recorder
}

func newPlay(t *testing.T) *play {
	p := &play{t: t, now: vtime.Time(sec)}
	for i := range p.e {
		e, err := New(Config{Memory: NewMemory(4, 2), Tunables: DefaultTunables(), Seed: 3, ISNKey: [16]byte{4}})
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

// run plays b: a listener, a connection to it, then what b says.
func (p *play) run(b []byte) {
	p.in = b
	flow := wire.Flow{
		Local: wire.AddrFrom4([4]byte{10, 0, 0, 1}), LocalPort: 80,
		Remote: wire.AddrFrom4([4]byte{10, 0, 0, 2}), RemotePort: 1000,
	}
	opt := SocketOptions{NoSACK: p.byte()%4 == 0, NoTimestamp: p.byte()%4 == 0, Keepalive: p.byte()%4 == 0}
	opt.FastOpen = uint32(p.byte() % 3)
	mode := p.byte()
	for _, e := range p.e {
		e.tun.UTO, e.tun.MTUProbing = mode&1 != 0, MTUProbing(mode>>1%3)
		e.tun.DefaultSndBuf = 8 << 10
	}
	if mode&64 != 0 {
		opt.CC, opt.NotSentLowat = cc.Choose(cc.DCTCP), 3000
	}
	p.call(Call{Kind: CallListen, Flow: wire.Flow{LocalPort: 80}, Value: 3, Opt: opt})
	syn := Segment{Flow: flow, Flags: wire.SYN, Seq: 0xfffff000, Wnd: 60000}
	syn.Opt = wire.Options{Set: allOptions, MSS: 1460, WScale: 2, TSVal: 1}
	if mode&128 != 0 {
		syn.Flags |= wire.ECE | wire.CWR
	}
	p.arrive(&syn)
	for len(p.in) > 0 {
		switch op := p.byte(); {
		case op < 150:
			p.segment(flow)
		case op < 200:
			p.randomCall(flow)
		default:
			d := vtime.Duration(p.byte()) * 50 * vtime.Microsecond
			if op > 240 {
				d *= 1000
			}
			p.now = p.now.Add(d)
			p.each(func(e *Engine, out *Output) { e.Expire(p.now, out) })
		}
		p.each(func(e *Engine, out *Output) { e.Transmit(p.now, 16, out) })
	}
}

// segment lets a segment arrive, made from the present state of the connection.
func (p *play) segment(flow wire.Flow) {
	g := Segment{Flow: flow, Flags: wire.ACK, Wnd: uint16(p.byte()) << 8}
	e := p.e[0]
	switch i := e.lookupAny(&flow); {
	case i >= e.twBase:
		w := &e.tws[i-e.twBase]
		g.Seq, g.Ack = p.near(w.rcvNxt), p.near(w.sndNxt)
		if w.withTS {
			g.Opt.Set, g.Opt.TSVal = wire.OptTimestamps, w.tsRecent+uint32(p.byte()%4)-1
		}
	case i >= e.synBase:
		h := &e.syns[i-e.synBase]
		g.Seq, g.Ack = p.near(h.irs.Add(1)), p.near(h.iss.Add(1))
		if h.flags&synTS != 0 {
			g.Opt.Set, g.Opt.TSVal = wire.OptTimestamps, h.tsRecent+uint32(p.byte()%4)-1
		}
	case i == 0 && p.byte() < 128:
		// A new connection, with a Fast Open cookie that may be wrong.
		g.Flags, g.Seq = wire.SYN, 0xfffff000
		g.Opt = wire.Options{Set: allOptions | wire.OptFastOpen, MSS: 1460, WScale: 2, TSVal: 5}
		e.putFastOpenCookie(&flow, &g.Opt)
		g.Opt.Cookie[0] ^= p.byte() % 2
	case i != 0:
		t := &e.conns[i]
		g.Seq = p.near(t.rcv.nxt)
		g.Ack = p.near(t.snd.nxt)
		if p.byte()%3 == 0 {
			g.Ack = p.near(t.snd.una)
		}
		if t.flags&flagTS != 0 && p.byte()%16 != 0 {
			g.Opt.Set |= wire.OptTimestamps
			g.Opt.TSVal = t.ts.recent + uint32(p.byte()%4) - 1
			g.Opt.TSEcr = t.tsVal(p.now) - uint32(p.byte()%4)
		}
		if p.byte()%6 == 0 {
			g.Opt.Set |= wire.OptSACK
			g.Opt.NumSACK = 1 + p.byte()%4
			for k := range g.Opt.NumSACK {
				l := t.snd.una.Add(uint32(p.byte()) * 100)
				g.Opt.SACK[k] = wire.SACKBlock{Left: l, Right: l.Add(uint32(p.byte()) * 20)}
			}
		}
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
			g.Opt.UserTimeout = uint16(b)
		}
	}
	if b := p.byte(); b > 230 {
		g.Flags ^= wire.Flags(p.byte())
		g.Urg = uint16(p.byte())
	}
	p.arrive(&g)
}

func (p *play) randomCall(flow wire.Flow) {
	switch p.byte() % 16 {
	case 0:
		p.call(Call{Kind: CallClose, Handle: p.h})
	case 1:
		if p.byte() < 40 {
			p.call(Call{Kind: CallAbort, Handle: p.h})
		}
	case 2:
		if p.byte() < 60 {
			p.call(Call{Kind: CallDetach, Handle: p.h})
		}
	case 3, 4, 5:
		p.call(Call{Kind: CallReceived, Handle: p.h, Pos: uint64(p.byte()) * 300})
	case 6:
		p.call(Call{Kind: CallSetOption, Handle: p.h, Option: Option(p.byte() % (uint8(OptionFastOpen) + 2)), Value: int64(p.byte()) * 1000})
	case 7:
		c := Call{Kind: CallOpen, Flow: flow, Cookie: 1, Opt: SocketOptions{FastOpenConn: p.byte()%2 == 0}}
		c.Flow.LocalPort, c.Flow.RemotePort = 81, 80
		p.call(c)
	case 8:
		p.call(Call{Kind: CallUnlisten, Listener: ListenerID(p.byte())<<32 | 1})
	case 9:
		c := Call{Kind: CallICMP, Flow: flow, ICMP: ICMPKind(p.byte() % 5), Value: int64(p.byte()) * 8}
		if i := p.e[0].lookup(&flow); i != 0 {
			c.Seq = p.near(p.e[0].conns[i].snd.una)
		}
		p.call(c)
	case 10:
		p.call(Call{Kind: CallPathMTU, Handle: p.h, Value: int64(p.byte()) * 16})
	default:
		p.end += uint64(p.byte()) * 40
		b := p.byte()
		p.call(Call{Kind: CallSend, Handle: p.h, Pos: p.end, More: b < 30, Urgent: b > 240})
	}
}

func (p *play) call(c Call) {
	var r [2]CallResult
	n := 0
	p.each(func(e *Engine, out *Output) { k := c; r[n] = e.Call(p.now, &k, out); n++ })
	require.Equal(p.t, r[0], r[1])
}

func (p *play) arrive(g *Segment) {
	p.rec.received(p.now, g)
	var d [2]DropReason
	n := 0
	p.each(func(e *Engine, out *Output) { d[n] = e.Arrive(p.now, g, out); n++ })
	require.Equal(p.t, d[0], d[1])
}

// each runs f on both engines and demands the same output.
func (p *play) each(f func(e *Engine, out *Output)) {
	for i, e := range p.e {
		f(e, p.out[i])
	}
	if len(p.out[0].Actions)+len(p.out[1].Actions) > 0 {
		require.Equal(p.t, p.out[1].Actions, p.out[0].Actions)
	}
	if len(p.out[0].Segs)+len(p.out[1].Segs) > 0 {
		require.Equal(p.t, p.out[1].Segs, p.out[0].Segs)
	}
	for i := range p.out[0].Segs {
		p.rec.sent(p.now, &p.out[0].Segs[i])
	}
	for _, a := range p.out[0].Actions {
		if a.Kind == ActPassEstablished && p.h == 0 {
			p.h = a.Handle
			p.e[0].SetCookie(p.h, 1)
			p.e[1].SetCookie(p.h, 1)
		}
	}
	p.out[0].Reset()
	p.out[1].Reset()
	require.Equal(p.t, p.e[1].NextDeadline() == vtime.Never, p.e[0].NextDeadline() == vtime.Never)
}
