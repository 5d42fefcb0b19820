package ports

import (
	"opentoe/pmd/frame"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// job is a neighbour that this worker resolves (INCOMPLETE), watches (DELAY) or probes (PROBE).
type job struct {
	idx      uint32
	requests uint8 // sent so far
	nHeld    uint8
	next     vtime.Time              // when to look at it again
	held     [heldPerHop]frame.Frame // frames that wait, oldest first; the host's own
}

// find returns the job for idx, or nil. There are few, and only frames to unresolved neighbours
// ask.
func (h *Host) find(idx uint32) *job {
	for i := range h.jobs {
		if h.jobs[i].idx == idx {
			return &h.jobs[i]
		}
	}
	return nil
}

// start makes a job for idx, or returns nil when there are too many.
func (h *Host) start(idx uint32, next vtime.Time) *job {
	if len(h.jobs) == cap(h.jobs) {
		return nil
	}
	h.jobs = append(h.jobs, job{idx: idx, next: next})
	h.due = min(h.due, next)
	return &h.jobs[len(h.jobs)-1]
}

// watch waits for a confirmation of idx, which just went to DELAY. When there are too many jobs,
// the entry goes back to STALE and the next frame tries again.
func (h *Host) watch(now vtime.Time, idx uint32) {
	j := h.find(idx)
	if j == nil {
		j = h.start(idx, now.Add(delayTime))
	}
	if j == nil {
		h.port.l2.transition(now, idx, StateDelay, StateStale)
	}
}

// hold keeps f until the neighbour e, which idx names and whose word was w, is resolved.
func (h *Host) hold(now vtime.Time, idx uint32, e *entry, w word, f *frame.Frame, q Queue) {
	if w.state() == StateFailed && h.port.cfg.Control == nil && e.since(now) <= negativeTime {
		h.discard(f, q, CountNegative)
		return
	}
	j := h.find(idx)
	if j == nil {
		j = h.start(idx, now)
	}
	if j == nil {
		h.discard(f, q, CountHoldRefused)
		return
	}
	// Not before there is a job: an entry that nobody resolves would be INCOMPLETE for good, and kept.
	h.port.l2.transition(now, idx, StateFailed, StateIncomplete)
	if j.nHeld == heldPerHop {
		h.discard(&j.held[0], q, CountHeldDropped)
		j.nHeld = uint8(copy(j.held[:], j.held[1:]))
	}
	j.held[j.nHeld] = *f
	j.nHeld++
	h.count(CountHeld)
}

// discard gives f back to q and counts it as c.
func (h *Host) discard(f *frame.Frame, q Queue, c Counter) {
	*h.waste.Push() = *f
	q.Free(&h.waste)
	h.count(c)
}

// NextDeadline returns when Expire has work again, at the latest.
func (h *Host) NextDeadline() vtime.Time { return h.due }

// Expire sends the frames whose neighbour has been resolved, repeats requests that were not
// answered, and gives neighbours up after maxRequests. It returns the next hops given up, valid
// until the next call. Frames go to tx as far as there is room; the rest waits for the next call.
func (h *Host) Expire(now vtime.Time, q Queue, tx *frame.Burst) (failed []uint32) {
	h.now = now
	if now < h.due {
		return nil
	}
	h.due, h.failed = vtime.Never, h.failed[:0]
	for i := 0; i < len(h.jobs); {
		j := &h.jobs[i]
		if h.step(now, j, q, tx) {
			h.end(i, q)
			continue
		}
		h.due = min(h.due, j.next)
		i++
	}
	if len(h.jobs) > 0 && (len(h.port.hosts) > 1 || h.port.cfg.Control != nil) {
		h.due = min(h.due, now.Add(sharedPoll))
	}
	return h.failed
}

// end takes job i off the list and drops what it still holds.
func (h *Host) end(i int, q Queue) {
	j, last := &h.jobs[i], len(h.jobs)-1
	for k := range j.held[:j.nHeld] {
		h.discard(&j.held[k], q, CountHeldDropped)
	}
	*j = h.jobs[last]
	h.jobs[last] = job{}
	h.jobs = h.jobs[:last]
}

// Close drops the frames that wait, giving them back to q.
func (h *Host) Close(q Queue) {
	for len(h.jobs) > 0 {
		h.end(len(h.jobs)-1, q)
	}
	h.due = vtime.Never
}

// step moves one job on and reports whether it is done.
func (h *Host) step(now vtime.Time, j *job, q Queue, tx *frame.Burst) (done bool) {
	e, w := h.port.l2.at(j.idx)
	if e == nil {
		return true
	}
	if w.state().hasMAC() && j.nHeld > 0 {
		h.flush(j, w.mac(), tx)
		if j.nHeld > 0 { // tx is full: the next call has an empty one
			j.next = now
			return false
		}
	}
	switch w.state() {
	case StateReachable, StateStale, StatePermanent:
		if j.requests > 0 {
			h.count(CountResolved)
		}
		return true
	case StateFailed:
		if h.port.cfg.Control != nil {
			h.failed = append(h.failed, j.idx)
		}
		return true
	}
	if now < j.next {
		return false
	}
	if c := h.port.cfg.Control; c != nil {
		return h.askKernel(c, now, j, e, w)
	}
	switch w.state() {
	case StateDelay:
		h.port.l2.transition(now, j.idx, StateDelay, StateProbe)
	case StateIncomplete, StateProbe:
		if j.requests == maxRequests {
			if h.port.l2.transition(now, j.idx, w.state(), StateFailed) {
				h.count(CountFailed)
			}
			h.failed = append(h.failed, j.idx)
			return true
		}
	}
	if h.request(e.addr(), w, q, tx) {
		j.requests++
		j.next = now.Add(retransTime)
	} else {
		j.next = now.Add(bufferRetry)
	}
	return false
}

// askKernel asks the kernel for the neighbour of job j, and gives up when the kernel has said nothing for
// long: normally it says itself that the neighbour failed.
func (h *Host) askKernel(c ControlPlane, now vtime.Time, j *job, e *entry, w word) (done bool) {
	if j.requests == maxKernelRequests {
		if h.port.l2.transition(now, j.idx, w.state(), StateFailed) {
			h.count(CountFailed)
		}
		h.failed = append(h.failed, j.idx)
		return true
	}
	c.Resolve(h.port, e.addr())
	j.requests++
	j.next = now.Add(retransTime)
	return false
}

// flush sends the frames of j to mac while there is room.
func (h *Host) flush(j *job, mac wire.MAC, tx *frame.Burst) {
	n := min(int(j.nHeld), tx.Room())
	for i := range j.held[:n] {
		h.address(&j.held[i], mac)
		*tx.Push() = j.held[i]
		h.count(CountHeldSent)
	}
	j.nHeld = uint8(copy(j.held[:], j.held[n:j.nHeld]))
}

// request asks for target: everybody while nothing is known, the neighbour itself when its word w
// has an address to confirm (RFC 4861 §7.3.3, RFC 1122 §2.3.2.1). It reports whether the question
// was sent.
func (h *Host) request(target wire.Addr, w word, q Queue, tx *frame.Burst) bool {
	src, ok := h.port.SourceFor(target)
	if !ok {
		return false
	}
	if target.Is4() {
		dst := wire.BroadcastMAC()
		if w.state().hasMAC() {
			dst = w.mac()
		}
		return h.sendARP(q, tx, dst, wire.ARPRequest, src, wire.MAC{}, target)
	}
	dst, dstMAC := wire.SolicitedNode(target), wire.MulticastMAC(wire.SolicitedNode(target))
	if w.state().hasMAC() {
		dst, dstMAC = target, w.mac()
	}
	return h.sendSolicitation(q, tx, dstMAC, src, dst, target)
}

// learned says that a neighbour's entry changed: a job may wait for it.
func (h *Host) learned() {
	if len(h.jobs) > 0 {
		h.due = 0
	}
}
