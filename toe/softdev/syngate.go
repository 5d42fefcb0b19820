package softdev

import (
	"opentoe/pmd/frame"
	"opentoe/tcpoffload/vtime"
)

// SYN floods (RFC 4987). A cookie costs no memory, but time, thirty times that of a dropped SYN, and its SYN-ACK a place
// on the wire. When a flood is more than the worker or the link can take, their rings lose frames without looking at them, those of
// established connections with the rest. So the worker chooses before that: it drops SYNs unread, and takes so
// many that the rings keep up. Figures are in docs/decisions/0009-syn-floods.md.

// synGate chooses the SYNs of a lane that are taken while there is a crowd.
type synGate struct {
	large  bool       // the burst before was a large one
	crowd  vtime.Time // until then the receive ring counts as crowded
	jam    vtime.Time // until then the transmit ring counts as full
	free   int        // SYNs that may still be taken of this burst
	octets uint64     // of SYN-ACKs that may be sent in a jam
	sent   uint64     // octets sent when octets was last reckoned
	// SYN-ACKs made and octets sent when frames were last refused.
	synAcksThen, sentThen uint64
	saved                 int        // SYNs that may be taken besides
	savedAt               vtime.Time // when saved was last reckoned
}

// begin takes note of a burst of n frames, when so many octets have been sent by the lane, and reports whether its SYNs
// have to ask for admission.
func (g *synGate) begin(now vtime.Time, n int, sent uint64) bool {
	if n < largeBurst {
		g.large = false
	} else if g.large {
		g.crowd = now.Add(crowdTime)
	} else {
		g.large = true
	}
	jam := now.Before(g.jam)
	if !jam && !now.Before(g.crowd) {
		return false
	}
	g.free = 1 + (frame.MaxBurst-n)/roomPerSyn
	if jam {
		g.free = 0
		g.octets = min(g.octets+(sent-g.sent)/synAckShare, synAckOctetsMost)
	}
	g.sent = sent
	if back := int64(now.Sub(g.savedAt) / savedSynEvery); back > 0 {
		g.saved = int(min(int64(g.saved)+back, savedSyns))
		g.savedAt = g.savedAt.Add(vtime.Duration(back) * savedSynEvery)
	}
	return true
}

// dry takes note that the receive ring was empty.
func (g *synGate) dry() { g.large = false }

// refused takes note that the port had no room for frames of ours, when so many SYN-ACKs have been made and octets sent. It is a
// jam if SYN-ACKs had more than their share since the last time: a ring that data alone fill is TCP's affair.
func (g *synGate) refused(now vtime.Time, synAcks, sent uint64) {
	if (synAcks-g.synAcksThen)*synAckOctets*synAckShare > sent-g.sentThen {
		g.jam = now.Add(jamTime)
	}
	g.synAcksThen, g.sentThen = synAcks, sent
}

// admits reports whether one more SYN of the burst may be taken.
func (g *synGate) admits() bool {
	switch {
	case g.free > 0:
		g.free--
	case g.octets >= synAckOctets:
		g.octets -= synAckOctets // not refilled but in a jam
	case g.saved > 0:
		g.saved--
	default:
		return false
	}
	return true
}
