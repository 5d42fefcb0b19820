package cc

// CUBIC (RFC 9438), integer arithmetic.

import (
	"math/bits"

	"opentoe/tcpoffload/vtime"
)

// Constants of RFC 9438 §5 as fractions.
const (
	betaNum, betaDen = 7, 10 // β_cubic
	cNum, cDen       = 4, 10 // C, segments per cubic second
	// α_cubic = 3·(1−β)/(1+β), §4.3.
	alphaNum, alphaDen = 9, 17
)

// Time enters the cubic function in units of 2^-curveShift seconds, 61 µs, and is bounded: far beyond
// maxCurve, 1024 s, the window is at its bound anyway.
const (
	curveShift = 14
	maxCurve   = 1 << (curveShift + 10)
)

// cubicState holds the variables of RFC 9438 §4.1. Windows are octets.
type cubicState struct {
	wMax      uint32     // W_max: window before the last reduction; 0: none, or a timeout (§4.8, §4.10)
	cwndPrior uint32     // window at the last reduction, without fast convergence
	wEst      uint32     // W_est: what Reno would have
	estAcked  uint32     // octets acknowledged and not yet turned into wEst
	k         uint32     // K, in units of 2^-curveShift s
	origin    uint32     // the plateau that the curve aims at
	epoch     vtime.Time // start of the current congestion avoidance, less what did not count; 0: not begun
	last      vtime.Time // of the last ACK in it
}

// pass excludes the time since the last ACK from the epoch: the program limited the rate (§4.2, §5.8).
func (c *cubicState) pass(now vtime.Time) {
	if c.epoch != 0 {
		c.epoch += now - c.last
		c.last = now
	}
}

// cubicAck is §4.2 to §4.5: grow towards W_cubic(t+RTT), but not slower than Reno.
func (s *State) cubicAck(a *Sample, acked uint32) {
	c, mss := &s.cubic, a.MSS
	if c.epoch == 0 {
		c.begin(a.Now, s.Cwnd, mss)
	}
	if !s.isLimited() {
		c.pass(a.Now)
		return
	}
	c.last = a.Now
	c.estimateReno(acked, s.Cwnd, mss)

	target := c.window(curveTime(a.Now.Sub(c.epoch)+a.SRTT), mss)
	// §4.2: the target is bounded to 1 to 1.5 windows.
	target = min(max(target, s.Cwnd), s.Cwnd+s.Cwnd/2)
	s.acked += min(acked, maxWindow)
	if target > s.Cwnd {
		// §4.4, §4.5: cwnd += (target − cwnd)/cwnd per segment, in octets.
		grow := uint32(uint64(s.acked) * uint64(target-s.Cwnd) / uint64(s.Cwnd))
		if grow > 0 {
			s.Cwnd = min(s.Cwnd+grow, maxWindow)
			s.acked = 0
		}
	} else {
		s.acked = 0
	}
	if s.Cwnd < c.wEst { // §4.3, the Reno-friendly region
		s.Cwnd = c.wEst
	}
}

// begin starts an epoch of congestion avoidance at window cwnd.
func (c *cubicState) begin(now vtime.Time, cwnd, mss uint32) {
	c.epoch, c.last = max(now, 1), max(now, 1)
	c.wEst, c.estAcked = cwnd, 0
	if c.cwndPrior == 0 {
		c.cwndPrior = cwnd // §4.10
	}
	if c.wMax <= cwnd {
		c.wMax = cwnd
		c.k, c.origin = 0, cwnd
		return
	}
	// K = cbrt((W_max − cwnd_epoch)/C) seconds (§4.2).
	d := uint64(c.wMax-cwnd) << 20 / uint64(mss) * cDen / cNum
	const more = 3*curveShift - 20
	c.k = cbrt(min(d, 1<<(64-more)-1) << more)
	c.origin = c.wMax
}

// timeout forgets the plateau: after a timeout congestion avoidance begins with K = 0 (§4.8).
func (c *cubicState) timeout() { c.wMax, c.epoch = 0, 0 }

// curveTime returns d in units of 2^-curveShift s, bounded.
func curveTime(d vtime.Duration) uint64 {
	d = min(max(d, 0), maxCurve>>curveShift*vtime.Second)
	return uint64(d) << curveShift / uint64(vtime.Second)
}

// window returns W_cubic(t) in octets, t in units of 2^-curveShift s since the epoch began (§4.2).
func (c *cubicState) window(t uint64, mss uint32) uint32 {
	k := uint64(c.k)
	d := max(t, k) - min(t, k)
	cube := (d * d >> curveShift) * d >> curveShift // seconds³, at most 2^30, in the same units
	off := cube * cNum * uint64(mss) / cDen >> curveShift
	if t >= k {
		return uint32(min(uint64(c.origin)+off, maxWindow))
	}
	return uint32(uint64(c.origin) - min(off, uint64(c.origin)))
}

// estimateReno advances W_est (§4.3): α·mss for every window acknowledged; α is 1 once the window
// before the reduction is reached again.
func (c *cubicState) estimateReno(acked, cwnd, mss uint32) {
	num, den := uint64(alphaNum), uint64(alphaDen)
	if c.wEst >= c.cwndPrior {
		num, den = 1, 1
	}
	c.estAcked += min(acked, maxWindow)
	inc := uint64(c.estAcked) * uint64(mss) * num / (uint64(cwnd) * den)
	if inc > 0 {
		c.wEst = uint32(min(uint64(c.wEst)+inc, maxWindow))
		c.estAcked = 0
	}
}

// cubicDecrease is §4.6 and §4.7 for window cwnd.
func (s *State) cubicDecrease(cwnd, mss uint32) {
	c := &s.cubic
	c.epoch = 0
	c.cwndPrior = cwnd
	if cwnd < c.wMax {
		// Fast convergence: give room to newcomers.
		c.wMax = uint32(uint64(cwnd) * (betaDen + betaNum) / (2 * betaDen))
	} else {
		c.wMax = cwnd
	}
	s.Ssthresh = max(uint32(uint64(cwnd)*betaNum/betaDen), 2*mss)
}

// cbrt returns the integer cube root of x, rounded down.
func cbrt(x uint64) uint32 {
	var r uint64
	for s := bits.Len64(x) / 3 * 3; s >= 0; s -= 3 {
		r <<= 1
		b := 3*r*(r+1) + 1
		if x>>uint(s) >= b {
			x -= b << uint(s)
			r++
		}
	}
	return uint32(r)
}
