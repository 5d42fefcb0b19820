package loopdev

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
	"opentoe/toe"
)

// worker is a locked OS thread with the connections that SteerConnect has given it, both ends of each.
type worker struct {
	dev    *Device
	id     int
	epfd   int // under mu but for the worker; -1 while it does not run
	wakefd int // ends the worker's sleep for Post; under mu

	up      toe.UpperLayer
	stop    bool          // worker only
	done    chan struct{} // closed when the worker has ended
	running atomic.Bool

	mu     sync.Mutex
	posted []func(vtime.Time)
	signal atomic.Bool // posted is not empty

	// Worker only.
	conns  map[toe.TID]*conn
	flows  map[wire.Flow]toe.TID
	active []*conn // have something to do in this iteration
	spare  []*conn
	last   toe.TID // number of the last connection end
	buf    []byte
	start  time.Time
}

// begin starts the worker.
func (w *worker) begin(up toe.UpperLayer) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var err error
	if w.epfd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("loopdev: epoll: %w", err)
	}
	if w.wakefd, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		unix.Close(w.epfd)
		w.epfd = -1
		return fmt.Errorf("loopdev: eventfd: %w", err)
	}
	if err = w.watch(w.wakefd); err != nil {
		unix.Close(w.epfd)
		unix.Close(w.wakefd)
		w.epfd = -1
		return err
	}
	w.up, w.stop, w.done = up, false, make(chan struct{})
	w.conns, w.flows = map[toe.TID]*conn{}, map[wire.Flow]toe.TID{}
	w.buf, w.start = make([]byte, 64<<10), time.Now()
	w.active, w.spare, w.posted = nil, nil, nil
	w.signal.Store(false)
	w.running.Store(true)
	go w.work()
	return nil
}

// end resets every connection and stops the worker.
func (w *worker) end() error {
	if err := w.do(func(vtime.Time) { w.stop = true }); err != nil {
		return err
	}
	<-w.done
	w.mu.Lock()
	defer w.mu.Unlock()
	unix.Close(w.epfd)
	unix.Close(w.wakefd)
	w.epfd = -1 // RemoveWakeFD may still come
	return nil
}

// do runs f on the worker and waits.
func (w *worker) do(f func(vtime.Time)) error {
	ran := make(chan struct{})
	if err := w.post(func(now vtime.Time) { f(now); close(ran) }); err != nil {
		return err
	}
	select {
	case <-ran:
		return nil
	case <-w.done:
		// The worker runs what was posted before it ended.
		select {
		case <-ran:
			return nil
		default:
			return toe.ErrDetached
		}
	}
}

// post runs f on the worker.
func (w *worker) post(f func(vtime.Time)) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.running.Load() {
		return toe.ErrDetached
	}
	w.posted = append(w.posted, f)
	w.signal.Store(true)
	_, _ = unix.Write(w.wakefd, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	return nil
}

func (w *worker) addWakeFD(fd int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.epfd < 0 {
		return toe.ErrDetached
	}
	return w.watch(fd)
}

func (w *worker) watch(fd int) error {
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(fd)}
	if err := unix.EpollCtl(w.epfd, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return fmt.Errorf("loopdev: wake descriptor: %w", err)
	}
	return nil
}

func (w *worker) removeWakeFD(fd int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.epfd < 0 {
		return toe.ErrDetached
	}
	if err := unix.EpollCtl(w.epfd, unix.EPOLL_CTL_DEL, fd, nil); err != nil {
		return fmt.Errorf("loopdev: wake descriptor: %w", err)
	}
	return nil
}

// work is the thread: call the upper layer, move bytes, sleep when there is nothing to do.
func (w *worker) work() {
	runtime.LockOSThread()
	events := make([]unix.EpollEvent, 64)
	idle, awake := 0, 64
	if w.dev.cfg.Lag > 0 {
		awake = 4
	}
	for {
		now := vtime.Time(time.Since(w.start))
		n := w.runPosted(now)
		if w.stop {
			break
		}
		n += w.up.Poll(w.id, now)
		w.pause()
		n += w.pump()
		w.pause()
		if idle++; n > 0 {
			idle = 0
		}
		// A few empty rounds spare the sleep between the messages of a conversation.
		if idle < awake || !w.up.Sleep(w.id) {
			continue
		}
		if len(w.active) == 0 && !w.signal.Load() {
			_, _ = unix.EpollWait(w.epfd, events, -1)
		} else if len(w.active) > 0 {
			_, _ = unix.EpollWait(w.epfd, events, 1) // a reader's memory is short
		}
		w.up.Awake(w.id)
		idle = 0
	}
	w.resetAll()
	// Whoever posts from now on is told; whoever posted before is served.
	w.mu.Lock()
	w.running.Store(false)
	w.mu.Unlock()
	w.runPosted(vtime.Time(time.Since(w.start)))
	close(w.done)
}

// pause makes one turn in four late: what a program does next then comes before what it did has an effect.
func (w *worker) pause() {
	if lag := w.dev.cfg.Lag; lag > 0 && rand.IntN(4) == 0 {
		time.Sleep(rand.N(lag))
	}
}

func (w *worker) runPosted(now vtime.Time) int {
	if !w.signal.Load() {
		return 0
	}
	w.mu.Lock()
	list := w.posted
	w.posted = nil
	w.signal.Store(false)
	w.mu.Unlock()
	for _, f := range list {
		f(now)
	}
	return len(list)
}
