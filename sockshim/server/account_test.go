package server

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"opentoe/sockshim/shm"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
	"opentoe/toe"
)

// citizen is a rig whose client's user has a quota.
func citizen(t *testing.T, edit func(*Config)) *rig {
	r := newRig(t, 1, edit)
	r.c.account.root = false
	return r
}

// open asks for a connection to another place each time, and returns the slot.
func (r *rig) open(n int) (slot uint32, p *shm.Slot) {
	slot = r.mem.SlotLoans[0].Take()
	require.NotZero(r.t, slot)
	p = &r.mem.Slots[slot]
	p.ReqFamily, p.ReqLocalPort, p.ReqRemotePort = 4, uint16(1024+n), 80
	p.ReqRemoteAddr = wire.AddrFrom4([4]byte{10, 7, 0, 2})
	r.post(0, shm.OpActOpenReq, slot, 0)
	r.dev.iterate()
	return slot, p
}

// TestUserSockets: what is over the number of a user's sockets is the kernel's, or refused, as configured; also
// what others connect to his listeners. A socket that is gone makes room.
func TestUserSockets(t *testing.T) {
	for over, want := range map[OverQuota]uint8{LeaveToKernel: uint8(toe.ReasonQuota), Refuse: shm.ReasonNoBufs} {
		r := citizen(t, func(c *Config) { c.UserSockets, c.OverQuota = 3, over })
		var first uint32
		for i := range 3 {
			slot, p := r.open(i)
			require.EqualValues(t, shm.SlotSynSent, p.State)
			first = slot
		}
		require.Equal(t, []UserInfo{{
			UID: r.c.cred.Uid, Clients: 1, Sockets: 3, Memory: int64(r.mem.Bytes()), MaxClients: r.srv.cfg.UserClients, MaxSockets: 3,
		}}, r.srv.Users())
		_, p := r.open(3)
		require.EqualValues(t, shm.SlotDeclined, p.State)
		require.Equal(t, want, p.Reason)
		require.EqualValues(t, 1, r.srv.Counters().Declined[toe.ReasonQuota])
		r.post(0, shm.OpAbortReq, first, 0)
		r.dev.iterate()
		_, p = r.open(4)
		require.EqualValues(t, shm.SlotSynSent, p.State)

		_ = r.dev.Do(0, func(vtime.Time) {
			ls := &listener{id: 77, reg: r.reg, backlog: 5, client: &r.c.who}
			r.l.workers[0].listeners[77] = ls
			_, ok := r.l.PassEstablish(0, 77, 99, &wire.Flow{})
			require.False(t, ok)
			delete(r.l.workers[0].listeners, 77)
		})
		require.EqualValues(t, 1, r.srv.Counters().OverSockets)
		r.check()
	}
}

// TestUserOpens: a user's opens are so many a second, and so many at once after a pause.
func TestUserOpens(t *testing.T) {
	cfg, a := Config{UserOpens: 10}, &account{}
	opens := func(now vtime.Time) (n int) {
		for a.open(&cfg, now) {
			n++
		}
		return n
	}
	const second = vtime.Time(1e9)
	require.Equal(t, 10, opens(second))
	require.Equal(t, 0, opens(second+second/20))
	require.Equal(t, 1, opens(second+second/10))
	require.Equal(t, 5, opens(second+6*second/10))
	require.Equal(t, 10, opens(100*second), "not more for a long pause")
	require.EqualValues(t, 26, a.sockets.Load())
	a.root = true
	require.True(t, a.open(&cfg, 100*second), "root's have no limit")

	r := citizen(t, func(c *Config) { c.UserOpens = 2 })
	for i := range 3 {
		_, p := r.open(i)
		require.Equal(t, i == 2, p.State == shm.SlotDeclined)
	}
	require.EqualValues(t, 2, r.c.account.sockets.Load())
}

// TestUserMemory: a program that comes when its user has little memory left gets a smaller file, or none.
func TestUserMemory(t *testing.T) {
	r := citizen(t, func(c *Config) { c.Memory = 4 * minMemory })
	whole := int64(r.mem.Bytes())
	r.srv.cfg.UserMemory = 2*whole - minMemory
	second, _ := r.newClient()
	require.Less(t, int64(second.own.mem.Bytes()), whole)
	require.Greater(t, int64(second.own.mem.Bytes()), whole-minMemory-shm.ChunkBytes)
	require.LessOrEqual(t, r.c.account.memory, r.srv.cfg.UserMemory)
	third := &client{srv: r.srv, conn: second.conn}
	require.NoError(t, third.readCred())
	_, errno := third.hello(&shm.Msg{Type: shm.MsgHello, Magic: shm.Magic, Abi: shm.ABI})
	require.Equal(t, unix.ENOMEM, errno)
	require.EqualValues(t, 1, r.srv.Counters().OverMemory)
	r.srv.clientGone(second)
	require.Eventually(t, func() bool {
		r.srv.mu.Lock()
		defer r.srv.mu.Unlock()
		return r.c.account.memory == whole
	}, waitFor, tick)
	fourth, _ := r.newClient()
	require.Less(t, int64(fourth.own.mem.Bytes()), whole)
}

// TestQuotaConfig: a quota below nothing is none.
func TestQuotaConfig(t *testing.T) {
	for _, edit := range []func(*Config){
		func(c *Config) { c.UserSockets = -1 }, func(c *Config) { c.UserMemory = -1 },
		func(c *Config) { c.UserOpens = -1 }, func(c *Config) { c.UserOpens = maxUserOpens + 1 },
	} {
		cfg := Config{Dir: t.TempDir(), Registry: toe.NewRegistry()}
		edit(&cfg)
		_, err := New(cfg)
		require.ErrorIs(t, err, toe.ErrInvalid)
	}
}
