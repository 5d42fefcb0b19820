package server

import (
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// A program may have had its listener from a parent with more rights: a web server's workers have given up
// root, and hold port 80 all the same. When such a process brings the listener to a toed that does not know
// it, it probes with the socket first, and the kernel says that it listens on the port. That is good for
// one listen.

// vouched are the ports below Server.lowPorts on which a client has shown that it listens.
type vouched [1 << 16 / 64]atomic.Uint64

func (v *vouched) add(port uint16) { v[port/64].Or(1 << (port % 64)) }

// take reports whether port was added, and forgets it.
func (v *vouched) take(port uint16) bool {
	bit := uint64(1) << (port % 64)
	return v[port/64].And(^bit)&bit != 0
}

// vouch notes the port of fd if that is a TCP socket (or MPTCP, as Go makes them) that listens in toed's own
// network namespace, where the kernel has seen to it that nobody else has the port.
func (c *client) vouch(fd int) {
	listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	protocol, err2 := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	if err != nil || err2 != nil || listens == 0 || protocol != unix.IPPROTO_TCP && protocol != unix.IPPROTO_MPTCP {
		return
	}
	ns, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil || ns != c.srv.netns {
		return
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return
	}
	switch name := name.(type) {
	case *unix.SockaddrInet4:
		c.vouched.add(uint16(name.Port))
	case *unix.SockaddrInet6:
		c.vouched.add(uint16(name.Port))
	}
}

// ownNetns returns the cookie of the process's network namespace, 0 when the kernel does not tell (before
// Linux 5.14): no socket is vouched for then.
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
