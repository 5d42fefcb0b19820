package tcpoffload

// Demultiplexing, and the life of table entries.

import (
	"encoding/binary"
	"math/bits"

	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// hash is a keyed hash of the 4-tuple: without the key nobody can aim connections at one bucket.
func (e *Engine) hash(f *wire.Flow) uint32 {
	k := &e.root.hashKey
	ports := uint64(f.LocalPort)<<16 | uint64(f.RemotePort)
	h := fold(binary.LittleEndian.Uint64(f.Remote[8:])^k[0], binary.LittleEndian.Uint64(f.Local[8:])^k[1])
	h = fold(h^binary.LittleEndian.Uint64(f.Remote[:])^ports, binary.LittleEndian.Uint64(f.Local[:])^k[0]^ports<<32)
	return uint32(h) & e.mask
}

// fold multiplies and xors both halves of the product.
func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// lookup returns the index of the connection of flow f, or 0. The SYN cache and TIME-WAIT hold no
// connections.
func (e *Engine) lookup(f *wire.Flow) uint32 {
	if i := e.lookupAny(f); i < e.synBase {
		return i
	}
	return 0
}

// hashNext returns the link of entry i.
func (e *Engine) hashNext(i uint32) *uint32 {
	if i < e.synBase {
		return &e.conns[i].hashNext
	}
	return &e.record(i).hashNext
}

// hashInsert makes the flow table lead from f to entry i, whose link is next.
func (e *Engine) hashInsert(f *wire.Flow, i uint32, next *uint32) {
	b := &e.bucket[e.hash(f)]
	*next = *b
	*b = i
	if len(e.portUse) != 0 {
		e.portUse[f.LocalPort]++
	}
}

// hashRemove takes entry i of flow f, whose link is next, out of the flow table.
func (e *Engine) hashRemove(f *wire.Flow, i uint32, next *uint32) {
	p := &e.bucket[e.hash(f)]
	for *p != i {
		if *p == 0 {
			return
		}
		p = e.hashNext(*p)
	}
	*p, *next = *next, 0
	if len(e.portUse) != 0 {
		e.portUse[f.LocalPort]--
	}
}

// allocConn takes an entry for flow f, in StateClosed and in the flow table, timers stopped. It
// returns nil when the table is full.
func (e *Engine) allocConn(f *wire.Flow) *TCB {
	r := e.root
	i := r.freeConn
	switch {
	case i != 0:
		r.freeConn = e.conns[i].hashNext
	case r.freshConn < uint32(len(e.conns)):
		i = r.freshConn
		r.freshConn++
		e.conns[i].gen = 1
	default:
		return nil
	}
	t := &e.conns[i]
	*t = TCB{flow: *f, gen: t.gen, self: i, wheelAt: vtime.Never}
	for k := range t.deadline {
		t.deadline[k] = vtime.Never
	}
	t.rtt.timedAt = vtime.Never
	e.hashInsert(f, i, &t.hashNext)
	r.liveConns++
	e.showFull()
	return t
}

// unhash takes t out of the flow table: its segments find no connection any more.
func (e *Engine) unhash(t *TCB) {
	e.hashRemove(&t.flow, t.self, &t.hashNext)
	if e.last == t.self {
		e.last = 0
	}
}

// free ends t: nothing refers to it afterwards, and its handle is stale.
func (e *Engine) free(t *TCB) {
	e.close(t)
	e.txRemove(t)
	t.gen = nextGen(t.gen)
	t.hashNext = e.root.freeConn
	e.root.freeConn = t.self
	e.root.liveConns--
	e.showFull()
}

// close moves t to StateClosed and takes it out of every list but the transmit list.
func (e *Engine) close(t *TCB) {
	if t.state == StateClosed {
		return // closed before, and waiting for Transmit
	}
	e.unhash(t)
	if t.fastOpen&fastPending != 0 {
		e.fastOpenLeave(t, 0, false)
	}
	e.wheelRemove(t)
	e.clearRanges(t)
	e.clearFlight(t)
	e.clearBorders(t)
	e.dropModel(t)
	e.setState(t, StateClosed)
}

// setState is the only writer of t.state. It panics on an edge that RFC 9293 does not have.
func (e *Engine) setState(t *TCB, s State) {
	if !legal(t.state).has(s) {
		panic("tcpoffload: illegal transition " + t.state.String() + " to " + s.String())
	}
	m := &e.root.mib
	switch {
	case isEstab.has(s) && !isEstab.has(t.state):
		m.CurrEstab++
	case !isEstab.has(s) && isEstab.has(t.state):
		m.CurrEstab--
	}
	if s == StateClosed && isOpening.has(t.state) {
		m.AttemptFails++
	}
	t.state = s
}

// finish tells the owner that t ended for reason, and frees it.
func (e *Engine) finish(t *TCB, reason EndReason, out *Output) {
	out.act(t, ActFinished).Reason = reason
	e.free(t)
}

// act appends an action of connection t, which the caller completes where it stands: a copy of a struct just
// written costs more than the rest. Precondition: there is room.
func (o *Output) act(t *TCB, kind ActionKind) *Action {
	n := len(o.Actions)
	o.Actions = o.Actions[:n+1]
	a := &o.Actions[n]
	*a = Action{}
	a.Kind, a.Handle, a.Cookie = kind, Handle(t.gen)<<32|Handle(t.self), t.cookie
	return a
}
