package stack

// System calls, in the form in which C makes them: descriptors, octets, errno.

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"opentoe/tcpoffload/sim/socket"
	"opentoe/tcpoffload/vtime"
)

// Socket is socket(2).
func (s *Stack) Socket(tid, domain, typ, protocol int) (int, unix.Errno) {
	return s.do(tid, &socket.Socket{Domain: domain, Type: typ, Protocol: protocol})
}

// Bind is bind(2).
func (s *Stack) Bind(tid, fd int, addr []byte) (int, unix.Errno) {
	a, ok := parseSockaddr(addr)
	if !ok {
		return 0, unix.EINVAL
	}
	return s.do(tid, &socket.Bind{FD: fd, Addr: a})
}

// Listen is listen(2).
func (s *Stack) Listen(tid, fd, backlog int) (int, unix.Errno) {
	n, e := s.do(tid, &socket.Listen{FD: fd, Backlog: backlog})
	if e == 0 && s.holdPorts {
		s.hold(tid, fd)
	}
	return n, e
}

// Accept is accept(2); peer is a sockaddr.
func (s *Stack) Accept(tid, fd int) (n int, peer []byte, e unix.Errno) {
	c := socket.Accept{FD: fd}
	n, e = s.do(tid, &c)
	if e == 0 {
		peer = sockaddr(c.Peer)
	}
	return n, peer, e
}

// Connect is connect(2). An address of family AF_UNSPEC disconnects.
func (s *Stack) Connect(tid, fd int, addr []byte) (int, unix.Errno) {
	a, ok := parseSockaddr(addr)
	if !ok && !(len(addr) >= 2 && binary.NativeEndian.Uint16(addr) == unix.AF_UNSPEC) {
		return 0, unix.EINVAL
	}
	return s.do(tid, &socket.Connect{FD: fd, Addr: a})
}

// Parts is a message in several pieces of memory; one that is nil has a length in Len only.
type Parts struct {
	Data [][]byte
	Len  int // octets in all
}

// missing reports whether octets are asked for or given where there is no memory.
func (p Parts) missing() bool {
	n := 0
	for _, b := range p.Data {
		n += len(b)
	}
	return n != p.Len
}

// Received is what recvmsg returns.
type Received struct {
	N, Control, Flags int
	Errno             unix.Errno
}

// Recvmsg is recvmsg(2) and its relatives; control is for ancillary data.
func (s *Stack) Recvmsg(tid, fd int, p Parts, control []byte, flags int) Received {
	c := socket.Recv{FD: fd, Buf: make([]byte, p.Len), Flags: flags}
	if p.missing() && flags&unix.MSG_TRUNC == 0 {
		c.Flags |= unix.MSG_PEEK
	}
	n, e := s.do(tid, &c)
	if e != 0 {
		return Received{Errno: e}
	}
	if p.missing() && n > 0 && flags&unix.MSG_TRUNC == 0 {
		return Received{Errno: unix.EFAULT}
	}
	left := c.Buf[:n]
	for _, b := range p.Data {
		left = left[copy(b, left):]
	}
	r := Received{N: n, Flags: c.OutFlags}
	for _, m := range s.ancillary(tid, fd, &c) {
		k := copy(control[r.Control:], m)
		r.Control += k
		if k < len(m) {
			r.Flags |= unix.MSG_CTRUNC
		}
	}
	return r
}

// Sendmsg is sendmsg(2) and its relatives.
func (s *Stack) Sendmsg(tid, fd int, p Parts, to []byte, flags int) (int, unix.Errno) {
	if p.missing() {
		return 0, unix.EFAULT
	}
	c := socket.Send{FD: fd, Flags: flags}
	for _, b := range p.Data {
		c.Buf = append(c.Buf, b...)
		c.Parts = append(c.Parts, len(b))
	}
	c.To, _ = parseSockaddr(to)
	c.Unspec = len(to) >= 2 && binary.NativeEndian.Uint16(to) == unix.AF_UNSPEC
	return s.do(tid, &c)
}

// Fcntl is fcntl(2).
func (s *Stack) Fcntl(tid, fd, cmd, arg int) (int, unix.Errno) {
	return s.do(tid, &socket.Fcntl{FD: fd, Cmd: cmd, Arg: arg})
}

