package server

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"opentoe/sockshim/shm"
)

// An eventfd is the one thing of a client that a worker touches and that could hold it up: the
// client shares its file description, can make it blocking again and fill its counter, and then a
// write waits for a read. Nothing but a write signals an eventfd, so a watchdog reads it when a
// write does not return, and the client's region ends.

const (
	watchdogTick = 10 * time.Millisecond // a write that spans two ticks is looked into
	watchdogIdle = 100                   // ticks without a write after which the watchdog sleeps
)

// signaller is what a worker says about the eventfd that it is writing.
type signaller struct {
	turn    atomic.Uint64          // odd while inside a write
	to      atomic.Pointer[region] // valid while turn is odd
	queue   atomic.Int32           // index in to.eqs
	watched atomic.Bool            // the watchdog is awake
	kick    chan struct{}          // wakes it
}

// signal writes the eventfd of r's event queue i. [worker]
func (w *worker) signal(r *region, i int, fd int) {
	g := &w.signaller
	g.to.Store(r)
	g.queue.Store(int32(i))
	g.turn.Add(1)
	// Only now: a watchdog that is about to sleep looks at turn after it has said so.
	if !g.watched.Load() && g.watched.CompareAndSwap(false, true) {
		select {
		case g.kick <- struct{}{}:
		default:
		}
	}
	shm.SignalEventFD(fd)
	g.turn.Add(1)
	w.stats.Signals++
}

// watch frees the worker from writes that do not return, until stop is closed. It sleeps while the
// worker writes nothing.
func (g *signaller) watch(stop <-chan struct{}) {
	for {
		select {
		case <-g.kick:
		case <-stop:
			return
		}
		ticker := time.NewTicker(watchdogTick)
		last, idle := g.turn.Load(), 0
		for g.watched.Load() {
			select {
			case <-ticker.C:
			case <-stop:
				ticker.Stop()
				return
			}
			turn := g.turn.Load()
			switch {
			case turn != last:
				last, idle = turn, 0
			case turn%2 == 1:
				g.free(turn)
			default:
				if idle++; idle == watchdogIdle {
					g.watched.Store(false)
					if g.turn.Load() != turn && g.watched.CompareAndSwap(false, true) {
						idle = 0 // a write has begun that took us for awake
					}
				}
			}
		}
		ticker.Stop()
	}
}

// writable reports whether a write to the eventfd would return: its counter is not full.
func writable(fd int) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n == 1 && fds[0].Revents&unix.POLLOUT != 0
}

// free ends the write under way, the one of the given turn, by reading the eventfd, and the region of
// the client that did this.
func (g *signaller) free(turn uint64) {
	r, i := g.to.Load(), g.queue.Load()
	// The number is the eventfd's as long as the write lasts: if it has ended, the duplicate may be of
	// anything.
	fd, err := unix.FcntlInt(uintptr(r.eqs[i].fd.Load()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if g.turn.Load() != turn || writable(fd) {
		return // nobody holds the worker up: its thread is waiting for a processor
	}
	// The client may empty the counter before us, and may have made reads wait: this one does not.
	_, _ = unix.Preadv2(fd, [][]byte{make([]byte, 8)}, -1, unix.RWF_NOWAIT)
	if r.stuck.CompareAndSwap(false, true) {
		r.violated(violationEvent)
	}
}
