package tcpoffload

// Explicit congestion notification (RFC 3168), and the exact feedback of DCTCP (RFC 8257 §3.2).

import (
	"opentoe/tcpoffload/seq"
	"opentoe/tcpoffload/wire"
)

// ecnFlags are what a connection knows of ECN.
type ecnFlags uint8

const (
	ecnOffer   ecnFlags = 1 << iota // our SYN asks for ECN
	ecnPermit                       // a SYN that asks is granted it
	ecnOK                           // both ends agreed: the other flags below are valid
	ecnEcho                         // a CE mark arrived: ECE on what we send until the peer's CWR
	ecnTellCWR                      // the window was reduced: CWR on the next new data
	ecnReduced                      // reduced for the peer's ECE until SND.UNA is beyond ecn.point
	ecnSeen                         // the peer uses ECT
	ecnExact                        // feedback of every mark, as DCTCP needs it; every segment is ECT
)

// ecnVars are what is rarely used of ECN.
type ecnVars struct {
	point       seq.Num // SND.NXT at the last reduction; valid with ecnReduced
	deliveredCE uint32  // segments delivered by ACKs with ECE
}

// ecnPolicy returns what the handshake of a connection with settings o may agree on: what they say, or
// what the congestion control needs.
func (e *Engine) ecnPolicy(o *SocketOptions) (f ecnFlags) {
	mode := o.ECN
	if mode == ECNDefault {
		mode = e.tun.ECN
	}
	a := o.CC.Or(e.tun.CC)
	if a.NeedsECN() {
		mode = ECNOn
		f |= ecnExact
	}
	switch mode {
	case ECNPassive:
		f |= ecnPermit
	case ECNOn:
		f |= ecnPermit | ecnOffer
	}
	return f
}

// ecnGrants reports whether the SYN seg asks for ECN in a way that a host with flags f grants. A SYN
// that is itself ECT was mangled on the way, or is of a peer whose network needs ECT everywhere.
func ecnGrants(f ecnFlags, seg *Segment) bool {
	const setup = wire.ECE | wire.CWR
	return f&ecnPermit != 0 && seg.Flags&setup == setup && (seg.ECN == wire.NotECT || f&ecnExact != 0)
}

// ecnSynArrived concludes the negotiation from the peer's SYN or SYN-ACK (RFC 3168 §6.1.1).
func (t *TCB) ecnSynArrived(seg *Segment) {
	f := &t.rcv.ecn
	*f &^= ecnOK
	if t.state == StateSynSent && seg.Flags.Has(wire.ACK) {
		if *f&ecnOffer != 0 && seg.Flags&(wire.ECE|wire.CWR) == wire.ECE {
			*f |= ecnOK
		}
		return
	}
	if ecnGrants(*f, seg) {
		*f |= ecnOK
	}
}

// ecnSyn sets what a SYN or SYN-ACK of t says of ECN. A SYN that times out is sent again without: there
// are boxes that drop it for that (§6.1.1.1).
func (t *TCB) ecnSyn(s *TxSegment) {
	f := t.rcv.ecn
	switch {
	case s.Flags.Has(wire.ACK):
		if f&ecnOK != 0 {
			s.Flags |= wire.ECE
		}
	case f&ecnOffer != 0 && t.retries == 0:
		s.Flags |= wire.ECE | wire.CWR
	default:
		return
	}
	if f&ecnExact != 0 && s.Flags.Has(wire.ECE) {
		s.ECN = wire.ECT0 // RFC 8257 §3.5
	}
}

// ecnMark sets codepoint and flags of a segment s of a connection with ECN: ECT on new data alone, since
// a mark on anything else would not be answered (§6.1.4 to §6.1.6). Precondition: SND.NXT does not yet
// include s.
func (t *TCB) ecnMark(s *TxSegment) {
	f := &t.rcv.ecn
	if s.Len > 0 && s.Seq == t.snd.nxt {
		s.ECN = wire.ECT0
		if *f&ecnTellCWR != 0 {
			*f &^= ecnTellCWR
			s.Flags |= wire.CWR
		}
	} else if *f&ecnExact != 0 {
		s.ECN = wire.ECT0
	}
	if *f&ecnEcho != 0 {
		s.Flags |= wire.ECE
	}
}

// ecnRoutine reports whether a segment with text and codepoint c tells nothing new.
func (f ecnFlags) ecnRoutine(c wire.ECN) bool {
	return f&ecnOK == 0 || c == wire.ECT0 && f&(ecnSeen|ecnEcho) == ecnSeen
}

// ecnText takes codepoint and CWR of a segment with text in the window (§6.1.3). Precondition: the
// text is not yet taken; both ends agreed on ECN.
func (e *Engine) ecnText(t *TCB, a *arrival, out *Output) {
	f := &t.rcv.ecn
	if a.seg.Flags.Has(wire.CWR) {
		if *f&ecnExact == 0 {
			*f &^= ecnEcho
		}
		e.txAdd(t, pendAck) // the peer's window may be a single segment
	}
	switch ce := a.seg.ECN == wire.CE; {
	case *f&ecnExact != 0 && ce != (*f&ecnEcho != 0):
		// RFC 8257 §3.2: an ACK tells of marked or of unmarked octets, not of both.
		if t.rcv.nxt != t.ts.lastAckSent {
			e.replyAck(t, a.now, out)
		}
		*f ^= ecnEcho
		t.ackSoon(1)
	case ce && *f&ecnEcho == 0:
		*f |= ecnEcho
		t.ackSoon(2)
	case a.seg.ECN == wire.NotECT && *f&ecnSeen != 0:
		t.ackSoon(2) // sent again: the peer is in trouble
	}
	if a.seg.ECN != wire.NotECT {
		*f |= ecnSeen
	}
}

// ecnEchoed takes the peer's ECE: the window is reduced once for a window of data, and not while a
// recovery has already reduced it (§6.1.2). flight is what was in flight before the ACK.
func (e *Engine) ecnEchoed(t *TCB, seg *Segment, flight uint32) {
	f := &t.rcv.ecn
	if *f&ecnReduced != 0 && seg.Ack.GT(t.ecn.point) {
		*f &^= ecnReduced
	}
	if seg.Flags&(wire.ECE|wire.SYN) != wire.ECE || *f&(ecnOK|ecnReduced) != ecnOK ||
		t.ca == caRecovery || t.ca == caLoss {
		return
	}
	e.root.mib.ECNReductions++
	e.control(t).OnECN(flight, t.effMSS())
	t.ecn.point = t.snd.nxt
	*f |= ecnReduced
	t.queueCWR()
}

// queueCWR notes that the window was reduced, for whatever reason: the next new data says so (§6.1.2).
func (t *TCB) queueCWR() {
	if t.rcv.ecn&ecnOK != 0 {
		t.rcv.ecn |= ecnTellCWR
	}
}

// ecnMarked returns how many of the delivered octets that ACK seg reports were marked, and counts them.
func (t *TCB) ecnMarked(seg *Segment, delivered uint32) uint32 {
	if t.rcv.ecn&ecnOK == 0 || seg.Flags&(wire.ECE|wire.SYN) != wire.ECE || delivered == 0 {
		return 0
	}
	mss := t.effMSS()
	t.ecn.deliveredCE += (delivered + mss - 1) / mss
	return delivered
}
