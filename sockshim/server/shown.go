package server

import (
	"sync"
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
	life    *life
}

// life says whether a socket that was shown has gone since, or may have. Its placeholder is then no longer what has
// the port, and the kernel's message of it came before a slot had claimed the cookie. It has to be shown again.
type life struct {
	over  atomic.Bool
	shown int // how often it stands in a list; under lives.mu
}

// lives are those of the sockets that are shown and not opened, by cookie.
type lives struct {
	mu sync.RWMutex
	of map[uint64]*life
}

// begin returns the life of a socket of which toed has a descriptor. [control]
func (l *lives) begin(cookie uint64) *life {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of == nil {
		l.of = map[uint64]*life{}
	}
	k := l.of[cookie]
	if k == nil {
		k = &life{}
		l.of[cookie] = k
	}
	k.over.Store(false) // toed has a descriptor of it
	k.shown++
	return k
}

// end undoes begin. [control]
func (l *lives) end(cookie uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.of[cookie]
	if k.shown--; k.shown == 0 {
		delete(l.of, cookie)
	}
}

// gone notes that the kernel says that a socket has gone. [control]
func (l *lives) gone(cookie uint64) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if k := l.of[cookie]; k != nil {
		k.over.Store(true)
	}
}

// unsure notes that any of them may have gone: a message of the kernel's was lost. [control]
func (l *lives) unsure() {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for _, k := range l.of {
		k.over.Store(true)
	}
}

// forget gives up what toed has for a socket that was shown. [control]
func (s *Server) forget(k *shown) {
	s.lives.end(k.cookie)
	k.hold.release()
}

// shownSockets are those that a client has shown and not opened yet. The goroutine of its control connection
// puts them in, workers take them out.
type shownSockets struct {
	place [shownKept]atomic.Pointer[shown]
	next  int // the goroutine's
}

// add puts k in, in place of the oldest, which it returns.
func (l *shownSockets) add(k *shown) (old *shown) {
	old = l.place[l.next].Swap(k)
	l.next = (l.next + 1) % shownKept
	return old
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

// forgetShown forgets all.
func (c *client) forgetShown() {
	for i := range c.shown.place {
		if k := c.shown.place[i].Swap(nil); k != nil {
			c.srv.forget(k)
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
		c.srv.forget(old)
	}
	if k.port == 0 {
		return 0 // a probe came before the program has bound it: it will be shown again
	}
	if k.foreign && c.srv.cfg.AnyNamespace {
		var errno unix.Errno
		if k.hold, errno = c.reserve(k); errno != 0 {
			return errno
		}
	}
	k.life = c.srv.lives.begin(k.cookie)
	if old := c.shown.add(k); old != nil {
		c.srv.forget(old)
	}
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

// entitled says whether the client that has region from may open the socket with a cookie, with this local
// address and port: toe.Offloaded if so. What it has shown for that comes with it, nil if nothing had to be. A
// client who has to show the socket first is told so by ok. [worker]
func (sh *share) entitled(cookie uint64, from *region, addr wire.Addr, port uint16, l *toe.Listener) (k *shown, r toe.Reason, ok bool) {
	c := from.owner
	k = c.shown.take(cookie)
	if k == nil {
		return nil, toe.Offloaded, c.trusted
	}
	switch {
	case k.foreign && k.hold == nil:
		r, ok = toe.ReasonNamespace, true
	case l != nil && !k.listens:
		// It did not listen yet when it was shown: another process that has it may have been about to.
		r, ok = toe.Offloaded, false
	case !k.has(addr, port, l != nil) || l != nil && (l.V6 != k.v6 || k.v6only && !l.V6Only):
		r, ok = toe.ReasonInvalid, true
	default:
		return k, toe.Offloaded, true
	}
	useless := k
	sh.w.l.errands.add(func() { c.srv.forget(useless) })
	return nil, r, ok
}

// engaged says that the socket has a slot with its cookie, which has what toed holds for it, and whether it lives
// yet: if it does, the kernel's message of its end will find the slot. [worker]
func (l *layer) engaged(k *shown) (lives bool) {
	if k == nil {
		return true
	}
	l.errands.add(func() { l.srv.lives.end(k.cookie) })
	return !k.life.over.Load()
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
