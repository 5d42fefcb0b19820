package notify

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"opentoe/sockshim/client"
)

// maxBacklog bounds how many connections a supervisor holds for one listener, no more than its first backlog; toed and the
// kernel hold as many.
const maxBacklog = 1024

// listener is a listening socket of the kernel and the TOE whose descriptor is one end of a pair: readable
// while a connection waits.
type listener struct {
	s        *Supervisor
	toe      *client.Listener
	domain   int
	key, own uint64 // cookies: of the program's end, of the kernel's socket
	inode    uint64 // of the program's end
	tid      uint32 // a thread that had the program's end, as descriptor fd
	fd       int

	file   *os.File // our end
	raw    syscall.RawConn
	kernel *os.File // the kernel's socket
	kraw   syscall.RawConn
	room   chan struct{} // a token for each connection that is held
	done   chan struct{} // closed when it has stopped
	once   sync.Once

	mu      sync.Mutex
	stopped bool
	told    []option // that its connections have, too
	queue   []arrival
	waiters []waiter
	octets  int // on the program's end: at least one while the queue is not empty
}

// arrival is a connection that waits to be accepted.
type arrival struct {
	toe    *client.Conn // nil: the kernel's
	kernel int          // the kernel's connection, if it is that
	remote netip.AddrPort
}

func (a *arrival) drop() {
	if a.toe != nil {
		_ = a.toe.Abort()
	} else {
		unix.Close(a.kernel)
	}
}

// waiter is a blocking accept.
type waiter struct {
	n     *notification
	timer *time.Timer // nil: without end
}

// listen has a program listen, in the kernel and on the TOE. fd is the program's TCP socket.
func (s *Supervisor) listen(n *notification, fd int, own uint64) {
	s.reap()
	backlog := int(int32(n.args[1]))
	if err := unix.Listen(fd, backlog); err != nil {
		unix.Close(fd)
		s.reply(n, 0, err)
		return
	}
	toe, err := s.client.OfferListener(fd, backlog)
	if err != nil { // declined, or it cannot be: the kernel's listener is good without
		unix.Close(fd)
		s.reply(n, 0, nil)
		return
	}
	l, theirs, err := s.newListener(toe, fd, own, backlog)
	if err != nil {
		_ = toe.Close()
		unix.Close(fd)
		s.reply(n, 0, nil)
		return
	}
	l.tid, l.fd = n.pid, int(int32(n.args[0]))
	s.mu.Lock()
	s.socks[l.key], s.beside[own] = l, l
	s.mu.Unlock()
	err = s.give(n, theirs, l.fd)
	unix.Close(theirs)
	s.live.Add(3)
	go func() { defer s.live.Done(); l.acceptTOE() }()
	go func() { defer s.live.Done(); l.acceptKernel() }()
	go func() { defer s.live.Done(); l.watch() }()
	if err != nil {
		l.stop()
	}
	s.reply(n, 0, err)
}

func (s *Supervisor) newListener(toe *client.Listener, fd int, own uint64, backlog int) (l *listener, theirs int, err error) {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return nil, -1, err
	}
	blocks := !nonblocking(fd)
	ours, theirs, err := pair(blocks)
	if err != nil {
		return nil, -1, err
	}
	l = &listener{
		s: s, toe: toe, domain: domain, own: own, inode: inodeOf(theirs),
		room: make(chan struct{}, min(max(backlog, 0)+1, maxBacklog)), done: make(chan struct{}),
	}
	_ = unix.SetsockoptInt(theirs, unix.SOL_SOCKET, unix.SO_SNDBUF, 1) // the least there is
	fill(theirs)
	if l.key, err = cookie(theirs); err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		unix.Close(ours)
		unix.Close(theirs)
		return nil, -1, err
	}
	l.file, l.kernel = os.NewFile(uintptr(ours), "pair"), os.NewFile(uintptr(fd), "tcp")
	if l.raw, err = l.file.SyscallConn(); err == nil {
		l.kraw, err = l.kernel.SyscallConn()
	}
	l.told = inherited(fd)
	return l, theirs, err
}

