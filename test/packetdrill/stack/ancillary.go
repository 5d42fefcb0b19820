package stack

// Ancillary data of recvmsg.

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"opentoe/tcpoffload/sim/socket"
	"opentoe/tcpoffload/vtime"
)

// ancillary returns the control messages that go with what c received.
func (s *Stack) ancillary(tid, fd int, c *socket.Recv) (list [][]byte) {
	if x := c.Err; x != nil {
		if x.At != 0 {
			// The first of three times is that of the software.
			b := binary.NativeEndian.AppendUint64(nil, uint64(x.At/vtime.Time(vtime.Second)))
			b = binary.NativeEndian.AppendUint64(b, uint64(x.At%vtime.Time(vtime.Second)))
			list = append(list, cmsg(unix.SOL_SOCKET, unix.SCM_TIMESTAMPING, append(b, make([]byte, 32)...)))
		}
		b := binary.NativeEndian.AppendUint32(nil, x.Errno)
		b = append(b, x.Origin, x.Type, x.Code, 0)
		b = binary.NativeEndian.AppendUint32(b, x.Info)
		b = binary.NativeEndian.AppendUint32(b, x.Data)
		if s.domain(tid, fd) == unix.AF_INET {
			list = append(list, cmsg(unix.SOL_IP, unix.IP_RECVERR, append(b, make([]byte, unix.SizeofSockaddrInet4)...)))
		} else {
			list = append(list, cmsg(unix.SOL_IPV6, unix.IPV6_RECVERR, append(b, make([]byte, unix.SizeofSockaddrInet6)...)))
		}
	}
	if c.Flags&unix.MSG_ERRQUEUE == 0 && s.option(tid, fd, unix.SOL_TCP, unix.TCP_INQ) != 0 {
		list = append(list, cmsg(unix.SOL_TCP, unix.TCP_INQ, binary.NativeEndian.AppendUint32(nil, s.inq(tid, fd))))
	}
	return list
}

// inq returns the octets that can be read, or 1 when the next read gives the end of the stream.
func (s *Stack) inq(tid, fd int) uint32 {
	c := socket.Ioctl{FD: fd, Request: unix.SIOCINQ}
	if _, e := s.do(tid, &c); e != 0 {
		return 0
	}
	p := socket.Poll{FDs: []socket.PollFD{{FD: fd, Events: unix.POLLRDHUP}}}
	if c.Arg == 0 {
		n, _ := s.do(tid, &p)
		return uint32(n)
	}
	return uint32(c.Arg)
}

func (s *Stack) domain(tid, fd int) int {
	return s.option(tid, fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
}

// option returns an option of type int, 0 if there is none.
func (s *Stack) option(tid, fd, level, name int) int {
	var v [4]byte
	if _, e := s.Getsockopt(tid, fd, level, name, v[:]); e != 0 {
		return 0
	}
	return int(binary.NativeEndian.Uint32(v[:]))
}

// cmsg builds one control message.
func cmsg(level, typ int, data []byte) []byte {
	b := make([]byte, unix.CmsgSpace(len(data)))
	binary.NativeEndian.PutUint64(b[0:], uint64(unix.CmsgLen(len(data))))
	binary.NativeEndian.PutUint32(b[8:], uint32(level))
	binary.NativeEndian.PutUint32(b[12:], uint32(typ))
	copy(b[unix.CmsgLen(0):], data)
	return b
}
