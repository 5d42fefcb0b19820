package tcpoffload

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/cc"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// step is the unit of time of these tests: a whole number of units of lastRate.span.
const step = vtime.Duration(1) << 20

// rateScript is a connection of which no octet was sent, with a window of 20 segments. Its smallest round trip is
// 10 ms, of the handshake.
func rateScript(t *testing.T, set wire.OptionSet) (*script, *TCB) {
	s := newScript(t, func(c *Config) { c.Tunables.CC = cc.Reno; c.Tunables.InitCwnd = 20 })
	s.passive(set, SocketOptions{})
	return s, &s.e.conns[s.h.Index()]
}

// at moves the clock to n steps after begin.
func (s *script) at(begin vtime.Time, n int) { s.now = begin.Add(vtime.Duration(n) * step) }

// rate demands the last sample: so many segments in so many steps.
func (s *script) rate(segs uint32, steps int, limited bool, why string) {
	s.t.Helper()
	r := &s.e.conns[s.h.Index()].lastRate
	require.Equal(s.t, segs*mss, r.octets&^1, why)
	require.Equal(s.t, uint32(steps)<<(20-rateUnit), r.span, why)
	require.Equal(s.t, limited, r.octets&1 != 0, "limited by the program: %s", why)
}

// What was sent at one instant and is acknowledged after a round trip was delivered in that time.
func TestRateOfAFlight(t *testing.T) {
	s, c := rateScript(t, sackOptions)
	begin := s.now
	s.send(4 * mss)
	s.at(begin, 16)
	s.in(wire.ACK, 1, 0, seqOf(4))
	s.rate(4, 16, false, "4 segments in 16 steps")
	info := s.info()
	require.InEpsilon(t, 4*mss*uint64(vtime.Second)/uint64(16*step), info.DeliveryRate, 1e-5)
	require.Equal(t, uint64(4*mss), c.rate.delivered)
	require.Equal(t, s.now, c.rate.deliveredAt)
	require.Equal(t, begin, c.rate.firstSent)
}

// The interval is the longer of sending and acknowledging, each from the last delivery before the segment left
// to its own. A line of segments, sent at steps 0, 5, 10, 18, is acknowledged at 15, 20, 21.
func TestRateIntervals(t *testing.T) {
	s, _ := rateScript(t, sackOptions)
	begin := s.now
	s.send(mss)
	s.at(begin, 5)
	s.send(2 * mss)
	s.at(begin, 15)
	s.in(wire.ACK, 1, 0, seqOf(1))
	s.rate(1, 15, false, "of the first segment: 1 in 15 steps from when it left")
	s.send(3 * mss)
	s.at(begin, 18)
	s.send(4 * mss)
	s.at(begin, 20)
	s.in(wire.ACK, 1, 0, seqOf(2))
	s.rate(2, 20, true, "of the second: it left when nothing had been delivered, at step 0")
	s.at(begin, 40)
	s.in(wire.ACK, 1, 0, seqOf(4))
	// The fourth left at 18: one segment had been delivered, at 15, and that one had left at 0.
	s.rate(3, 25, true, "of the fourth: acknowledged 25 steps after the delivery before it, sent 18 after")
}

// ACKs that come faster than the segments left are no measure of the path: sending is.
func TestRateOfCompressedAcks(t *testing.T) {
	s, _ := rateScript(t, sackOptions)
	begin := s.now
	s.send(mss)
	s.at(begin, 5)
	s.send(2 * mss)
	s.at(begin, 20)
	s.in(wire.ACK, 1, 0, seqOf(1))
	s.at(begin, 30)
	s.send(3 * mss)
	s.at(begin, 45)
	s.send(4 * mss)
	s.at(begin, 60)
	s.in(wire.ACK, 1, 0, seqOf(3))
	s.rate(2, 40, true, "of the third, sent at 30: sending took 30 steps from 0, acknowledging 40 from 20")
	s.at(begin, 61)
	s.in(wire.ACK, 1, 0, seqOf(4))
	s.rate(3, 45, true, "of the fourth, sent at 45: sending took 45 steps from 0, acknowledging 41 from 20")
}

