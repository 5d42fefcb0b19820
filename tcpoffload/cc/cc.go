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

// NeedsECN reports whether a works only with ECN and with exact feedback of every mark (RFC 8257).
func (a Algorithm) NeedsECN() bool { return false }

// Choice is an algorithm, or the zero value: whatever is the default.
type Choice uint8

// Choose returns the choice of a.
func Choose(a Algorithm) Choice { return Choice(a) + 1 }

// Or returns the algorithm chosen, or def.
func (c Choice) Or(def Algorithm) Algorithm {
	if c == 0 {
		return def
	}
	return Algorithm(c - 1)
}

// Sample is what one acknowledgment told, in the terms of draft-ietf-ccwg-bbr §4.1 and of delivery
// rate estimation. Octets are of sequence space; "delivered" means acknowledged cumulatively or
// selectively, each octet once.
type Sample struct {
	Now  vtime.Time
	MSS  uint32         // payload of a full segment
	RTT  vtime.Duration // of the newest segment that this ACK delivers, never of one sent twice; 0: none
	SRTT vtime.Duration // smoothed; 0 before the first measurement

	Acked     uint32 // newly acknowledged cumulatively
	Delivered uint32 // newly delivered
	Lost      uint32 // newly found lost
	Marked    uint32 // of Delivered, reported as marked CE (RFC 3168, RFC 8257); 0 without ECN
	Prior     uint32 // in flight before the ACK
	InFlight  uint32 // in flight after it (pipe)

	// The rate sample, of the segment sent last among those delivered. Valid only if Interval > 0.
	Interval       vtime.Duration // over which RateDelivered octets were delivered
	RateDelivered  uint32         // rs.delivered
	RateLost       uint32         // rs.lost: found lost between its sending and now
	TxInFlight     uint32         // rs.tx_in_flight: in flight just after it was sent
	PriorDelivered uint64         // rs.prior_delivered: TotalDelivered when it was sent
	AppLimited     bool           // rs.is_app_limited

	TotalDelivered uint64 // C.delivered, of the connection
	TotalLost      uint64 // C.lost
	CwndLimited    bool   // the window was used up since the last ACK (RFC 7661 §3)
	Recovery       bool   // a fast recovery or the recovery from a timeout is under way
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

// OnAck takes in an ACK that delivered something. Algorithms that grow a window do so only outside
// fast recovery, and when the window was the limit.
func (s *State) OnAck(a *Sample) {
	acked := a.Acked
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
		s.cubicAck(a.Now, acked, a.MSS, a.SRTT)
	default:
		s.renoAck(acked, a.MSS)
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

// OnECN is the reduction that the peer's ECE asks for (RFC 3168 §6.1.2): as for a loss, but nothing has
// to be repaired, so the window is lowered at once. The engine calls it once for a window of data.
func (s *State) OnECN(flight, mss uint32) {
	s.decrease(flight, mss)
	s.Cwnd = max(min(s.Cwnd, s.Ssthresh), mss)
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
