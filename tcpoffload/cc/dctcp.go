package cc

// DCTCP (RFC 8257): the window is reduced by the share of octets that were marked. Without ECN it is
// Reno.

const (
	dctcpShift = 4       // g = 1/16 (§4.2)
	dctcpOne   = 1 << 16 // DCTCP.Alpha = 1
)

// dctcpState holds the variables of RFC 8257 §3.3.
type dctcpState struct {
	alpha     uint32 // DCTCP.Alpha, in units of 1/dctcpOne
	delivered uint32 // DCTCP.BytesAcked, in the present observation window
	marked    uint32 // DCTCP.BytesMarked
}

// dctcpObserve counts marks, and at the end of a window of data moves alpha (§3.3 steps 1 to 7).
func (s *State) dctcpObserve(a *Sample) {
	d := &s.dctcp
	d.delivered += a.Delivered
	d.marked += min(a.Marked, a.Delivered)
	if s.flags&flagRound == 0 || d.delivered == 0 {
		return
	}
	share := uint32(uint64(d.marked) * dctcpOne / uint64(d.delivered))
	fade := max(d.alpha>>dctcpShift, min(d.alpha, 1)) // the shift alone would never reach zero
	d.alpha = min(d.alpha-fade+share>>dctcpShift, dctcpOne)
	d.delivered, d.marked = 0, 0
}

// dctcpReduce is §3.3 step 9: cwnd = cwnd·(1 − alpha/2).
func (s *State) dctcpReduce(mss uint32) {
	cut := uint32(uint64(s.Cwnd) * uint64(s.dctcp.alpha) / (2 * dctcpOne))
	s.Ssthresh = max(s.Cwnd-cut, 2*mss)
	s.acked = 0
}

// Marks is what DCTCP knows, as Linux' TCP_CC_INFO reports it.
type Marks struct {
	Alpha             uint32 // in 1/1024
	Delivered, Marked uint32 // octets, in the present window of data
}

// Marks returns DCTCP's state, and false if another algorithm is in use.
func (s *State) Marks() (m Marks, ok bool) {
	d := &s.dctcp
	if s.algo != DCTCP {
		return m, false
	}
	return Marks{Alpha: d.alpha >> 6, Delivered: d.delivered, Marked: d.marked}, true
}
