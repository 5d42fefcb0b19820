package server

import (
	"os"
	"os/exec"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"opentoe/sockshim/shm"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
	"opentoe/toe"
)

// The last opens that were left to the kernel are remembered, and survive their client for a while.
func TestDeclinesAreRemembered(t *testing.T) {
	rules, err := toe.NewPolicy([]toe.Rule{{Offload: toe.No}})
	require.NoError(t, err)
	r := newRig(t, 1, func(c *Config) { c.Rules = rules })
	decline := func(op uint8, port uint16) {
		n := r.mem.SlotLoans[0].Take()
		p := &r.mem.Slots[n]
		p.ReqFamily, p.ReqLocalPort = 4, port
		if op == shm.OpActOpenReq {
			p.ReqRemoteAddr, p.ReqRemotePort = wire.AddrFrom4([4]byte{10, 7, 0, 2}), 80
		}
		p.CookieLo, p.CookieHi = uint32(port), 1
		r.post(0, op, n, 1)
		r.dev.iterate()
		require.EqualValues(t, toe.ReasonPolicy, p.Reason)
		r.post(0, shm.OpSlotReturn, n, 0)
		r.dev.iterate()
	}
	for i := range declinesKept + 3 {
		decline(shm.OpActOpenReq, uint16(5000+i))
	}
	decline(shm.OpPassOpenReq, 81)
	list := r.srv.Declines()
	require.Len(t, list, declinesKept)
	first, last := list[0], list[declinesKept-1]
	require.Equal(t, "0.0.0.0:5004", first.Local.String())
	require.Equal(t, "10.7.0.2:80", first.Remote.String())
	require.EqualValues(t, 1<<32|5004, first.Cookie)
	require.Equal(t, toe.ReasonPolicy, first.Reason)
	require.False(t, first.Listen || first.Gone)
	require.True(t, last.Listen)
	require.Equal(t, "0.0.0.0:81", last.Local.String())
	require.False(t, last.Remote.IsValid())

	r.srv.mu.Lock()
	for range pastDeclines/declinesKept + 1 {
		r.srv.keepDeclines(r.reg)
	}
	require.Len(t, r.srv.past, pastDeclines)
	require.True(t, r.srv.past[0].Gone)
	r.srv.mu.Unlock()
}

func TestDeclineHasItsTime(t *testing.T) {
	var d declines
	d.add(vtime.Time(5*vtime.Second), &shm.Slot{ReqFamily: 6, ReqLocalPort: 1}, toe.ReasonNoRoute)
	wall := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	list := d.list(nil, vtime.Time(8*vtime.Second), wall, &client{program: "x"})
	require.Equal(t, wall.Add(-3*time.Second), list[0].Time)
	require.Equal(t, "[::]:1", list[0].Local.String())
}

// Who a client is, the kernel says.
func TestIdentify(t *testing.T) {
	c := &client{cred: unix.Ucred{Pid: int32(os.Getpid()), Uid: uint32(os.Getuid()), Gid: 77}}
	c.identify("somebody else")
	exe, err := os.Executable()
	require.NoError(t, err)
	require.Equal(t, exe, c.who.Program)
	require.EqualValues(t, os.Getuid(), c.who.UID)
	require.EqualValues(t, 77, c.who.GID)
	require.Equal(t, "somebody else", c.program, "what people see")
	c.identify("")
	require.Contains(t, exe, c.program)
	c.identify("a\x1b[2J\nb\xff")
	require.Equal(t, "a?[2J?b\ufffd", c.program, "nothing that a terminal obeys")

	for _, cred := range []unix.Ucred{{Pid: int32(os.Getpid()), Uid: uint32(os.Getuid()) + 1}, {Pid: 0}, {Pid: 1 << 30}} {
		c = &client{cred: cred}
		c.identify("")
		require.Equal(t, toe.Client{UID: cred.Uid}, c.who, "another's process number says nothing")
		require.Equal(t, "unknown", c.program)
	}
	require.Equal(t, "/a/b", unifiedGroup("4:memory:/x\n0::/a/b\n"))
	require.Empty(t, unifiedGroup("4:memory:/x\n"))
}

// Descriptors of a process are found by the cookies of their sockets.
func TestHolders(t *testing.T) {
	r := newRig(t, 1, nil)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	require.NoError(t, err)
	r.srv.mu.Lock()
	r.srv.clients[r.c] = struct{}{}
	pid := r.c.cred.Pid
	r.c.cred.Pid = int32(os.Getpid())
	r.srv.mu.Unlock()
	for range 2 { // the second time by what is remembered
		require.Contains(t, r.srv.Holders()[cookie], Holder{PID: int32(os.Getpid()), FD: fd, Program: r.c.program})
	}
	gone := exec.Command("true")
	require.NoError(t, gone.Run())
	r.srv.mu.Lock()
	r.c.cred.Pid = int32(gone.Process.Pid)
	r.srv.mu.Unlock()
	require.Empty(t, r.srv.Holders())
	r.srv.mu.Lock()
	r.c.cred.Pid = pid
	r.srv.mu.Unlock()
}

