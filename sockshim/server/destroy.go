package server

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"opentoe/tcpoffload/vtime"
)

// The kernel counts who holds a socket: it multicasts a sock_diag message when the last descriptor
// of a TCP socket is closed, in our network namespace, with the socket's cookie. Messages that get
// lost, and those of other namespaces, recount.go makes up for.

// Multicast groups of NETLINK_SOCK_DIAG (linux/sock_diag.h).
const (
	groupTCPDestroy  = 1
	groupTCP6Destroy = 3
)

// Layout of a message: struct nlmsghdr, then struct inet_diag_msg (linux/inet_diag.h), whose
// cookie is two 32-bit words, the low one first.
const (
	nlHeaderBytes = 16
	remotePortOff = nlHeaderBytes + 6
	cookieOff     = nlHeaderBytes + 44
)

// unconnected lets only sockets without a remote port pass: a placeholder never has one, and the
// machine's other connections would only fill the buffer.
func unconnected(fd int) error {
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: remotePortOff},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 0, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 1 << 16}, // all of it
		{Code: unix.BPF_RET | unix.BPF_K},
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
}

// watchDestroys follows the kernel's messages until the returned file is closed.
func (s *Server) watchDestroys() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, fmt.Errorf("server: sock_diag: %w", err)
	}
	// Room for a burst of closes; without the right to it we get what the limit allows.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 8<<20)
	}
	_ = unconnected(fd) // without it there is only more to read
	const groups = 1<<(groupTCPDestroy-1) | 1<<(groupTCP6Destroy-1)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("server: sock_diag destroy groups: %w", err)
	}
	f := os.NewFile(uintptr(fd), "sock_diag")
	s.mu.Lock()
	s.destroys = true
	s.mu.Unlock()
	s.wg.Go(func() { s.followDestroys(f) })
	return f, nil
}

func (s *Server) followDestroys(f *os.File) {
	buf := make([]byte, 64<<10)
	for {
		n, err := f.Read(buf)
		switch {
		case errors.Is(err, unix.ENOBUFS):
			s.mu.Lock()
			s.stats.LostDestroys++
			s.mu.Unlock()
			s.lives.unsure()
			s.recountDue.Store(true)
		case err != nil:
			return
		default:
			s.destroyed(buf[:n])
		}
	}
}

// destroyed handles one datagram: a chain of messages.
func (s *Server) destroyed(b []byte) {
	for len(b) >= nlHeaderBytes {
		n := int(binary.NativeEndian.Uint32(b))
		if n < nlHeaderBytes || n > len(b) {
			return
		}
		if n >= cookieOff+8 {
			lo, hi := binary.NativeEndian.Uint32(b[cookieOff:]), binary.NativeEndian.Uint32(b[cookieOff+4:])
			s.socketGone(uint64(hi)<<32 | uint64(lo))
		}
		b = b[min((n+3)&^3, len(b)):]
	}
}

// socketGone ends the sockets with the cookie, if there are: nobody holds them any more.
func (s *Server) socketGone(cookie uint64) {
	s.lives.gone(cookie) // before the slots: one that claims it now sees it there
	s.mu.Lock()
	l := s.layer
	s.mu.Unlock()
	if l == nil {
		return
	}
	var few [4]uint64
	for _, w := range l.workers {
		for _, at := range w.cookies.get(few[:0], cookie) {
			// Whether its holder ends in order has to be asked now: the process is soon gone.
			var owner *client
			_ = l.dev.Do(w.id, func(vtime.Time) {
				if sh, n := w.bySocket(cookie, at); sh != nil && sh.sock(n).owner != nil {
					owner = sh.sock(n).owner.owner
				}
			})
			alive := owner != nil && !owner.ended.Load() && processAlive(owner.cred.Pid)
			_ = l.dev.Do(w.id, func(vtime.Time) { w.socketGone(cookie, at, alive) })
		}
	}
}

// bySocket returns the share and slot at a place if the cookie is still theirs and a client holds
// the socket; else nil.
func (w *worker) bySocket(cookie, at uint64) (*share, uint32) {
	region, n := uint32(at>>32), uint32(at)&^sure
	if int(region) >= len(w.shares) || w.shares[region] == nil || !w.shares[region].slots.Has(n) {
		return nil, 0
	}
	sh := w.shares[region]
	if s := sh.sock(n); s.cookie != cookie || !s.held || s.state < sockListening {
		return nil, 0
	}
	return sh, n
}

// socketGone ends the cookie's socket, if what its client posted before has not done so.
func (w *worker) socketGone(cookie, at uint64, alive bool) {
	w.drainAll()
	sh, n := w.bySocket(cookie, at)
	if sh == nil || sh.dead {
		return
	}
	w.stats.Destroyed++
	sh.endOrderly(n, alive || sh.sock(n).orderly)
}
