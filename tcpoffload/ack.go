package tcpoffload

// What an acknowledgment changes for the sender (RFC 9293 §3.10.7.4 fifth step, RFC 5681).

import (
	"opentoe/tcpoffload/seq"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// flight returns FlightSize: octets sent and not cumulatively acknowledged.
func (t *TCB) flight() uint32 { return uint32(t.snd.nxt - t.snd.una) }

// sndPos returns the stream position of sequence number n, SND.UNA or later.
func (t *TCB) sndPos(n uint32) uint64 { return t.snd.una64 + uint64(n-uint32(t.snd.una)) - 1 }

// ackEvent is what one ACK tells, gathered step by step.
type ackEvent struct {
	now         vtime.Time
	seg         *Segment // nil: no ACK but a timer
	prior       uint32   // flight before
	priorSacked uint32   // snd.sacked before
	acked       uint32   // how far SND.UNA moved
	delivered   uint32   // octets newly known to have arrived
	lost        uint32   // octets newly found lost
	fack        seq.Num  // rack.fack before
	walk        int      // entries of the flight list that may still be looked at

	dup      bool // a duplicate ACK (RFC 5681 §2)
	news     bool // a SACK block told something new
	dsack    bool // tells of a duplicate (RFC 2883)
	undo     bool // by DSACK all retransmissions of the last recovery were needless
	original bool // octets before rec.point arrived that were never sent again
	ended    bool // ends a recovery
	late     bool // tells of octets that came after later ones
	timed    bool // the next three are valid

	oldestRTT vtime.Duration // of the first octets delivered, never sent again
	oldestEnd seq.Num        // and their end
	rtt       vtime.Duration // the shortest; 0 none

	// The entry sent last among those delivered; valid if sampled.
	sampled        bool
	appLimited     bool
	sentAt         vtime.Time
	priorAt        vtime.Time
	priorDelivered uint32
	priorLost      uint32
	sendElapsed    uint32
	txInFlight     uint32
}

// ackArrived takes an ACK that is not beyond SND.NXT.
func (e *Engine) ackArrived(t *TCB, a *arrival, out *Output) {
	s, seg := &t.snd, a.seg
	priorWnd, priorUna := s.wnd, s.una
	var ev ackEvent
	ev.now, ev.seg = a.now, seg
	ev.prior, ev.priorSacked, ev.fack, ev.walk = t.flight(), s.sacked, t.rack.fack, maxFlightWalk

	t.updateSendWindow(seg)
	if t.flags&flagSACK != 0 && seg.Opt.Set&wire.OptSACK != 0 {
		e.sackArrived(t, &ev)
	}
	if t.rcv.ecn&ecnOK != 0 {
		e.ecnEchoed(t, seg, ev.prior)
	}
	ev.dup = seg.Ack == s.una && ev.prior > 0 && seg.Len == 0 && s.wnd == priorWnd &&
		seg.Flags&(wire.SYN|wire.FIN) == 0
	if ev.dup {
		e.root.mib.DupAcksIn++
	}
	if seg.Ack.GT(s.una) {
		e.advanceUna(t, &ev, out)
	}
	if t.flags&flagTLPSent != 0 {
		e.probeAcked(t, &ev)
	}
	if t.flags&flagSACK == 0 {
		t.countDupAcks(&ev)
	}
	if t.undisturbed() && ev.priorSacked == 0 && !ev.dsack {
		e.congest(t, &ev)
	} else {
		e.recoveryAck(t, &ev)
	}
	if ev.acked > 0 || s.wnd != priorWnd || s.sacked != ev.priorSacked || t.ca != caOpen {
		if s.wnd != 0 && priorWnd == 0 && s.una == priorUna {
			t.backoff = 0 // the window opened: probing is over
			t.deadline[TimerPersist] = vtime.Never
		}
		e.wakeSend(t)
	}
}

// undisturbed reports whether t has nothing to do with loss: no recovery, no SACK, nothing to undo.
func (t *TCB) undisturbed() bool {
	return t.ca == caOpen && t.snd.sacked|t.fl.lost == 0 && t.flags&flagUndo == 0
}

// unsent returns the octets of the send stream that were never sent.
func (e *Engine) unsent(t *TCB) uint64 {
	if t.flags&flagFinSent != 0 || isOpening.has(t.state) && t.fastOpen&fastPending == 0 {
		return 0
	}
	return t.snd.end - t.sndPos(uint32(t.snd.nxt))
}

// hasUnsent reports whether octets or our FIN were never sent.
func (e *Engine) hasUnsent(t *TCB) bool {
	return t.flags&flagFinSent == 0 && (t.flags&flagFinWanted != 0 || e.unsent(t) > 0)
}
