package cc

// HyStart++ (RFC 9406): the first slow start ends when round trips grow longer, before the queue at
// the bottleneck overflows.

import "opentoe/tcpoffload/vtime"

// Constants of RFC 9406 §4.3.
const (
	minRTTThresh     = 4 * vtime.Millisecond
	maxRTTThresh     = 16 * vtime.Millisecond
	minRTTDivisor    = 8
	numRTTSamples    = 8
	cssGrowthDivisor = 4
	cssRounds        = 5
)

// hystartState holds the variables of RFC 9406 §4.2. Round trips are in microseconds, 0 standing for
// infinity.
type hystartState struct {
	lastRound uint32 // lastRoundMinRTT
	thisRound uint32 // currentRoundMinRTT
	baseline  uint32 // cssBaselineMinRtt
	samples   uint8  // rttSampleCount, up to numRTTSamples
	rounds    uint8  // of conservative slow start
}

// hystartAck runs the round trips of slow start, and ends it by setting the threshold.
func (s *State) hystartAck(a *Sample) {
	h := &s.hystart
	if s.flags&flagRound != 0 {
		h.lastRound, h.thisRound, h.samples = h.thisRound, 0, 0
		if s.flags&flagCSS != 0 {
			if h.rounds++; h.rounds >= cssRounds {
				s.Ssthresh = s.Cwnd
				s.flags &^= flagCSS
				return
			}
		}
	}
	if a.RTT <= 0 {
		return
	}
	rtt := uint32(min(max(a.RTT/vtime.Microsecond, 1), unlimited))
	if h.thisRound == 0 || rtt < h.thisRound {
		h.thisRound = rtt
	}
	if h.samples < numRTTSamples {
		h.samples++
	}
	switch {
	case h.samples < numRTTSamples:
	case s.flags&flagCSS != 0:
		if h.thisRound < h.baseline {
			s.flags &^= flagCSS // the growth was a passing one: slow start goes on
		}
	case h.lastRound != 0:
		thresh := min(max(h.lastRound/minRTTDivisor, uint32(minRTTThresh/vtime.Microsecond)), uint32(maxRTTThresh/vtime.Microsecond))
		if h.thisRound >= h.lastRound+thresh {
			s.flags |= flagCSS
			h.baseline, h.rounds = h.thisRound, 0
		}
	}
}
