//go:build invariants

package pmd_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/pmd/frame"
)

func TestGivingAFrameAwayTwicePanics(t *testing.T) {
	q := loop(t, "net_ring0")
	var b frame.Burst
	fill(t, q, &b, 1)
	again := b // a copy of the frame, as a forgetful caller might keep
	q.Free(&b)
	require.Panics(t, func() { q.Free(&again) })
	require.Panics(t, func() { q.Transmit(&again) })
}
