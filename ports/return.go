package ports

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"opentoe/tcpoffload/vtime"
)

// Return is the way back for frames that were taken from the kernel's own interface and turn out not to be
// the TOE's: an exception path by which nothing comes down, because the kernel sends for itself.
type Return struct {
	ends    []*exception
	running sync.WaitGroup
}

// NewReturn gives each of the workers an end. inject hands one frame to the kernel; it is called on a
// goroutine for each worker.
func NewReturn(workers int, limit Rate, inject func(b []byte) error) (*Return, error) {
	if workers < 1 || limit.Frames > maxRate || limit.Octets > maxRate {
		return nil, fmt.Errorf("ports: return of frames to the kernel: %w", ErrInvalid)
	}
	r := &Return{}
	start := time.Now()
	for range workers {
		e, err := newException(limit.share(workers), 0, func() vtime.Time { return vtime.Time(time.Since(start)) })
		if err != nil {
			return nil, errors.Join(fmt.Errorf("ports: return of frames to the kernel: %w", err), r.Close())
		}
		r.ends = append(r.ends, e)
		r.running.Go(func() { e.feed(inject) })
	}
	return r, nil
}

// End returns worker w's end. Precondition: 0 <= w < workers.
func (r *Return) End(w int) KernelEnd { return r.ends[w] }

// Counters returns the sum over the workers.
func (r *Return) Counters() (c KernelCounters) {
	for _, e := range r.ends {
		e.counters(&c)
	}
	return c
}

// Close ends it. Precondition: no worker uses its end any more.
func (r *Return) Close() error {
	var errs []error
	for _, e := range r.ends {
		close(e.quit)
	}
	r.running.Wait()
	for _, e := range r.ends {
		errs = append(errs, unix.Close(e.wakeFD))
	}
	r.ends = nil
	return errors.Join(errs...)
}
