//go:build !invariants

// The invariants walk all that is in flight at every step: half a million segments here.

package sim_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload"
	"opentoe/tcpoffload/cc"
	"opentoe/tcpoffload/sim"
	"opentoe/tcpoffload/vtime"
)

// farRTT is the round trip of the long fat pipes.
const farRTT = 433 * vtime.Millisecond

// longFat is one stream over a long fat pipe.
type longFat struct {
	rate  int64 // bits per second
	loss  sim.PPB
	algo  cc.Algorithm
	share float64        // of the most that the link can carry as payload, in the second half of the time
	ready vtime.Duration // until it first had 95 % of that for a round trip; 0: never
	rxt   uint64
}

// run measures l for d of virtual time.
func (l *longFat) run(t *testing.T, d vtime.Duration) {
	link := sim.LinkConfig{RateBps: l.rate, Delay: farRTT / 2, FineLoss: l.loss, Trains: true}
	f := &bulkFlow{algo: l.algo}
	b := newBench(t, 7, link, sim.LinkConfig{Delay: farRTT / 2}, nil, []*bulkFlow{f}, func(c *tcpoffload.Config) {
		fastTunables(c)
		c.DeviceSegments = true
	})
	best := float64(l.rate) * goodShare
	rounds := int(d / farRTT)
	var mid uint64
	for i := range rounds {
		was := f.got()
		require.NoError(t, b.w.Pass(farRTT))
		if now := float64(f.got()-was) * 8 / 0.433; l.ready == 0 && now >= 0.95*best {
			l.ready = vtime.Duration(i+1) * farRTT
		}
		if i == rounds/2-1 {
			mid = f.got()
		}
	}
	l.share = float64(f.got()-mid) * 8 / (float64(rounds-rounds/2) * 0.433) / best
	l.rxt = f.src.Host.Engine.MIB().RetransSegs
}

// TestLongFatPipe demands that one stream fills a pipe whose window is near the most that TCP can have.
func TestLongFatPipe(t *testing.T) {
	for _, l := range []*longFat{{rate: 10e9, algo: cc.Cubic}, {rate: 16e9, algo: cc.Cubic}, {rate: 10e9, algo: cc.BBR}, {rate: 16e9, algo: cc.BBR}} {
		l.run(t, 25*vtime.Second)
		t.Logf("%v at %d Gb/s: %.2f %% in steady state, 95 %% after %v, %d sent again", l.algo, l.rate/1e9, l.share*100, l.ready, l.rxt)
		least := 0.99
		if l.algo == cc.BBR {
			least = 0.85 // every five seconds ProbeRTT halves the window for a round trip and 200 ms
		}
		require.GreaterOrEqual(t, l.share, least)
		require.Positive(t, l.ready)
		require.Less(t, l.ready, 12*vtime.Second)
		require.Zero(t, l.rxt)
	}
}
