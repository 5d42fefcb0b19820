package socket

// SO_TIMESTAMPING of what is sent: when the last octet of a write left, and when it was acknowledged, read
// with MSG_ERRQUEUE.
//
// What is sent again is not stamped again. Between the stack and the device there is no queueing discipline
// and no hardware: TX_SCHED is the time of TX_SOFTWARE, TX_HARDWARE is never. The octets of the packet, which
// Linux adds unless asked not to, are told of as cut off (MSG_TRUNC).

import "golang.org/x/sys/unix"

// stampWanted are the flags that ask for stamps of what is sent.
const stampWanted = unix.SOF_TIMESTAMPING_TX_SCHED | unix.SOF_TIMESTAMPING_TX_SOFTWARE | unix.SOF_TIMESTAMPING_TX_ACK

// Values of Linux that golang.org/x/sys does not name: SO_EE_ORIGIN_TIMESTAMPING, and what ee_info says.
const (
	originTimestamping = 4

	stampSent  = 0 // SCM_TSTAMP_SND
	stampSched = 1
	stampAcked = 2
)

// stamps keeps account of writes that want stamps.
type stamps struct {
	base    uint64  // position in the send stream from which octets are numbered
	waiting []stamp // not acknowledged, ascending
	sent    int     // how many of waiting were sent
}

// stamp is a write that wants stamps.
type stamp struct {
	end   uint64 // stream position
	flags int64
}

// stampFlags returns the flags of SO_TIMESTAMPING.
func (s *sock) stampFlags() int64 { return s.opts.get(unix.SOL_SOCKET, unix.SO_TIMESTAMPING) }

// setStamps notes that SO_TIMESTAMPING becomes flags.
func (s *sock) setStamps(flags int64) unix.Errno {
	if flags&unix.SOF_TIMESTAMPING_OPT_ID&^s.stampFlags() == 0 {
		return 0
	}
	if s.state != sockOpen {
		return unix.EINVAL
	}
	s.stamps.base = s.acked
	if flags&unix.SOF_TIMESTAMPING_OPT_ID_TCP != 0 {
		s.stamps.base = s.end
	}
	return 0
}

// stamp notes that a write ended at the end of the send stream.
func (s *sock) stamp() {
	p := &s.stamps
	f := s.stampFlags()
	if f&stampWanted == 0 || len(p.waiting) > 0 && p.waiting[len(p.waiting)-1].end == s.end {
		return
	}
	p.waiting = append(p.waiting, stamp{s.end, f})
	s.stampLeft()
}

// stampLeft stamps what has left now.
func (s *sock) stampLeft() {
	p := &s.stamps
	for ; p.sent < len(p.waiting) && p.waiting[p.sent].end <= s.sent; p.sent++ {
		w := &p.waiting[p.sent]
		if w.flags&unix.SOF_TIMESTAMPING_TX_SCHED != 0 {
			s.tellStamp(w, stampSched)
		}
		if w.flags&unix.SOF_TIMESTAMPING_TX_SOFTWARE != 0 {
			s.tellStamp(w, stampSent)
		}
	}
}

// stampAcked stamps what is acknowledged now.
func (s *sock) stampAcked() {
	p := &s.stamps
	for len(p.waiting) > 0 && p.waiting[0].end <= s.acked {
		if p.waiting[0].flags&unix.SOF_TIMESTAMPING_TX_ACK != 0 {
			s.tellStamp(&p.waiting[0], stampAcked)
		}
		p.waiting = p.waiting[1:]
		p.sent = max(p.sent-1, 0)
	}
}

// tellStamp puts a stamp of w in the error queue.
func (s *sock) tellStamp(w *stamp, what uint32) {
	x := ExtendedErr{Errno: uint32(unix.ENOMSG), Origin: originTimestamping, Info: what}
	f := s.stampFlags()
	if f&unix.SOF_TIMESTAMPING_OPT_ID != 0 {
		x.Data = uint32(w.end - 1 - s.stamps.base)
	}
	if f&unix.SOF_TIMESTAMPING_SOFTWARE != 0 {
		x.At = s.h.now
	}
	x.Cut = f&unix.SOF_TIMESTAMPING_OPT_TSONLY == 0
	s.errs = append(s.errs, x)
	s.wake(unix.EPOLLERR)
}
