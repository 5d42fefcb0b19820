package socket

// Reading and writing.

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"opentoe/tcpoffload"
	"opentoe/tcpoffload/vtime"
)

// Send is write, writev, send, sendto and sendmsg: Flags and To are zero where the call has none. Parts are
// the lengths of the pieces of memory that Buf is made of; nil: one.
type Send struct {
	FD    int
	Buf   []byte
	Parts []int
	Flags int
	To    netip.AddrPort // only for MSG_FASTOPEN
	// Unspec: the address is one of family AF_UNSPEC.
	Unspec bool

	sent     int
	started  bool
	waits    bool // for room
	fast     bool // the handshake that this call began goes on
	deadline vtime.Time
}

func (c *Send) do(h *Host) Result {
	s, e := h.sock(c.FD)
	if e != 0 {
		return failed(e)
	}
	if !c.started {
		c.started = true
		c.deadline = s.timeout(unix.SO_SNDTIMEO)
		if c.Flags&unix.MSG_FASTOPEN != 0 || s.deferred {
			if r, over := c.fastOpen(h, s); over {
				return r
			}
		}
	}
	wait := !s.nonblock && c.Flags&unix.MSG_DONTWAIT == 0
	if c.fast {
		if r, over := c.handshake(h, s, wait); over {
			return r
		}
	}
	switch {
	case s.err != 0:
		return c.stop(s.takeErr())
	case s.shutWr:
		return c.stop(unix.EPIPE)
	case s.state == sockOpening:
		return c.wait(h, s, wait)
	case s.state != sockOpen:
		return c.stop(unix.EPIPE)
	}
	if c.waits && !s.writeable() {
		return c.wait(h, s, wait) // who waits goes on when there is room worth it
	}
	c.waits = false
	zero := c.zeroCopy(s)
	for c.sent < len(c.Buf) {
		n := min(len(c.Buf)-c.sent, s.space())
		if n == 0 {
			c.waits = true
			return c.wait(h, s, wait)
		}
		full := false
		if zero {
			n, full = c.parts(n)
		}
		s.tx.put(s.end, c.Buf[c.sent:c.sent+n])
		s.end += uint64(n)
		c.sent += n
		last := c.sent == len(c.Buf)
		full = full || last && c.Flags&unix.MSG_EOR != 0
		s.fill(full)
		push := s.push(last)
		k := tcpoffload.Call{
			Kind: tcpoffload.CallSend, Handle: s.handle, Pos: s.end,
			More:   c.Flags&unix.MSG_MORE != 0 && last || !push,
			Urgent: c.Flags&unix.MSG_OOB != 0 && last, Border: full,
		}
		h.call(&k)
		if !last {
			h.transmit() // what leaves now makes room for more
		}
	}
	return c.end(s)
}

// end ends a write that has queued c.sent octets.
func (c *Send) end(s *sock) Result {
	if c.zeroCopy(s) && c.sent > 0 {
		s.zc.sent(s.end)
	}
	if c.sent > 0 {
		s.stamp()
	}
	return value(c.sent)
}

// parts bounds what one buffer takes, n octets else, to the pieces of memory that it can refer to. full: it
// cannot refer to more.
func (c *Send) parts(n int) (octets int, full bool) {
	at, k := 0, 0
	for _, p := range c.Parts {
		if at += p; at <= c.sent {
			continue
		}
		if k++; k == maxParts && at < c.sent+n {
			return at - c.sent, true
		}
	}
	return n, false
}

// wait ends a step that found no room.
func (c *Send) wait(h *Host, s *sock, may bool) Result {
	s.nospace = true
	if c.sent > 0 {
		// What was queued so far is the end of the stream for now.
		h.call(&tcpoffload.Call{Kind: tcpoffload.CallSend, Handle: s.handle, Pos: s.end})
	}
	switch {
	case may && h.now < c.deadline:
		return blocked(c.deadline)
	case c.sent > 0:
		return c.end(s)
	}
	return failed(unix.EAGAIN)
}

// stop ends a write that cannot go on.
func (c *Send) stop(e unix.Errno) Result {
	if c.sent > 0 {
		return value(c.sent)
	}
	return failed(e)
}

// fastOpen begins a send with MSG_FASTOPEN, or the first one after a connect that TCP_FASTOPEN_CONNECT put
// off: what the SYN takes along is queued. over: the call has ended.
func (c *Send) fastOpen(h *Host, s *sock) (r Result, over bool) {
	switch {
	case h.Engine.Tunables().FastOpen&tcpoffload.FastOpenClient == 0 || c.Unspec:
		return failed(unix.EOPNOTSUPP), true
	case s.deferred:
		s.deferred = false
		c.fast = true
		h.queueSyn(s, c)
		return Result{}, false
	case s.state == sockNew && !c.To.IsValid():
		return failed(unix.EINVAL), true
	case s.state == sockNew:
		if e := h.open(s, c.To, fastOpenNow); e != 0 {
			return failed(e), true
		}
		c.fast = true
		h.queueSyn(s, c)
		return Result{}, false
	case s.state == sockOpening:
		return failed(unix.EALREADY), true
	case s.state == sockOpen && s.told:
		return failed(unix.EISCONN), true
	}
	s.told = true // the handshake is over, which nobody has been told: this is a send like any other
	return Result{}, false
}

