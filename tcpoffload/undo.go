package tcpoffload

// Spurious retransmissions, found and undone: by timestamps (RFC 3522), by F-RTO (RFC 5682) after a timeout, and by
// DSACK (RFC 3708) when every retransmission of an episode proves needless. The response is RFC 4015's.

import (
	"opentoe/tcpoffload/seq"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// undoVars are about the last recovery, while it may turn out needless. Valid with flagUndo.
type undoVars struct {
	una   seq.Num // SND.UNA when it began
	end   seq.Num // when SND.UNA passes it the question is closed; valid with caOpen and caDisorder
	rxt   uint32  // octets sent again in it that no DSACK has reported
	tsVal uint32  // our timestamp on its first retransmission; valid with flagUndoTS
}

// allowUndo makes the recovery that begins now one that may be undone.
func (t *TCB) allowUndo() {
	t.undo = undoVars{una: t.snd.una}
	t.flags = t.flags&^flagUndoTS | flagUndo
}

// denyUndo settles that the last recovery was needed, or that nothing will tell.
func (t *TCB) denyUndo() { t.flags &^= flagUndo | flagUndoTS }

// undoRetransmitted notes that n octets are sent again now. first tells that they are those at SND.UNA, for the
// first time: the next ACK for new data answers them or their original.
func (t *TCB) undoRetransmitted(now vtime.Time, n uint32, first bool) {
	if t.flags&flagUndo == 0 || t.ca < caRecovery {
		return
	}
	t.undo.rxt += n
	if first && t.flags&flagTS != 0 && t.undo.rxt == n {
		t.undo.tsVal = t.tsVal(now)
		t.flags |= flagUndoTS
	}
}

// spuriousByTime reports whether the first ACK for new data after a retransmission answers a segment sent
// before it: then nothing was lost, only late (RFC 3522 §3.2). The question is asked once.
func (t *TCB) spuriousByTime(ev *ackEvent) bool {
	const valid = flagUndo | flagUndoTS
	if t.flags&valid != valid || ev.acked == 0 {
		return false
	}
	t.flags &^= flagUndoTS
	o := &ev.seg.Opt
	return o.Set&wire.OptTimestamps != 0 && o.TSEcr != 0 && int32(o.TSEcr-t.undo.tsVal) < 0
}

// undoDSACK takes in a DSACK block and reports whether with it all retransmissions of the episode are
// known to be needless. A duplicate that is not ours closes the question: the network makes copies.
func (t *TCB) undoDSACK(b *wire.SACKBlock) bool {
	u := &t.undo
	if t.flags&flagUndo == 0 || b.Left.LT(u.una) || u.rxt == 0 {
		return false
	}
	n := uint32(b.Right - b.Left)
	if n > u.rxt {
		t.denyUndo()
		return false
	}
	u.rxt -= n
	return u.rxt == 0
}

// undoRecovery gives back the window, forgets what was thought lost, and goes on with new octets (RFC 4015
// §3.2).
func (e *Engine) undoRecovery(t *TCB, now vtime.Time) {
	if t.rec.timeout {
		e.root.mib.SpuriousRTOs++
	} else {
		e.root.mib.SpuriousRecoveries++
	}
	t.denyUndo()
	e.control(t).OnUndo()
	t.rec.frto = frtoOff
	t.prr = prrVars{}
	t.ca = caOpen
	t.flags &^= flagMarking
	t.snd.mode &^= sendForget
	if t.flags&flagSACK == 0 {
		t.snd.sacked, t.snd.dupAcks = 0, 0
	} else if t.rack.reordered == 0 {
		t.rack.reordered = 1 // the loss was seen too early, or was late ACKs
	}
	if t.fl.lost > 0 {
		t.flags |= flagUnlosing
		e.unloseSome(t, now)
	}
}

// unloseSome makes lost entries outstanding again, the reordering timer goes on with what is too much.
func (e *Engine) unloseSome(t *TCB, now vtime.Time) {
	for walk := maxFlightWalk; t.fl.lostTail != 0; walk-- {
		if walk == 0 {
			e.walkOn(t, now)
			return
		}
		e.unlose(t, t.fl.lostTail)
	}
	t.flags &^= flagUnlosing
}