// Ioctl is ioctl(2) on an int.
func (s *Stack) Ioctl(tid, fd, request int, arg []byte) (int, unix.Errno) {
	c := socket.Ioctl{FD: fd, Request: request}
	if len(arg) >= 4 {
		c.Arg = int(int32(binary.NativeEndian.Uint32(arg)))
	}
	n, e := s.do(tid, &c)
	if e == 0 && len(arg) >= 4 {
		binary.NativeEndian.PutUint32(arg, uint32(c.Arg))
	}
	return n, e
}

// Close is close(2).
func (s *Stack) Close(tid, fd int) (int, unix.Errno) {
	if !s.Owns(fd) {
		return errnoOf(unix.Close(fd))
	}
	n, e := s.do(tid, &socket.Close{FD: fd})
	s.mu.Lock()
	delete(s.owned, fd)
	s.release(fd)
	s.mu.Unlock()
	_ = unix.Close(fd) // a placeholder
	return n, e
}

// Shutdown is shutdown(2).
func (s *Stack) Shutdown(tid, fd, how int) (int, unix.Errno) {
	return s.do(tid, &socket.Shutdown{FD: fd, How: how})
}

// Setsockopt is setsockopt(2).
func (s *Stack) Setsockopt(tid, fd, level, name int, val []byte) (int, unix.Errno) {
	return s.do(tid, &socket.SetOption{FD: fd, Level: level, Name: name, Val: val})
}

// Getsockopt is getsockopt(2) and returns the length of the value.
func (s *Stack) Getsockopt(tid, fd, level, name int, val []byte) (int, unix.Errno) {
	c := socket.GetOption{FD: fd, Level: level, Name: name, Val: val}
	_, e := s.do(tid, &c)
	if e == unix.ENOPROTOOPT && level == unix.SOL_SOCKET && name == unix.SO_MEMINFO {
		return copy(val, s.meminfo(tid, fd)), 0
	}
	if e == unix.ENOPROTOOPT && level == unix.SOL_TCP && name == unix.TCP_CC_INFO {
		return 0, 0 // an algorithm that has nothing to tell
	}
	if e == 0 && level == unix.SOL_TCP && name == unix.TCP_INFO {
		clear(val[c.N:]) // packetdrill may know more members than this stack
		return len(val), 0
	}
	return c.N, e
}

// meminfo returns SO_MEMINFO: nine numbers, of which this stack knows the limits of the buffers.
func (s *Stack) meminfo(tid, fd int) []byte {
	const rcvBuf, sndBuf = 1, 3 // places of SK_MEMINFO_RCVBUF and SK_MEMINFO_SNDBUF
	b := make([]byte, 9*4)
	binary.NativeEndian.PutUint32(b[4*rcvBuf:], uint32(s.option(tid, fd, unix.SOL_SOCKET, unix.SO_RCVBUF)))
	binary.NativeEndian.PutUint32(b[4*sndBuf:], uint32(s.option(tid, fd, unix.SOL_SOCKET, unix.SO_SNDBUF)))
	return b
}

// Poll is poll(2).
func (s *Stack) Poll(tid int, fds []unix.PollFd, timeout int) (int, unix.Errno) {
	c := socket.Poll{Timeout: millis(timeout)}
	for _, f := range fds {
		c.FDs = append(c.FDs, socket.PollFD{FD: int(f.Fd), Events: uint32(uint16(f.Events))})
	}
	n, e := s.do(tid, &c)
	for i := range fds {
		fds[i].Revents = int16(c.FDs[i].Revents)
	}
	return n, e
}

// EpollCreate is epoll_create(2).
func (s *Stack) EpollCreate(tid int) (int, unix.Errno) { return s.do(tid, &socket.EpollCreate{}) }

// EpollCtl is epoll_ctl(2).
func (s *Stack) EpollCtl(tid, epfd, op, fd int, events []unix.EpollEvent) (int, unix.Errno) {
	c := socket.EpollCtl{EFD: epfd, Op: op, FD: fd}
	if len(events) > 0 {
		c.Events, c.Data = events[0].Events, uint64(uint32(events[0].Fd))|uint64(uint32(events[0].Pad))<<32
	}
	return s.do(tid, &c)
}

