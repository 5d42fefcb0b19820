package server

import (
	"slices"
	"time"
)

// Chunks are used last freed first, so that those at the bottom of a pool grow cold when a client
// needs less than it once did. Their memory goes back to the system.

const (
	trimEvery = 10 * time.Second // a chunk unused for so long is cold
	trimBatch = 1024             // chunks of one share and turn
)

// keepTrim trims until stop is closed.
func (s *Server) keepTrim(stop <-chan struct{}) {
	ticker := time.NewTicker(trimEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.trim()
		case <-stop:
			return
		}
	}
}

// trim gives up the memory of every chunk that was not used since the call before.
func (s *Server) trim() {
	s.mu.Lock()
	defer s.mu.Unlock()
	var cold []uint32
	for _, r := range s.regions {
		for _, sh := range r.shares {
			cold = cold[:0]
			r.l.on(sh, func() { cold = sh.chunks.TakeCold(cold, trimBatch) })
			if len(cold) > 0 {
				r.discard(cold)
				r.l.on(sh, func() { sh.chunks.Chill(cold) })
			}
		}
	}
}

// discard gives up the memory of the chunks, neighbours in one call. What cannot be given up stays:
// nothing depends on it.
func (r *region) discard(list []uint32) {
	slices.Sort(list)
	for i := 0; i < len(list); {
		n := 1
		for i+n < len(list) && list[i+n] == list[i]+uint32(n) {
			n++
		}
		_ = r.mem.Discard(r.fd, list[i], n)
		i += n
	}
}
