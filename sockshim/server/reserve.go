package server

import (
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Who has a port the kernel decides, in each network namespace for itself. The TOE's addresses are those of
// toed's. So for a socket of another namespace that may use them, toed takes the port in its own, for as long
// as the socket lives: by a socket that is bound and does nothing else.

// reservation is a port that toed holds. A nil reservation holds none.
type reservation struct {
	fd    int
	freed atomic.Bool
}

// reserve takes the port of a socket in toed's own namespace. EADDRINUSE: it is another's there. EACCES: it is
// one that only root may take, and in a namespace of one's own everybody can.
func (c *client) reserve(k *shown) (*reservation, unix.Errno) {
	if k.port < c.srv.lowPorts && c.cred.Uid != 0 {
		return nil, unix.EACCES
	}
	family := unix.AF_INET
	var name unix.Sockaddr = &unix.SockaddrInet4{Port: int(k.port), Addr: [4]byte(k.addr[12:])}
	if k.v6 {
		family, name = unix.AF_INET6, &unix.SockaddrInet6{Port: int(k.port), Addr: k.addr}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return nil, unix.ENOBUFS
	}
	// An address that only the TOE has, or the other namespace, can be taken as well.
	_ = unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_FREEBIND, 1)
	if k.v6 {
		_ = unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_FREEBIND, 1)
		_ = unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_V6ONLY, map[bool]int{true: 1}[k.v6only])
	}
	if err := unix.Bind(fd, name); err != nil {
		unix.Close(fd)
		return nil, unix.EADDRINUSE
	}
	return &reservation{fd: fd}, 0
}

// release gives the port up. [any thread but a worker]
func (r *reservation) release() {
	if r != nil && !r.freed.Swap(true) {
		unix.Close(r.fd)
	}
}
