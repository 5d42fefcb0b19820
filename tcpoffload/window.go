package tcpoffload

// Receive window (RFC 9293 §3.8.6), receiver SWS avoidance (§3.8.6.2.2), and how the receive limit
// follows the program.

import (
	"opentoe/tcpoffload/seq"
	"opentoe/tcpoffload/vtime"
)

// rcvPos returns the stream position that RCV.NXT stands at.
func (t *TCB) rcvPos() uint64 {
	p := t.rcv.nxt64 - 1
	if t.flags&flagFinRcvd != 0 {
		p--
	}
	return p
}

// unread returns how many octets are in order and not read.
func (t *TCB) unread() uint32 { return uint32(t.rcvPos() - t.rcv.read) }

// freeSpace returns the octets that the receive stream can still take after RCV.NXT.
func freeSpace(limit, unread uint32) uint32 { return limit - min(limit, unread) }

// edgeFor returns the right edge that free octets allow, as the window field can express it.
func edgeFor(nxt seq.Num, free uint32, wscale uint8) seq.Num {
	w := min(free>>wscale, 65535) << wscale
	return nxt.Add(w)
}

// smallestLimit returns the least receive limit that the window field can still express: a smaller one
// would round down to a window that is always shut.
func (t *TCB) smallestLimit() uint32 { return max(minRcvBuf, uint32(2)<<t.rcv.wscale) }

// clamped returns limit, bounded by what the program allows, but not so that the window is always shut.
func (t *TCB) clamped(limit uint32) uint32 {
	if t.rcvClamp == 0 {
		return limit
	}
	return min(limit, max(t.rcvClamp, t.smallestLimit()))
}

// setClamp bounds the receive limit by v octets, none if it is 0. A limit above it comes down; auto-tuning
// goes on below it. What the peer was promised it keeps.
func (t *TCB) setClamp(v uint32) {
	t.rcvClamp = v
	if limit := t.clamped(t.rcv.limit); limit != t.rcv.limit {
		t.rcv.limit = limit
		t.rcvTune.most = 0 // under a higher clamp it grows again
	}
}

// swsStep returns by how much the right edge has to advance to be worth telling.
func swsStep(limit, mss uint32) uint32 { return min(limit/2, mss) }

// window moves the advertised right edge as far as it should go and returns the window field. The
// edge is never moved back: octets before it may arrive even if the field, which is rounded down to
// the scale, no longer covers them (RFC 7323 §2.4).
func (t *TCB) window() uint16 {
	v := &t.rcv
	edge := edgeFor(v.nxt, freeSpace(v.limit, t.unread()), v.wscale)
	if edge.Sub(v.adv) >= int32(swsStep(v.limit, uint32(v.maxSeg))) {
		v.adv = edge
	}
	return uint16(min(uint32(v.adv-v.nxt)>>v.wscale, 65535))
}

// tuneReceive raises the receive limit, at most to most octets, when the program read more in the
// last round trip than in any before: four times that amount lets a sender in slow start double
// twice before it is told.
func (t *TCB) tuneReceive(now vtime.Time, most uint32) {
	v := &t.rcvTune
	rtt := t.rcvRTT.rtt
	if rtt == 0 {
		rtt = t.rtt.srtt
	}
	if rtt == 0 || now.Sub(v.at) < rtt {
		return
	}
	read := uint32(t.rcv.read)
	copied := min(read-v.read, maxRcvBuf/4)
	v.at, v.read = now, read
	if copied > v.most {
		v.most = copied
		t.rcv.limit = max(t.rcv.limit, t.clamped(min(4*copied, most)))
	}
}
