package socket

// Readiness: poll and epoll.

import (
	"golang.org/x/sys/unix"

	"opentoe/tcpoffload/vtime"
)

// inReady reports whether a read would find enough.
func (s *sock) inReady() bool {
	if s.eof {
		return true
	}
	n := int(s.readable - s.read)
	if s.urg != urgentNone && s.urgPos == s.read && n > 0 && s.opts.get(unix.SOL_SOCKET, unix.SO_OOBINLINE) == 0 {
		n--
	}
	return n >= max(int(s.opts.get(unix.SOL_SOCKET, unix.SO_RCVLOWAT)), 1)
}

// events returns what poll says of s, and remembers that somebody waits for room. The bits of epoll
// and of poll are the same.
func (s *sock) events() uint32 {
	if s.state == sockListening {
		if len(s.queue) > 0 {
			return unix.EPOLLIN | unix.EPOLLRDNORM
		}
		return 0
	}
	var m uint32
	if s.state == sockNew || s.state == sockEnded || s.shutRd && s.shutWr || s.eof && s.shutWr {
		m |= unix.EPOLLHUP
	}
	if s.eof || s.shutRd {
		m |= unix.EPOLLIN | unix.EPOLLRDNORM | unix.EPOLLRDHUP
	}
	if s.deferred {
		m |= unix.EPOLLOUT | unix.EPOLLWRNORM
	}
	if s.state != sockOpening {
		if s.inReady() {
			m |= unix.EPOLLIN | unix.EPOLLRDNORM
		}
		if s.shutWr || s.writeable() {
			m |= unix.EPOLLOUT | unix.EPOLLWRNORM
		} else {
			s.nospace = true
		}
		if s.urg == urgentDue && s.urgPos < s.readable {
			m |= unix.EPOLLPRI
		}
	}
	if s.err != 0 || len(s.errs) > 0 {
		m |= unix.EPOLLERR
	}
	return m
}

// wake tells watchers that something of mask may have happened; 0: anything.
func (s *sock) wake(mask uint32) {
	for _, w := range s.watch {
		if mask == 0 || w.want&mask != 0 {
			w.enqueue()
		}
	}
}

// PollFD is struct pollfd.
type PollFD struct {
	FD      int
	Events  uint32
	Revents uint32
}

// Poll is poll(2). Timeout is negative for none.
type Poll struct {
	FDs     []PollFD
	Timeout vtime.Duration

	until vtime.Time
}

func (c *Poll) do(h *Host) Result {
	n := 0
	for i := range c.FDs {
		f := &c.FDs[i]
		f.Revents = 0
		if f.FD < 0 {
			continue
		}
		switch o := h.files[f.FD].(type) {
		case *sock:
			f.Revents = o.events() & (f.Events | unix.POLLERR | unix.POLLHUP)
		case *epoll:
			if o.ready() {
				f.Revents = f.Events & (unix.EPOLLIN | unix.EPOLLRDNORM)
			}
		default:
			f.Revents = unix.POLLNVAL
		}
		if f.Revents != 0 {
			n++
		}
	}
	if n > 0 {
		return value(n)
	}
	return waitFor(h, c.Timeout, &c.until)
}

// waitFor blocks for d from the first time on; then the call returns 0.
func waitFor(h *Host, d vtime.Duration, until *vtime.Time) Result {
	switch {
	case *until != 0:
	case d < 0:
		*until = vtime.Never
	default:
		*until = h.now.Add(d)
	}
	if h.now >= *until {
		return value(0)
	}
	return blocked(*until)
}

// epoll is an epoll instance.
type epoll struct {
	all  map[int]*watcher
	list []*watcher // perhaps ready, oldest first
}

// watcher is one socket in an epoll instance.
type watcher struct {
	ep     *epoll
	s      *sock
	fd     int
	want   uint32
	data   uint64
	listed bool
}

func (w *watcher) enqueue() {
	if !w.listed {
		w.listed = true
		w.ep.list = append(w.ep.list, w)
	}
}

