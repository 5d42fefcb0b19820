package sim

import "opentoe/tcpoffload/vtime"

// event is something that will happen: a packet reaches a node, a link has sent its first packet, or a
// call.
type event struct {
	at   vtime.Time
	seq  uint64 // equal times happen in the order in which they were scheduled
	to   node
	p    *packet
	link *Link
	call func()
}

// events is a heap of four children a node: half as deep as a binary one, and what a sift down touches
// lies side by side.
type events []event

func (e *event) before(f *event) bool {
	return e.at < f.at || e.at == f.at && e.seq < f.seq
}

func (q *events) push(e event) {
	h := append(*q, e)
	*q = h
	i := len(h) - 1
	for i > 0 {
		up := (i - 1) / 4
		if !e.before(&h[up]) {
			break
		}
		h[i] = h[up]
		i = up
	}
	h[i] = e
}

func (q *events) pop() event {
	h := *q
	first := h[0]
	n := len(h) - 1
	last := h[n]
	h[n] = event{} // the heap keeps nothing alive
	h = h[:n]
	*q = h
	if n == 0 {
		return first
	}
	i := 0
	for {
		down := 4*i + 1
		if down >= n {
			break
		}
		for c, end := down+1, min(down+4, n); c < end; c++ {
			if h[c].before(&h[down]) {
				down = c
			}
		}
		if !h[down].before(&last) {
			break
		}
		h[i] = h[down]
		i = down
	}
	h[i] = last
	return first
}
