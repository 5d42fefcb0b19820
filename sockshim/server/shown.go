package server

import (
	"sync/atomic"

	"golang.org/x/sys/unix"

	"opentoe/sockshim/shm"
	"opentoe/tcpoffload/wire"
	"opentoe/toe"
)

// A port on the TOE is whose placeholder has it in the kernel. That there is such a placeholder is at first
// only the client's word. Root's is taken for it: who may send raw packets takes no port that was not his
// already. Everybody else shows the socket, and the kernel says which it is, where it is bound and whether it
// listens: then nobody asks for his capabilities, and a program that had its listener from a parent with more
// rights may bring it all the same. A socket that was shown is good for one open.

// shown is a socket that a client has shown, as the kernel describes it. It does not change.
type shown struct {
	cookie  uint64
	foreign bool      // of another network namespace than toed's
	addr    wire.Addr // unspecified: any
	port    uint16    // 0: not bound
	listens bool
	v6      bool
	v6only  bool
	hold    *reservation // valid only if foreign
}

// shownSockets are those that a client has shown and not opened yet. The goroutine of its control connection
// puts them in, workers take them out.
type shownSockets struct {
	place [shownKept]atomic.Pointer[shown]
	next  int // the goroutine's
}

// add puts k in, in place of the oldest.
func (l *shownSockets) add(k *shown) {
	if old := l.place[l.next].Swap(k); old != nil {
		old.hold.release()
	}
	l.next = (l.next + 1) % shownKept
}

// take takes the socket with the cookie out, or returns nil. [any thread]
func (l *shownSockets) take(cookie uint64) *shown {
	for i := range l.place {
		if k := l.place[i].Load(); k != nil && k.cookie == cookie && l.place[i].CompareAndSwap(k, nil) {
			return k
		}
	}
	return nil
}

// clear forgets all.
func (l *shownSockets) clear() {
	for i := range l.place {
		if k := l.place[i].Swap(nil); k != nil {
			k.hold.release()
		}
	}
}

// show notes what fd is, if that is a TCP socket (or MPTCP, as Go makes them) and not on the TOE yet. It fails
// when the socket is of another network namespace, may use the TOE from there, and its port is taken in toed's
// own.
func (c *client) show(fd int) unix.Errno {
	k, ok := inspect(fd)
	if !ok {
		return 0
	}
	ns, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	k.foreign = err != nil || ns != c.srv.netns
	if old := c.shown.take(k.cookie); old != nil {
		old.hold.release()
	}
	if k.port == 0 {
		return 0 // a probe came before the program has bound it: it will be shown again
	}
	if k.foreign && c.srv.cfg.AnyNamespace && k.port != 0 {
		var errno unix.Errno
		if k.hold, errno = c.reserve(k); errno != 0 {
			return errno
		}
	}
	c.shown.add(k)
	return 0
}

// inspect asks the kernel what a socket is; ok is false if it is none of TCP.
func inspect(fd int) (k *shown, ok bool) {
	protocol, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	if err != nil || protocol != unix.IPPROTO_TCP && protocol != unix.IPPROTO_MPTCP {
		return nil, false
	}
	k = &shown{}
	if k.cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE); err != nil {
		return nil, false
	}
	listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	name, err2 := unix.Getsockname(fd)
	if err != nil || err2 != nil {
		return nil, false
	}
	k.listens = listens != 0
	switch name := name.(type) {
	case *unix.SockaddrInet4:
		k.addr, k.port = wire.AddrFrom4(name.Addr), uint16(name.Port)
	case *unix.SockaddrInet6:
		only, err := unix.GetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY)
		k.addr, k.port, k.v6, k.v6only = wire.Addr(name.Addr), uint16(name.Port), true, err != nil || only != 0
	default:
		return nil, false
	}
	if k.addr.IsUnspecified() {
		k.addr = wire.Addr{} // 0.0.0.0 too
	}
	return k, true
}

// has reports whether the socket is bound to the address and port, and listens or does not. An address that
// is not given is any.
func (k *shown) has(addr wire.Addr, port uint16, listens bool) bool {
	if addr.IsUnspecified() {
		addr = wire.Addr{}
	}
	return k.port == port && k.addr == addr && k.listens == listens
}

// entitled says whether the client that has region from may open slot n with this local address and port:
// toe.Offloaded if so. What toed holds for that it returns. A client who has to show the socket first is told
// so by ok. [worker]
func (sh *share) entitled(n uint32, from *region, addr wire.Addr, port uint16, l *toe.Listener) (hold *reservation, r toe.Reason, ok bool) {
	c := from.owner
	k := c.shown.take(slotCookie(sh.slot(n)))
	switch {
	case k == nil && c.trusted:
		return nil, toe.Offloaded, true
	case k == nil:
		return nil, toe.Offloaded, false
	case k.foreign && k.hold == nil:
		return nil, toe.ReasonNamespace, true
	case l != nil && !k.listens:
		// It did not listen yet when it was shown: another process that has it may have been about to.
		sh.w.l.release(k.hold)
		return nil, toe.Offloaded, false
	case !k.has(addr, port, l != nil) || l != nil && (l.V6 != k.v6 || k.v6only && !l.V6Only):
		sh.w.l.release(k.hold)
		return nil, toe.ReasonInvalid, true
	}
	return k.hold, toe.Offloaded, true
}

// release gives a port up that toed holds. [any thread, does not wait]
func (l *layer) release(hold *reservation) {
	if hold != nil {
		l.errands.add(hold.release)
	}
}

// answerShow tells the client to show the socket, and to ask again.
func (sh *share) answerShow(n uint32) {
	sh.w.stats.ShowsAsked++
	sh.answerDeclined(n, shm.ReasonShow)
}

// ownNetns returns the cookie of the process's network namespace, 0 when the kernel does not tell (before
// Linux 5.14): every namespace is another one then.
func ownNetns() uint64 {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return 0
	}
	return cookie
}