// EpollWait is epoll_wait(2).
func (s *Stack) EpollWait(tid, epfd int, events []unix.EpollEvent, timeout int) (int, unix.Errno) {
	c := socket.EpollWait{EFD: epfd, Events: make([]socket.EpollEvent, len(events)), Timeout: millis(timeout)}
	n, e := s.do(tid, &c)
	for i := range max(n, 0) {
		v := c.Events[i]
		events[i] = unix.EpollEvent{Events: v.Events, Fd: int32(uint32(v.Data)), Pad: int32(uint32(v.Data >> 32))}
	}
	return n, e
}

// Pipe is pipe(2): a pipe of the kernel.
func (s *Stack) Pipe(fds []int32) (int, unix.Errno) {
	var p [2]int
	n, e := errnoOf(unix.Pipe(p[:]))
	fds[0], fds[1] = int32(p[0]), int32(p[1])
	return n, e
}

// siocAtMark is SIOCATMARK, which golang.org/x/sys does not name.
const siocAtMark = 0x8905

// maxCopy bounds what Splice and Sendfile copy at once, octets: what a pipe holds.
const maxCopy = 64 << 10

// Splice is splice(2) between a pipe and a socket. It stops at an urgent octet and does not pass it.
func (s *Stack) Splice(tid, in, out, n int) (int, unix.Errno) {
	b := make([]byte, min(n, maxCopy))
	if s.Owns(in) {
		mark := socket.Ioctl{FD: in, Request: siocAtMark}
		if _, e := s.do(tid, &mark); e == 0 && mark.Arg != 0 {
			return 0, 0
		}
		r := s.Recvmsg(tid, in, Parts{[][]byte{b}, len(b)}, nil, 0)
		if r.Errno != 0 || r.N == 0 {
			return r.N, r.Errno
		}
		return countOf(unix.Write(out, b[:r.N]))
	}
	k, e := countOf(unix.Read(in, b))
	if e != 0 || k == 0 {
		return k, e
	}
	return s.Sendmsg(tid, out, Parts{[][]byte{b[:k]}, k}, nil, 0)
}

// Sendfile is sendfile(2) from a file to a socket. off < 0: from where the file stands.
func (s *Stack) Sendfile(tid, out, in int, off int64, n int) (int, unix.Errno) {
	b := make([]byte, min(n, maxCopy))
	var k int
	var e unix.Errno
	if off < 0 {
		k, e = countOf(unix.Read(in, b))
	} else {
		k, e = countOf(unix.Pread(in, b, off))
	}
	if e != 0 || k == 0 {
		return k, e
	}
	return s.Sendmsg(tid, out, Parts{[][]byte{b[:k]}, k}, nil, 0)
}

// millis is a timeout of poll.
func millis(n int) vtime.Duration { return vtime.Duration(n) * vtime.Millisecond }

func errnoOf(err error) (int, unix.Errno) { return countOf(0, err) }

func countOf(n int, err error) (int, unix.Errno) {
	if e, ok := err.(unix.Errno); ok {
		return 0, e
	}
	return n, 0
}

// parseSockaddr reads a sockaddr_in or sockaddr_in6.
func parseSockaddr(b []byte) (a netip.AddrPort, ok bool) {
	if len(b) < 2 {
		return a, false
	}
	switch family := binary.NativeEndian.Uint16(b); {
	case family == unix.AF_INET && len(b) >= unix.SizeofSockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), binary.BigEndian.Uint16(b[2:])), true
	case family == unix.AF_INET6 && len(b) >= 24: // the scope may be missing
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[8:24])), binary.BigEndian.Uint16(b[2:])), true
	}
	return a, false
}

// sockaddr writes a as a sockaddr of its family.
func sockaddr(a netip.AddrPort) []byte {
	if a.Addr().Is4() {
		b := binary.NativeEndian.AppendUint16(nil, unix.AF_INET)
		b = binary.BigEndian.AppendUint16(b, a.Port())
		b = append(b, a.Addr().AsSlice()...)
		return append(b, make([]byte, 8)...)
	}
	b := binary.NativeEndian.AppendUint16(nil, unix.AF_INET6)
	b = binary.BigEndian.AppendUint16(b, a.Port())
	b = append(b, 0, 0, 0, 0)
	b = append(b, a.Addr().AsSlice()...)
	return append(b, 0, 0, 0, 0)
}
