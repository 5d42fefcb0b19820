package cc

import "opentoe/tcpoffload/vtime"

// Algorithm names a congestion-control algorithm.
type Algorithm uint8

// The algorithms.
const (
	Reno Algorithm = iota
	Cubic
	NumAlgorithms = 2
)

// String returns the name that Linux' TCP_CONGESTION uses.
func (a Algorithm) String() string {
	switch a {
	case Reno:
		return "reno"
	case Cubic:
		return "cubic"
	}
	return "unknown"
}

// maxWindow bounds Cwnd: the largest window that TCP can use (RFC 7323 §2.3).
const maxWindow = 1 << 30

// State is the congestion state of one connection.
type State struct {
	Cwnd     uint32 // congestion window, octets, at least one MSS
	Ssthresh uint32 // slow-start threshold, octets
	acked    uint32 // octets acknowledged in congestion avoidance and not yet turned into growth
	algo     Algorithm
	_        [3]byte
	cubic    cubicState
}

// Algorithm returns the algorithm in use.
func (s *State) Algorithm() Algorithm { return s.algo }

// SlowStart reports whether the window is below the slow-start threshold.
func (s *State) SlowStart() bool { return s.Cwnd < s.Ssthresh }

// Init starts a connection with the initial window of segs segments of mss octets (RFC 6928).
func (s *State) Init(a Algorithm, segs, mss uint32) {
	*s = State{algo: a, Cwnd: segs * mss, Ssthresh: maxWindow}
}

// OnAck grows the window: acked octets were newly acknowledged while the window was the limit and
// no recovery is under way. srtt is the smoothed round-trip time, 0 if unknown.
func (s *State) OnAck(now vtime.Time, acked, mss uint32, srtt vtime.Duration) {
	if s.SlowStart() {
		// RFC 5681 §3.1 with L = whole ACK: ACKs are compressed by receive offloads, and growth
		// by two segments an ACK would never reach the window.
		n := min(acked, s.Ssthresh-s.Cwnd)
		s.Cwnd = min(s.Cwnd+n, maxWindow)
		if acked -= n; acked == 0 {
			return
		}
	}
	switch s.algo {
	case Cubic:
		s.cubicAck(now, acked, mss, srtt)
	default:
		s.renoAck(acked, mss)
	}
}

// OnLoss is the multiplicative decrease at the start of a recovery: it lowers Ssthresh. Cwnd is
// lowered by the engine as the recovery proceeds (RFC 6937), and set by OnRecovered.
func (s *State) OnLoss(flight, mss uint32) {
	s.decrease(flight, mss)
}

// OnRTO is the decrease after a retransmission timeout (RFC 5681 §3.1 equation 4). again means
// that the timed-out segment was timed out before: Ssthresh stays.
func (s *State) OnRTO(flight, mss uint32, again bool) {
	if !again {
		s.decrease(flight, mss)
	}
	s.Cwnd = mss
	s.acked = 0
}

// OnRecovered ends a fast recovery: the window is the slow-start threshold (RFC 6582 §3.2 step 3).
func (s *State) OnRecovered(mss uint32) {
	s.Cwnd = max(s.Ssthresh, mss)
	s.acked = 0
}

// OnIdle restarts after the connection sent nothing for longer than a timeout: at most restart
// octets (RFC 5681 §4.1).
func (s *State) OnIdle(restart uint32) {
	s.Cwnd = min(s.Cwnd, restart)
	s.acked = 0
	s.cubic.epoch = 0
}

func (s *State) decrease(flight, mss uint32) {
	switch s.algo {
	case Cubic:
		s.cubicDecrease(mss)
	default:
		s.Ssthresh = max(flight/2, 2*mss)
	}
	s.acked = 0
}
