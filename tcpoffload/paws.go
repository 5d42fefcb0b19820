package tcpoffload

// Timestamps: protection against wrapped sequence numbers (RFC 7323 §4.3, §5).

import (
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// pawsIdle is how long TS.Recent is believed (RFC 7323 §5.5): less than half a turn of a clock that
// ticks every millisecond.
const pawsIdle = 24 * 24 * 60 * vtime.Minute

// pawsRejects reports whether seg is older than what was received before (§5.3, R1). A segment
// without timestamps is not rejected, as in Linux: middleboxes strip options.
func (t *TCB) pawsRejects(now vtime.Time, seg *Segment) bool {
	return t.flags&flagTS != 0 && seg.Opt.Set&wire.OptTimestamps != 0 &&
		int32(seg.Opt.TSVal-t.ts.recent) < 0 && now.Sub(t.ts.recentAt) < pawsIdle
}

// updateTSRecent is §4.3 step 2: an acceptable segment at or before Last.ACK.sent gives TS.Recent.
func (t *TCB) updateTSRecent(now vtime.Time, seg *Segment) {
	if t.flags&flagTS != 0 && seg.Opt.Set&wire.OptTimestamps != 0 &&
		seg.Seq.LEQ(t.ts.lastAckSent) && int32(seg.Opt.TSVal-t.ts.recent) >= 0 {
		t.ts.recent, t.ts.recentAt = seg.Opt.TSVal, now
	}
}

// echoesSyn reports whether what seg echoes, if anything, can be the timestamp of our SYN. Precondition:
// t is in SYN-SENT: nothing was heard since it was opened.
func (t *TCB) echoesSyn(now vtime.Time, seg *Segment) bool {
	if t.flags&flagNoTS != 0 || seg.Opt.Set&wire.OptTimestamps == 0 || seg.Opt.TSEcr == 0 {
		return true
	}
	return seg.Opt.TSEcr-t.tsVal(t.rcv.last) <= t.tsVal(now)-t.tsVal(t.rcv.last)
}
