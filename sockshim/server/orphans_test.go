package server

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"opentoe/tcpoffload/vtime"
	"opentoe/toe"
)

// leave opens a connection, writes n octets and ends the client in order.
func (r *rig) leave(n int) *fakeConn {
	slot, c, _ := r.connect(0)
	r.write(slot, n, 1)
	r.c.bye.Store(true)
	r.srv.clientGone(r.c)
	return c
}

// TestOrphanThatDoesNotDrain: a peer takes some and then nothing, though it answers. After a while the
// connection is reset, and the memory of its client given back.
func TestOrphanThatDoesNotDrain(t *testing.T) {
	r := newRig(t, 1, nil)
	c := r.leave(50000)
	look := func(times int) {
		for range times {
			r.srv.endStale()
		}
	}
	for acked := uint64(1000); acked <= 3000; acked += 1000 {
		look(orphanLooks)
		require.True(t, r.live(c))
		_ = r.dev.Do(0, func(vtime.Time) {
			require.True(t, r.dev.up.Fetch(c.sock, c.sent, r.buf[:1000]))
			c.sent = acked
			r.dev.up.Notify(c.sock, toe.Event{Kind: toe.EventAcked, Pos: acked})
		})
	}
	require.EqualValues(t, 1, r.srv.Usage().Regions)
	look(orphanLooks + 1)
	require.False(t, r.live(c))
	require.Eventually(t, func() bool { return r.srv.Usage() == Usage{} }, waitFor, tick)
	require.EqualValues(t, 1, r.srv.Counters().OrphansReset)
}

// TestHeldConnectionsMayRest: a peer may take nothing for as long as it likes while the program is there.
func TestHeldConnectionsMayRest(t *testing.T) {
	r := newRig(t, 1, nil)
	slot, c, _ := r.connect(0)
	r.write(slot, 50000, 1)
	for range 10 * orphanLooks {
		r.srv.endStale()
	}
	require.True(t, r.live(c))
}

// TestOrphansMakeRoom: regions that wait for their connections to drain take places, and give them up
// when a client wants one: the oldest first, and only of the same user unless all places are taken.
func TestOrphansMakeRoom(t *testing.T) {
	r := newRig(t, 1, func(c *Config) { c.Clients, c.UserClients = 3, 2 })
	user := func(uid uint32) (*client, bool) {
		c := &client{srv: r.srv, cred: unix.Ucred{Uid: uid}}
		return c, r.srv.admit(c)
	}
	r.c.cred.Uid = 1000
	first := r.leave(1000)
	require.Equal(t, 1, r.srv.Usage().Regions)
	c, ok := user(1000)
	require.True(t, ok)
	require.True(t, r.live(first), "there is a second place")
	_, ok = user(1000)
	require.True(t, ok)
	require.False(t, r.live(first), "it had to go")
	require.Zero(t, r.srv.Usage().Regions)
	_, ok = user(1000)
	require.False(t, ok, "there is no other")
	_, ok = user(1001)
	require.True(t, ok)
	_, ok = user(0)
	require.False(t, ok, "all places are taken")
	delete(r.srv.clients, c)
	_, ok = user(0)
	require.True(t, ok)
	clear(r.srv.clients)
}