// remove takes w out of its epoll instance and its socket.
func (w *watcher) remove() {
	delete(w.ep.all, w.fd)
	w.ep.list = without(w.ep.list, w)
	w.s.watch = without(w.s.watch, w)
}

func without(list []*watcher, w *watcher) []*watcher {
	var keep []*watcher
	for _, o := range list {
		if o != w {
			keep = append(keep, o)
		}
	}
	return keep
}

func (e *epoll) close() {
	for _, w := range e.all {
		w.remove()
	}
}

// ready reports whether epoll_wait would return something.
func (e *epoll) ready() bool {
	for _, w := range e.list {
		if w.s.events()&w.reports() != 0 {
			return true
		}
	}
	return false
}

// flagBits are the bits of an event mask that are not events.
const flagBits = unix.EPOLLET | unix.EPOLLONESHOT | unix.EPOLLEXCLUSIVE | unix.EPOLLWAKEUP

// reports returns the events that w reports; none when its one shot is spent.
func (w *watcher) reports() uint32 { return w.want &^ flagBits }

// EpollCreate is epoll_create(2).
type EpollCreate struct{}

func (*EpollCreate) do(h *Host) Result {
	return value(h.install(&epoll{all: make(map[int]*watcher)}))
}

func (h *Host) epoll(fd int) (*epoll, unix.Errno) {
	switch f := h.files[fd].(type) {
	case *epoll:
		return f, 0
	case nil:
		return nil, unix.EBADF
	}
	return nil, unix.EINVAL
}

// EpollCtl is epoll_ctl(2).
type EpollCtl struct {
	EFD, Op, FD int
	Events      uint32
	Data        uint64
}

func (c *EpollCtl) do(h *Host) Result {
	ep, e := h.epoll(c.EFD)
	if e != 0 {
		return failed(e)
	}
	s, e := h.sock(c.FD)
	if e == unix.ENOTSOCK {
		e = unix.EINVAL // an epoll instance in another
	}
	if e != 0 {
		return failed(e)
	}
	w := ep.all[c.FD]
	switch {
	case c.Op == unix.EPOLL_CTL_ADD && w != nil:
		return failed(unix.EEXIST)
	case c.Op != unix.EPOLL_CTL_ADD && w == nil:
		return failed(unix.ENOENT)
	case c.Op == unix.EPOLL_CTL_DEL:
		w.remove()
		return value(0)
	case c.Op == unix.EPOLL_CTL_ADD:
		w = &watcher{ep: ep, s: s, fd: c.FD}
		ep.all[c.FD] = w
		s.watch = append(s.watch, w)
	case c.Op != unix.EPOLL_CTL_MOD:
		return failed(unix.EINVAL)
	}
	w.want, w.data = c.Events|unix.EPOLLERR|unix.EPOLLHUP, c.Data
	if s.events()&w.reports() != 0 {
		w.enqueue()
	}
	return value(0)
}

// EpollEvent is struct epoll_event.
type EpollEvent struct {
	Events uint32
	Data   uint64
}

// EpollWait is epoll_wait(2). Timeout is negative for none.
type EpollWait struct {
	EFD     int
	Events  []EpollEvent
	Timeout vtime.Duration

	until vtime.Time
}

func (c *EpollWait) do(h *Host) Result {
	ep, e := h.epoll(c.EFD)
	if e != 0 {
		return failed(e)
	}
	if len(c.Events) == 0 {
		return failed(unix.EINVAL)
	}
	n := 0
	list := ep.list
	ep.list = nil
	for i, w := range list {
		if n == len(c.Events) {
			// The others stay first in line.
			ep.list = append(append([]*watcher(nil), list[i:]...), ep.list...)
			break
		}
		w.listed = false
		m := w.s.events() & w.reports()
		if m == 0 {
			continue
		}
		c.Events[n] = EpollEvent{Events: m, Data: w.data}
		n++
		switch {
		case w.want&unix.EPOLLONESHOT != 0:
			w.want &= flagBits
		case w.want&unix.EPOLLET == 0:
			w.enqueue()
		}
	}
	if n > 0 {
		return value(n)
	}
	return waitFor(h, c.Timeout, &c.until)
}