// queueSyn queues what the SYN of s takes along.
func (h *Host) queueSyn(s *sock, c *Send) {
	c.sent = min(len(c.Buf), s.synRoom)
	s.tx.put(0, c.Buf[:c.sent])
	s.end = uint64(c.sent)
	if c.sent > 0 {
		s.fill(c.sent == len(c.Buf) && c.Flags&unix.MSG_EOR != 0)
	}
	h.call(&tcpoffload.Call{Kind: tcpoffload.CallSend, Handle: s.handle, Pos: s.end})
}

// handshake waits for the end of the handshake that c began. over: the call has ended.
func (c *Send) handshake(h *Host, s *sock, wait bool) (r Result, over bool) {
	switch {
	case s.state == sockOpen:
		c.fast, s.told = false, true
		return Result{}, false
	case s.state != sockOpening:
		e := s.takeErr()
		if e == 0 {
			e = unix.ECONNABORTED
		}
		h.reset(s)
		return failed(e), true
	case wait && h.now < c.deadline:
		s.writer = c
		return blocked(c.deadline), true
	case c.sent > 0:
		s.writer = nil
		return c.end(s), true
	}
	return failed(unix.EINPROGRESS), true
}

// goOn queues what there is room for at the end of the handshake, so that it leaves with the last ACK.
func (c *Send) goOn(h *Host, s *sock) {
	s.writer = nil
	n := min(len(c.Buf)-c.sent, s.space())
	if n == 0 {
		return
	}
	s.tx.put(s.end, c.Buf[c.sent:c.sent+n])
	s.end += uint64(n)
	c.sent += n
	last := c.sent == len(c.Buf)
	full := last && c.Flags&unix.MSG_EOR != 0
	s.fill(full)
	h.later = append(h.later, tcpoffload.Call{
		Kind: tcpoffload.CallSend, Handle: s.handle, Pos: s.end,
		More: c.Flags&unix.MSG_MORE != 0 && last || !s.push(last), Border: full,
	})
}

// zeroCopy reports whether c asks for MSG_ZEROCOPY, and may.
func (c *Send) zeroCopy(s *sock) bool {
	return c.Flags&unix.MSG_ZEROCOPY != 0 && s.opts.get(unix.SOL_SOCKET, unix.SO_ZEROCOPY) != 0
}

// Recv is read, readv, recv, recvfrom and recvmsg: Flags is zero where the call has none. OutFlags are
// msg_flags, Err the extended error that MSG_ERRQUEUE took.
type Recv struct {
	FD       int
	Buf      []byte
	Flags    int
	OutFlags int
	Err      *ExtendedErr

	got      int
	started  bool
	deadline vtime.Time
}

func (c *Recv) do(h *Host) Result {
	s, e := h.sock(c.FD)
	if e != 0 {
		return failed(e)
	}
	if !c.started {
		c.started = true
		c.deadline = s.timeout(unix.SO_RCVTIMEO)
	}
	switch {
	case c.Flags&unix.MSG_ERRQUEUE != 0:
		return c.errQueue(s)
	case s.state == sockListening:
		return failed(unix.ENOTCONN)
	case c.Flags&unix.MSG_OOB != 0:
		return c.urgent(s)
	}
	target := max(int(s.opts.get(unix.SOL_SOCKET, unix.SO_RCVLOWAT)), 1)
	if c.Flags&unix.MSG_WAITALL != 0 {
		target = len(c.Buf)
	}
	target = min(target, len(c.Buf))
	mark := c.take(h, s)
	switch {
	case c.got >= target && (c.got > 0 || len(c.Buf) == 0), mark && c.got > 0:
		return value(c.got)
	case s.eof && s.read == s.readable:
		return value(c.got)
	case s.err != 0 && c.got == 0:
		return failed(s.takeErr())
	case s.err != 0 || s.shutRd:
		return value(c.got)
	case s.state == sockNew || s.state == sockEnded:
		return failed(unix.ENOTCONN)
	case c.Flags&unix.MSG_DONTWAIT == 0 && !s.nonblock && h.now < c.deadline:
		return blocked(c.deadline)
	case c.got > 0:
		return value(c.got)
	}
	return failed(unix.EAGAIN)
}

