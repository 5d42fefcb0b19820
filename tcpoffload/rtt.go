package tcpoffload

// Round-trip time and retransmission timeout (RFC 6298).

import (
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// clockGranularity is G of RFC 6298: a wheel tick, rounded up.
const clockGranularity = 100 * vtime.Microsecond

// rtoAfterSynLoss is the timeout of first data when the handshake had to be repeated and gave no
// measurement: the round trip may be long (RFC 6298 (5.7)).
const rtoAfterSynLoss = 3 * vtime.Second

// minRTTWindow is how long the smallest round trip counts: the path may have become longer.
const minRTTWindow = 5 * vtime.Minute

// measureEcho takes the round trip from an echoed timestamp, which is unambiguous (RFC 7323 §4.1).
func (e *Engine) measureEcho(t *TCB, now vtime.Time, o *wire.Options) {
	if t.flags&flagTS == 0 || o.Set&wire.OptTimestamps == 0 || o.TSEcr == 0 {
		return
	}
	if ticks := t.tsVal(now) - o.TSEcr; ticks < 1<<20 {
		m := vtime.Duration(ticks)*tsTick + tsTick/2
		t.rtt.atLeast(now, m)
		t.rtt.sample(m, e.tun.RTOMin, e.tun.RTOMax)
		t.backoff = 0
	}
}

// measureSyn takes the round trip of the handshake: of our SYN, if it was sent once.
func (e *Engine) measureSyn(t *TCB, now vtime.Time, seg *Segment) {
	r := &t.rtt
	if r.timedAt == vtime.Never {
		e.measureEcho(t, now, &seg.Opt)
		return
	}
	m := max(now.Sub(r.timedAt), 1)
	r.timedAt = vtime.Never
	r.atLeast(now, m)
	r.sample(m, e.tun.RTOMin, e.tun.RTOMax)
	t.backoff = 0
}

// atLeast takes m into the smallest round trip of the last minutes.
func (r *rttVars) atLeast(now vtime.Time, m vtime.Duration) {
	if r.min == 0 || m <= r.min || now.Sub(r.minAt) > minRTTWindow {
		r.min, r.minAt = m, now
	}
}

// rtoFor returns RTO = SRTT + max(G, 4·RTTVAR), at most rtoMax. RFC 6298 (2.3), (2.5). The least RTO (2.4) is
// added to SRTT, as Linux does: a peer may delay its ACK by as much on any path.
func rtoFor(srtt, rttvar, rtoMin, rtoMax vtime.Duration) vtime.Duration {
	return min(srtt+max(clockGranularity, rtoMin, 4*rttvar), rtoMax)
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
