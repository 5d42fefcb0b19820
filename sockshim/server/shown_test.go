package server

import (
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"opentoe/sockshim/shm"
	"opentoe/tcpoffload/wire"
	"opentoe/toe"
)

// stranger is a rig whose client's word is not good for its sockets.
func stranger(t *testing.T, edit func(*Config)) *rig {
	r := newRig(t, 1, edit)
	r.c.trusted = false
	return r
}

// kernelSocket makes a TCP socket, bound, and listening if that is asked for. One of an IPv6 address is of IPv6
// only, but for the address of all.
func kernelSocket(t *testing.T, at string, listen bool) (fd int, port uint16) {
	addr := netip.MustParseAddr(at)
	family, name := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Addr: addr.As16()})
	if addr.Is4() {
		family, name = unix.AF_INET, &unix.SockaddrInet4{Addr: addr.As4()}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	require.NoError(t, unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_FREEBIND, 1))
	if addr.Is6() {
		only := map[bool]int{false: 1}[addr.IsUnspecified()]
		require.NoError(t, unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only))
	}
	require.NoError(t, unix.Bind(fd, name))
	if listen {
		require.NoError(t, unix.Listen(fd, 1))
	}
	bound, err := unix.Getsockname(fd)
	require.NoError(t, err)
	switch bound := bound.(type) {
	case *unix.SockaddrInet4:
		port = uint16(bound.Port)
	case *unix.SockaddrInet6:
		port = uint16(bound.Port)
	}
	return fd, port
}

// claim is an open as a client asks for it, with the socket that it says it is for.
type claim struct {
	op     uint8
	fd     int
	addr   string
	port   uint16
	v6only bool
	cookie uint64 // 0: that of fd
}

// askAs opens a slot and returns its state and the reason if it is declined.
func (r *rig) askAs(c claim) (state uint32, reason uint8) {
	n := r.mem.SlotLoans[0].Take()
	require.NotZero(r.t, n)
	p := &r.mem.Slots[n]
	addr := netip.MustParseAddr(c.addr)
	p.ReqFamily, p.ReqLocalPort, p.ReqRemotePort, p.ReqV6only = 6, c.port, 80, 0
	if addr.Is4() {
		p.ReqFamily = 4
	}
	if c.v6only {
		p.ReqV6only = 1
	}
	if !addr.IsUnspecified() {
		p.ReqLocalAddr = addr.As16()
	}
	p.ReqRemoteAddr = wire.AddrFrom4([4]byte{10, 7, 0, 2})
	cookie := c.cookie
	if cookie == 0 {
		var err error
		cookie, err = unix.GetsockoptUint64(c.fd, unix.SOL_SOCKET, unix.SO_COOKIE)
		require.NoError(r.t, err)
	}
	p.CookieLo, p.CookieHi = uint32(cookie), uint32(cookie>>32)
	r.post(0, c.op, n, 1)
	r.dev.iterate()
	r.drain()
	return atomic.LoadUint32(&p.State), p.Reason
}

// drain waits for what a goroutine does for the worker.
func (r *rig) drain() {
	require.Eventually(r.t, func() bool {
		r.dev.iterate()
		r.l.errands.mu.Lock()
		defer r.l.errands.mu.Unlock()
		return !r.l.errands.running
	}, waitFor, tick)
	r.dev.iterate()
}

func (r *rig) show(fd int) unix.Errno {
	_, errno := r.c.probe(&shm.Msg{Type: shm.MsgProbe}, []int{fd})
	return errno
}

