package stack

// The clock: virtual, so that a script's times are met to the microsecond on any machine.
//
// Time passes only while a thread of packetdrill says that it waits: in Usleep, in Receive, or reading
// the clock again and again. It stands still until every thread that is in a call waits there, and until a
// thread whose call has just ended has read the clock: packetdrill does that first, and compares it with
// the time at which the script lets the call end.

import (
	"time"

	"opentoe/tcpoffload/vtime"
)

const (
	// readCost is how far reading the clock moves it: packetdrill spins on the clock shortly before
	// an event.
	readCost = vtime.Microsecond
	// settlePoll and settleLimit, in real time: how often to look whether other threads have come to
	// rest, and when to go on regardless.
	settlePoll  = 20 * time.Microsecond
	settleLimit = 2 * time.Second
	// recordTime, in real time, is for a thread whose call has ended to write its result down: with
	// packetdrill's own lock, which the main thread leaves while it sleeps.
	recordTime = 2 * time.Millisecond
	// receiveLimit is how long, in virtual time, Receive waits for a packet.
	receiveLimit = 5 * vtime.Minute
)

// Now returns the time in microseconds for thread tid.
func (s *Stack) Now(tid int) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now
	if s.unread[tid] {
		delete(s.unread, tid)
		s.recording = true
		return micros(now)
	}
	s.settle()
	s.advance(now.Add(readCost))
	return micros(now)
}

// Usleep lets the time pass by d.
func (s *Stack) Usleep(tid int, d vtime.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.unread, tid)
	s.settle()
	if s.recording {
		s.recording = false
		s.mu.Unlock()
		time.Sleep(recordTime)
		s.mu.Lock()
	}
	s.advance(s.now.Add(d))
}

// Receive moves the next packet that the stack sends to buf and returns its length and the time at which
// it was sent, in microseconds. When there is none, time passes; when there is none for long, the length
// is 0, which packetdrill reports as a bad packet instead of waiting for ever.
func (s *Stack) Receive(tid int, buf []byte) (n int, usecs int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.unread, tid)
	limit := s.now.Add(receiveLimit)
	for {
		if p, ok := s.host.Output(); ok {
			return copy(buf, p.Data), micros(p.At)
		}
		if s.now == limit {
			return 0, micros(s.now)
		}
		s.settle()
		s.advance(min(max(s.nextEvent(), s.now), limit))
	}
}

// settle waits until every thread in a call waits, and has told the time after its last one.
func (s *Stack) settle() {
	for end := time.Now().Add(settleLimit); s.entered() != s.resting || len(s.unread) > 0; {
		s.mu.Unlock()
		time.Sleep(settlePoll)
		s.mu.Lock()
		if time.Now().After(end) {
			clear(s.unread)
			return
		}
	}
}

// nextEvent returns when something happens by itself.
func (s *Stack) nextEvent() vtime.Time {
	next := s.host.NextDeadline()
	for _, w := range s.waiters {
		next = min(next, w.until)
	}
	return next
}

// advance lets the time pass up to end, and everything happen that is due.
func (s *Stack) advance(end vtime.Time) {
	for {
		next := s.nextEvent()
		if next > end {
			break
		}
		s.now = max(s.now, next)
		s.happen()
		s.settle()
	}
	s.now = max(s.now, end)
}

// happen runs the stack at the present time, and ends calls that can end.
func (s *Stack) happen() {
	s.host.Poll(s.now)
	s.retry()
}

func micros(t vtime.Time) int64 { return int64(t) / int64(vtime.Microsecond) }
