package tcpoffload

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/cc"
	"opentoe/tcpoffload/vtime"
)

// TestModelOwnsRecovery: in a fast recovery an algorithm that models the path keeps its window (draft-ietf-ccwg-bbr
// §5.6.4.4); for the others proportional rate reduction lowers it as octets are delivered.
func TestModelOwnsRecovery(t *testing.T) {
	for _, a := range []cc.Algorithm{cc.Reno, cc.Cubic, cc.BBR} {
		t.Run(a.String(), func(t *testing.T) {
			s := newScript(t, func(c *Config) { c.Tunables.CC = a; c.Tunables.InitCwnd = 20 })
			s.passive(sackOptions, SocketOptions{})
			c := &s.e.conns[s.h.Index()]
			s.send(200 * mss)
			for c.flight() < 20*mss { // BBR paces
				s.wait(ms)
			}
			require.Equal(t, 20, s.skip())
			s.wait(10 * ms)
			s.skip()
			begin, flight := c.cc.Cwnd, c.flight()
			for n := uint32(2); n <= 20; n++ {
				s.sack(1, 1, seqOf(1), seqOf(n))
				if n > 4 {
					require.Equal(t, caRecovery, c.ca)
				}
				if a == cc.BBR {
					require.GreaterOrEqual(t, c.cc.Cwnd, begin, "the window is the model's, %d", n)
					require.Zero(t, c.prr.delivered)
				}
				s.wait(100 * vtime.Microsecond)
			}
			if a == cc.BBR {
				s.wait(20 * ms) // what the pacer held
				require.Greater(t, s.skip(), 19, "a segment leaves for every one that arrives, and more")
				require.GreaterOrEqual(t, c.pipe()+mss, begin)
				return
			}
			require.Positive(t, c.prr.delivered)
			require.InDelta(t, float64(flight), float64(c.prr.flight), 3*mss, "but for what was SACKed before")
			require.LessOrEqual(t, c.cc.Cwnd, c.cc.Ssthresh+mss)
			require.Less(t, s.skip(), 16)
		})
	}
}
