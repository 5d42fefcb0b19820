package socket

// close and shutdown.

import (
	"golang.org/x/sys/unix"

	"opentoe/tcpoffload"
	"opentoe/tcpoffload/vtime"
)

// Close is close(2). It blocks only for SO_LINGER.
type Close struct {
	FD int

	lingers *sock
	until   vtime.Time
}

func (c *Close) do(h *Host) Result {
	if c.lingers != nil {
		return c.linger(h)
	}
	f, ok := h.files[c.FD]
	if !ok {
		return failed(unix.EBADF)
	}
	delete(h.files, c.FD)
	if ep, ok := f.(*epoll); ok {
		ep.close()
		return value(0)
	}
	s := f.(*sock)
	if s.fds--; s.fds > 0 {
		return value(0)
	}
	for len(s.watch) > 0 {
		s.watch[0].remove()
	}
	on, seconds := s.linger()
	switch s.state {
	case sockListening:
		h.unlisten(s)
	case sockOpening:
		h.abort(s)
	case sockOpen:
		if s.readable > s.read || on && seconds == 0 {
			// Octets that nobody will read: the peer has to know (RFC 2525 §2.17).
			h.abort(s)
			break
		}
		if !s.shutWr {
			s.shutWr = true
			h.call(&tcpoffload.Call{Kind: tcpoffload.CallClose, Handle: s.handle})
		}
		h.call(&tcpoffload.Call{Kind: tcpoffload.CallDetach, Handle: s.handle})
		if on && !s.nonblock {
			c.lingers, c.until = s, h.now.Add(vtime.Duration(seconds)*vtime.Second)
			return c.linger(h)
		}
	}
	return value(0)
}

// linger waits until the peer has acknowledged everything, FIN included.
func (c *Close) linger(h *Host) Result {
	i := h.sockInfo(c.lingers)
	if i == nil || h.now >= c.until {
		return value(0)
	}
	switch i.State {
	case tcpoffload.StateFinWait1, tcpoffload.StateClosing, tcpoffload.StateLastAck:
		return blocked(c.until)
	}
	return value(0)
}

// abort resets the connection of s.
func (h *Host) abort(s *sock) {
	h.call(&tcpoffload.Call{Kind: tcpoffload.CallAbort, Handle: s.handle})
	delete(h.conns, s.handle)
	s.handle, s.state = 0, sockEnded
	s.shutRd, s.shutWr = true, true
	s.wake(0)
}

// unlisten ends a listener and resets what waits in its queue.
func (h *Host) unlisten(s *sock) {
	h.call(&tcpoffload.Call{Kind: tcpoffload.CallUnlisten, Listener: s.listener})
	delete(h.lists, s.listener)
	for _, q := range s.queue {
		if q.handle != 0 {
			h.abort(q)
		}
	}
	s.queue, s.listener, s.state = nil, 0, sockNew
}

// Shutdown is shutdown(2).
type Shutdown struct{ FD, How int }

func (c *Shutdown) do(h *Host) Result {
	s, e := h.sock(c.FD)
	switch {
	case e != 0:
		return failed(e)
	case c.How < unix.SHUT_RD || c.How > unix.SHUT_RDWR:
		return failed(unix.EINVAL)
	}
	rd, wr := c.How != unix.SHUT_WR, c.How != unix.SHUT_RD
	switch s.state {
	case sockListening:
		if rd {
			h.unlisten(s)
			s.wake(0)
		}
		return value(0)
	case sockOpening:
		h.abort(s)
		h.reset(s)
		return value(0)
	case sockOpen:
	default:
		return failed(unix.ENOTCONN)
	}
	if wr && !s.shutWr {
		s.shutWr = true
		h.call(&tcpoffload.Call{Kind: tcpoffload.CallClose, Handle: s.handle})
	}
	if rd {
		s.shutRd = true
	}
	s.wake(0)
	return value(0)
}
