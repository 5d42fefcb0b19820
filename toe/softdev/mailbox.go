package softdev

import (
	"fmt"
	"sync"
	"sync/atomic"

	"opentoe/tcpoffload/vtime"
	"opentoe/toe"
)

// mailbox carries functions from any thread to one worker. The worker looks at full once per
// iteration and takes the lock only when it is set, so an empty mailbox costs one load.
type mailbox struct {
	full atomic.Bool // something is in posted

	mu     sync.Mutex
	open   bool               // a worker will look
	posted []func(vtime.Time) // in order of arrival
	spare  []func(vtime.Time) // worker's: the list it ran last, for reuse
}

// put appends f, or fails when no worker will run it, or when limit functions wait already.
func (m *mailbox) put(f func(vtime.Time), limit int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.open {
		return toe.ErrDetached
	}
	if len(m.posted) >= limit {
		return toe.ErrBusy
	}
	m.posted = append(m.posted, f)
	m.full.Store(true)
	return nil
}

// run calls what has been posted and returns how many functions that were. A function posted
// meanwhile waits for the next iteration. [worker]
func (m *mailbox) run(now vtime.Time) int {
	if !m.full.Load() {
		return 0
	}
	m.mu.Lock()
	funcs := m.posted
	m.posted = m.spare[:0]
	m.full.Store(false)
	m.mu.Unlock()
	for i, f := range funcs {
		f(now)
		funcs[i] = nil
	}
	m.spare = funcs
	return len(funcs)
}

// start opens the mailbox: a worker will look from now on.
func (m *mailbox) start() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.open = true
}

// finish closes the mailbox and runs what was accepted before, so that nobody waits in vain.
// [worker]
func (m *mailbox) finish(now vtime.Time) {
	m.mu.Lock()
	m.open = false
	m.mu.Unlock()
	m.run(now)
}

// Post runs f on worker w between two poll iterations, without waiting. It fails with
// toe.ErrDetached when the worker does not run and toe.ErrBusy when too much waits already.
func (d *Device) Post(w int, f func(now vtime.Time)) error {
	wk, err := d.worker(w)
	if err != nil {
		return err
	}
	if err := wk.mail.put(f, maxMailbox); err != nil {
		return fmt.Errorf("softdev: %s: post to worker %d: %w", d.cfg.Name, w, err)
	}
	wk.waiter.wake()
	return nil
}

// Do is Post and waits until f has returned. It must not be called on a worker.
func (d *Device) Do(w int, f func(now vtime.Time)) error {
	done := make(chan struct{})
	if err := d.Post(w, func(now vtime.Time) { f(now); close(done) }); err != nil {
		return err
	}
	<-done
	return nil
}
