//go:build !invariants

package pmd_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/pmd/frame"
)

func TestDataPathDoesNotAllocate(t *testing.T) {
	q := loop(t, "net_ring0")
	var tx, rx frame.Burst
	require.Zero(t, testing.AllocsPerRun(100, func() {
		q.Alloc(&tx, 32)
		for i := range tx.Frames() {
			tx.At(i).Data = tx.At(i).Data[:60]
		}
		q.Transmit(&tx)
		q.Receive(&rx)
		q.Free(&rx)
		_ = q.Counters()
	}))
}
