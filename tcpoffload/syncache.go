package tcpoffload

// SYN cache (RFC 4987 §3.3): passive connections in SYN-RECEIVED, in compact records. A connection
// takes an entry of the connection table when its handshake is complete, not before.

import (
	"opentoe/tcpoffload/seq"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// HalfOpen is a passive connection in SYN-RECEIVED: the SYN, and what we answered. A SYN cookie is the
// same in 32 bits, kept by the peer.
type HalfOpen struct {
	record
	older, newer    uint32 // list of the listener
	listener        uint32 // index; 0: a free entry
	nextHop         uint32
	iss, irs        seq.Num
	tsRecent        uint32     // valid with synTS
	sentAt          vtime.Time // when its timer last started
	peerMSS, ownMSS uint16     // announced to us, with a default, and by us
	flags           synFlags
	scales          uint8 // Snd.Wind.Shift and, in the upper half, Rcv.Wind.Shift
	retries         uint8 // SYN-ACKs sent again by the timer
	challenges      uint8 // ACKs sent in answer to what may be forged, since the timer last expired
}

// synFlags are what the peer offered and we granted.
type synFlags uint8

const (
	synTS          synFlags = 1 << iota // timestamps
	synSACK                             // SACK
	synScale                            // window scale
	synECN                              // ECN
	synTwice                            // the SYN-ACK went out more than once: no round-trip time from it
	synCookie                           // our number is a SYN cookie
	synFastOpen                         // the SYN-ACK tells a Fast Open cookie
	synFastOpenExp                      // in the experimental form
)

// sndScale returns Snd.Wind.Shift, rcvScale Rcv.Wind.Shift; zero without synScale.
func (h *HalfOpen) sndScale() uint8 { return h.scales & 15 }
func (h *HalfOpen) rcvScale() uint8 { return h.scales >> 4 }

// synCacheVars are the lists of the SYN cache.
type synCacheVars struct {
	recordTable
	resets uint32                 // entries of listeners that were closed: their peers are still to be told
	queues [synQueues]recordQueue // by retries: all of one queue wait equally long
	at     vtime.Time             // at or before the first deadline
}

// arriveListen is RFC 9293 §3.10.7.2, for listener i.
func (e *Engine) arriveListen(i uint32, now vtime.Time, seg *Segment, out *Output) DropReason {
	switch {
	case seg.Flags.Has(wire.RST):
		return DropListenReset
	case seg.Flags.Has(wire.ACK):
		return e.ackForListener(i, now, seg, out)
	case seg.Flags&(wire.SYN|wire.FIN) != wire.SYN:
		return DropBadFlags
	}
	return e.synArrives(i, now, seg, reopening{}, out)
}

// synArrives answers a SYN to listener i: from the SYN cache, or with a SYN cookie when the cache or
// the listener's share of it is full. Text on the SYN is not taken; the peer sends it again.
func (e *Engine) synArrives(i uint32, now vtime.Time, seg *Segment, re reopening, out *Output) DropReason {
	l, m := &e.lsts[i], &e.root.mib
	if seg.NoRoom {
		m.ListenDrops++
		return DropNoRoom
	}
	if l.ready >= l.backlog {
		m.ListenOverflows++
		m.ListenDrops++
		return DropBacklog
	}
	var grant synFlags
	if e.fastOpenServes(l, seg) {
		if !re.old && e.fastOpenArrives(i, now, seg, out) {
			return DropNone
		}
		grant = fastOpenGrant(seg)
	}
	full := l.halfOpen >= l.backlog || e.root.synCache.full(len(e.syns))
	if cookie := e.tun.SynCookies; !re.old && (cookie == SynCookiesAlways || full && cookie == SynCookiesOverflow) {
		var h HalfOpen
		e.readSyn(&h, i, seg)
		e.sendCookie(&h, now, out)
		return DropNone
	}
	if full && !e.evict(l) {
		m.ListenDrops++
		return DropBacklog
	}
	k := e.takeRecord(&e.root.synCache.recordTable, e.synBase)
	h := &e.syns[k-e.synBase]
	e.readSyn(h, i, seg)
	h.flags |= grant
	h.iss = e.isn(now, &h.flow)
	if re.old {
		h.iss = seq.Max(h.iss, re.floor)
	}
	m.PassiveOpens++
	e.hashInsert(&h.flow, k, &h.hashNext)
	e.halfOpenJoin(h, k)
	e.halfOpenQueue(h, k, now)
	e.appendSynAck(h, now, out)
	return DropNone
}

// readSyn fills h with what SYN seg to listener i offers and we grant.
func (e *Engine) readSyn(h *HalfOpen, i uint32, seg *Segment) {
	opt, offer := &e.lsts[i].opt, &seg.Opt
	*h = HalfOpen{
		record: record{flow: seg.Flow, gen: h.gen}, listener: i, nextHop: seg.NextHop, irs: seg.Seq,
		peerMSS: peerMSS(&seg.Flow, offer), ownMSS: e.announcedMSS(&seg.Flow, opt.MSS, seg.MTU),
	}
	if offer.Set&wire.OptTimestamps != 0 && !opt.NoTimestamp && e.tun.Timestamps {
		h.flags |= synTS
		h.tsRecent = offer.TSVal
	}
	if offer.Set&wire.OptSACKPermitted != 0 && !opt.NoSACK && e.tun.SACK {
		h.flags |= synSACK
	}
	if offer.Set&wire.OptWindowScale != 0 && e.tun.WindowScale {
		h.flags |= synScale
		_, own := e.receiveLimit(opt)
		h.scales = own<<4 | min(offer.WScale, maxWscale)
	}
	if ecnGrants(e.ecnPolicy(opt), seg) {
		h.flags |= synECN
	}
}

// syn returns the SYN that h was made of, as far as it matters.
func (h *HalfOpen) syn() Segment {
	g := Segment{Flow: h.flow, Flags: wire.SYN, Seq: h.irs, NextHop: h.nextHop}
	g.Opt.Set, g.Opt.MSS, g.Opt.WScale, g.Opt.TSVal = wire.OptMSS, h.peerMSS, h.sndScale(), h.tsRecent
	if h.flags&synTS != 0 {
		g.Opt.Set |= wire.OptTimestamps
	}
	if h.flags&synSACK != 0 {
		g.Opt.Set |= wire.OptSACKPermitted
	}
	if h.flags&synScale != 0 {
		g.Opt.Set |= wire.OptWindowScale
	}
	if h.flags&synECN != 0 {
		g.Flags |= wire.ECE | wire.CWR
	}
	return g
}

// appendSynAck appends the SYN-ACK of h, if there is room; if not, its timer does it.
func (e *Engine) appendSynAck(h *HalfOpen, now vtime.Time, out *Output) {
	if !out.room(1, 0) {
		return
	}
	s := out.next()
	s.Flow, s.NextHop = h.flow, h.nextHop
	s.TOS, s.TTL = e.lsts[h.listener].opt.TOS, e.lsts[h.listener].opt.TTL
	s.Flags, s.Seq, s.Ack = wire.SYN|wire.ACK, h.iss, h.irs.Add(1)
	s.Wnd = h.window(e)
	if h.flags&synECN != 0 {
		s.Flags |= wire.ECE
		if e.ecnPolicy(&e.lsts[h.listener].opt)&ecnExact != 0 {
			s.ECN = wire.ECT0 // RFC 8257 §3.5
		}
	}
	s.Opt.Set, s.Opt.MSS = wire.OptMSS, h.ownMSS
	if h.flags&synScale != 0 {
		s.Opt.Set |= wire.OptWindowScale
		s.Opt.WScale = h.rcvScale()
	}
	if h.flags&synSACK != 0 {
		s.Opt.Set |= wire.OptSACKPermitted
	}
	if h.flags&synTS != 0 {
		clock := tsClock(now)
		if h.flags&synCookie != 0 {
			clock = h.cookieClock(clock)
		}
		s.Opt.Set |= wire.OptTimestamps
		s.Opt.TSVal, s.Opt.TSEcr = clock+e.tsOffset(&h.flow), h.tsRecent
	}
	if h.flags&synFastOpen != 0 {
		e.putFastOpenCookie(&h.flow, &s.Opt, h.flags&synFastOpenExp != 0)
	}
	e.root.mib.OutSegs++
}

// arriveHalfOpen is RFC 9293 §3.10.7.4 for entry i, in SYN-RECEIVED, with RFC 5961 against blind
// resets and SYNs.
func (e *Engine) arriveHalfOpen(i uint32, now vtime.Time, seg *Segment, out *Output) DropReason {
	h := &e.syns[i-e.synBase]
	h.nextHop = seg.NextHop // routes may have changed since the SYN
	rst, syn := seg.Flags.Has(wire.RST), seg.Flags.Has(wire.SYN)
	nxt := h.irs.Add(1)
	edge := nxt.Add(uint32(h.window(e)))
	first := syn && !rst && seg.Seq == h.irs
	switch end := seg.Seq.Add(seg.Len); {
	case first && !seg.Flags.Has(wire.ACK):
		// The SYN again: our answer was lost, or is late.
		h.flags |= synTwice
		e.root.mib.SynRetrans++
		e.appendSynAck(h, now, out)
		return DropNone
	case first: // with ACK: the handshake goes on without its SYN (RFC 9293 §3.5, figure 8)
	case !rst && h.flags&synTS != 0 && seg.Opt.Set&wire.OptTimestamps != 0 && int32(seg.Opt.TSVal-h.tsRecent) < 0:
		e.root.mib.PAWSDrops++
		e.challengeHalfOpen(h, now, out)
		return DropPAWS
	case end.LT(nxt) || seg.Seq.GT(edge):
		if !rst {
			e.challengeHalfOpen(h, now, out)
		}
		return DropSequence
	case rst && seg.Seq != nxt:
		e.challengeHalfOpen(h, now, out)
		return DropBadReset
	case rst:
		e.halfOpenDrop(i)
		return DropNone
	case syn:
		// RFC 9293 returns to LISTEN here. A challenge is as good for a peer that has forgotten the
		// connection, whose RST then has the right number, and does not help one who guesses.
		e.challengeHalfOpen(h, now, out)
		return DropSynInWindow
	}
	if !seg.Flags.Has(wire.ACK) {
		return DropNoAck
	}
	if seg.Ack != h.iss.Add(1) {
		e.appendResetFor(seg, out)
		return DropBadAck
	}
	return e.complete(h, i, now, seg, out)
}

// challengeHalfOpen acknowledges the SYN of h in answer to a segment that may be forged.
func (e *Engine) challengeHalfOpen(h *HalfOpen, now vtime.Time, out *Output) {
	if h.challenges >= e.tun.ChallengeAcks || !out.room(1, 0) {
		e.root.mib.ChallengeLimited++
		return
	}
	h.challenges++
	e.root.mib.ChallengeAcks++
	e.root.mib.OutSegs++
	s := out.next()
	s.Flow, s.NextHop = h.flow, h.nextHop
	s.Flags, s.Seq, s.Ack = wire.ACK, h.iss.Add(1), h.irs.Add(1)
	s.Wnd = h.window(e) >> h.rcvScale()
	if h.flags&synTS != 0 {
		s.Opt.Set = wire.OptTimestamps
		s.Opt.TSVal, s.Opt.TSEcr = tsClock(now)+e.tsOffset(&h.flow), h.tsRecent
	}
}

// complete makes a connection of h, which seg acknowledges, and lets it process seg. h is entry i of
// the SYN cache, or was read from a cookie, i then being 0. When the program does not keep up with
// accepting, the segment is dropped: our SYN-ACK or the peer's data come again.
func (e *Engine) complete(h *HalfOpen, i uint32, now vtime.Time, seg *Segment, out *Output) DropReason {
	l, m := &e.lsts[h.listener], &e.root.mib
	if l.ready >= l.backlog {
		m.ListenOverflows++
		m.ListenDrops++
		if e.tun.AbortOnOverflow {
			e.appendResetFor(seg, out)
			if i != 0 {
				e.halfOpenDrop(i)
			}
		}
		return DropAcceptQueue
	}
	t := e.allocConn(&h.flow)
	if t == nil {
		m.ListenDrops++
		return DropTableFull
	}
	t.flags |= flagPassive
	t.listener, t.listenGen = h.listener, l.gen
	syn := h.syn()
	e.initConn(t, now, h.nextHop, seg.MTU, &l.opt)
	// What was granted is granted, even if the settings have changed since.
	t.flags &^= flagNoTS | flagNoSACK | flagNoWScale
	t.rcv.ecn |= ecnPermit
	t.rcv.maxSeg = h.ownMSS
	e.synArrived(t, now, &syn)
	if h.flags&synScale != 0 {
		t.rcv.wscale = h.rcvScale()
	}
	t.beginAt(h.iss)
	t.snd.nxt = h.iss.Add(1)
	if h.flags&(synTwice|synCookie) == 0 {
		t.rtt.timedAt = h.sentAt
	}
	t.backoff, t.retries = h.retries, h.retries
	e.setState(t, StateSynReceived)
	if i != 0 {
		e.halfOpenFree(i)
	}
	d := e.arriveSynchronized(t, now, seg, out)
	e.check(t)
	return d
}

// evict makes room for one more half-open connection of l and reports whether it could. What gives way
// has not answered our first SYN-ACK in time: the oldest of l if its share is full, else the one with the most retries.
func (e *Engine) evict(l *Listener) bool {
	v := &e.root.synCache
	i := l.oldest
	if l.halfOpen < l.backlog {
		i = 0
		for q := synQueues - 1; q > 0 && i == 0; q-- {
			i = v.queues[q].head
		}
	}
	if i == 0 || e.syns[i-e.synBase].retries == 0 {
		return false
	}
	e.root.mib.SynCacheEvicted++
	e.halfOpenDrop(i)
	return true
}

// halfOpenDrop ends entry i because its handshake failed.
func (e *Engine) halfOpenDrop(i uint32) {
	e.root.mib.AttemptFails++
	e.halfOpenFree(i)
}

// halfOpenFree ends entry i.
func (e *Engine) halfOpenFree(i uint32) {
	h := &e.syns[i-e.synBase]
	e.halfOpenClose(h, i)
	e.root.synCache.release(&h.record, i)
}

// halfOpenClose takes h, entry i, out of the flow table and off every list.
func (e *Engine) halfOpenClose(h *HalfOpen, i uint32) {
	e.closeRecord(&h.record, i)
	e.dequeue(&e.root.synCache.queues[synQueue(h.retries)], &h.record)
	e.halfOpenLeave(h)
	h.listener = 0
}

// halfOpenJoin puts h, entry i, on the list of its listener.
func (e *Engine) halfOpenJoin(h *HalfOpen, i uint32) {
	l := &e.lsts[h.listener]
	h.older, h.newer = l.newest, 0
	if l.newest != 0 {
		e.syns[l.newest-e.synBase].newer = i
	} else {
		l.oldest = i
	}
	l.newest = i
	l.halfOpen++
}

// halfOpenLeave takes h off the list of its listener.
func (e *Engine) halfOpenLeave(h *HalfOpen) {
	l := &e.lsts[h.listener]
	if h.older != 0 {
		e.syns[h.older-e.synBase].newer = h.newer
	} else {
		l.oldest = h.newer
	}
	if h.newer != 0 {
		e.syns[h.newer-e.synBase].older = h.older
	} else {
		l.newest = h.older
	}
	l.halfOpen--
}

// synQueue returns the queue of entries with that many retries.
func synQueue(retries uint8) int { return min(int(retries), synQueues-1) }

// synWait returns how long entries of queue q wait for the peer (RFC 6298 (5.5)).
func (e *Engine) synWait(q int) vtime.Duration {
	return backedOff(e.tun.RTOInit, uint8(q), e.tun.RTOMax)
}

// halfOpenQueue starts the timer of h, entry i, which is in no queue.
func (e *Engine) halfOpenQueue(h *HalfOpen, i uint32, now vtime.Time) {
	v, q := &e.root.synCache, synQueue(h.retries)
	h.sentAt = now
	e.enqueue(&v.queues[q], &h.record, i)
	v.at = min(v.at, now.Add(e.synWait(q)))
}

// expireHalfOpens sends the SYN-ACKs that are due again, or gives up, for up to most entries and while
// there is room. v.at is then the next deadline.
func (e *Engine) expireHalfOpens(now vtime.Time, most int, out *Output) {
	v := &e.root.synCache
	if v.at > now {
		return
	}
	v.at = vtime.Never
	for q := range synQueues {
		wait := e.synWait(q)
		for v.queues[q].head != 0 {
			i := v.queues[q].head
			h := &e.syns[i-e.synBase]
			if due := h.sentAt.Add(wait); due > now || most == 0 || !out.room(1, 0) {
				v.at = min(v.at, due)
				break
			}
			most--
			if h.retries >= e.tun.SynAckRetries {
				e.halfOpenDrop(i)
				continue
			}
			e.dequeue(&v.queues[q], &h.record)
			h.retries++
			h.challenges = 0
			h.flags |= synTwice
			e.halfOpenQueue(h, i, now)
			e.root.mib.SynRetrans++
			e.root.mib.RetransSegs++
			e.appendSynAck(h, now, out)
		}
	}
}

// sendSynResets tells peers of listeners that were closed, up to limit segments in out.
func (e *Engine) sendSynResets(out *Output, limit int) {
	v := &e.root.synCache
	for v.resets != 0 && len(out.Segs) < limit {
		i := v.resets
		h := &e.syns[i-e.synBase]
		v.resets = h.next
		e.appendHalfOpenReset(h, out)
		v.release(&h.record, i)
	}
}

// appendHalfOpenReset appends the RST for h. Precondition: there is room.
func (e *Engine) appendHalfOpenReset(h *HalfOpen, out *Output) {
	s := out.next()
	s.Flow, s.NextHop = h.flow, h.nextHop
	s.Flags, s.Seq, s.Ack = wire.RST|wire.ACK, h.iss.Add(1), h.irs.Add(1)
	e.root.mib.OutSegs++
	e.root.mib.OutRsts++
}
