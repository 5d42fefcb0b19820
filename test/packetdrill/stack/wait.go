package stack

// Calls that block.

import (
	"golang.org/x/sys/unix"

	"opentoe/tcpoffload/sim/socket"
	"opentoe/tcpoffload/vtime"
)

// waiter is a thread whose call has not ended.
type waiter struct {
	tid    int
	call   socket.Call
	until  vtime.Time // when the call has to be made again at the latest
	result socket.Result
	ended  bool
	wake   chan struct{}
}

// wait returns when the call of w has ended. The main thread, which starts the others, lets time
// pass meanwhile, since nobody else will. EDEADLK: nothing can end the main thread's call any more.
func (s *Stack) wait(w *waiter) unix.Errno {
	w.wake = make(chan struct{})
	s.waiters = append(s.waiters, w)
	s.resting++
	if w.tid != s.main {
		s.mu.Unlock()
		<-w.wake
		s.mu.Lock()
		return 0
	}
	defer func() { s.resting-- }()
	for !w.ended {
		s.settle()
		next := s.nextEvent()
		if next == vtime.Never {
			s.end(w)
			s.retry()
			return unix.EDEADLK
		}
		s.advance(max(next, s.now))
	}
	return 0
}

// retry ends the calls that can end now. One that ends may let another one end.
func (s *Stack) retry() {
	for again := true; again; {
		again = false
		waiters := s.waiters
		s.waiters = nil
		for _, w := range waiters {
			if !w.ended {
				r := s.host.Do(s.now, w.call)
				if r.Blocked {
					w.until = r.Until
					s.waiters = append(s.waiters, w)
					continue
				}
				w.result, again = r, true
				s.end(w)
			}
		}
	}
}

// end lets the thread of w go on.
func (s *Stack) end(w *waiter) {
	w.ended = true
	if w.tid != s.main {
		s.resting--
		s.unread[w.tid] = true
	}
	close(w.wake)
}
