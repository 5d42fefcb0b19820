package netfilter

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// socket is a netlink socket of the family netfilter. It is used by one goroutine at a time.
type socket struct {
	fd  int
	seq uint32
	in  []byte
}

func openSocket() (*socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("netlink socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, errors.Join(fmt.Errorf("netlink socket: %w", err), unix.Close(fd))
	}
	return &socket{fd: fd, in: make([]byte, maxMessage)}, nil
}

func (s *socket) close() error {
	fd := s.fd
	s.fd = -1
	if fd < 0 {
		return nil
	}
	return unix.Close(fd)
}

// message appends one to b: subsystem and command, then struct nfgenmsg, whose last field means different things,
// then attributes.
func (s *socket) message(b []byte, kind, flags uint16, family uint8, res uint16, a attributes) []byte {
	s.seq++
	b = binary.NativeEndian.AppendUint32(b, uint32(unix.NLMSG_HDRLEN+nfgenLen+len(a)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST|flags)
	b = binary.NativeEndian.AppendUint32(b, s.seq)
	b = binary.NativeEndian.AppendUint32(b, 0)
	b = append(b, family, unix.NFNETLINK_V0)
	b = binary.BigEndian.AppendUint16(b, res)
	return append(b, a...)
}

// nfgenLen is the length of struct nfgenmsg.
const nfgenLen = 4

// exchange sends b and returns what the kernel answers: nil, or the first error. Message number last, the
// last of n, asks for an acknowledgement.
func (s *socket) exchange(b []byte, last uint32, n int) error {
	first := last - uint32(n) + 1
	if err := unix.Sendto(s.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("netlink: send: %w", err)
	}
	for {
		n, _, err := unix.Recvfrom(s.fd, s.in, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("netlink: receive: %w", err)
		}
		// A batch that fails has an error for each message that is to blame. Those of an earlier one, of
		// which the first was enough, are skipped.
		done := false
		var refused error
		eachMessage(s.in[:n], func(kind uint16, seq uint32, body []byte) {
			if done || kind != unix.NLMSG_ERROR || len(body) < 4 || seq-first > last-first {
				return
			}
			if errno := -int32(binary.NativeEndian.Uint32(body)); errno != 0 {
				done, refused = true, unix.Errno(errno)
			} else {
				done = seq == last
			}
		})
		if done {
			return refused
		}
	}
}

// eachMessage calls f for every netlink message of b until the first that is not whole.
func eachMessage(b []byte, f func(kind uint16, seq uint32, body []byte)) {
	for len(b) >= unix.NLMSG_HDRLEN {
		n := int(binary.NativeEndian.Uint32(b))
		if n < unix.NLMSG_HDRLEN || n > len(b) {
			return
		}
		f(binary.NativeEndian.Uint16(b[4:]), binary.NativeEndian.Uint32(b[8:]), b[unix.NLMSG_HDRLEN:n])
		b = b[min(len(b), (n+3)&^3):]
	}
}
