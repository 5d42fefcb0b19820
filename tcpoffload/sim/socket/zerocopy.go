package socket

// MSG_ZEROCOPY completions, read with MSG_ERRQUEUE.

import "golang.org/x/sys/unix"

// ExtendedErr is what struct sock_extended_err tells of zero-copy sends: those numbered Info to Data
// are complete.
type ExtendedErr struct {
	Errno      uint32
	Origin     uint8
	Type, Code uint8
	Info, Data uint32
}

// Values of Linux: SO_EE_ORIGIN_ZEROCOPY, and SO_EE_CODE_ZEROCOPY_COPIED, which says that the octets were
// copied after all. Ours always are.
const (
	originZeroCopy = 5
	codeCopied     = 1
)

// zeroCopy keeps account of sends with MSG_ZEROCOPY.
type zeroCopy struct {
	next    uint32
	waiting []zeroCopySend // not acknowledged, ascending
	ready   []ExtendedErr
}

type zeroCopySend struct {
	id  uint32
	end uint64 // stream position
}

// sent notes a send that ends at pos.
func (z *zeroCopy) sent(pos uint64) {
	z.waiting = append(z.waiting, zeroCopySend{z.next, pos})
	z.next++
}

// acked completes what ends at or before pos, and reports whether that was anything. Neighbours are told
// together.
func (z *zeroCopy) acked(pos uint64) (some bool) {
	for len(z.waiting) > 0 && z.waiting[0].end <= pos {
		id := z.waiting[0].id
		z.waiting = z.waiting[1:]
		some = true
		if n := len(z.ready); n > 0 && z.ready[n-1].Data+1 == id {
			z.ready[n-1].Data = id
			continue
		}
		z.ready = append(z.ready, ExtendedErr{Origin: originZeroCopy, Code: codeCopied, Info: id, Data: id})
	}
	return some
}

func (z *zeroCopy) pending() bool { return len(z.ready) > 0 }

// errQueue is recvmsg with MSG_ERRQUEUE.
func (c *Recv) errQueue(s *sock) Result {
	if !s.zc.pending() {
		return failed(unix.EAGAIN)
	}
	e := s.zc.ready[0]
	s.zc.ready = s.zc.ready[1:]
	c.Err = &e
	c.OutFlags |= unix.MSG_ERRQUEUE
	return value(0)
}
