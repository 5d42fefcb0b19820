package softdev

import (
	"fmt"
	"runtime"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"opentoe/pmd/frame"
	"opentoe/tcpoffload"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
	"opentoe/toe"
)

// worker is one thread with its lanes, engine and connections. Everything but mail and waiter is
// used by that thread alone.
type worker struct {
	id    int
	dev   *Device
	up    toe.UpperLayer // while attached
	eng   *tcpoffload.Engine
	lanes []lane // one a port
	clock clock

	now      vtime.Time // the iteration's instant
	lastWork vtime.Time // when an iteration last did something
	busy     bool       // the iteration before this one did
	stopping bool

	out tcpoffload.Output
	in  *lane       // by which the frames in rx came
	rx  frame.Burst // being processed
	hdr wire.Header // scratch; its TTL is constant, its MACs are the next hop's business
	pkt wire.Packet
	seg *tcpoffload.Segment // that arrived last; valid while the burst in rx is processed
	// A SYN that the packet filter has let through is being processed.
	judging    bool
	judgements atomic.Int32    // of those, how many wait in the mailbox
	info       tcpoffload.Info // scratch
	conn       toe.ConnInfo    // scratch

	trains [openTrains]train
	open   int   // trains that may take more
	single train // scratch

	readable  progress
	acked     progress
	listeners map[toe.ListenID]tcpoffload.ListenerID
	unseen    unseen
	opens     opens
	icmp      icmpLimiter
	acks      uint // ActAcked seen, for confirmations
	count     Counters
	live      atomic.Int64 // connections, for CanOffload on other threads

	rerouteAsked atomic.Bool // a walk has been asked for that has not begun
	rerouteFrom  uint32      // where the walk under way goes on; 0: none is

	mail   mailbox
	waiter *waiter
}

func newWorker(d *Device, id int, now clock) (*worker, error) {
	eng, err := d.newEngine(id)
	if err != nil {
		return nil, err
	}
	var lanes []lane
	var fds []int
	deaf := false // a port cannot wake us
	for i := range d.cfg.Ports {
		p := &d.cfg.Ports[i]
		lanes = append(lanes, newLane(i, id, p))
		if len(p.WaitFDs) > 0 && len(p.WaitFDs[id]) > 0 {
			fds = append(fds, p.WaitFDs[id]...)
		} else {
			deaf = true
		}
	}
	wait, err := newWaiter(fds, deaf, vtime.Duration(d.cfg.PollInterval))
	if err != nil {
		return nil, err
	}
	for i := range lanes {
		if k := lanes[i].kernel; k != nil {
			if err := wait.add(k.WaitFD(), wakeEdge); err != nil {
				wait.close()
				return nil, err
			}
		}
	}
	return &worker{
		id:        id,
		dev:       d,
		eng:       eng,
		lanes:     lanes,
		clock:     now,
		now:       now(),
		out:       *tcpoffload.NewOutput(segsCap, actionsCap),
		hdr:       wire.Header{TTL: defaultTTL, DF: true},
		readable:  progress{kind: toe.EventReadable},
		acked:     progress{kind: toe.EventAcked},
		listeners: make(map[toe.ListenID]tcpoffload.ListenerID),
		unseen:    unseen{conns: make([]uint64, d.cfg.connsPerWorker()/64+1)},
		waiter:    wait,
	}, nil
}

// main is the worker's thread. It reports on ready whether the thread could be set up, then runs
// until shutDown. The OS thread ends with it, because its affinity must not leak to other goroutines.
func (w *worker) main(up toe.UpperLayer, ready chan<- error) {
	runtime.LockOSThread()
	if err := w.setUpThread(); err != nil {
		ready <- err
		return
	}
	w.up = up
	w.stopping = false
	w.now = max(w.now, w.clock())
	w.lastWork = w.now
	w.mail.start()
	ready <- nil
	w.loop()
	w.mail.finish(w.now)
	if f := w.dev.cfg.UnregisterThread; f != nil {
		f()
	}
}

