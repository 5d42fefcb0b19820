package tcpoffload

// Header prediction: the two segments of bulk transfer, recognised by a few comparisons. It takes
// nothing that the steps of arrive.go would treat differently; a test proves it by running both.

import (
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

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
	t.updateSendWindow(seg)
	if acked != 0 {
		ev := ackEvent{now: now, seg: seg, prior: t.flight(), fack: t.rack.fack}
		t.snd.dupAcks = 0 // as countDupAcks; some may not have been worth a disturbance
		e.advanceUna(t, &ev, out)
		e.congest(t, &ev)
	}
	if acked != 0 || t.snd.wnd != wnd {
		e.wakeSend(t)
	}
	if seg.Len > 0 {
		e.textInOrder(t, now, seg, 0, seg.Len, out)
	}
	return true
}
