package cc

// Congestion window validation (RFC 7661): a window grows only while the program makes use of it, and
// what was not used for long is given up.

import "opentoe/tcpoffload/vtime"

const (
	// nvpPeriod is how long a window that is not validated stays as it is (RFC 7661 §4.4.3).
	nvpPeriod = 5 * vtime.Minute
	// minPipePeriod is the shortest time for which pipeACK remembers (RFC 7661 §4.2).
	minPipePeriod = vtime.Second
)

// validation measures pipeACK (RFC 7661 §4.2): the largest volume that was acknowledged in one round
// trip of late. It is kept for two halves of the sampling period.
type validation struct {
	pipe  [2]uint32  // octets, of this half and of the one before; both 0: undefined
	since vtime.Time // begin of this half
	nvpAt vtime.Time // begin of the non-validated phase, or its last decay; valid with flagInvalid
}

// pipeACK returns pipeACK in octets, 0 if it is undefined.
func (v *validation) pipeACK() uint32 { return max(v.pipe[0], v.pipe[1]) }

// validate updates pipeACK at the end of a round trip and decides whether the window is validated:
// pipeACK undefined, or at least half of the window (§4.3), or the window used up. Precondition: the ACK
// begins a round trip, and there is no recovery.
func (s *State) validate(a *Sample) {
	v := &s.valid
	if half := max(3*a.SRTT, minPipePeriod) / 2; a.Now.Sub(v.since) > half {
		v.pipe[1] = v.pipe[0]
		if a.Now.Sub(v.since) > 2*half {
			v.pipe[1] = 0
		}
		v.pipe[0], v.since = 0, a.Now
	}
	if s.roundEnd != 0 {
		v.pipe[0] = max(v.pipe[0], uint32(min(a.TotalDelivered-s.roundEnd, maxWindow)))
	}
	switch p := v.pipeACK(); {
	case p == 0 || p >= s.Cwnd/2 || s.isLimited():
		s.flags &^= flagInvalid
	case s.flags&flagInvalid == 0:
		s.flags |= flagInvalid
		v.nvpAt = a.Now
	default:
		s.decay(a.Now)
	}
}

// decay halves the window, not below the initial one, for every nvpPeriod in which it was not
// validated (§4.4.3).
func (s *State) decay(now vtime.Time) {
	v := &s.valid
	for now.Sub(v.nvpAt) > nvpPeriod && s.Cwnd > s.initial {
		s.Ssthresh = max(s.Ssthresh, s.Cwnd/4*3)
		s.Cwnd = max(s.Cwnd/2, s.initial)
		v.nvpAt = v.nvpAt.Add(nvpPeriod)
	}
	if s.Cwnd <= s.initial {
		v.nvpAt = now
	}
}
