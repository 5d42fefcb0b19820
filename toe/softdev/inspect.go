package softdev

import "opentoe/tcpoffload/vtime"

// inspect runs f on worker i's thread between two poll iterations, or right here while the workers
// do not run, and waits for it. It fails, without running f, when too much waits for the worker
// already. Not for workers. Precondition: i names a worker.
func (d *Device) inspect(i int, f func(w *worker)) error {
	w := d.workers[i]
	d.mu.Lock() // holds off Attach and Detach
	defer d.mu.Unlock()
	if d.attached {
		return d.Do(i, func(vtime.Time) { f(w) })
	}
	f(w)
	return nil
}

// Snapshot returns everything that worker i counts, as of one instant between two iterations; once
// the device is detached, the last values. Not for workers.
func (d *Device) Snapshot(i int) (s Snapshot, err error) {
	if _, err := d.worker(i); err != nil {
		return s, err
	}
	err = d.inspect(i, func(w *worker) {
		s = Snapshot{Now: w.now, Counters: w.count, MIB: *w.eng.MIB(), EngineDrops: *w.eng.Drops()}
		for i := range w.lanes {
			s.Ports = append(s.Ports, w.lanes[i].count)
		}
	})
	return s, err
}
