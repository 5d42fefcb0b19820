package tcpoffload

// Urgent data (RFC 9293 §3.8.5, RFC 6093). The octets stay in line at both ends; only the pointer is
// carried along. It names the octet after the last urgent one (RFC 6093 §6), as everybody's does.

import "opentoe/tcpoffload/wire"

// queueUrgent notes that the last octet queued is urgent. A peer whose window is shut hears of it at once
// (RFC 9293 §3.8.5).
func (e *Engine) queueUrgent(t *TCB) {
	t.urg = t.snd.iss.Add(1 + uint32(t.snd.end))
	t.snd.mode |= sendUrgent
	if canTransmit.has(t.state) && t.sendRoom() == 0 {
		e.txAdd(t, pendAck)
	}
}

// markUrgent sets URG on segment s if the urgent pointer lies after its beginning. A pointer too far for
// the field points as far as it can, if that is beyond all octets sent.
func (t *TCB) markUrgent(s *TxSegment) {
	if t.snd.una.GEQ(t.urg) {
		t.snd.mode &^= sendUrgent
		return
	}
	d := t.urg.Sub(s.Seq)
	switch {
	case d <= 0:
		return
	case d > 65535:
		if s.Seq.Add(65535).LEQ(t.snd.nxt) {
			return
		}
		d = 65535
	}
	s.Flags |= wire.URG
	s.Urg = uint16(d)
}

// checkUrgent is the sixth step of RFC 9293 §3.10.7.4. The owner is told when the pointer moves forward.
func (e *Engine) checkUrgent(t *TCB, a *arrival, out *Output) {
	if t.flags&flagUrgent != 0 && t.rcv.up.LEQ(t.rcv.nxt) {
		t.flags &^= flagUrgent // all urgent octets are in: rcv.up would grow too old to compare with
	}
	seg := a.seg
	if !seg.Flags.Has(wire.URG) || seg.Urg == 0 || !canReceive.has(t.state) {
		return
	}
	up := seg.Seq.Add(uint32(seg.Urg))
	if up.LEQ(t.rcv.nxt) || t.flags&flagUrgent != 0 && up.LEQ(t.rcv.up) {
		return
	}
	t.rcv.up = up
	t.flags |= flagUrgent
	out.act(t, ActUrgent).Pos = t.rcvPos() + uint64(up-t.rcv.nxt)
}
