package ports

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/vtime"
)

// passes counts what of a flood gets through in a second, asked every step.
func passes(m *meter, from vtime.Time, step vtime.Duration, n int, urgent bool) (frames int) {
	for now := from; now < from.Add(vtime.Second); now = now.Add(step) {
		if m.pass(now, n, urgent) {
			frames++
		}
	}
	return frames
}

func TestMeterHoldsToTheRate(t *testing.T) {
	const start = vtime.Time(1000 * vtime.Second)
	for _, c := range []struct {
		name      string
		rate      Rate
		n         int
		want, how int // frames in the second after the first, and by how much they may be off
	}{
		{"frames", Rate{Frames: 1000}, 60, 1000, 1},
		{"few frames", Rate{Frames: 100}, 60, 100, 1},
		{"octets", Rate{Octets: 1 << 20}, 1024, 1024, 1},
		{"the tighter of both", Rate{Frames: 500, Octets: 1 << 20}, 1024, 500, 1},
		{"the other", Rate{Frames: 5000, Octets: 1 << 20}, 1024, 1024, 1},
		{"none", Rate{}, 1500, 100_000, 0},
		{"the largest", Rate{Frames: maxRate, Octets: maxRate}, 65553, 100_000, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMeter(c.rate)
			first := passes(&m, start, 10*vtime.Microsecond, c.n, false)
			require.GreaterOrEqual(t, first, c.want, "a burst may come at once")
			got := passes(&m, start.Add(vtime.Second), 10*vtime.Microsecond, c.n, false)
			require.InDelta(t, c.want, got, float64(c.how))
		})
	}
}

// A long silence earns no more than a burst.
func TestMeterBurst(t *testing.T) {
	m := newMeter(Rate{Frames: 10_000})
	const now = vtime.Time(vtime.Second)
	for range 2 {
		n := 0
		for m.pass(now, 60, true) {
			n++
		}
		require.Equal(t, 500, n, "50 ms")
		m.frames.at -= vtime.Time(500 * vtime.Millisecond)
	}
	small := newMeter(Rate{Frames: 1, Octets: 1})
	require.True(t, small.pass(now, maxSnapLen, false), "the longest frame fits in the smallest bucket")
}

// What a link needs has the last eighth for itself.
func TestMeterKeepsSomeForUrgentFrames(t *testing.T) {
	m := newMeter(Rate{Frames: 1600})
	const now = vtime.Time(vtime.Second)
	plain, urgent := 0, 0
	for m.pass(now, 60, false) {
		plain++
	}
	for m.pass(now, 60, true) {
		urgent++
	}
	require.Equal(t, [2]int{70, 10}, [2]int{plain, urgent})
}

// Who may wait is told how long, and then has his turn.
func TestMeterDelay(t *testing.T) {
	for _, rate := range []Rate{{Frames: 100}, {Octets: 1 << 20}, {Frames: 100, Octets: 1 << 20}} {
		m := newMeter(rate)
		now := vtime.Time(vtime.Second)
		for m.delay(now, 1000) == 0 {
		}
		for range 100 {
			d := m.delay(now, 1000)
			require.Positive(t, d)
			require.LessOrEqual(t, d, 10*vtime.Millisecond)
			require.NotZero(t, m.delay(now.Add(d-1), 1000), "not before")
			now = now.Add(d)
			require.Zero(t, m.delay(now, 1000))
		}
	}
	free := newMeter(Rate{})
	require.Zero(t, free.delay(1, 65000))
}

func TestRateShares(t *testing.T) {
	require.Equal(t, Rate{Frames: 34, Octets: 0}, Rate{Frames: 100}.share(3))
	require.Equal(t, Rate{Frames: 100, Octets: 7}, Rate{Frames: 100, Octets: 7}.share(1))
}