// hold waits for room for one more connection; false: the listener has stopped.
func (l *listener) hold() bool {
	select {
	case l.room <- struct{}{}:
		return true
	case <-l.done:
		return false
	}
}

func (l *listener) acceptTOE() {
	for l.hold() {
		c, err := l.toe.Accept()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				l.s.cfg.Errors(err)
			}
			return
		}
		toe := c.(*client.Conn)
		l.arrive(arrival{toe: toe, kernel: -1, remote: toe.RemoteAddr().(*net.TCPAddr).AddrPort()})
	}
}

func (l *listener) acceptKernel() {
	for l.hold() {
		fd, from, err := -1, unix.Sockaddr(nil), error(nil)
		rerr := l.kraw.Read(func(k uintptr) bool {
			fd, from, err = unix.Accept4(int(k), unix.SOCK_CLOEXEC)
			return err != unix.EAGAIN
		})
		switch {
		case rerr != nil:
			return
		case err == unix.EMFILE || err == unix.ENFILE || err == unix.ENOBUFS || err == unix.ENOMEM:
			<-l.room
			time.Sleep(10 * time.Millisecond) // until others have closed some
			continue
		case err != nil: // it was reset while it waited, or the like
			<-l.room
			continue
		}
		l.arrive(arrival{kernel: fd, remote: addrPort(from)})
	}
}

func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port))
	}
	return netip.AddrPort{}
}

// arrive gives a connection to who waits for one, or keeps it for who comes.
func (l *listener) arrive(a arrival) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped {
		a.drop()
		return
	}
	for len(l.waiters) > 0 {
		w := l.waiters[0]
		l.waiters = l.waiters[1:]
		if w.timer != nil && !w.timer.Stop() {
			continue // it has been told that it waited too long
		}
		if l.deliver(w.n, a) {
			<-l.room
			return
		}
	}
	l.queue = append(l.queue, a)
	l.mark()
}

// mark leaves an octet for the program to see that a connection waits. Precondition: mu is held.
func (l *listener) mark() {
	_ = l.raw.Control(func(fd uintptr) {
		if _, err := unix.SendmsgN(int(fd), filler[:1], nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL); err == nil {
			l.octets++
		}
	})
}

// unmark takes an octet off the program's end fd, and reports whether it did. Precondition: mu is held.
func (l *listener) unmark(fd int) bool {
	var b [1]byte
	n, _, _ := unix.Recvfrom(fd, b[:], unix.MSG_DONTWAIT)
	if n == 1 {
		l.octets--
	}
	return n == 1
}

// deliver answers an accept with the connection; false: the connection is still there, for somebody else.
func (l *listener) deliver(n *notification, a arrival) bool {
	if n.args[1] != 0 {
		if err := answerAddress(n.pid, n.args[1], n.args[2], address(l.domain, a.remote)); err != nil {
			l.s.reply(n, 0, err)
			return false
		}
	}
	flags := 0
	if n.nr == unix.SYS_ACCEPT4 {
		flags = int(n.args[3])
	}
	add := addFD{id: n.id, flags: unix.SECCOMP_ADDFD_FLAG_SEND}
	if flags&unix.SOCK_CLOEXEC != 0 {
		add.descriptor = unix.O_CLOEXEC
	}
	if a.toe == nil {
		_ = unix.SetNonblock(a.kernel, flags&unix.SOCK_NONBLOCK != 0) // cannot fail: it is a socket
		add.src = uint32(a.kernel)
		if !l.added(n, &add) {
			return false
		}
		unix.Close(a.kernel)
		return true
	}
	kernel, err := a.toe.Socket()
	if err != nil {
		l.s.reply(n, 0, err)
		return false
	}
	for _, o := range l.told {
		_ = setOption(kernel, o.level, o.name, o.value) // the listener's was accepted
	}
	c, theirs, err := l.s.newConn(a.toe, kernel, l.domain, false, flags&unix.SOCK_NONBLOCK == 0)
	if err != nil {
		unix.Close(kernel)
		l.s.reply(n, 0, err)
		return false
	}
	add.src = uint32(theirs)
	l.s.add(c.key, c) // the program may use it before we are back
	c.tid = n.pid
	fd, err := inject(l.s.fd, &add)
	unix.Close(theirs)
	if err != nil {
		l.s.remove(c.key)
		c.discard()
		if err != unix.ENOENT {
			l.s.reply(n, 0, err)
		}
		return false
	}
	c.fd = fd
	c.start()
	return true
}

