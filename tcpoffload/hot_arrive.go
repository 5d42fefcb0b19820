package tcpoffload

// Hot code: what arrives for an established connection, by header prediction: the two segments of bulk transfer,
// recognised by a few comparisons. It takes nothing that the steps of arrive.go would treat differently; a test
// proves it by running both.
//
// The functions that every segment passes stand together in the files hot_*.go, not with their topics, because
// the linker keeps the order of the source: spread over the package they evict each other from the
// processor's instruction cache (docs/decisions/0010-hot-code.md).

import (
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// Arrive processes one received segment and appends what follows from it: at most MaxArriveActions
// actions and MaxArriveSegs segments. ACKs for in-order data and data that may now be sent are left
// to Transmit. It returns why the segment, or its payload, was discarded, and DropNone if it was
// not; only then actions may ask to place octets. Precondition: out has room for the actions.
func (e *Engine) Arrive(now vtime.Time, seg *Segment, out *Output) DropReason {
	if !out.room(0, MaxArriveActions) {
		panic("tcpoffload: Arrive: no room for actions")
	}
	segs := uint32(max(seg.Segs, 1)) // on the wire
	if seg.Again {
		segs = 0
	}
	e.root.mib.InSegs += uint64(segs)
	var d DropReason
	if i := e.lookupAny(&seg.Flow); i != 0 && i < uint32(len(e.conns)) {
		t := &e.conns[i]
		t.segsIn += segs
		if e.slow || !e.predict(t, now, seg, out) {
			d = e.arriveConn(t, now, seg, out)
		}
		e.check(t)
	} else {
		d = e.arriveNoConn(i, now, seg, out)
		e.checkRecords()
	}
	if d != DropNone {
		e.root.drops[d]++
		e.root.mib.InErrs++
	}
	return d
}

// lookupAny returns the index of what there is of flow f, or 0: below e.synBase a connection, below
// e.twBase an entry of the SYN cache, else one of TIME-WAIT.
func (e *Engine) lookupAny(f *wire.Flow) uint32 {
	// Segments come in trains: the last connection found is the likeliest.
	if t := &e.conns[e.last]; t.flow.Is(f) && t.state != StateClosed {
		return e.last
	}
	for i := e.bucket[e.hash(f)]; i != 0; {
		if i < uint32(len(e.conns)) {
			t := &e.conns[i]
			if t.flow.Is(f) {
				e.last = i
				return i
			}
			i = t.hashNext
			continue
		}
		r := e.record(i)
		if r.flow.Is(f) {
			return i
		}
		i = r.hashNext
	}
	return 0
}

// predict handles seg if it is an ACK for new data, or in-order data, on an undisturbed connection
// in ESTABLISHED, and reports whether it was.
func (e *Engine) predict(t *TCB, now vtime.Time, seg *Segment, out *Output) bool {
	const special = wire.SYN | wire.FIN | wire.RST | wire.URG | wire.ECE | wire.CWR
	if t.state != StateEstablished || seg.Seq != t.rcv.nxt || t.snd.wnd == 0 || !t.undisturbed() ||
		seg.Flags&(special|wire.ACK) != wire.ACK || seg.Opt.Set&(wire.OptSACK|wire.OptUserTimeout) != 0 ||
		t.flags&(flagDetached|flagTLPSent|flagUrgent) != 0 || t.rcv.ecn&ecnReduced != 0 {
		return false
	}
	if t.flags&flagTS != 0 &&
		(seg.Opt.Set&wire.OptTimestamps == 0 || int32(seg.Opt.TSVal-t.ts.recent) < 0) {
		return false
	}
	acked := uint32(seg.Ack - t.snd.una)
	if acked > uint32(t.snd.nxt-t.snd.una) {
		return false
	}
	if seg.Len == 0 {
		if acked == 0 || t.flags&flagFinSent != 0 {
			return false
		}
		e.root.mib.FastPathAcks++
	} else {
		if !t.rcv.ecn.ecnRoutine(seg.ECN) || t.rcv.reasm != 0 || t.rcv.finHeld || seg.Len > uint32(t.rcv.adv-t.rcv.nxt) {
			return false
		}
		e.root.mib.FastPathData++
	}
	t.rcv.last = now
	t.probes0()
	t.updateTSRecent(now, seg)
	wnd := t.snd.wnd
	if t.snd.wl1.LEQ(seg.Seq) { // as updateSendWindow: WL2 is never beyond SND.UNA
		t.snd.takeWindow(seg)
	}
	if acked != 0 {
		ev := ackEvent{now: now, seg: seg, prior: t.flight(), fack: t.rack.fack}
		t.snd.dupAcks = 0 // as countDupAcks; some may not have been worth a disturbance
		e.advanceUna(t, &ev, out)
		e.congest(t, &ev)
	}
	if acked != 0 || t.snd.wnd != wnd {
		t.flags &^= flagMore // as wakeSend
		if e.hasUnsent(t) {
			e.txAdd(t, pendData)
		}
	}
	if seg.Len > 0 {
		e.textInOrder(t, now, seg, 0, seg.Len, out)
	}
	return true
}

// updateSendWindow takes SND.WND from an acceptable segment (RFC 9293 §3.10.7.4, fifth step). The
// test on WL1 and WL2 keeps old segments from shutting the window.
func (t *TCB) updateSendWindow(seg *Segment) {
	s := &t.snd
	if seg.Ack.LT(s.una) || seg.Flags.Has(wire.SYN) {
		return // the window of a SYN is not scaled, and taken by established
	}
	if s.wl1.LT(seg.Seq) || s.wl1 == seg.Seq && s.wl2.LEQ(seg.Ack) {
		s.takeWindow(seg)
	}
}

// takeWindow takes SND.WND from seg.
func (s *sendVars) takeWindow(seg *Segment) {
	s.wnd = uint32(seg.Wnd) << s.wscale
	s.wl1, s.wl2 = seg.Seq, seg.Ack
	s.wndMax = max(s.wndMax, s.wnd)
}

// textInOrder takes n octets at RCV.NXT, from offset off of seg's payload, and what they join up with.
func (e *Engine) textInOrder(t *TCB, now vtime.Time, seg *Segment, off, n uint32, out *Output) {
	v := &t.rcv
	place := out.act(t, ActPlace)
	place.Pos, place.Off, place.Len = t.rcvPos(), off, n
	e.root.mib.InOctets += uint64(n)
	v.nxt = v.nxt.Add(n)
	v.nxt64 += uint64(n)
	segs := uint32(max(seg.Segs, 1))
	t.dataSegsIn += segs
	if segs != 1 || n != v.mss {
		t.estimateSegment(n, segs)
	}
	if v.reasm != 0 {
		e.joinReassembly(t)
		e.txAdd(t, pendAck) // RFC 5681 §4.2: a segment that fills a gap
	} else {
		e.ackInOrder(t, now, segs)
	}
	if r := &t.rcvRTT; r.at == 0 || !v.nxt.LT(r.edge) || seg.Opt.TSEcr != r.ecr {
		t.rcvRTTArrive(now, seg)
	}
	out.act(t, ActReadable).Pos = t.rcvPos()
}

// ackInOrder decides about the ACK for in-order octets just taken from segs segments: at once while the
// connection is young, or its sender begins anew after a pause; with DelAckSegs segments, the last of
// which may be partial; otherwise within DelAck. At once means at the next Transmit, so that all
// segments of a receive burst share one ACK.
func (e *Engine) ackInOrder(t *TCB, now vtime.Time, segs uint32) {
	tick := tickOf(now)
	if tick != t.dataTick {
		if t.dataTick&1 != 0 && tick-t.dataTick > uint32(t.rtt.rto>>20) {
			t.quick = quickAcks
		}
		t.dataTick = tick
	}
	switch {
	case t.pend&pendAck != 0:
	case t.quick > 0 && t.rcv.ack&ackDialogue == 0:
		t.quick -= uint8(min(segs, uint32(t.quick)))
		e.txAdd(t, pendAck)
	case uint32(t.rcv.nxt-t.ts.lastAckSent) > uint32(e.tun.DelAckSegs-1)*t.rcv.mss:
		e.txAdd(t, pendAck)
	case t.flags&flagAckDue == 0:
		t.flags |= flagAckDue
		e.setTimer(t, TimerDelack, now.Add(e.tun.DelAck))
	}
}

// rcvRTTArrive measures the receiver's idea of the round trip: the time that a window takes to arrive, too
// large if the sender is not limited by the window, never too small; and what the echo of our
// timestamps says, which may correct it downwards.
func (t *TCB) rcvRTTArrive(now vtime.Time, seg *Segment) {
	v := &t.rcvRTT
	if t.flags&flagTS != 0 && seg.Opt.TSEcr != v.ecr {
		v.ecr = seg.Opt.TSEcr
		d := t.tsVal(now) - v.ecr
		if sample := vtime.Duration(max(d, 1)) * tsTick; d < 1<<20 && seg.Len >= t.rcv.mss && sample < v.rtt {
			v.rtt = sample
		}
	}
	if v.at != 0 {
		if t.rcv.nxt.LT(v.edge) {
			return
		}
		sample := now.Sub(v.at)
		if v.rtt == 0 || sample < v.rtt {
			v.rtt = sample
		} else {
			v.rtt += (sample - v.rtt) / 8
		}
	}
	v.edge, v.at = t.rcv.adv, now
}
