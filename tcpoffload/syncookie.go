package tcpoffload

// SYN cookies (RFC 4987 §3.6): a half-open connection that the peer remembers for us.
//
// The sequence number of the SYN-ACK is, from the top: the period in which it was sent (8 bits), and a
// hash of the flow, the peer's number and the period, plus the index of the peer's MSS in a table (24
// bits); to all that a second hash of the flow and the peer's number are added, so that numbers rise
// from period to period and tell nobody anything. Timestamps, if the peer has them, carry the window
// scale, SACK and ECN in their low bits; without timestamps those are not granted.

import (
	"opentoe/tcpoffload/seq"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// SynCookieMode says when SYN cookies are sent.
type SynCookieMode uint8

// The modes.
const (
	SynCookiesOff      SynCookieMode = iota // never
	SynCookiesOverflow                      // when the SYN cache or the listener's share of it is full
	SynCookiesAlways                        // always
)

const (
	// cookiePeriod is how long the hash stays the same. A cookie is good in its period and the next:
	// for one to two minutes.
	cookiePeriod = vtime.Minute
	cookieMask   = 1<<24 - 1
)

// cookieMSS are the values of MSS that a cookie can tell, octets: those that peers announce.
var cookieMSS = [...]uint16{minMSS, 536, 1220, 1360, 1400, 1440, 1460, 8940}

// cookieMSSIndex returns the index of the largest value that is not above mss.
func cookieMSSIndex(mss uint16) uint32 {
	i := len(cookieMSS) - 1
	for i > 0 && cookieMSS[i] > mss {
		i--
	}
	return uint32(i)
}

// cookieBase returns what is added to a cookie of flow f.
func (e *Engine) cookieBase(f *wire.Flow, irs seq.Num) uint32 {
	return uint32(flowHash(e.root.cookieKey[0], f, flowPorts(f), 0)) + uint32(irs)
}

// cookieHash returns what proves a cookie of flow f, 24 bits.
func (e *Engine) cookieHash(f *wire.Flow, irs seq.Num, period uint64) uint32 {
	return uint32(flowHash(e.root.cookieKey[1], f, flowPorts(f)<<32|uint64(irs), period)) & cookieMask
}

// cookieTime returns the period that now lies in.
func cookieTime(now vtime.Time) uint64 { return uint64(now / vtime.Time(cookiePeriod)) }

// Low bits of the timestamp clock in a SYN-ACK with a cookie.
const (
	clockScale   = 15       // the peer's window shift; all ones: none
	clockSACK    = 1 << 4   // SACK is granted
	clockECN     = 1 << 5   // so is ECN
	clockOptions = 1<<6 - 1 // the bits together
)

// cookieClock returns the latest time not after clock whose low bits tell the options of h.
func (h *HalfOpen) cookieClock(clock uint32) uint32 {
	bits := uint32(clockScale)
	if h.flags&synScale != 0 {
		bits = uint32(h.sndScale())
	}
	if h.flags&synSACK != 0 {
		bits |= clockSACK
	}
	if h.flags&synECN != 0 {
		bits |= clockECN
	}
	then := clock&^clockOptions | bits
	if int32(then-clock) > 0 {
		then -= clockOptions + 1
	}
	return then
}

// sendCookie answers the SYN in h, which is nowhere kept, with a cookie.
func (e *Engine) sendCookie(h *HalfOpen, now vtime.Time, out *Output) {
	if h.flags&synTS == 0 {
		h.flags = 0 // no way to remember
	}
	h.flags |= synCookie
	period := cookieTime(now)
	proof := (e.cookieHash(&h.flow, h.irs, period) + cookieMSSIndex(h.peerMSS)) & cookieMask
	h.iss = seq.Num(e.cookieBase(&h.flow, h.irs) + uint32(period)<<24 + proof)
	e.lsts[h.listener].cookieUntil = now.Add(2 * cookiePeriod)
	e.root.mib.SyncookiesSent++
	e.appendSynAck(h, now, out)
}

// readCookie fills h with what the cookie that seg acknowledges tells, and reports whether it is one
// of ours and still good.
func (e *Engine) readCookie(h *HalfOpen, i uint32, now vtime.Time, seg *Segment) bool {
	irs, iss := seg.Seq-1, seg.Ack-1
	v := uint32(iss) - e.cookieBase(&seg.Flow, irs)
	period := cookieTime(now)
	age := uint64(uint8(period) - uint8(v>>24))
	if age > 1 || age > period {
		return false
	}
	k := (v - e.cookieHash(&seg.Flow, irs, period-age)) & cookieMask
	if k >= uint32(len(cookieMSS)) {
		return false
	}
	syn := Segment{Flow: seg.Flow, Seq: irs, NextHop: seg.NextHop, MTU: seg.MTU}
	syn.Opt.Set, syn.Opt.MSS = wire.OptMSS, cookieMSS[k]
	if seg.Opt.Set&wire.OptTimestamps != 0 {
		syn.Opt.Set |= wire.OptTimestamps
		syn.Opt.TSVal = seg.Opt.TSVal
		bits := seg.Opt.TSEcr - e.tsOffset(&seg.Flow)
		if scale := bits & clockScale; scale != clockScale {
			syn.Opt.Set |= wire.OptWindowScale
			syn.Opt.WScale = uint8(scale)
		}
		if bits&clockSACK != 0 {
			syn.Opt.Set |= wire.OptSACKPermitted
		}
		if bits&clockECN != 0 {
			syn.Flags |= wire.ECE | wire.CWR
		}
	}
	e.readSyn(h, i, &syn)
	h.iss = iss
	h.flags |= synCookie
	return true
}

// ackForListener takes an ACK for no connection: it answers a SYN cookie of listener i, or is answered
// by a reset. Only a listener that sent cookies lately looks for them.
func (e *Engine) ackForListener(i uint32, now vtime.Time, seg *Segment, out *Output) DropReason {
	var h HalfOpen
	if now < e.lsts[i].cookieUntil && !seg.Flags.Has(wire.SYN) {
		if e.readCookie(&h, i, now, seg) {
			e.root.mib.SyncookiesRecv++
			e.root.mib.PassiveOpens++
			return e.complete(&h, 0, now, seg, out)
		}
		e.root.mib.SyncookiesFailed++
	}
	e.appendResetFor(seg, out)
	return DropListenAck
}
