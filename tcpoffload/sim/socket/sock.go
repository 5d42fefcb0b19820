package socket

import (
	"golang.org/x/sys/unix"

	"opentoe/tcpoffload"
	"opentoe/tcpoffload/wire"
)

// sockState is what a socket is to its program.
type sockState uint8

const (
	sockNew sockState = iota // perhaps bound
	sockListening
	sockOpening // active open under way
	sockOpen
	sockEnded // the connection is over
)

// urgentState says what became of the last urgent octet.
type urgentState uint8

const (
	urgentNone urgentState = iota
	urgentDue              // announced; the octet itself may still be on its way
	urgentRead             // taken by MSG_OOB
)

// sock is one TCP socket.
type sock struct {
	h        *Host
	domain   int // AF_INET or AF_INET6
	fds      int // descriptors that name it: 1, or 0 when closed or not accepted yet
	state    sockState
	nonblock bool
	bound    bool // to a port; its address may be unspecified
	told     bool // connect has reported success
	deferred bool // TCP_FASTOPEN_CONNECT: the SYN waits for the first write
	synRoom  int  // octets that the SYN takes along
	// writer waits for the end of the handshake that it began.
	writer *Send
	v6only bool

	flow     wire.Flow
	handle   tcpoffload.Handle
	listener tcpoffload.ListenerID
	queue    []*sock // listener: established and not yet accepted
	backlog  int     // of listen

	rx             fifo
	readable, read uint64 // positions in the receive stream
	eof            bool   // the stream ends at readable
	urg            urgentState
	urgPos         uint64 // of the urgent octet

	tx         fifo
	acked, end uint64 // positions in the send stream
	sent       uint64 // position up to which octets were sent at least once
	nospace    bool   // somebody waits for room

	err            unix.Errno // SO_ERROR
	icmpErr        unix.Errno // of the last hard ICMP error
	synData        bool       // data on the SYN were taken; remembered beyond the connection's end
	shutRd, shutWr bool

	opts     options
	sndBuf   int // octets with the overhead of buffers
	bufs     sendBuffers
	fixedSnd bool
	tos      uint8
	zc       zeroCopy
	stamps   stamps
	errs     []ExtendedErr // the error queue

	watch []*watcher
}

func (h *Host) newSock(domain int) *sock {
	return &sock{h: h, domain: domain, sndBuf: h.set.SndBuf, opts: make(options)}
}

// ackedTo forgets what is acknowledged.
func (s *sock) ackedTo(pos uint64) {
	s.acked = pos
	s.cutBuffers()
	s.tx.drop(pos)
	if s.zc.acked(pos, &s.errs) {
		s.wake(unix.EPOLLERR)
	}
	s.stampAcked()
	s.writeSpace()
}

// unsent returns octets queued and never sent.
func (s *sock) unsent() uint64 { return s.end - max(s.sent, s.acked) }

// writeSpace tells who waits for room when there is enough.
func (s *sock) writeSpace() {
	if s.nospace && s.writeable() {
		s.nospace = false
		s.wake(unix.EPOLLOUT | unix.EPOLLWRNORM | unix.EPOLLWRBAND)
	}
}

// takeErr returns and clears SO_ERROR.
func (s *sock) takeErr() unix.Errno {
	e := s.err
	s.err = 0
	return e
}

// connected reports whether octets can flow.
func (s *sock) connected() bool { return s.state == sockOpen }

// fifo holds the octets of a stream from position base on.
type fifo struct {
	base uint64
	b    []byte
}

// put stores p at position pos; what lies before base is forgotten already.
func (f *fifo) put(pos uint64, p []byte) {
	if pos < f.base {
		return
	}
	end := int(pos-f.base) + len(p)
	if end > len(f.b) {
		f.b = append(f.b, make([]byte, end-len(f.b))...)
	}
	copy(f.b[pos-f.base:], p)
}

// get copies from position pos. Precondition: the octets were put and not dropped.
func (f *fifo) get(pos uint64, p []byte) { copy(p, f.b[pos-f.base:]) }

// drop forgets what lies before pos.
func (f *fifo) drop(pos uint64) {
	if pos <= f.base {
		return
	}
	f.b = f.b[min(int(pos-f.base), len(f.b)):]
	f.base = pos
}
