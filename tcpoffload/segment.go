package tcpoffload

// Forming segments (RFC 9293 §3.1, §3.10.7.1).

import (
	"opentoe/tcpoffload/seq"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// next extends out.Segs by one cleared segment. Precondition: there is room.
func (o *Output) next() *TxSegment {
	n := len(o.Segs)
	o.Segs = o.Segs[:n+1]
	s := &o.Segs[n]
	*s = TxSegment{}
	s.DF = true // not in the literal: it would be built elsewhere and copied
	return s
}

// unusual adds to segment s what t.snd.mode asks for.
func (t *TCB) unusual(s *TxSegment) {
	s.DF = t.snd.mode&sendFrag == 0
	if t.snd.mode&sendUrgent != 0 {
		t.markUrgent(s)
	}
	if t.snd.mode&sendUTO != 0 {
		t.advertiseUTO(s)
	}
	if t.snd.mode&sendIP != 0 {
		s.TOS, s.TTL = t.ip.tos, t.ip.ttl
	}
}

// setIP chooses fields of the IP header.
func (t *TCB) setIP(v ipVars) {
	t.ip = v
	t.snd.mode &^= sendIP
	if v != (ipVars{}) {
		t.snd.mode |= sendIP
	}
}

// appendAck appends a pure ACK.
func (e *Engine) appendAck(t *TCB, now vtime.Time, out *Output) {
	e.appendSegment(t, now, wire.ACK, t.snd.nxt, 0, out)
	e.root.mib.OutSegs++
}

// appendProbe appends a segment that is outside the peer's window and so makes it answer with an
// ACK: the sequence number before SND.UNA, no text (RFC 9293 §3.8.4).
func (e *Engine) appendProbe(t *TCB, now vtime.Time, out *Output) {
	e.appendSegment(t, now, wire.ACK, t.snd.una-1, 0, out)
	e.root.mib.OutSegs++
}

// appendSyn appends our SYN or SYN-ACK and starts its timer. The window is not scaled.
func (e *Engine) appendSyn(t *TCB, now vtime.Time, out *Output) {
	s := out.next()
	s.Handle, s.Cookie = Handle(t.gen)<<32|Handle(t.self), t.cookie
	s.Flow = t.flow
	s.NextHop = t.nextHop
	s.Seq = t.snd.iss
	s.Flags = wire.SYN
	s.Wnd = uint16(min(t.rcv.limit, 65535))
	if t.state == StateSynReceived {
		s.Wnd = uint16(min(freeSpace(t.rcv.limit, t.unread()), 65535))
		s.Flags |= wire.ACK
		s.Ack = t.rcv.nxt
		t.rcv.adv = seq.Max(t.rcv.adv, t.rcv.nxt.Add(uint32(s.Wnd)))
		t.ackSent()
		if t.fastOpen&fastGrant != 0 {
			e.putFastOpenCookie(&t.flow, &s.Opt, t.fastOpen&fastExp != 0)
		}
	}
	t.synOptions(now, &s.Opt)
	t.ecnSyn(s)
	s.DF = t.snd.mode&sendFrag == 0
	s.TOS, s.TTL = t.ip.tos, t.ip.ttl
	t.segsOut++
	if t.snd.nxt == t.snd.iss {
		e.root.mib.OutSegs++
		t.snd.nxt = t.snd.iss.Add(1)
		t.rtt.timedAt = now
		if t.state == StateSynSent && t.fastOpen&fastWanted != 0 {
			e.fastOpenSyn(t, now, s)
		}
	} else {
		e.root.mib.SynRetrans++
		e.root.mib.RetransSegs++
		t.rtt.timedAt = vtime.Never
	}
	if t.snd.mode&sendUTO != 0 && t.state == StateSynSent {
		t.offerUTO(&s.Opt)
	}
	if t.deadline[TimerRexmt] == vtime.Never {
		e.armRexmt(t, now)
	}
}

// appendReset appends a RST for t, if there is room. It carries timestamps if t's segments do: a peer
// may look at them (RFC 7323 §3.2, §5.2).
func (e *Engine) appendReset(t *TCB, now vtime.Time, out *Output) {
	if !out.room(1, 0) {
		return
	}
	s := out.next()
	s.Handle, s.Cookie = Handle(t.gen)<<32|Handle(t.self), t.cookie
	s.Flow = t.flow
	s.NextHop = t.nextHop
	s.TOS, s.TTL = t.ip.tos, t.ip.ttl
	s.Flags = wire.RST | wire.ACK
	s.Seq, s.Ack = t.snd.nxt, t.rcv.nxt
	if t.flags&flagTS != 0 {
		s.Opt.Set |= wire.OptTimestamps
		s.Opt.TSVal, s.Opt.TSEcr = t.tsVal(now), t.ts.recent
	}
	e.root.mib.OutSegs++
	e.root.mib.OutRsts++
}

// appendResetFor appends the RST that answers seg (RFC 9293 §3.10.7.1), if there is room.
func (e *Engine) appendResetFor(seg *Segment, out *Output) {
	if !out.room(1, 0) {
		return
	}
	s := out.next()
	s.Flow = seg.Flow
	s.NextHop = seg.NextHop
	if seg.Flags.Has(wire.ACK) {
		s.Flags = wire.RST
		s.Seq = seg.Ack
	} else {
		n := seg.Len
		if seg.Flags.Has(wire.SYN) {
			n++
		}
		if seg.Flags.Has(wire.FIN) {
			n++
		}
		s.Flags = wire.RST | wire.ACK
		s.Ack = seg.Seq.Add(n)
	}
	e.root.mib.OutSegs++
	e.root.mib.OutRsts++
}