// A listener's connections are the kernel's as long as its program has no slot for them: before the handshake,
// with a place kept for those that are under way. The listener is remembered once a second.
func TestAdmits(t *testing.T) {
	r := newRig(t, 1, func(c *Config) { c.Slots = 8 })
	lslot, id := r.listen(0, 8080)
	admits := func(handshakes int) toe.Reason { return r.dev.up.Admits(0, id, handshakes) }
	avail := func() int { return r.l.workers[0].active[0].slots.Avail() }
	require.Equal(t, toe.Offloaded, r.dev.up.Admits(0, id+1, 99), "not known here")
	var last *fakeConn
	for avail() > 0 {
		require.Equal(t, toe.Offloaded, admits(avail()-1))
		require.Equal(t, toe.ReasonNoMemory, admits(avail()))
		_, c, ok := r.incoming(0, id)
		require.True(t, ok)
		last = c
	}
	require.Equal(t, toe.ReasonNoMemory, admits(0))
	_, _, ok := r.incoming(0, id)
	require.False(t, ok, "one that was not asked about")
	c := r.srv.Counters()
	require.NotZero(t, c.Declined[toe.ReasonNoMemory])
	require.EqualValues(t, 1, c.NoSlots)
	list := r.srv.Declines()
	require.Len(t, list, 1)
	require.True(t, list[0].Listen)
	require.Equal(t, toe.ReasonNoMemory, list[0].Reason)
	require.EqualValues(t, 8080, list[0].Local.Port())

	r.dev.up.Notify(last.sock, toe.Event{Kind: toe.EventFinished, End: toe.EndReset})
	r.post(0, shm.OpCloseConReq, lslot, 0)
	r.settle(func() bool { return r.l.workers[0].active[0].busy == 0 })
	r.check()
}

// Handshakes of a flood do not shut a listener while there are slots in plenty, and memory counts as well.
func TestAdmitsInAFlood(t *testing.T) {
	r := newRig(t, 1, func(c *Config) { c.Slots, c.Memory = 1024, 1<<20 })
	_, id := r.listen(0, 8080)
	require.Equal(t, toe.Offloaded, r.dev.up.Admits(0, id, 4096))
	sh := r.l.workers[0].active[0]
	for sh.chunks.Avail() > 2+rxDirectories+sh.rxFloor {
		sh.chunks.Take(shm.Send)
	}
	require.Equal(t, toe.Offloaded, r.dev.up.Admits(0, id, 0))
	sh.chunks.Take(shm.Send)
	require.Equal(t, toe.ReasonNoMemory, r.dev.up.Admits(0, id, 0))
}

// A listener on an address that no port has yet is one of the TOE's all the same, and stops like any other. Why
// its connections are the kernel's is counted and remembered.
func TestListenerWithoutAddress(t *testing.T) {
	r := newRig(t, 1, nil)
	slot := r.mem.SlotLoans[0].Take()
	p := &r.mem.Slots[slot]
	p.ReqFamily, p.ReqLocalPort, p.ReqLocalAddr = 4, 80, wire.AddrFrom4([4]byte{10, 8, 0, 77})
	r.post(0, shm.OpPassOpenReq, slot, 5)
	r.settle(func() bool { return atomic.LoadUint32(&p.State) == shm.SlotListen })
	require.Empty(t, r.dev.listens)
	require.EqualValues(t, 1, r.srv.Counters().Declined[toe.ReasonLocalAddr])
	list := r.srv.Declines()
	require.Len(t, list, 1)
	require.Equal(t, toe.ReasonLocalAddr, list[0].Reason)
	sockets := r.srv.Sockets()
	require.Len(t, sockets, 1)
	require.True(t, r.srv.cfg.Registry.Waits(sockets[0].Listener))
	r.post(0, shm.OpCloseConReq, slot, 0)
	r.settle(func() bool { return r.l.workers[0].active[0].busy == 0 })
	require.Empty(t, r.srv.cfg.Registry.Listeners())
	r.check()
}

// While processes are turned away, a listener that nobody accepts from is the kernel's, until somebody does.
func TestAdmitsForWhoIsTurnedAway(t *testing.T) {
	r := newRig(t, 1, nil)
	w := r.l.workers[0]
	lslot, id := r.listen(0, 8080)
	admits := func() toe.Reason { return r.dev.up.Admits(0, id, 0) }
	pass := func(d vtime.Duration) { w.now = w.now.Add(d) }
	slot, _, ok := r.incoming(0, id)
	require.True(t, ok)
	pass(vtime.Minute)
	require.Equal(t, toe.Offloaded, admits(), "it is only slow")
	r.srv.turned.Add(1)
	require.Equal(t, toe.ReasonTurnedAway, admits())
	require.EqualValues(t, 1, r.srv.Counters().Declined[toe.ReasonTurnedAway])
	require.Equal(t, toe.ReasonTurnedAway, r.srv.Declines()[0].Reason)

	r.post(0, shm.OpPassAcceptRpl, slot, lslot)
	r.dev.iterate()
	w.now = vtime.Time(2 * vtime.Minute)
	r.srv.turned.Add(1)
	require.Equal(t, toe.Offloaded, admits())
	_, _, ok = r.incoming(0, id)
	require.True(t, ok)
	pass(stallTime - 1)
	require.Equal(t, toe.Offloaded, admits())
	pass(1)
	require.Equal(t, toe.ReasonTurnedAway, admits())
	pass(turnedFor)
	require.Equal(t, toe.Offloaded, admits(), "nobody is turned away any more")
}

// What a user may have at most counts before the handshake, unless opens beyond it are to be refused.
func TestAdmitsWithinTheQuota(t *testing.T) {
	r := newRig(t, 1, func(c *Config) { c.UserSockets = 4 })
	_, id := r.listen(0, 8080)
	a := r.reg.account
	a.root = false
	a.sockets.Store(2)
	require.Equal(t, toe.Offloaded, r.dev.up.Admits(0, id, 1))
	require.Equal(t, toe.ReasonQuota, r.dev.up.Admits(0, id, 2))
	a.sockets.Store(4)
	require.Equal(t, toe.ReasonQuota, r.dev.up.Admits(0, id, 0))
	r.srv.cfg.OverQuota = Refuse
	require.Equal(t, toe.Offloaded, r.dev.up.Admits(0, id, 0))
	a.root = true
}
