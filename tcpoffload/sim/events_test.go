package sim

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/vtime"
)

// TestEventsComeInOrder: by time, and at equal times as they were scheduled.
func TestEventsComeInOrder(t *testing.T) {
	var q events
	var n uint64
	var last event
	r := rand.New(rand.NewPCG(1, 2))
	for range 200_000 {
		if len(q) == 0 || r.IntN(100) < 52 {
			n++
			q.push(event{at: last.at + vtime.Time(r.IntN(1000)), seq: n})
			continue
		}
		e := q.pop()
		require.False(t, e.before(&last), "%v after %v", e, last)
		last = e
	}
}
