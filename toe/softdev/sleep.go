package softdev

import (
	"encoding/binary"
	"fmt"
	"math"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"opentoe/tcpoffload/vtime"
)

// waiter is what a worker sleeps on: an epoll instance with the ports' descriptors, the clients'
// eventfds, and an eventfd of its own for posted functions.
//
// Waking follows the rule of every sleeper here: the worker declares that it sleeps, looks again
// at everything that could want it, and then blocks; whoever wants it leaves its wish first and
// then looks at the declaration. Both orders are sequentially consistent, so one side sees the other.
type waiter struct {
	asleep   atomic.Bool // the worker is about to block or blocked
	epfd     int
	self     int            // eventfd for wake; edge-triggered, never read
	interval vtime.Duration // longest sleep while deaf
	deaf     bool           // a port cannot wake the worker

	fds    [1]unix.PollFd
	events [wakeEvents]unix.EpollEvent
}

// wakeEdge is how an eventfd that nobody reads is waited for: each write wakes once.
const wakeEdge = unix.EPOLLIN | unix.EPOLLET

// newWaiter returns a waiter that frames on fds end (level-triggered: a frame that is already
// there prevents the sleep), and, while deaf, the interval.
func newWaiter(fds []int, deaf bool, interval vtime.Duration) (*waiter, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	w := &waiter{epfd: epfd, self: -1, deaf: deaf, interval: interval}
	if w.self, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		w.close()
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	if err := w.add(w.self, wakeEdge); err != nil {
		w.close()
		return nil, err
	}
	for _, fd := range fds {
		if err := w.add(fd, unix.EPOLLIN); err != nil {
			w.close()
			return nil, err
		}
	}
	w.fds[0] = unix.PollFd{Fd: int32(epfd), Events: unix.POLLIN}
	return w, nil
}

func (w *waiter) close() {
	unix.Close(w.epfd)
	if w.self >= 0 {
		unix.Close(w.self)
	}
}

func (w *waiter) add(fd int, events uint32) error {
	ev := unix.EpollEvent{Events: events, Fd: int32(fd)}
	if err := unix.EpollCtl(w.epfd, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return fmt.Errorf("epoll_ctl: add descriptor %d: %w", fd, err)
	}
	return nil
}

func (w *waiter) remove(fd int) error {
	if err := unix.EpollCtl(w.epfd, unix.EPOLL_CTL_DEL, fd, nil); err != nil {
		return fmt.Errorf("epoll_ctl: remove descriptor %d: %w", fd, err)
	}
	return nil
}

// wake ends a declared sleep. Any thread.
func (w *waiter) wake() {
	if !w.asleep.Load() {
		return
	}
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	unix.Write(w.self, one[:]) // cannot fail: 2^64 wake-ups would have to come first
}

// block waits until a descriptor is ready or for d (more than zero; vtime.Never's distance =
// forever) and reports whether a descriptor was. The timeout has a resolution of nanoseconds,
// which epoll_wait does not offer; therefore ppoll waits on the epoll descriptor.
func (w *waiter) block(d vtime.Duration) bool {
	if w.deaf {
		d = min(d, w.interval)
	}
	var timeout *unix.Timespec
	if d < math.MaxInt64/2 {
		ts := unix.NsecToTimespec(int64(d))
		timeout = &ts
	}
	w.fds[0].Revents = 0
	if n, err := unix.Ppoll(w.fds[:], timeout, nil); err != nil || n == 0 {
		return false // a signal counts as a timeout: the loop looks and comes back
	}
	// Take the edges off the ready list, else they would end the next sleep as well.
	n, err := unix.EpollWait(w.epfd, w.events[:], 0)
	if err != nil {
		return false
	}
	for i := range n {
		if e := &w.events[i]; e.Events&(unix.EPOLLERR|unix.EPOLLHUP) != 0 {
			w.quiet(int(e.Fd))
		}
	}
	return n > 0
}

// quiet keeps the socket of an interface that went down or away from ending every sleep: its error
// is taken off it. When there is none to take, the socket is beyond repair and not waited for any
// more; should its port live, it is looked at every interval.
func (w *waiter) quiet(fd int) {
	e, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil || e != 0 {
		return // taken; or an eventfd, which wakes once for each write whatever its state
	}
	_ = w.remove(fd) // it is there
	w.deaf = true
}

// sleep blocks the worker until something wants it. Precondition: the iteration just done found
// nothing to do.
func (w *worker) sleep() {
	defer w.up.Awake(w.id)
	if !w.up.Sleep(w.id) {
		return
	}
	w.waiter.asleep.Store(true)
	defer w.waiter.asleep.Store(false)
	defer w.kernelsAwake()
	if w.kernelsWait() {
		return
	}
	left := w.nextDeadline().Sub(w.now)
	if left <= 0 || w.mail.full.Load() {
		return
	}
	w.count.Sleeps++
	woken := w.waiter.block(left)
	slept := w.clock()
	w.count.Asleep += slept.Sub(w.now)
	w.now = slept
	if woken {
		w.count.Wakes++
		w.lastWork = slept // what woke us may bring more: poll for a while
	}
}
