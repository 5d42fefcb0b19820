package server

import (
	"testing"

	"github.com/stretchr/testify/require"
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
