package cc

// Slow start and congestion avoidance of RFC 5681 §3.1, counted in octets (RFC 3465 §2.1).

// slowStart grows the window by what was acknowledged and returns what is left of it beyond the
// threshold. There is no limit L on what one ACK may add (RFC 3465 §2.2, RFC 9406 §4.2): receivers
// that take bursts, as we do, acknowledge dozens of segments at once, and a window that grows by
// eight segments for each of these would grow linearly. Pacing keeps the bursts apart instead.
func (s *State) slowStart(a *Sample, acked uint32) (rest uint32) {
	if s.Ssthresh == maxWindow && s.episode == episodeNone {
		s.hystartAck(a)
		if s.flags&flagCSS != 0 {
			acked /= cssGrowthDivisor
		}
		if !s.SlowStart() {
			return acked
		}
	}
	n := min(acked, s.Ssthresh-s.Cwnd)
	s.Cwnd += n
	return acked - n
}

// renoAck adds one mss for every window of octets acknowledged.
func (s *State) renoAck(acked, mss uint32) {
	s.acked += acked
	if s.acked >= s.Cwnd {
		s.acked -= s.Cwnd
		s.Cwnd = min(s.Cwnd+mss, maxWindow)
	}
}
