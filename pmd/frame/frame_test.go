package frame_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/pmd/frame"
)

func TestBurst(t *testing.T) {
	var b frame.Burst
	require.Zero(t, b.Len())
	require.Equal(t, frame.MaxBurst, b.Room())
	for i := range frame.MaxBurst {
		f := b.Push()
		require.Equal(t, frame.Frame{}, *f, "a frame pushed is a zero frame")
		f.Handle = uintptr(i + 1)
	}
	require.Zero(t, b.Room())
	require.Panics(t, func() { b.Push() })
	b.Truncate(3)
	require.Len(t, b.Frames(), 3)
	require.EqualValues(t, 3, b.At(2).Handle)
	require.Panics(t, func() { b.At(3) })
	require.Panics(t, func() { b.Truncate(4) }, "truncating does not bring frames back")
	require.Equal(t, frame.Frame{}, *b.Push(), "nor does pushing show what was there")
}

func TestBurstDoesNotAllocate(t *testing.T) {
	var b frame.Burst
	require.Zero(t, testing.AllocsPerRun(100, func() {
		for range frame.MaxBurst {
			b.Push().Hash = 1
		}
		b.Truncate(0)
	}))
}
