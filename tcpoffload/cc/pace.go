package cc

// How fast segments may leave, and in what portions.

import "opentoe/tcpoffload/vtime"

const (
	// Windows leave at a multiple of one per round trip, so that they can grow: by a doubling in
	// slow start, by little afterwards. Per cent.
	paceSlowStart = 200
	paceAvoidance = 120

	// maxQuantum bounds what leaves at once, octets (draft-ietf-ccwg-bbr §5.6.3).
	maxQuantum = 64 << 10

	// minPacedRTT is the round trip from which on a window is spread. On shorter paths a window is a
	// few portions of what leaves at once anyway, and timers are too coarse.
	minPacedRTT = vtime.Millisecond
)

// SetPaced says whether a window is to leave spread over the round trip. BBR always does so.
func (s *State) SetPaced(on bool, srtt vtime.Duration) {
	s.flags &^= flagPaced
	if on {
		s.flags |= flagPaced
	}
	if s.algo != BBR {
		s.paceWindow(srtt)
	}
}

// SetMaxRate bounds the pacing rate, octets per second; 0 lifts the bound.
func (s Control) SetMaxRate(rate uint64, srtt vtime.Duration) {
	s.maxRate = rate
	if s.algo == BBR {
		s.setRate(s.bbr.rate)
	} else {
		s.paceWindow(srtt)
	}
}

// PacingRate returns the rate in octets per second that transmission has to keep to; 0: none.
func (s *State) PacingRate() uint64 { return s.rate }

// MaxRate returns the program's bound on the rate; 0: none.
func (s *State) MaxRate() uint64 { return s.maxRate }

// SendQuantum returns how many octets may leave at once at the pacing rate: those of a millisecond,
// at least two segments (draft-ietf-ccwg-bbr §5.6.3).
func (s *State) SendQuantum(mss uint32) uint32 {
	return max(uint32(min(s.rate/1000, maxQuantum)), 2*mss)
}

// paceWindow sets the rate of an algorithm that grows a window.
func (s *State) paceWindow(srtt vtime.Duration) {
	switch {
	case s.flags&flagPaced != 0 && srtt >= minPacedRTT:
		ratio := uint64(paceAvoidance)
		if s.Cwnd < s.Ssthresh/2 { // beyond, a doubling would overshoot the threshold
			ratio = paceSlowStart
		}
		s.setRate(per(s.Cwnd, srtt) * ratio / 100)
	case s.rate != s.maxRate:
		s.rate = s.maxRate
	}
}

func (s *State) setRate(rate uint64) {
	if s.maxRate != 0 {
		rate = min(rate, s.maxRate)
	}
	s.rate = max(rate, 1)
}