// added gives the caller a descriptor as his call's result, or says why not.
func (l *listener) added(n *notification, a *addFD) bool {
	_, err := inject(l.s.fd, a)
	if err != nil && err != unix.ENOENT {
		l.s.reply(n, 0, err)
	}
	return err == nil
}

// accept answers accept and accept4. fd is the program's end.
func (l *listener) accept(n *notification, fd int) {
	if n.nr == unix.SYS_ACCEPT4 && n.args[3]&^(unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK) != 0 {
		l.s.reply(n, 0, unix.EINVAL)
		return
	}
	blocks := !nonblocking(fd)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.stopped:
		l.s.reply(n, 0, unix.EINVAL)
	case len(l.queue) > 0:
		// Before the answer: who has it finds the queue as it is then.
		taken := l.octets >= len(l.queue) && l.unmark(fd)
		n.release()
		if !l.deliver(n, l.queue[0]) {
			if taken {
				l.mark()
			}
			return
		}
		l.queue = l.queue[1:]
		<-l.room
	case !blocks:
		l.s.reply(n, 0, unix.EAGAIN)
	default:
		n.release() // or the program's close of it would not be seen
		later := *n // n is our caller's
		w := waiter{n: &later}
		var tv *unix.Timeval
		_ = l.kraw.Control(func(k uintptr) { tv, _ = unix.GetsockoptTimeval(int(k), unix.SOL_SOCKET, unix.SO_RCVTIMEO) })
		if tv != nil && tv.Nano() > 0 {
			w.timer = time.AfterFunc(time.Duration(tv.Nano()), func() { l.s.reply(&later, 0, unix.EAGAIN) })
		}
		l.waiters = append(l.live(), w)
	}
}

// live returns the waiters that still wait: others were interrupted.
func (l *listener) live() []waiter {
	list := l.waiters[:0]
	for _, w := range l.waiters {
		if idValid(l.s.fd, w.n.id) == nil {
			list = append(list, w)
		} else if w.timer != nil {
			w.timer.Stop()
		}
	}
	return list
}

// watch stops the listener when the program has closed it, or shut it down.
func (l *listener) watch() {
	if l.raw.Read(func(fd uintptr) bool { return hung(int(fd)) }) == nil {
		l.stop()
	}
}

// abandoned reports whether no program has the listener any more.
func (l *listener) abandoned() (yes bool) {
	if l.raw.Control(func(fd uintptr) { yes = hung(int(fd)) }) != nil {
		return true
	}
	return yes
}

// stop ends the listener: who waits to be accepted is reset, who comes is refused when it returns.
func (l *listener) stop() {
	l.once.Do(func() {
		l.mu.Lock()
		l.stopped = true
		for _, a := range l.queue {
			a.drop()
		}
		for _, w := range l.waiters {
			if w.timer == nil || w.timer.Stop() {
				l.s.reply(w.n, 0, unix.EINVAL)
			}
		}
		l.queue, l.waiters = nil, nil
		l.mu.Unlock()
		close(l.done)
		_ = l.toe.Close()
		l.kernel.Close()
		l.file.Close()
		l.s.mu.Lock()
		delete(l.s.socks, l.key)
		delete(l.s.beside, l.own)
		l.s.mu.Unlock()
	})
}

