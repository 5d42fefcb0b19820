package tcpoffload

// Round-trip time and retransmission timeout (RFC 6298).

import "opentoe/tcpoffload/vtime"

// clockGranularity is G of RFC 6298: a wheel tick, rounded up.
const clockGranularity = 100 * vtime.Microsecond

// rtoAfterSynLoss is the timeout of first data when the handshake had to be repeated and gave no
// measurement: the round trip may be long (RFC 6298 (5.7)).
const rtoAfterSynLoss = 3 * vtime.Second

// sample takes a measurement: (2.2) for the first, (2.3) for the others.
func (r *rttVars) sample(m, rtoMin, rtoMax vtime.Duration) {
	m = max(m, 1)
	if r.min == 0 || m < r.min {
		r.min = m
	}
	if r.srtt == 0 {
		r.srtt, r.rttvar = m, m/2
	} else {
		d := r.srtt - m
		if d < 0 {
			d = -d
		}
		r.rttvar += (d - r.rttvar) / 4
		r.srtt += (m - r.srtt) / 8
	}
	r.srtt = max(r.srtt, 1)
	r.rto = rtoFor(r.srtt, r.rttvar, rtoMin, rtoMax)
}

// rtoFor returns RTO = SRTT + max(G, 4·RTTVAR) within its bounds. RFC 6298 (2.3) to (2.5).
func rtoFor(srtt, rttvar, rtoMin, rtoMax vtime.Duration) vtime.Duration {
	return min(max(srtt+max(clockGranularity, 4*rttvar), rtoMin), rtoMax)
}

// backedOff returns d doubled n times, at most limit. RFC 6298 (5.5).
// Precondition: 0 < d ≤ limit.
func backedOff(d vtime.Duration, n uint8, limit vtime.Duration) vtime.Duration {
	n = min(n, maxBackoff)
	if d > limit>>n {
		return limit
	}
	return d << n
}