// TestShown: a client that is not root opens what it shows: the kernel's own socket, where that is bound.
func TestShown(t *testing.T) {
	r := stranger(t, nil)
	listens, port := kernelSocket(t, "10.7.0.1", true)
	other, otherPort := kernelSocket(t, "0.0.0.0", false)
	dual, dualPort := kernelSocket(t, "::", true)
	for _, c := range []struct {
		name   string
		shows  int
		claim  claim
		reason uint8
	}{
		{"a listener that was not shown", -1, claim{op: shm.OpPassOpenReq, fd: listens, addr: "10.7.0.1", port: port}, shm.ReasonShow},
		{"a connection that was not shown", -1, claim{op: shm.OpActOpenReq, fd: other, addr: "0.0.0.0", port: otherPort}, shm.ReasonShow},
		{"another one shown", other, claim{op: shm.OpPassOpenReq, fd: listens, addr: "10.7.0.1", port: port}, shm.ReasonShow},
		{"a connection from where it listens", listens, claim{op: shm.OpActOpenReq, fd: listens, addr: "10.7.0.1", port: port}, uint8(toe.ReasonInvalid)},
		{"another port", listens, claim{op: shm.OpPassOpenReq, fd: listens, addr: "10.7.0.1", port: port + 1}, uint8(toe.ReasonInvalid)},
		{"every address instead of one", listens, claim{op: shm.OpPassOpenReq, fd: listens, addr: "0.0.0.0", port: port}, uint8(toe.ReasonInvalid)},
		{"IPv6 too", listens, claim{op: shm.OpPassOpenReq, fd: listens, addr: "::", port: port}, uint8(toe.ReasonInvalid)},
		// It may listen by now: who has it besides has perhaps been about to.
		{"bound, not listening", other, claim{op: shm.OpPassOpenReq, fd: other, addr: "0.0.0.0", port: otherPort}, shm.ReasonShow},
		{"a connection from another port", other, claim{op: shm.OpActOpenReq, fd: other, addr: "0.0.0.0", port: otherPort - 1}, uint8(toe.ReasonInvalid)},
		{"a listener", listens, claim{op: shm.OpPassOpenReq, fd: listens, addr: "10.7.0.1", port: port}, 0},
		{"a second time", -1, claim{op: shm.OpPassOpenReq, fd: listens, addr: "10.7.0.1", port: port}, shm.ReasonShow},
		{"a connection", other, claim{op: shm.OpActOpenReq, fd: other, addr: "0.0.0.0", port: otherPort}, 0},
		{"both families", dual, claim{op: shm.OpPassOpenReq, fd: dual, addr: "::", port: dualPort}, 0},
	} {
		if c.shows >= 0 {
			require.Equal(t, unix.ENOENT, r.show(c.shows), c.name)
		}
		state, reason := r.askAs(c.claim)
		if c.reason != 0 {
			require.EqualValues(t, shm.SlotDeclined, state, c.name)
			require.Equal(t, c.reason, reason, c.name)
		} else {
			require.NotEqualValues(t, shm.SlotDeclined, state, "%s: reason %d", c.name, reason)
		}
	}
	only, onlyPort := kernelSocket(t, "::1", true)
	require.Equal(t, unix.ENOENT, r.show(only))
	_, reason := r.askAs(claim{op: shm.OpPassOpenReq, fd: only, addr: "::1", port: onlyPort})
	require.EqualValues(t, toe.ReasonInvalid, reason, "of IPv6 only")

	r.c.trusted = true
	state, _ := r.askAs(claim{op: shm.OpActOpenReq, fd: other, addr: "0.0.0.0", port: 22})
	require.EqualValues(t, shm.SlotSynSent, state, "root's word is good")
}

// TestShownOften: of sockets that are shown and never opened only so many are remembered.
func TestShownOften(t *testing.T) {
	r := stranger(t, nil)
	first, port := kernelSocket(t, "127.0.0.1", true)
	require.Equal(t, unix.ENOENT, r.show(first))
	for range shownKept {
		require.Equal(t, unix.ENOENT, r.show(first))
	}
	kept := 0
	for i := range r.c.shown.place {
		if r.c.shown.place[i].Load() != nil {
			kept++
		}
	}
	require.Equal(t, 1, kept, "once each")
	for range shownKept {
		fd, _ := kernelSocket(t, "127.0.0.1", false)
		require.Equal(t, unix.ENOENT, r.show(fd))
	}
	_, reason := r.askAs(claim{op: shm.OpPassOpenReq, fd: first, addr: "127.0.0.1", port: port})
	require.EqualValues(t, shm.ReasonShow, reason)
}

