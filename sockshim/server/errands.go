package server

import "sync"

// errands are calls that wait for workers, such as those of the registry, and that a worker
// therefore cannot make itself. They run one at a time, in the order in which they were given: a
// listen that follows a close of the same port has to find the port free.
type errands struct {
	mu      sync.Mutex
	queue   []func()
	running bool // a goroutine is at work
}

// add gives f to the goroutine that runs errands. [any thread, does not wait]
func (e *errands) add(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.queue = append(e.queue, f)
	if !e.running {
		e.running = true
		go e.run()
	}
}

// run ends when there is nothing left to do.
func (e *errands) run() {
	for f := e.next(); f != nil; f = e.next() {
		f()
	}
}

func (e *errands) next() func() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.queue) == 0 {
		e.running = false
		return nil
	}
	f := e.queue[0]
	e.queue = e.queue[1:]
	return f
}
