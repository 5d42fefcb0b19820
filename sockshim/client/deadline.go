package client

import (
	"sync"
	"time"
)

// deadline is a point in time that can be moved while goroutines wait for it.
type deadline struct {
	mu    sync.Mutex
	timer *time.Timer
	ch    chan struct{} // closed when the deadline has passed
}

func newDeadline() deadline { return deadline{ch: make(chan struct{})} }

// passed returns a channel that is closed once the deadline has passed.
func (d *deadline) passed() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ch
}

// set moves the deadline to t; the zero time means none.
func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() {
		<-d.ch // the timer has fired: wait until it has closed the channel
	}
	d.timer = nil
	isClosed := false
	select {
	case <-d.ch:
		isClosed = true
	default:
	}
	if t.IsZero() {
		if isClosed {
			d.ch = make(chan struct{})
		}
		return
	}
	if left := time.Until(t); left > 0 {
		if isClosed {
			d.ch = make(chan struct{})
		}
		ch := d.ch
		d.timer = time.AfterFunc(left, func() { close(ch) })
		return
	}
	if !isClosed {
		close(d.ch)
	}
}