// TestShownAndGone: with a socket that has gone since it was shown nothing is opened: its port may be another's.
func TestShownAndGone(t *testing.T) {
	r := stranger(t, nil)
	watch, err := r.srv.watchDestroys()
	if err != nil {
		t.Skip(err)
	}
	defer func() { require.NoError(t, watch.Close()); r.srv.wg.Wait() }()
	lives := func() (shown int, over bool) {
		r.srv.lives.mu.Lock()
		defer r.srv.lives.mu.Unlock()
		for _, l := range r.srv.lives.of {
			over = over || l.over.Load()
		}
		return len(r.srv.lives.of), over
	}
	for _, op := range []uint8{shm.OpPassOpenReq, shm.OpActOpenReq} {
		ask := claim{op: op, addr: "0.0.0.0"}
		ask.fd, ask.port = kernelSocket(t, "0.0.0.0", op == shm.OpPassOpenReq)
		require.Equal(t, unix.ENOENT, r.show(ask.fd))
		require.Equal(t, unix.ENOENT, r.show(ask.fd), "again")
		shown, _ := lives()
		require.Equal(t, 1, shown)
		state, reason := r.askAs(ask)
		require.NotEqualValues(t, shm.SlotDeclined, state, "reason %d", reason)
		shown, _ = lives()
		require.Zero(t, shown, "opened")

		ask.fd, ask.port = kernelSocket(t, "0.0.0.0", op == shm.OpPassOpenReq)
		require.Equal(t, unix.ENOENT, r.show(ask.fd))
		ask.cookie = cookieOf(int32(os.Getpid()), ask.fd)
		require.NoError(t, unix.Dup3(int(os.Stdin.Fd()), ask.fd, unix.O_CLOEXEC)) // its number is closed at the end
		require.Eventually(t, func() bool { _, over := lives(); return over }, waitFor, tick)
		state, reason = r.askAs(ask)
		require.EqualValues(t, shm.SlotDeclined, state)
		require.Equal(t, uint8(shm.ReasonShow), reason)
		require.Empty(t, r.l.workers[0].cookies.get(nil, ask.cookie))
		shown, _ = lives()
		require.Zero(t, shown, "declined")
	}
	// Where it may have gone, it is shown again.
	ask := claim{op: shm.OpActOpenReq, addr: "0.0.0.0"}
	ask.fd, ask.port = kernelSocket(t, "0.0.0.0", false)
	require.Equal(t, unix.ENOENT, r.show(ask.fd))
	r.srv.lives.unsure()
	_, reason := r.askAs(ask)
	require.Equal(t, uint8(shm.ReasonShow), reason)
	require.Equal(t, unix.ENOENT, r.show(ask.fd))
	r.srv.lives.unsure()
	require.Equal(t, unix.ENOENT, r.show(ask.fd))
	state, _ := r.askAs(ask)
	require.EqualValues(t, shm.SlotSynSent, state)

	fd, _ := kernelSocket(t, "127.0.0.1", true)
	require.Equal(t, unix.ENOENT, r.show(fd))
	r.c.forgetShown()
	shown, _ := lives()
	require.Zero(t, shown, "the client has gone")
}