// setUpThread pins the thread, makes its timeouts exact and lets the driver know it.
func (w *worker) setUpThread() error {
	cfg := &w.dev.cfg
	if len(cfg.CPUs) > 0 && cfg.CPUs[w.id] >= 0 {
		var set unix.CPUSet
		set.Set(cfg.CPUs[w.id])
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			return fmt.Errorf("pin to processor %d: %w", cfg.CPUs[w.id], err)
		}
	}
	// The default slack of 50 µs would delay every timed wake-up. Not fatal where it is forbidden.
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	if cfg.RegisterThread != nil {
		if err := cfg.RegisterThread(); err != nil {
			return fmt.Errorf("register thread with the driver: %w", err)
		}
	}
	return nil
}

// loop polls until the worker is told to stop, and sleeps when that pays.
func (w *worker) loop() {
	spin := vtime.Duration(w.dev.cfg.Spin)
	adaptive := w.dev.cfg.Poll == Adaptive
	for !w.stopping {
		w.tick()
		w.busy = w.iterate() > 0
		if w.busy {
			w.lastWork = w.now
		} else if adaptive && w.now.Sub(w.lastWork) >= spin && !w.stopping {
			w.sleep()
		}
	}
}

// tick reads the clock, once per iteration, and books the time that the iteration before took.
// The clock never goes back; the engine relies on it.
func (w *worker) tick() {
	now := max(w.clock(), w.now)
	if w.busy {
		w.count.Busy += now.Sub(w.now)
	} else {
		w.count.Idle += now.Sub(w.now)
	}
	w.now = now
}

// iterate does everything there is to do at the instant w.now and returns how much that was:
// frames, messages and functions. The order is the package's contract.
func (w *worker) iterate() int {
	w.count.Iterations++
	work := w.mail.run(w.now)
	if w.stopping {
		return work
	}
	work += w.up.Poll(w.id, w.now)
	w.settle() // the effects of calls
	work += w.receive()
	work += w.fromKernel()
	w.expire()
	work += w.transmit()
	w.flushAll()
	if n := int64(w.eng.Conns()); n != w.live.Load() {
		w.live.Store(n)
	}
	return work
}

// expire lets the engine and the next hops act on time that has passed.
func (w *worker) expire() {
	for range expireRounds {
		if w.now.Before(w.eng.NextDeadline()) {
			break
		}
		w.eng.Expire(w.now, &w.out)
		w.settle()
	}
	for i := range w.lanes {
		l := &w.lanes[i]
		for _, hop := range l.host.Expire(w.now, l.queue, &l.tx) {
			w.hopFailed(l, hop)
		}
	}
}

// nextDeadline is when the worker has to act even if nothing arrives.
func (w *worker) nextDeadline() vtime.Time {
	if w.eng.Pending() {
		return w.now
	}
	next := w.eng.NextDeadline()
	for i := range w.lanes {
		next = min(next, w.lanes[i].host.NextDeadline())
	}
	return next
}

// settle carries out what the engine has put out: upcalls for actions, frames for segments.
func (w *worker) settle() {
	if len(w.out.Actions) > 0 {
		w.act(nil)
		w.announce()
	}
	if len(w.out.Segs) > 0 {
		w.emit()
	}
}

// shutDown resets every connection, so that no peer waits for one, and ends the loop. [worker]
func (w *worker) shutDown(vtime.Time) {
	w.settle()
	for id := range w.listeners {
		w.unlisten(id)
	}
	for h, ok := w.eng.Next(0); ok; h, ok = w.eng.Next(h.Index() + 1) {
		cookie, _ := w.eng.Cookie(h)
		w.abort(h)
		w.settle()
		if cookie != 0 {
			w.up.Notify(toe.SockID(cookie), toe.Event{Kind: toe.EventFinished, End: toe.EndDeviceGone})
		}
	}
	for w.transmit() > 0 { // resets of half-open connections
	}
	w.flushAll()
	for i := range w.lanes {
		l := &w.lanes[i]
		l.host.Close(l.queue)
		l.queue.Free(&l.blank)
	}
	w.stopping = true
}