// take copies what is there, and reports whether it stopped at the urgent octet.
func (c *Recv) take(h *Host, s *sock) (mark bool) {
	inline := s.opts.get(unix.SOL_SOCKET, unix.SO_OOBINLINE) != 0
	peek := c.Flags&unix.MSG_PEEK != 0
	if peek {
		c.got = 0
	}
	pos := s.read
	for c.got < len(c.Buf) && pos < s.readable {
		end := s.readable
		if s.urg != urgentNone && s.urgPos >= pos && s.urgPos < end {
			switch {
			case s.urgPos > pos:
				end = s.urgPos
			case c.got > 0:
				mark = true
			case !inline:
				pos++
				if !peek {
					s.urg = urgentNone
				}
				continue
			}
			if mark {
				break
			}
		}
		n := min(len(c.Buf)-c.got, int(end-pos))
		if c.Flags&unix.MSG_TRUNC == 0 {
			s.rx.get(pos, c.Buf[c.got:c.got+n])
		}
		if s.urg != urgentNone && s.urgPos == pos && !peek {
			s.urg = urgentNone
		}
		c.got += n
		pos += uint64(n)
	}
	if !peek {
		h.consumed(s, pos)
	}
	return mark
}

// consumed tells the engine how far the program has read.
func (h *Host) consumed(s *sock, pos uint64) {
	if pos == s.read {
		return
	}
	s.read = pos
	s.rx.drop(pos)
	if s.handle != 0 {
		h.call(&tcpoffload.Call{Kind: tcpoffload.CallReceived, Handle: s.handle, Pos: pos})
	}
}

// urgent is recv with MSG_OOB.
func (c *Recv) urgent(s *sock) Result {
	switch {
	case s.urg != urgentDue || s.opts.get(unix.SOL_SOCKET, unix.SO_OOBINLINE) != 0 || s.urgPos < s.read:
		return failed(unix.EINVAL)
	case s.state == sockEnded:
		return value(0)
	case s.urgPos >= s.readable:
		return failed(unix.EAGAIN)
	}
	c.OutFlags |= unix.MSG_OOB
	if len(c.Buf) == 0 {
		c.OutFlags |= unix.MSG_TRUNC
		return value(0)
	}
	s.rx.get(s.urgPos, c.Buf[:1])
	if c.Flags&unix.MSG_PEEK == 0 {
		s.urg = urgentRead
	}
	return value(1)
}

// timeout returns when a call that begins now has waited long enough, by socket option name.
func (s *sock) timeout(name int) vtime.Time {
	d := s.opts.get(unix.SOL_SOCKET, name)
	if d == 0 {
		return vtime.Never
	}
	return s.h.now.Add(vtime.Duration(d) * vtime.Microsecond)
}

// Fcntl is fcntl(2) with F_GETFL, F_SETFL, F_GETFD and F_SETFD.
type Fcntl struct{ FD, Cmd, Arg int }

func (c *Fcntl) do(h *Host) Result {
	s, e := h.sock(c.FD)
	if e != 0 {
		return failed(e)
	}
	switch c.Cmd {
	case unix.F_GETFL:
		v := unix.O_RDWR
		if s.nonblock {
			v |= unix.O_NONBLOCK
		}
		return value(v)
	case unix.F_SETFL:
		s.nonblock = c.Arg&unix.O_NONBLOCK != 0
		return value(0)
	case unix.F_GETFD, unix.F_SETFD:
		return value(0)
	}
	return failed(unix.EINVAL)
}

// Ioctl is ioctl(2) on an int: Arg is argument or result.
type Ioctl struct {
	FD, Request int
	Arg         int
}

// Requests of Linux that golang.org/x/sys does not name.
const (
	siocOutQNSD = 0x894b // octets never sent
	siocAtMark  = 0x8905 // whether the next octet to read is the urgent one
	fionBIO     = 0x5421
)

func (c *Ioctl) do(h *Host) Result {
	s, e := h.sock(c.FD)
	if e != 0 {
		return failed(e)
	}
	switch c.Request {
	case fionBIO:
		s.nonblock = c.Arg != 0
		return value(0)
	case siocAtMark:
		c.Arg = 0
		if s.urg != urgentNone && s.urgPos == s.read {
			c.Arg = 1
		}
		return value(0)
	}
	if s.state == sockListening {
		return failed(unix.EINVAL)
	}
	switch c.Request {
	case unix.SIOCINQ: // FIONREAD
		end := s.readable
		if s.urg != urgentNone && s.opts.get(unix.SOL_SOCKET, unix.SO_OOBINLINE) == 0 && s.urgPos >= s.read && s.urgPos < end {
			end = s.urgPos
		}
		c.Arg = int(end - s.read)
	case unix.SIOCOUTQ:
		c.Arg = int(s.end - s.acked)
		if i := h.sockInfo(s); i != nil && s.shutWr && (i.State == tcpoffload.StateFinWait1 ||
			i.State == tcpoffload.StateClosing || i.State == tcpoffload.StateLastAck) {
			c.Arg++ // the FIN counts
		}
	case siocOutQNSD:
		c.Arg = int(s.unsent())
	default:
		return failed(unix.ENOTTY)
	}
	return value(0)
}
