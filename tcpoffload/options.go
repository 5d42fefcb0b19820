package tcpoffload

// TCP options (RFC 9293 §3.7.1, RFC 7323, RFC 2018) and the parameters that they negotiate.

import (
	"math/bits"

	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// Octets of options in a segment, padding included.
const (
	tsOptLen     = 12 // two NOPs and the timestamps
	sackOptLen   = 4  // two NOPs, kind and length
	sackBlockLen = 8
	utoOptLen    = 4
)

// tsTick is the unit of our timestamp clock (RFC 7323 §5.4).
const tsTick = vtime.Millisecond

// tsVal returns t's timestamp clock.
func (t *TCB) tsVal(now vtime.Time) uint32 { return tsClock(now) + t.ts.offset }

// tsClock returns our timestamp clock without offset.
func tsClock(now vtime.Time) uint32 { return uint32(int64(now) / int64(tsTick)) }

// headerLen returns the octets of the IP and TCP headers without options.
func headerLen(f *wire.Flow) int {
	if f.Is4() {
		return 20 + 20
	}
	return 40 + 20
}

// announcedMSS returns the MSS to announce on flow f: what the MTU towards the next hop (0: the
// device's) leaves, or less if the program chose so (most, 0: it did not). RFC 9293 §3.7.1.
func (e *Engine) announcedMSS(f *wire.Flow, most, mtu uint16) uint16 {
	mss := e.hopMTU(mtu) - uint16(headerLen(f))
	if most != 0 {
		mss = min(mss, most)
	}
	return mss
}

// hopMTU returns the largest IP packet towards a next hop that takes mtu octets (0: as many as the device).
func (e *Engine) hopMTU(mtu uint16) uint16 {
	if mtu == 0 {
		return uint16(e.mtu)
	}
	return uint16(min(e.mtu, max(int(mtu), minMTU)))
}

// peerMSS returns the MSS that a SYN on flow f announces by o, or what is assumed without the option
// (RFC 9293 §3.7.1).
func peerMSS(f *wire.Flow, o *wire.Options) uint16 {
	switch {
	case o.Set&wire.OptMSS != 0:
		return max(o.MSS, minMSS)
	case f.Is4():
		return defaultMSS4
	}
	return defaultMSS6
}

// receiveLimit returns the receive limit that a connection with settings o begins with, octets, and
// the window shift that it offers.
func (e *Engine) receiveLimit(o *SocketOptions) (limit uint32, wscale uint8) {
	limit, top := e.tun.DefaultRcvBuf, e.tun.MaxRcvBuf
	if o.RcvBuf != 0 {
		limit = max(o.RcvBuf, minRcvBuf)
		top = max(top, limit)
	}
	if o.RcvClamp != 0 {
		bound := max(o.RcvClamp, minRcvBuf)
		limit, top = min(limit, bound), min(top, bound)
	}
	if !e.tun.WindowScale {
		return limit, 0
	}
	return limit, scaleFor(top)
}

// scaleFor returns the smallest shift with which the 16-bit window can express limit octets.
// RFC 7323 §2.2.
func scaleFor(limit uint32) uint8 {
	return uint8(min(max(bits.Len32(limit)-16, 0), maxWscale))
}

// validOptions reports whether o can be granted.
func validOptions(o *SocketOptions) bool {
	return o.RcvBuf <= maxRcvBuf && o.UserTimeout >= 0 && o.CC.Valid() && (o.MSS == 0 || o.MSS >= minMSS)
}

// initConn sets what an opening connection has before it hears from the peer.
func (e *Engine) initConn(t *TCB, now vtime.Time, nextHop uint32, mtu uint16, o *SocketOptions) {
	t.nextHop = nextHop
	t.maxSeg = o.MSS
	t.rcv.limit, t.rcv.wscale = e.receiveLimit(o)
	t.rcvClamp = o.RcvClamp
	if o.RcvBuf != 0 {
		t.flags |= flagFixedRcv
	}
	if !e.tun.WindowScale {
		t.flags |= flagNoWScale
	}
	t.rcv.limit = max(t.rcv.limit, t.smallestLimit())
	t.rcv.mss = defaultMSS4
	t.pmtu.hop = e.hopMTU(mtu)
	t.rcv.maxSeg = e.announcedMSS(&t.flow, o.MSS, mtu)
	t.rcv.last = now
	if o.NoDelay {
		t.flags |= flagNoDelay
	}
	if o.Keepalive {
		t.flags |= flagKeep
	}
	if o.NoSACK || !e.tun.SACK {
		t.flags |= flagNoSACK
	}
	if o.NoTimestamp || !e.tun.Timestamps {
		t.flags |= flagNoTS
	}
	t.cc.Prefer(o.CC.Or(e.tun.CC))
	t.cc.SetPaced(e.tun.Pacing, 0)
	e.control(t).SetMaxRate(o.MaxPacingRate, 0)
	t.ts.offset = e.tsOffset(&t.flow)
	t.beginAt(e.isn(now, &t.flow))
	t.rtt.rto = min(max(e.tun.RTOInit, e.tun.RTOMin), e.tun.RTOMax)
	t.quick = quickAcks
	t.sndBuf = e.tun.DefaultSndBuf
	e.setSndBuf(t, o.SndBuf)
	t.lowat = o.NotSentLowat
	t.setIP(ipVars{o.TOS, o.TTL})
	t.rcv.ecn = e.ecnPolicy(o)
	t.pmtu.synRetries = o.SynRetries
	e.setUserTimeout(t, o.UserTimeout)
}

// synArrived takes the peer's sequence number, window and options from its SYN.
func (e *Engine) synArrived(t *TCB, now vtime.Time, seg *Segment) {
	o := &seg.Opt
	t.snd.mss = uint32(min(peerMSS(&t.flow, o), t.rcv.maxSeg))
	t.rcv.mss = min(t.rcv.mss, t.snd.mss) // a guess: what the peer takes is what it sends

	if o.Set&wire.OptTimestamps != 0 && t.flags&flagNoTS == 0 {
		t.flags |= flagTS
		t.ts.recent, t.ts.recentAt = o.TSVal, now
	}
	if o.Set&wire.OptSACKPermitted != 0 && t.flags&flagNoSACK == 0 {
		t.flags |= flagSACK
	}
	if o.Set&wire.OptWindowScale != 0 && t.flags&flagNoWScale == 0 {
		t.snd.wscale = min(o.WScale, maxWscale)
	} else {
		t.rcv.wscale = 0
	}

	t.ecnSynArrived(seg)
	t.rcv.irs = seg.Seq
	t.rcv.nxt = seg.Seq.Add(1)
	t.rcv.nxt64 = 1
	t.rcv.adv = t.rcv.nxt.Add(min(t.rcv.limit, 65535)) // windows on SYNs are not scaled
	t.ts.lastAckSent = t.rcv.nxt
	t.snd.wnd = uint32(seg.Wnd)
	t.snd.wndMax = t.snd.wnd
	t.snd.wl1, t.snd.wl2 = seg.Seq, seg.Ack

	e.startPath(t, now)
	e.startCongestion(t)
}

// effMSS returns Eff.snd.MSS of RFC 9293 §3.7.1: payload octets of a full segment without SACK
// blocks.
func (t *TCB) effMSS() uint32 {
	if t.flags&flagTS != 0 {
		return t.snd.mss - tsOptLen
	}
	return t.snd.mss
}

// synOptions fills the options of our SYN or SYN-ACK. A SYN offers everything that is not switched
// off; a SYN-ACK grants what the peer offered.
func (t *TCB) synOptions(now vtime.Time, o *wire.Options) {
	offer := t.state == StateSynSent
	o.Set |= wire.OptMSS
	o.MSS = t.rcv.maxSeg
	if offer && t.flags&flagNoWScale == 0 || t.snd.wscale != 0 || t.rcv.wscale != 0 {
		o.Set |= wire.OptWindowScale
		o.WScale = t.rcv.wscale
	}
	if offer && t.flags&flagNoSACK == 0 || t.flags&flagSACK != 0 {
		o.Set |= wire.OptSACKPermitted
	}
	if offer && t.flags&flagNoTS == 0 || t.flags&flagTS != 0 {
		o.Set |= wire.OptTimestamps
		o.TSVal, o.TSEcr = t.tsVal(now), t.ts.recent
	}
}

// sackOptions fills o with SACK blocks for what lies beyond holes, latest first (RFC 2018 §4),
// after a duplicate to report (RFC 2883 §4), and returns the octets that the option takes.
// There is room for space octets of options beside the timestamps.
func (e *Engine) sackOptions(t *TCB, o *wire.Options, space uint32) uint32 {
	room := wire.MaxSACKBlocks
	if t.flags&flagTS != 0 {
		room-- // 40 octets of option space hold 12 + 4 + 3·8
	}
	if space < sackOptLen+sackBlockLen {
		return 0
	}
	room = min(room, int(space-sackOptLen)/sackBlockLen)
	n := 0
	if t.flags&flagDSACK != 0 {
		t.flags &^= flagDSACK
		o.SACK[0] = wire.SACKBlock{Left: t.dsack.left, Right: t.dsack.right}
		n = 1
		e.root.mib.DSACKsOut++
	}
	for i := t.reasm.newest; i != 0 && n < room; i = e.ranges[i].older {
		o.SACK[n] = wire.SACKBlock{Left: e.ranges[i].left, Right: e.ranges[i].right}
		n++
	}
	if n == 0 {
		return 0
	}
	o.Set |= wire.OptSACK
	o.NumSACK = uint8(n)
	return sackOptLen + sackBlockLen*uint32(n)
}
