package socket

import (
	"golang.org/x/sys/unix"

	"opentoe/tcpoffload"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// Config says how to build a Host.
type Config struct {
	Engine tcpoffload.Config // Memory may be nil
	// Addrs are the host's addresses. The first of a family is the source of connections whose
	// socket is not bound to one.
	Addrs []wire.Addr
	// NewFD returns the descriptor of a new socket; nil: the lowest number from 3 on that is free.
	NewFD func() int
}

// defaultSndBuf is the send buffer of a socket that did not ask for one, octets.
const defaultSndBuf = 256 << 10

// firstPort is where the search for a free local port begins, as Linux's default range does.
const firstPort = 32768

// Packet is a raw IP packet that left, without link-layer header.
type Packet struct {
	At   vtime.Time
	Data []byte
}

// Host is one engine with a socket layer. It is not safe for concurrent use.
type Host struct {
	Engine *tcpoffload.Engine

	cfg   Config
	now   vtime.Time
	out   *tcpoffload.Output
	files map[int]any // *sock or *epoll, by descriptor
	conns map[tcpoffload.Handle]*sock
	lists map[tcpoffload.ListenerID]*sock
	sent  []Packet
	ipID  uint16
	port  uint16   // the local port given out last
	set   Settings // but for the tunables, which the engine has
	info  tcpoffload.Info

	later []tcpoffload.Call // to be made when the output being drained is done with
}

// New returns a host at rest.
func New(cfg Config) (*Host, error) {
	if cfg.Engine.Memory == nil {
		cfg.Engine.Memory = tcpoffload.NewMemory(64, 16)
	}
	e, err := tcpoffload.New(cfg.Engine)
	if err != nil {
		return nil, err
	}
	return &Host{
		Engine: e, cfg: cfg, out: tcpoffload.NewOutput(64, 64),
		files: make(map[int]any), conns: make(map[tcpoffload.Handle]*sock),
		lists: make(map[tcpoffload.ListenerID]*sock), port: firstPort - 1,
		set: Settings{SndBuf: defaultSndBuf},
	}, nil
}

// Result is the outcome of a call.
type Result struct {
	Ret   int        // what the call returns; −1 with Errno
	Errno unix.Errno // 0: none
	// Blocked: the call has to be made again when something has happened, or at Until
	// (vtime.Never: no timeout). Ret and Errno mean nothing.
	Blocked bool
	Until   vtime.Time
}

func value(n int) Result          { return Result{Ret: n, Until: vtime.Never} }
func failed(e unix.Errno) Result  { return Result{Ret: -1, Errno: e, Until: vtime.Never} }
func blocked(u vtime.Time) Result { return Result{Blocked: true, Until: u} }
func done(e unix.Errno) Result {
	if e != 0 {
		return failed(e)
	}
	return value(0)
}

// Call is a system call with its arguments and its progress: a pointer to one of the structs of
// this package.
type Call interface{ do(h *Host) Result }

// Do carries out c at time now, which never goes back.
func (h *Host) Do(now vtime.Time, c Call) Result {
	h.now = now
	r := c.do(h)
	h.transmit()
	return r
}

// Input takes the raw IP packet p, which arrived at time now. It reports whether the packet was
// understood and addressed to this host.
func (h *Host) Input(now vtime.Time, p []byte) bool {
	h.now = now
	ok := h.receive(p)
	h.transmit()
	return ok
}

// Poll lets time pass: timers up to now expire.
func (h *Host) Poll(now vtime.Time) {
	h.now = now
	for h.Engine.NextDeadline() <= now {
		h.Engine.Expire(now, h.out)
		h.drain(nil)
	}
	h.transmit()
}

// NextDeadline returns when Poll has to be called next, vtime.Never if no timer runs.
func (h *Host) NextDeadline() vtime.Time { return h.Engine.NextDeadline() }

// Output takes the oldest packet that left; ok false: there is none.
func (h *Host) Output() (p Packet, ok bool) {
	if len(h.sent) == 0 {
		return Packet{}, false
	}
	p = h.sent[0]
	h.sent = h.sent[1:]
	return p, true
}

// transmit lets everything leave that may leave now.
func (h *Host) transmit() {
	for h.Engine.Pending() {
		if h.Engine.Transmit(h.now, cap(h.out.Segs), h.out) == 0 && len(h.out.Actions) == 0 {
			return
		}
		h.drain(nil)
	}
}

// call makes a call of the engine and carries out what follows from it.
func (h *Host) call(c *tcpoffload.Call) tcpoffload.CallResult {
	r := h.Engine.Call(h.now, c, h.out)
	h.drain(nil)
	return r
}

// drain carries out what the engine produced. payload is that of the segment that just arrived.
func (h *Host) drain(payload []byte) {
	for i := range h.out.Segs {
		h.emit(&h.out.Segs[i])
	}
	for i := range h.out.Actions {
		h.act(&h.out.Actions[i], payload)
	}
	h.out.Reset()
	for len(h.later) > 0 {
		c := h.later[0]
		h.later = h.later[1:]
		h.call(&c)
	}
}

// act carries out one action.
func (h *Host) act(a *tcpoffload.Action, payload []byte) {
	if a.Kind == tcpoffload.ActPassEstablished {
		h.offered(a)
		return
	}
	s := h.conns[a.Handle]
	if s == nil {
		return // refused by offered
	}
	switch a.Kind {
	case tcpoffload.ActPlace:
		s.rx.put(a.Pos, payload[a.Off:a.Off+a.Len])
	case tcpoffload.ActReadable:
		s.readable = a.Pos
		if s.inReady() {
			s.wake(unix.EPOLLIN | unix.EPOLLPRI | unix.EPOLLRDNORM | unix.EPOLLRDBAND)
		}
	case tcpoffload.ActAcked:
		s.ackedTo(a.Pos)
	case tcpoffload.ActSent: // emit has seen it
	case tcpoffload.ActSndBuf:
		if !s.fixedSnd {
			s.sndBuf = max(s.sndBuf, 2*int(a.Len))
			s.writeSpace()
		}
	case tcpoffload.ActEstablished:
		s.state = sockOpen
		if s.writer != nil {
			s.writer.goOn(h, s)
		}
		s.wake(0)
	case tcpoffload.ActPeerClose:
		s.eof = true
		s.readable = a.Pos
		s.wake(0)
	case tcpoffload.ActUrgent:
		s.urg, s.urgPos = urgentDue, a.Pos-1
		s.wake(unix.EPOLLPRI)
	case tcpoffload.ActFinished:
		h.finished(s, a.Reason)
	}
}

// finished takes the engine's last word about a connection.
func (h *Host) finished(s *sock, r tcpoffload.EndReason) {
	delete(h.conns, s.handle)
	switch {
	case r == tcpoffload.ReasonReset && s.eof:
		s.err = unix.EPIPE
	case r == tcpoffload.ReasonReset:
		s.err = unix.ECONNRESET
	case r == tcpoffload.ReasonRefused:
		s.err = unix.ECONNREFUSED
	case r == tcpoffload.ReasonTimedOut || r == tcpoffload.ReasonKeepalive:
		s.err = unix.ETIMEDOUT
	case r == tcpoffload.ReasonUnreachable:
		if s.err = s.icmpErr; s.err == 0 {
			s.err = unix.EHOSTUNREACH
		}
	}
	s.state, s.handle = sockEnded, 0
	if r == tcpoffload.ReasonNone && !s.shutWr && !s.eof {
		s.state = sockNew // an open that was called off
	}
	s.shutRd, s.shutWr = true, true
	s.wake(0)
}

// sock returns the socket of descriptor fd.
func (h *Host) sock(fd int) (*sock, unix.Errno) {
	switch f := h.files[fd].(type) {
	case *sock:
		return f, 0
	case nil:
		return nil, unix.EBADF
	}
	return nil, unix.ENOTSOCK
}

// install gives f a descriptor.
func (h *Host) install(f any) int {
	fd := 3
	if h.cfg.NewFD != nil {
		fd = h.cfg.NewFD()
	} else {
		for h.files[fd] != nil {
			fd++
		}
	}
	h.files[fd] = f
	return fd
}

// sockInfo returns the engine's view of s, nil if it has none.
func (h *Host) sockInfo(s *sock) *tcpoffload.Info {
	if s.handle == 0 || !h.Engine.Info(s.handle, h.now, &h.info) {
		return nil
	}
	return &h.info
}
