package server

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"opentoe/sockshim/shm"
)

// TestInterruptedWrite: what the watchdog sees of a worker that has lost its processor inside a write
// is the same as of one that a client holds up, but for the eventfd's counter.
func TestInterruptedWrite(t *testing.T) {
	r := newRig(t, 1, nil)
	m := shm.Msg{RegionId: r.reg.id}
	fd := eventFD(t)
	mine, err := unix.Dup(fd)
	require.NoError(t, err)
	defer unix.Close(mine)
	require.Zero(t, r.c.eqAlloc(&m, []int{fd}))
	g := &r.l.workers[0].signaller
	g.to.Store(r.reg)
	g.queue.Store(int32(m.Eq))
	g.turn.Add(1)       // the worker is inside a write
	defer g.turn.Add(1) // the rig's worker is this goroutine

	for _, pending := range []uint64{0, 7, 1<<64 - 10} { // wake-ups that the client has not taken yet, or made up
		if pending > 0 {
			_, err = unix.Write(mine, binary.NativeEndian.AppendUint64(nil, pending))
			require.NoError(t, err)
		}
		g.free(g.turn.Load())
		require.False(t, r.reg.stuck.Load(), "%d pending", pending)
	}
	_, err = unix.Write(mine, binary.NativeEndian.AppendUint64(nil, 1))
	require.NoError(t, err)
	g.free(g.turn.Load() - 2)
	require.False(t, r.reg.stuck.Load(), "that write has ended, and its eventfd may be closed")
	require.NoError(t, unix.SetNonblock(mine, false))
	g.free(g.turn.Load())
	require.True(t, r.reg.stuck.Load(), "the counter is full")
	g.free(g.turn.Load()) // returns, though a read would wait
	require.Eventually(t, r.mem.Detached, waitFor, tick)
	require.EqualValues(t, 1, r.srv.Counters().Violations[violationEvent])
}
