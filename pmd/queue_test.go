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
		require.GreaterOrEqual(t, cap(f.Data), 1514)
		f.Data = fmt.Appendf(f.Data, "frame %02d, made long enough to be one on the wire: ........", i)
	}
}

// settle makes the queue give freed buffers back, and checks that every buffer of its pool is free
// or in the stash.
func settle(t testing.TB, q *pmd.Queue, mbufs int) {
	t.Helper()
	var b frame.Burst
	q.Receive(&b)
	require.Zero(t, b.Len())
	require.Zero(t, q.Outstanding())
	require.GreaterOrEqual(t, q.Available(), mbufs-128)
	require.LessOrEqual(t, q.Available(), mbufs)
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
			require.NotZero(t, f.Handle)
		}
		q.Free(&rx)
		require.Zero(t, rx.Len())
		require.Zero(t, q.Outstanding())
	}
	c := q.Counters()
	require.EqualValues(t, 1+31+64+3, c.TxFrames)
	require.Equal(t, c.TxFrames, c.RxFrames)
	require.Equal(t, c.TxBytes, c.RxBytes)
	settle(t, q, pmd.DefaultMbufs)
}

func TestReceivedFrameCanBeChangedAndSent(t *testing.T) {
	q := loop(t, "net_ring0")
	var b frame.Burst
	fill(t, q, &b, 2)
	q.Transmit(&b)
	require.Equal(t, 2, q.Receive(&b))
	b.At(0).Data = b.At(0).Data[6:]            // cut at the front
	b.At(1).Data = b.At(1).Data[:len("frame")] // and at the end
	require.Equal(t, 2, q.Transmit(&b))
	require.Equal(t, 2, q.Receive(&b))
	require.Equal(t, "00, made", string(b.At(0).Data[:8]))
	require.Equal(t, "frame", string(b.At(1).Data))
	q.Free(&b)
	settle(t, q, pmd.DefaultMbufs)
}

func TestReceiveFreesWhatTheBurstHolds(t *testing.T) {
	q := loop(t, "net_ring0")
	var b frame.Burst
	for range 300 { // several times the pool
		fill(t, q, &b, frame.MaxBurst)
		q.Transmit(&b)
		require.Equal(t, frame.MaxBurst, q.Receive(&b))
		require.Equal(t, 0, q.Receive(&b))
	}
	settle(t, q, pmd.DefaultMbufs)
}

func TestFreeWithoutOtherCalls(t *testing.T) {
	q := loop(t, "net_ring0")
	bursts := make([]frame.Burst, 20) // more than wait to be given back
	for i := range bursts {
		fill(t, q, &bursts[i], frame.MaxBurst)
	}
	require.Equal(t, 20*frame.MaxBurst, q.Outstanding())
	for i := range bursts {
		q.Free(&bursts[i])
	}
	settle(t, q, pmd.DefaultMbufs)
}

func TestFullRingRefusesAndFrees(t *testing.T) {
	q := loop(t, "net_ring0")
	var b frame.Burst
	sent, tried := 0, 0
	for range 20 {
		fill(t, q, &b, frame.MaxBurst)
		tried += b.Len()
		sent += q.Transmit(&b)
		require.Zero(t, b.Len())
	}
	require.Less(t, sent, tried)
	c := q.Counters()
	require.EqualValues(t, tried-sent, c.TxRefused)
	require.EqualValues(t, sent, c.TxFrames)
	for got := 0; got < sent; q.Free(&b) {
		n := q.Receive(&b)
		require.NotZero(t, n)
		got += n
	}
	settle(t, q, pmd.DefaultMbufs)
	require.Equal(t, q.Counters().TxBytes, q.Counters().RxBytes)
}

func TestEmptyPoolGivesFewerAndCounts(t *testing.T) {
	const mbufs = 1023 + 1
	q := open(t, pmd.PortConfig{Device: "net_ring0", Mbufs: mbufs}).Queue(0)
	var held []*frame.Burst
	got := 0
	for {
		b := new(frame.Burst)
		n := q.Alloc(b, frame.MaxBurst)
		got += n
		held = append(held, b)
		if n < frame.MaxBurst {
			require.EqualValues(t, frame.MaxBurst-n, q.Counters().AllocFailed)
			break
		}
	}
	require.Greater(t, got, mbufs-128)
	for _, b := range held {
		q.Free(b)
	}
	settle(t, q, mbufs)
	var b frame.Burst
	fill(t, q, &b, frame.MaxBurst) // and works again
	q.Free(&b)
}

func TestImpossibleFramesAreCountedNotSent(t *testing.T) {
	q := loop(t, "net_ring0")
	var b, other frame.Burst
	fill(t, q, &b, 5)
	fill(t, q, &other, 1)
	b.At(1).Data = b.At(1).Data[:0]
	b.At(3).Data = other.At(0).Data // another buffer's
	require.Equal(t, 3, q.Transmit(&b))
	require.EqualValues(t, 2, q.Counters().TxInvalid)
	require.Equal(t, 3, q.Receive(&b))
	for i, want := range []string{"frame 00", "frame 02", "frame 04"} {
		require.Equal(t, want, string(b.At(i).Data[:8]))
	}
	q.Free(&b)
	q.Free(&other)
	settle(t, q, pmd.DefaultMbufs)
}
