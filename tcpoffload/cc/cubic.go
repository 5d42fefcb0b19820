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

// maxEpochMs bounds the time that enters the cubic function: far beyond it the window is at its
// bound anyway, and the cube stays below 2^63.
const maxEpochMs = 1 << 20

// cubicState holds the variables of RFC 9438 §4.1. Windows are octets.
type cubicState struct {
	wMax      uint32     // W_max: window before the last reduction
	cwndPrior uint32     // window at the last reduction, without fast convergence
	wEst      uint32     // W_est: what Reno would have
	estAcked  uint32     // octets acknowledged and not yet turned into wEst
	k         uint32     // K in milliseconds
	origin    uint32     // the plateau that the curve aims at
	epoch     vtime.Time // start of the current congestion avoidance; 0: not begun
}

// cubicAck is §4.2 to §4.5: grow towards W_cubic(t+RTT), but not slower than Reno.
func (s *State) cubicAck(now vtime.Time, acked, mss uint32, srtt vtime.Duration) {
	c := &s.cubic
	if c.epoch == 0 {
		c.begin(now, s.Cwnd, mss)
	}
	c.estimateReno(acked, s.Cwnd, mss)

	t := uint64(now.Sub(c.epoch)+srtt) / uint64(vtime.Millisecond)
	target := c.window(t, mss)
	// §4.4, §4.5: the target is bounded to 1 to 1.5 windows.
	target = min(max(target, s.Cwnd), s.Cwnd+s.Cwnd/2)
	s.acked += acked
	if target > s.Cwnd {
		// cwnd += (target − cwnd)/cwnd per segment, in octets.
		grow := uint32(uint64(s.acked) * uint64(target-s.Cwnd) / uint64(s.Cwnd))
		if grow > 0 {
			s.Cwnd = min(s.Cwnd+grow, maxWindow)
			s.acked = 0
		}
	} else {
		s.acked = 0
	}
	if s.Cwnd < c.wEst { // §4.3, the Reno-friendly region
		s.Cwnd = min(c.wEst, maxWindow)
	}
}

// begin starts an epoch of congestion avoidance at window cwnd.
func (c *cubicState) begin(now vtime.Time, cwnd, mss uint32) {
	c.epoch = max(now, 1)
	c.wEst, c.estAcked = cwnd, 0
	if c.wMax <= cwnd {
		c.k, c.origin = 0, cwnd
		return
	}
	// K = cbrt((W_max − cwnd_epoch)/C) seconds (§4.2): in milliseconds, cbrt of segments·1e9/C.
	d := uint64(c.wMax-cwnd) * 1000 / uint64(mss) // thousandths of a segment
	c.k = cbrt(d * 1000 * 1000 * cDen / cNum)
	c.origin = c.wMax
}

// window returns W_cubic(t) in octets, t in milliseconds since the epoch began (§4.2).
func (c *cubicState) window(t uint64, mss uint32) uint32 {
	t = min(t, maxEpochMs)
	k := uint64(c.k)
	d := max(t, k) - min(t, k)
	// C·(t−K)³ segments = cNum·d³/(cDen·10⁹).
	hi, lo := bits.Mul64(d*d*d, cNum*uint64(mss))
	const den = cDen * 1e9
	if hi >= den {
		hi, lo = 0, maxWindow*uint64(den)
	}
	off, _ := bits.Div64(hi, lo, den)
	if t >= k {
		return uint32(min(uint64(c.origin)+off, maxWindow))
	}
	if off >= uint64(c.origin) {
		return 0
	}
	return c.origin - uint32(off)
}

// estimateReno advances W_est (§4.3): α·mss for every window acknowledged; α is 1 once the window
// before the reduction is reached again.
func (c *cubicState) estimateReno(acked, cwnd, mss uint32) {
	num, den := uint64(alphaNum), uint64(alphaDen)
	if c.wEst >= c.cwndPrior {
		num, den = 1, 1
	}
	c.estAcked += acked
	inc := uint64(c.estAcked) * uint64(mss) * num / (uint64(cwnd) * den)
	if inc > 0 {
		c.wEst = uint32(min(uint64(c.wEst)+inc, maxWindow))
		c.estAcked = 0
	}
}

// cubicDecrease is §4.6 and §4.7.
func (s *State) cubicDecrease(mss uint32) {
	c := &s.cubic
	c.epoch = 0
	c.cwndPrior = s.Cwnd
	if s.Cwnd < c.wMax {
		// Fast convergence: give room to newcomers.
		c.wMax = uint32(uint64(s.Cwnd) * (betaDen + betaNum) / (2 * betaDen))
	} else {
		c.wMax = s.Cwnd
	}
	s.Ssthresh = max(uint32(uint64(s.Cwnd)*betaNum/betaDen), 2*mss)
}

// cbrt returns the integer cube root of x, rounded down.
func cbrt(x uint64) uint32 {
	var r uint64
	for s := 63; s >= 0; s -= 3 {
		r <<= 1
		b := 3*r*(r+1) + 1
		if x>>uint(s) >= b {
			x -= b << uint(s)
			r++
		}
	}
	return uint32(r)
}
