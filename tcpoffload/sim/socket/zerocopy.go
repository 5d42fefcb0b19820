package socket

// The error queue, read with MSG_ERRQUEUE, and the completions of MSG_ZEROCOPY in it.

import (
	"golang.org/x/sys/unix"

	"opentoe/tcpoffload/vtime"
)

// ExtendedErr is struct sock_extended_err and what comes with it. Of zero-copy sends it tells that those
// numbered Info to Data are complete, of stamps their kind in Info and the number of the octet in Data.
type ExtendedErr struct {
	Errno      uint32
	Origin     uint8
	Type, Code uint8
	Info, Data uint32
	At         vtime.Time // of a stamp; 0: not to be told
	Cut        bool       // octets of a packet are missing
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

// acked completes in the error queue q what ends at or before pos, and reports whether that was anything.
// Neighbours are told together.
func (z *zeroCopy) acked(pos uint64, q *[]ExtendedErr) (some bool) {
	for len(z.waiting) > 0 && z.waiting[0].end <= pos {
		id := z.waiting[0].id
		z.waiting = z.waiting[1:]
		some = true
		if n := len(*q); n > 0 && (*q)[n-1].Origin == originZeroCopy && (*q)[n-1].Data+1 == id {
			(*q)[n-1].Data = id
			continue
		}
		*q = append(*q, ExtendedErr{Origin: originZeroCopy, Code: codeCopied, Info: id, Data: id})
	}
	return some
}

// errQueue is recvmsg with MSG_ERRQUEUE.
func (c *Recv) errQueue(s *sock) Result {
	if len(s.errs) == 0 {
		return failed(unix.EAGAIN)
	}
	e := s.errs[0]
	s.errs = s.errs[1:]
	c.Err = &e
	if e.Cut {
		c.OutFlags |= unix.MSG_TRUNC
	}
	c.OutFlags |= unix.MSG_ERRQUEUE
	return value(0)
}
