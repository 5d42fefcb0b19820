package server

import (
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/sockshim/shm"
)

func TestSocketsTellFamilies(t *testing.T) {
	r := newRig(t, 1, nil)
	r.listen(0, 8080)
	list := r.srv.Sockets()
	require.Len(t, list, 1)
	require.Equal(t, "LISTEN", list[0].State)
	require.Equal(t, "0.0.0.0:8080", list[0].Local.String())
}

// TestManySockets lists more sockets than a worker shows in one turn.
func TestManySockets(t *testing.T) {
	r := newRig(t, 1, func(c *Config) { c.Slots = 4 * listBatch })
	const many = 2*listBatch + 3
	for i := range many {
		r.open(i)
	}
	seen := map[uint32]bool{}
	for _, s := range r.srv.Sockets() {
		seen[s.Slot] = true
	}
	require.Len(t, seen, many)
}

// TestUsageOfALiar: a client that moves the cursors of its loans does not make toed's figures absurd.
func TestUsageOfALiar(t *testing.T) {
	r := newRig(t, 1, nil)
	r.connect(0)
	sh := r.dev.up.(*layer).workers[0].share(r.reg)
	all := sh.chunks.Len()
	for _, cons := range []uint32{1 << 31, r.mem.ChunkLoans[0].Prod + 1, r.mem.ChunkLoans[0].Prod - shm.LoanEntries} {
		atomic.StoreUint32(&r.mem.ChunkLoans[0].Cons, cons)
		used := r.srv.Usage().Chunks
		require.GreaterOrEqual(t, used, 0)
		require.LessOrEqual(t, used, all)
		require.Equal(t, used, r.srv.Clients()[0].Chunks)
	}
}
