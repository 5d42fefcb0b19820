package stack

// Listeners of the kernel beside those of the stack. They have high descriptors, because scripts expect the
// low ones for themselves.

import (
	"golang.org/x/sys/unix"

	"opentoe/tcpoffload/sim/socket"
)

// heldFD is the lowest descriptor of a kernel's listener.
const heldFD = 500

// hold makes the kernel listen on the port of fd, which listens already. Where the kernel refuses, its
// tables do not show the port, and nothing else is different.
func (s *Stack) hold(tid, fd int) {
	name := socket.GetSockName{FD: fd}
	if _, e := s.do(tid, &name); e != 0 {
		return
	}
	low, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return
	}
	held, err := unix.FcntlInt(uintptr(low), unix.F_DUPFD_CLOEXEC, heldFD)
	unix.Close(low)
	if err != nil {
		return
	}
	if unix.Bind(held, &unix.SockaddrInet6{Port: int(name.Addr.Port())}) != nil || unix.Listen(held, 1) != nil {
		unix.Close(held)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.release(fd)
	s.held[fd] = held
}

// release ends the kernel's listener of fd, if there is one. Precondition: the lock is held.
func (s *Stack) release(fd int) {
	if held, ok := s.held[fd]; ok {
		unix.Close(held)
		delete(s.held, fd)
	}
}
