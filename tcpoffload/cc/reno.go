package cc

// Congestion avoidance of RFC 5681 §3.1, counted in octets (RFC 3465 §2.1).

// renoAck adds one mss for every window of octets acknowledged.
func (s *State) renoAck(acked, mss uint32) {
	s.acked += acked
	if s.acked >= s.Cwnd {
		s.acked -= s.Cwnd
		s.Cwnd = min(s.Cwnd+mss, maxWindow)
	}
}
