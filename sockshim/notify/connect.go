package notify

import (
	"encoding/binary"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"opentoe/sockshim/client"
)

// connect offers toed what a program wants connected. fd is the program's TCP socket.
func (s *Supervisor) connect(n *notification, fd int) {
	s.reap()
	to, ok := s.addressOf(n)
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if !ok || err != nil || (domain == unix.AF_INET) != (to.Addr().Is4()) || to.Addr().Is4In6() && v6Only(fd) {
		unix.Close(fd)
		s.proceed(n)
		return
	}
	toe, err := s.client.Offer(s.ctx, fd, to)
	if errors.Is(err, client.ErrDeclined) {
		unix.Close(fd)
		s.proceed(n)
		return
	}
	var c *conn
	theirs := -1
	if err == nil {
		if c, theirs, err = s.newConn(toe, fd, domain, true, !nonblocking(fd)); err != nil {
			_ = toe.Abort()
		}
	}
	if err != nil {
		unix.Close(fd)
		s.reply(n, 0, err)
		return
	}
	c.tid, c.fd = n.pid, int(int32(n.args[0]))
	waits := !nonblocking(theirs)
	s.add(c.key, c) // the program may be interrupted, and ask again, before we are back
	err = s.give(n, theirs, c.fd)
	unix.Close(theirs)
	if err != nil {
		s.remove(c.key)
		_ = toe.Abort()
		c.discard()
		s.reply(n, 0, err)
		return
	}
	c.start()
	if !waits {
		s.reply(n, 0, unix.EINPROGRESS)
		return
	}
	c.wait(n)
}

func v6Only(fd int) bool {
	v, err := unix.GetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY)
	return err == nil && v != 0
}

// wait answers a blocking connect when the handshake is over. A signal may end the call before: then the
// handshake goes on, and the program may ask again.
func (c *conn) wait(n *notification) {
	n.release() // or the program's close of it would not be seen
	patience := c.timeout(unix.SO_SNDTIMEO)
	select {
	case <-c.up:
		c.tell(n)
	case <-c.over:
		c.tell(n)
	case <-patience:
		c.s.reply(n, 0, unix.EINPROGRESS)
	}
}

// tell answers a connect by how the handshake ended, once: a caller that a signal has interrupted meanwhile asks again.
func (c *conn) tell(n *notification) {
	if !c.connected() {
		<-c.shown
		if fd, err := descriptor(n.pid, int(int32(n.args[0]))); err == nil {
			_, _ = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR) // the pair's own is taken with it
			unix.Close(fd)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var outcome error
	if !c.connected() {
		outcome = unix.ECONNABORTED
		if c.pending != 0 {
			outcome = c.pending
		}
	}
	if c.s.reply(n, 0, outcome) {
		c.told = true
		if outcome != nil {
			c.pending = 0
		}
	}
}

// timeout returns a channel that hears when a timeout of the socket has passed; nil if there is none.
func (c *conn) timeout(name int) <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return timeoutOf(c.kernel, name)
}

func timeoutOf(fd, name int) <-chan time.Time {
	t, err := unix.GetsockoptTimeval(fd, unix.SOL_SOCKET, name)
	if err != nil || t.Nano() == 0 {
		return nil
	}
	return time.After(time.Duration(t.Nano()))
}

// connectAgain answers connect of a descriptor that was connected already, or tried to.
func (c *conn) connectAgain(n *notification, fd int) {
	if c.s.dissolves(n) {
		c.finish(true)
		c.s.dissolve(n, fd, c.domain)
		return
	}
	failed := false
	select {
	case <-c.over:
		failed = true
	default:
	}
	select {
	case <-c.up:
		if failed {
			c.s.reply(n, 0, unix.EISCONN)
			return
		}
	default:
	}
	c.mu.Lock()
	told := c.told
	c.mu.Unlock()
	switch {
	case failed && told:
		c.restart(n, fd)
	case failed, c.connected() && !told:
		c.tell(n)
	case c.connected():
		c.s.reply(n, 0, unix.EISCONN)
	case nonblocking(fd):
		c.s.reply(n, 0, unix.EALREADY)
	default:
		c.wait(n)
	}
}

// restart gives a program whose connection has failed a TCP socket again, and connects that.
func (c *conn) restart(n *notification, fd int) {
	fresh, err := c.s.renew(n, fd, c.domain)
	if err != nil {
		c.s.reply(n, 0, err)
		return
	}
	c.s.connect(n, fresh)
}

// renew puts a TCP socket that is nothing yet in place of the caller's descriptor, whose file is fd, and returns it.
func (s *Supervisor) renew(n *notification, fd, domain int) (int, error) {
	kind := unix.SOCK_STREAM | unix.SOCK_CLOEXEC
	if nonblocking(fd) {
		kind |= unix.SOCK_NONBLOCK
	}
	fresh, err := unix.Socket(domain, kind, unix.IPPROTO_TCP)
	if err != nil {
		return -1, err
	}
	if err := s.give(n, fresh, int(int32(n.args[0]))); err != nil {
		unix.Close(fresh)
		return -1, err
	}
	return fresh, nil
}

// dissolves reports whether a connect is to AF_UNSPEC, which ends what the socket was.
func (s *Supervisor) dissolves(n *notification) bool {
	var b [2]byte
	return int32(n.args[2]) >= 2 && peek(n.pid, n.args[1], b[:]) == nil && idValid(s.fd, n.id) == nil &&
		binary.NativeEndian.Uint16(b[:]) == unix.AF_UNSPEC
}

func (s *Supervisor) dissolve(n *notification, fd, domain int) {
	fresh, err := s.renew(n, fd, domain)
	if err == nil {
		unix.Close(fresh)
	}
	s.reply(n, 0, err)
}
