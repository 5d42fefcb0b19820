package sim

import (
	"math"

	"opentoe/tcpoffload/vtime"
)

// CoDel (RFC 8289 §5), with its recommended constants.
const (
	codelTarget   = 5 * vtime.Millisecond
	codelInterval = 100 * vtime.Millisecond
	codelFloor    = 1538 // octets: a queue below one full frame is never too long
)

// codelVars are the state of §5.3.
type codelVars struct {
	firstAbove vtime.Time // when the wait has been too long for an interval; 0: it is not
	dropNext   vtime.Time
	count      int
	last       int // count when dropping last ended
	dropping   bool
}

// tooLong takes in that a packet leaves the queue after wait with octets left behind it, and reports
// whether it is to be marked or dropped.
func (c *codelVars) tooLong(now vtime.Time, wait vtime.Duration, octets int) bool {
	over := false
	switch {
	case wait < codelTarget || octets < codelFloor:
		c.firstAbove = 0
	case c.firstAbove == 0:
		c.firstAbove = now.Add(codelInterval)
	default:
		over = now >= c.firstAbove
	}
	switch {
	case c.dropping && !over:
		c.dropping = false
	case c.dropping && now >= c.dropNext:
		c.count++
		c.dropNext = c.dropNext.Add(c.gap())
		return true
	case !c.dropping && over:
		c.dropping = true
		if grown := c.count - c.last; grown > 1 && now.Sub(c.dropNext) < 16*codelInterval {
			c.count = grown
		} else {
			c.count = 1
		}
		c.last = c.count
		c.dropNext = now.Add(c.gap())
		return true
	}
	return false
}

func (c *codelVars) gap() vtime.Duration {
	return vtime.Duration(float64(codelInterval) / math.Sqrt(float64(c.count)))
}
