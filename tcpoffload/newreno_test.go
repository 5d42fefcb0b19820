package tcpoffload

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/wire"
)

// After a timeout without SACK, duplicates are echoes of what is sent again: they clock nothing out, or a
// second loss of the first segment would have all of the flight sent again for nothing.
func TestEchoesAfterATimeoutClockNothingOut(t *testing.T) {
	s := lossScript(t, wire.OptMSS, 18)
	s.wait(300 * ms)
	s.expect(wire.ACK, seqOf(0), mss, 1)
	s.in(wire.ACK, 1, 0, seqOf(1))
	s.expect(wire.ACK, seqOf(1), mss, 1) // lost again
	s.expect(wire.ACK, seqOf(2), mss, 1)
	for range 10 {
		s.in(wire.ACK, 1, 0, seqOf(1))
	}
	s.quiet()
	require.Equal(t, uint8(caLoss), s.info().CAState)
	s.wait(sec)
	s.expect(wire.ACK, seqOf(1), mss, 1)
	s.in(wire.ACK, 1, 0, seqOf(18))
	require.Equal(t, uint8(caOpen), s.info().CAState)
}

// Duplicates of the ACK that ended a recovery are a loss once they are more than was sent again in it
// (RFC 6582 §4), and until then they let out two new segments (RFC 3042).
func TestDuplicatesAfterARecovery(t *testing.T) {
	s := lossScript(t, wire.OptMSS, 10)
	for range 3 {
		s.in(wire.ACK, 1, 0, seqOf(0))
	}
	s.expect(wire.ACK, seqOf(0), mss, 1)
	for range 5 {
		s.in(wire.ACK, 1, 0, seqOf(0))
	}
	s.in(wire.ACK, 1, 0, seqOf(3)) // partial
	s.expect(wire.ACK, seqOf(3), mss, 1)
	s.in(wire.ACK, 1, 0, seqOf(10)) // two segments were sent again
	s.send(40 * mss)
	for n := range uint32(5) {
		s.expect(wire.ACK, seqOf(10+n), mss, 1) // the first of them is lost
	}
	s.quiet()
	for range dupThresh + 1 {
		s.in(wire.ACK, 1, 0, seqOf(10))
	}
	s.expect(wire.ACK, seqOf(15), mss, 1)
	s.expect(wire.ACK, seqOf(16), mss, 1)
	s.quiet()
	require.Equal(t, uint64(1), s.e.MIB().FastRetrans)
	s.in(wire.ACK, 1, 0, seqOf(10))
	s.expect(wire.ACK, seqOf(10), mss, 1)
	require.Equal(t, uint64(2), s.e.MIB().FastRetrans)
}
