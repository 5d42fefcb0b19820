package tcpoffload

// Spurious timeouts, detected by timestamps (RFC 3522) and undone (RFC 4015).

import "opentoe/tcpoffload/wire"

// saveUndo remembers the window before the first timeout of a series.
func (t *TCB) saveUndo() {
	if t.ca == caLoss || t.flags&flagTS == 0 {
		t.flags &^= flagUndo
		return
	}
	t.undo = undoVars{cwnd: t.cc.Cwnd, ssthresh: t.cc.Ssthresh}
	t.flags = t.flags&^flagUndoTS | flagUndo
}

// spuriousTimeout reports whether seg, the first ACK for new data after a timeout, answers a segment
// sent before the retransmission: then nothing was lost, only late (RFC 3522 §3.2). The question is
// asked once for a timeout.
func (t *TCB) spuriousTimeout(seg *Segment) bool {
	const valid = flagUndo | flagUndoTS
	asked := t.flags&valid == valid
	t.flags &^= flagUndo
	return asked && seg.Opt.Set&wire.OptTimestamps != 0 && seg.Opt.TSEcr != 0 &&
		int32(seg.Opt.TSEcr-t.undo.tsVal) < 0
}

// undoTimeout gives back the window and goes on with new data (RFC 4015 §3.2).
func (e *Engine) undoTimeout(t *TCB) {
	e.root.mib.SpuriousRTOs++
	t.cc.Cwnd, t.cc.Ssthresh = t.undo.cwnd, t.undo.ssthresh
	t.ca = caOpen
	t.rec.lost, t.rec.highRxt = t.snd.una, t.snd.una
}
