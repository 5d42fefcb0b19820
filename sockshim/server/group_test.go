package server

import (
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/sockshim/shm"
)

// With SO_REUSEPORT a listener is of its user's group; toed says whose that is, not the client.
func TestListenersShareWithinTheirUser(t *testing.T) {
	r := newRig(t, 1, nil)
	group := func(port uint16, reuse uint8) uint64 {
		_, p := r.ask(shm.OpPassOpenReq, func(p *shm.Slot) { p.ReqLocalPort, p.ReqReuseport = port, reuse })
		require.Eventually(t, func() bool { r.dev.iterate(); return atomic.LoadUint32(&p.State) == shm.SlotListen }, waitFor, tick)
		r.dev.mu.Lock()
		defer r.dev.mu.Unlock()
		for _, l := range r.dev.listens {
			if l.Port == port {
				return l.Group
			}
		}
		return 0
	}
	require.Zero(t, group(2000, 0))
	one := group(2001, 1)
	require.NotZero(t, one)
	require.Equal(t, one, group(2002, 1))
	r.c.cred.Uid++
	other := group(2003, 255)
	require.NotZero(t, other)
	require.NotEqual(t, one, other)
}