// elsewhere makes a socket in a network namespace of its own.
func elsewhere(t *testing.T, port int, listen bool) int {
	if unix.Getuid() != 0 {
		t.Skip("network namespaces need root")
	}
	opened := make(chan int)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the namespace
		fd := -1
		if unix.Unshare(unix.CLONE_NEWNET) == nil {
			fd, _ = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		}
		opened <- fd
	}()
	fd := <-opened
	require.GreaterOrEqual(t, fd, 0)
	t.Cleanup(func() { unix.Close(fd) })
	require.NoError(t, unix.Bind(fd, &unix.SockaddrInet4{Port: port}))
	if listen {
		require.NoError(t, unix.Listen(fd, 1))
	}
	return fd
}

// TestNamespaceOwn: a port of another network namespace is not one of toed's, whoever has it.
func TestNamespaceOwn(t *testing.T) {
	r := stranger(t, nil)
	fd := elsewhere(t, 80, true)
	for _, trusted := range []bool{false, true} {
		r.c.trusted = trusted
		require.Equal(t, unix.ENOENT, r.show(fd))
		_, reason := r.askAs(claim{op: shm.OpPassOpenReq, fd: fd, addr: "0.0.0.0", port: 80})
		require.EqualValues(t, toe.ReasonNamespace, reason)
	}
	require.EqualValues(t, 2, r.srv.Counters().Declined[toe.ReasonNamespace])
}

// TestNamespaceAny: with AnyNamespace it may be had, if it is free in toed's own, where toed holds it for as
// long as the socket lives.
func TestNamespaceAny(t *testing.T) {
	r := stranger(t, func(c *Config) { c.AnyNamespace = true })
	free := func(port uint16) bool {
		l, err := net.Listen("tcp4", netip.AddrPortFrom(netip.IPv4Unspecified(), port).String())
		if err == nil {
			l.Close()
		}
		return err == nil
	}
	before := openDescriptors(t)
	taken, err := net.Listen("tcp4", "0.0.0.0:0")
	require.NoError(t, err)
	port := uint16(taken.Addr().(*net.TCPAddr).Port)
	fd := elsewhere(t, int(port), true)
	require.Equal(t, unix.EADDRINUSE, r.show(fd))
	_, reason := r.askAs(claim{op: shm.OpPassOpenReq, fd: fd, addr: "0.0.0.0", port: port})
	require.EqualValues(t, shm.ReasonShow, reason)

	require.NoError(t, taken.Close())
	for _, op := range []uint8{shm.OpPassOpenReq, shm.OpActOpenReq} {
		fd := elsewhere(t, int(port), op == shm.OpPassOpenReq)
		require.Equal(t, unix.ENOENT, r.show(fd))
		require.False(t, free(port), "shown")
		require.Equal(t, unix.ENOENT, r.show(fd), "shown again")
		state, reason := r.askAs(claim{op: op, fd: fd, addr: "0.0.0.0", port: port})
		require.NotEqualValues(t, shm.SlotDeclined, state, "reason %d", reason)
		require.False(t, free(port), "open")
		for _, s := range r.srv.Sockets() {
			r.post(0, shm.OpAbortReq, s.Slot, 0)
		}
		r.dev.iterate()
		require.Eventually(t, func() bool { r.dev.iterate(); return free(port) }, waitFor, tick, "gone")
	}
	require.Equal(t, unix.ENOENT, r.show(fd))
	require.False(t, free(port))
	_, reason = r.askAs(claim{op: shm.OpPassOpenReq, fd: fd, addr: "0.0.0.0", port: port + 1})
	require.EqualValues(t, toe.ReasonInvalid, reason)
	require.Eventually(t, func() bool { return free(port) }, waitFor, tick, "declined")
	require.Equal(t, unix.ENOENT, r.show(fd))
	r.c.forgetShown()
	require.True(t, free(port), "the client has gone")

	// In a namespace of his own everybody can bind a low port: that says nothing about ours.
	r.srv.lowPorts, r.c.cred.Uid = port+1, 1000
	require.Equal(t, unix.EACCES, r.show(fd))
	r.c.cred.Uid = 0
	require.LessOrEqual(t, openDescriptors(t), before+4, "those of this test")
}
