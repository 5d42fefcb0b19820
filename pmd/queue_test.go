package pmd_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/pmd"
	"opentoe/pmd/frame"
)

// loop opens a net_ring port, whose queue receives what it transmits.
func loop(t testing.TB, name string) *pmd.Queue {
	return open(t, pmd.PortConfig{Name: "loop", Device: name}).Queue(0)
}

// fill appends n frames that carry their number.
func fill(t testing.TB, q *pmd.Queue, b *frame.Burst, n int) {
	t.Helper()
	require.Equal(t, n, q.Alloc(b, n))
	for i := range n {
		f := b.At(b.Len() - n + i)
		require.Empty(t, f.Data)
		f.Data = fmt.Appendf(f.Data, "frame %02d, made long enough to be one on the wire: ........", i)
	}
}

func TestLoopCarriesBytesInOrder(t *testing.T) {
	q := loop(t, "net_ring0")
	var tx, rx frame.Burst
	for _, n := range []int{1, 31, frame.MaxBurst, 3} {
		fill(t, q, &tx, n)
		require.Equal(t, n, q.Transmit(&tx))
		require.Zero(t, tx.Len())
		require.Equal(t, n, q.Receive(&rx))
		for i, f := range rx.Frames() {
			require.Contains(t, string(f.Data), fmt.Sprintf("frame %02d,", i))
		}
		q.Free(&rx)
		require.Zero(t, rx.Len())
		require.Zero(t, q.Outstanding())
	}
	c := q.Counters()
	require.EqualValues(t, 1+31+64+3, c.TxFrames)
	require.Equal(t, c.TxFrames, c.RxFrames)
	require.Equal(t, c.TxBytes, c.RxBytes)
}
