package socket

// The send buffer as Linux accounts it: the stream is held in buffers of up to a burst each, and the limit is
// on the octets together with what their buffers take.
//
// A buffer is cut where sending stops in it. What several bursts of one instant sent stays one buffer here.

import "golang.org/x/sys/unix"

const (
	// bufOverhead is what a buffer takes beside its octets, as in Linux on 64-bit machines.
	bufOverhead = 1280
	// burstOctets is the most that one buffer holds, octets.
	burstOctets = 65215
	// minSndBuf is the smallest SO_SNDBUF, octets with overhead.
	minSndBuf = 4608
	// maxParts is how many pieces of a program's memory one buffer refers to with MSG_ZEROCOPY.
	maxParts = 17
)

// sendBuffers are the buffers that hold the send stream from what is acknowledged on.
type sendBuffers struct {
	ends   []uint64 // stream positions, ascending
	full   bool     // nothing is added to the last one
	pushed uint64   // stream position of the last push
	half   int      // half the peer's largest window, octets, when burst was last asked
}

// start returns where buffer i begins.
func (s *sock) bufStart(i int) uint64 {
	if i == 0 {
		return s.acked
	}
	return max(s.acked, s.bufs.ends[i-1])
}

// cutBuffers forgets buffers that are acknowledged and cuts the one that was sent in part.
func (s *sock) cutBuffers() {
	b := &s.bufs
	for len(b.ends) > 0 && b.ends[0] <= s.acked {
		b.ends = b.ends[1:]
	}
	for i := range b.ends {
		if s.sent > s.bufStart(i) && s.sent < b.ends[i] {
			b.ends = append(b.ends[:i], append([]uint64{s.sent}, b.ends[i:]...)...)
			return
		}
	}
}

// queued returns what the send buffer takes, octets with overhead.
func (s *sock) queued() int {
	return int(s.end-s.acked) + bufOverhead*len(s.bufs.ends)
}

// burst returns how many octets one buffer takes: whole segments, of at most half the largest window that the
// peer has had.
func (s *sock) burst() int {
	i := s.h.sockInfo(s)
	if i == nil || s.state != sockOpen {
		return burstOctets
	}
	n := int(i.SndWndMax)
	s.bufs.half = n / 2
	if n > 536 {
		n /= 2
	}
	mss := max(int(i.SndMSS), 1)
	return max(min(n, burstOctets)/mss, 1) * mss
}

// space returns how many octets the send stream takes now: what the last buffer has room for, if it was not
// sent, or a new one while the limits allow one.
func (s *sock) space() int {
	s.cutBuffers()
	b := &s.bufs
	burst := s.burst()
	if k := len(b.ends) - 1; k >= 0 && !b.full && s.bufStart(k) >= s.sent {
		if n := burst - int(b.ends[k]-s.bufStart(k)); n > 0 {
			return n
		}
	}
	if s.queued() >= s.sndBuf || s.unsent() >= s.lowat() {
		return 0
	}
	return burst
}

// fill notes that the send stream has grown to s.end, by no more than space has told. full: nothing is
// added to the buffer that ends there.
func (s *sock) fill(full bool) {
	b := &s.bufs
	k := len(b.ends) - 1
	if k >= 0 && !b.full && s.bufStart(k) >= s.sent && int(s.end-s.bufStart(k)) <= s.burst() {
		b.ends[k] = s.end
	} else {
		b.ends = append(b.ends, s.end)
	}
	b.full = full
}

// push reports whether what is written so far has to be pushed: at the end of a write, and before when half
// the peer's largest window was written since the last time.
func (s *sock) push(last bool) bool {
	if !last && int(s.end-s.bufs.pushed) <= s.bufs.half {
		return false
	}
	s.bufs.pushed = s.end
	return true
}

// writeable reports whether poll would say POLLOUT: a third of the buffer is free, and little enough waits.
func (s *sock) writeable() bool {
	used := s.queued()
	return s.sndBuf-used >= used/2 && used < s.sndBuf && 2*s.unsent() < s.lowat()
}

// lowat returns TCP_NOTSENT_LOWAT, or what holds for all sockets.
func (s *sock) lowat() uint64 {
	if v := uint32(s.opts.get(unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT)); v != 0 {
		return uint64(v)
	}
	if v := s.h.set.NotSentLowat; v != 0 {
		return uint64(v)
	}
	return 1 << 62
}
