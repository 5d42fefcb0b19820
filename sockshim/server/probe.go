package server

import (
	"sync/atomic"

	"golang.org/x/sys/unix"

	"opentoe/sockshim/shm"
	"opentoe/tcpoffload/vtime"
)

// probe answers whether the TCP socket in fds is offloaded. toed itself reads its cookie; but that a
// slot has this cookie is only its client's claim, and whoever is led to the slot gets the whole
// region with it, to read and to write. So both have to be of one user: nobody is led to the memory
// of somebody who means him harm, and nobody gets that of somebody who trusted him with one
// connection. A socket of another user's client answers EACCES: it is offloaded, and out of reach. One that is
// not offloaded answers ENOENT, and the client has shown it (shown.go).
func (c *client) probe(m *shm.Msg, fds []int) ([]int, unix.Errno) {
	if len(fds) != 1 {
		return nil, unix.EINVAL
	}
	cookie, err := unix.GetsockoptUint64(fds[0], unix.SOL_SOCKET, unix.SO_COOKIE)
	if err != nil {
		return nil, unix.EINVAL
	}
	out, errno := c.find(cookie, m)
	if errno == unix.ENOENT {
		if denied := c.show(fds[0]); denied != 0 {
			errno = denied
		}
	}
	return out, errno
}

// find leads the client to the socket with a cookie.
func (c *client) find(cookie uint64, m *shm.Msg) ([]int, unix.Errno) {
	s := c.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	fds, errno := c.lookUp(cookie, m)
	if errno == unix.ENOENT {
		// A program that passes on what it has just accepted may be faster than the worker that is to
		// hear which slot that was.
		for _, w := range c.l.workers {
			_ = c.l.dev.Do(w.id, func(vtime.Time) { w.drainAll() })
		}
		fds, errno = c.lookUp(cookie, m)
	}
	if errno == unix.EACCES {
		s.stats.ProbesRefused++
	}
	return fds, errno
}

// lookUp leads the client to the slot of a cookie. [mu]
func (c *client) lookUp(cookie uint64, m *shm.Msg) ([]int, unix.Errno) {
	s := c.srv
	errno := unix.ENOENT
	var few [4]uint64
	for _, w := range c.l.workers {
		for _, at := range w.cookies.get(few[:0], cookie) {
			r := s.regions[uint32(at>>32)]
			if r == nil {
				continue
			}
			if r.owner.cred.Uid != c.cred.Uid && c.region(r.id) == nil {
				errno = unix.EACCES
				continue
			}
			if !c.probeAt(w, cookie, at, r, m) {
				continue
			}
			s.stats.Probes++
			known := c.region(r.id) != nil
			c.join(r)
			if known {
				return nil, 0
			}
			return []int{r.fd}, 0
		}
	}
	return nil, errno
}

// probeAt marks the socket at a place as shared and fills the answer, if the socket is there.
func (c *client) probeAt(w *worker, cookie, at uint64, r *region, m *shm.Msg) (found bool) {
	_ = c.l.dev.Do(w.id, func(vtime.Time) {
		sh, n := w.bySocket(cookie, at)
		if sh == nil || sh.reg != r {
			return
		}
		found = true
		sh.sock(n).shared = true
		atomic.StoreUint32(&sh.slot(n).Shared, 1)
		m.RegionId, m.Slot, m.Gen = r.id, n, sh.sock(n).gen
	})
	return found
}