// An interval shorter than any round trip is of an ACK for what left before, and not of what left last: no sample.
func TestRateShorterThanARoundTrip(t *testing.T) {
	s, c := rateScript(t, wire.OptMSS)
	begin := s.now
	s.send(mss)
	s.wait(s.info().RTO + ms)
	s.skip()
	require.Equal(t, uint64(1), s.e.MIB().Timeouts)
	s.now = s.now.Add(step)
	s.in(wire.ACK, 1, 0, seqOf(1))
	require.Zero(t, c.lastRate, "two steps after it was sent again, the smallest round trip is 10 ms")
	require.Equal(t, uint64(mss), c.rate.delivered)
	s.at(begin, 300)
	s.send(2 * mss)
	s.at(begin, 320)
	s.in(wire.ACK, 1, 0, seqOf(2))
	s.rate(1, 20, true, "and goes on")
}

// What SACK told of counts when it is told, once; a sample is of the segment that was sent last, and what was lost
// since it left is known.
func TestRateWithLosses(t *testing.T) {
	s, c := rateScript(t, sackOptions)
	begin := s.now
	s.send(6 * mss)
	s.at(begin, 16)
	s.sack(1, 1, seqOf(1), seqOf(3))
	s.rate(2, 16, false, "2 of 6 SACKed")
	s.at(begin, 20)
	s.sack(1, 1, seqOf(1), seqOf(5))
	s.rate(4, 20, false, "4 of 6 SACKed; all of one instant")
	require.Equal(t, uint64(mss), c.rate.lost, "and the first one lost")
	require.Equal(t, caRecovery, c.ca)
	again := &s.e.flights[c.fl.newest]
	require.NotZero(t, again.flags&flightRxt, "it was sent again")
	require.Equal(t, uint32(mss), again.lost, "its sample begins after its loss")
	require.Equal(t, uint32(4*mss), again.delivered)
	s.at(begin, 36)
	s.in(wire.ACK, 1, 0, seqOf(6))
	s.rate(2, 20, true, "2 since it left again at 20: sending took 20 steps from 0, acknowledging 16")
	require.Equal(t, uint64(6*mss), c.rate.delivered, "each octet once")
}

// A flight is limited by the program when less was sent than the window took, until all of it is delivered.
func TestRateLimitedByTheProgram(t *testing.T) {
	s, c := rateScript(t, sackOptions)
	begin := s.now
	s.send(30 * mss) // more than the window takes
	require.Zero(t, c.rate.appLimited)
	s.at(begin, 16)
	s.in(wire.ACK, 1, 0, seqOf(20))
	s.rate(20, 16, false, "the window limits")
	require.Equal(t, uint64(30*mss), c.rate.appLimited, "the rest is all there is: limited until it is delivered")
	s.at(begin, 17)
	s.send(32 * mss)
	s.at(begin, 32)
	s.in(wire.ACK, 1, 0, seqOf(30))
	s.rate(10, 16, false, "these had left before that was known")
	s.at(begin, 33)
	s.in(wire.ACK, 1, 0, seqOf(32))
	s.rate(12, 17, true, "these after")
	s.send(33 * mss)
	s.at(begin, 49)
	s.in(wire.ACK, 1, 0, seqOf(33))
	require.Equal(t, uint64(33*mss), c.rate.appLimited, "until more than that is delivered")
	s.send(80 * mss)
	s.at(begin, 65)
	s.in(wire.ACK, 1, 0, seqOf(34))
	require.Zero(t, c.rate.appLimited, "the bubble is through, and the window limits")
}

// An interval of more than 4 s is not kept, and so there is no sample.
func TestRateOfALongPause(t *testing.T) {
	s, c := rateScript(t, sackOptions)
	begin := s.now
	s.send(mss)
	for i := range 6 { // so that something is always in flight
		s.now = s.now.Add(sec)
		s.send(uint64(i+2) * mss)
	}
	require.Equal(t, uint32(tooLong), s.e.flights[c.fl.newest].sendElapsed)
	was := c.lastRate
	s.at(begin, 6000)
	s.in(wire.ACK, 1, 0, seqOf(7))
	require.Equal(t, was, c.lastRate)
}
