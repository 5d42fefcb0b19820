package tcpoffload

// Whose a segment is, where another stack has the same addresses and answers for what is not ours.

import (
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// Knows reports whether f is in any table: a connection, one that is half-open, or one in TIME-WAIT.
func (e *Engine) Knows(f *wire.Flow) bool { return e.lookupAny(f) != 0 }

// Claims reports whether Arrive is to have seg, on an address that another stack shares. It is not when
// the engine knows nothing of the flow and the segment does not open a connection here: by a SYN to a
// listener, or by an ACK that answers a SYN cookie. Whoever has the segment then accepts or refuses it,
// where Arrive would refuse it by RFC 9293 §3.10.7.1. A SYN that finds the connection table full, or its
// owner without room, is left to the other stack as well.
//
// A SYN that may open a connection in TIME-WAIT anew (RFC 6191 §2), but not with a listener of ours or not
// while there is no room, ends TIME-WAIT: the flow is the other stack's from then on. So does such a
// SYN-ACK: its SYN was not ours.
func (e *Engine) Claims(now vtime.Time, seg *Segment) bool {
	const control = wire.SYN | wire.ACK | wire.RST | wire.FIN
	syn := seg.Flags&control == wire.SYN
	full := seg.NoRoom || e.connsFull()
	i, l := e.lookupAny(&seg.Flow), e.findListener(&seg.Flow)
	switch {
	case i >= e.twBase && (syn && (l == 0 || full) || seg.Flags&control == wire.SYN|wire.ACK) && e.tws[i-e.twBase].reopens(seg):
		e.timeWaitFree(i)
		return false
	case i != 0:
		return true
	case l == 0:
		return false
	case syn:
		return !full
	case seg.Flags&(control&^wire.FIN) != wire.ACK || now >= e.lsts[l].cookieUntil:
		return false
	}
	var h HalfOpen
	return e.readCookie(&h, l, now, seg)
}

// Asks returns the cookie of the listener that seg asks for a connection, and how many handshakes with it are
// under way; ok is false when seg is not a SYN that opens a connection here.
func (e *Engine) Asks(seg *Segment) (listener uint64, handshakes int, ok bool) {
	const control = wire.SYN | wire.ACK | wire.RST | wire.FIN
	if seg.Flags&control != wire.SYN {
		return 0, 0, false
	}
	i := e.lookupAny(&seg.Flow)
	if i != 0 && (i < e.twBase || !e.tws[i-e.twBase].reopens(seg)) {
		return 0, 0, false
	}
	k := e.findListener(&seg.Flow)
	return e.lsts[k].cookie, int(e.lsts[k].halfOpen), k != 0
}

// Full reports whether the connection table has no place for another connection.
func (e *Engine) Full() bool { return e.connsFull() }

// connsFull reports whether every entry of the connection table is taken.
func (e *Engine) connsFull() bool {
	r := e.root
	return r.freeConn == 0 && r.freshConn == uint32(len(e.conns))
}