// shut ends the listening: the caller, whose descriptor is fd, has the kernel's socket again, which keeps its port and may
// listen again.
func (l *listener) shut(n *notification, fd int) error {
	kernel := -1
	err := l.onKernel(func(k int) (err error) {
		if err = unix.Shutdown(k, unix.SHUT_RD); err == nil {
			kernel, err = unix.FcntlInt(uintptr(k), unix.F_DUPFD_CLOEXEC, 0)
		}
		return err
	})
	l.stop()
	if err != nil {
		return err
	}
	defer unix.Close(kernel)
	if err := unix.SetNonblock(kernel, nonblocking(fd)); err != nil {
		return err
	}
	return l.s.give(n, kernel, int(int32(n.args[0])))
}

// rejoin answers a call about the listener's kernel socket, of which the program has a descriptor that it
// duplicated before it listened: the pair's end takes its place.
func (l *listener) rejoin(n *notification, fd int) {
	unix.Close(fd)
	theirs, err := descriptor(l.tid, l.fd)
	if err == nil && inodeOf(theirs) != l.inode {
		unix.Close(theirs)
		theirs, err = holder(l.inode)
	}
	if err == nil {
		err = l.s.give(n, theirs, int(int32(n.args[0])))
	}
	if err != nil {
		l.s.proceed(n)
		return
	}
	l.call(n, theirs)
}

// call answers a notification about the listener.
func (l *listener) call(n *notification, fd int) {
	n.look(fd)
	defer n.release()
	switch n.nr {
	case unix.SYS_ACCEPT, unix.SYS_ACCEPT4:
		l.accept(n, fd)
	case unix.SYS_LISTEN:
		backlog := int(int32(n.args[1]))
		l.toe.Backlog(backlog)
		l.s.reply(n, 0, l.onKernel(func(k int) error { return unix.Listen(k, backlog) }))
	case unix.SYS_CONNECT:
		if l.s.dissolves(n) {
			l.stop()
			l.s.dissolve(n, fd, l.domain)
			return
		}
		l.s.reply(n, 0, unix.EISCONN)
	case unix.SYS_BIND:
		l.s.reply(n, 0, unix.EINVAL)
	case unix.SYS_SHUTDOWN:
		if n.args[1] > unix.SHUT_RDWR {
			l.s.reply(n, 0, unix.EINVAL)
			return
		}
		if n.args[1] == unix.SHUT_WR {
			l.s.reply(n, 0, nil)
			return
		}
		l.s.reply(n, 0, l.shut(n, fd))
	case unix.SYS_GETSOCKNAME:
		l.s.reply(n, 0, l.onKernel(func(k int) error {
			sa, err := unix.Getsockname(k)
			if err != nil {
				return err
			}
			return answerAddress(n.pid, n.args[1], n.args[2], address(l.domain, addrPort(sa)))
		}))
	case unix.SYS_GETPEERNAME:
		l.s.reply(n, 0, unix.ENOTCONN)
	case unix.SYS_GETSOCKOPT:
		l.s.reply(n, 0, l.onKernel(func(k int) error { return answerOption(n, k) }))
	case unix.SYS_SETSOCKOPT:
		l.s.reply(n, 0, l.setOption(n))
	case unix.SYS_IOCTL: // how much is unsent
		l.s.reply(n, 0, unix.EINVAL)
	default:
		l.s.proceed(n)
	}
}

// onKernel calls f with the kernel's socket.
func (l *listener) onKernel(f func(k int) error) error {
	err := error(unix.EBADF)
	_ = l.kraw.Control(func(k uintptr) { err = f(int(k)) }) // it is closed when it fails
	return err
}

func (l *listener) setOption(n *notification) error {
	level, name, value, err := l.s.readOption(n)
	if err != nil {
		return err
	}
	if err := l.onKernel(func(k int) error { return setOption(k, level, name, value) }); err != nil {
		return err
	}
	l.toe.Inherit()
	if level == unix.IPPROTO_TCP && name == unix.TCP_DEFER_ACCEPT && len(value) >= 4 {
		l.toe.Defer(int(int32(binary.NativeEndian.Uint32(value))))
	}
	var told []option
	err = l.onKernel(func(k int) error { told = inherited(k); return nil })
	l.mu.Lock()
	l.told = told
	l.mu.Unlock()
	return err
}
