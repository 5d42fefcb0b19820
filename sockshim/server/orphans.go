package server

import "time"

// A connection that its program has closed goes on until what was written is delivered, and a region
// whose clients have gone until its connections have. A peer that takes nothing, though it answers,
// could keep both for ever (RFC 9293 §3.8.6.1 lets it); so there is a limit in time, and one in number.

const (
	orphanEvery = 10 * time.Second
	orphanLooks = 12 // looks without progress after which a connection is reset: two minutes
)

// keepOrphans looks after closed connections until stop is closed.
func (s *Server) keepOrphans(stop <-chan struct{}) {
	ticker := time.NewTicker(orphanEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.endStale()
		case <-stop:
			return
		}
	}
}

// endStale resets the closed connections whose peer has taken nothing for too long.
func (s *Server) endStale() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.regions {
		r.l.eachSocket(r, (*share).endStale)
	}
}

// endStale looks once more whether the peer of slot n takes anything. [worker]
func (sh *share) endStale(n uint32) {
	k := sh.sock(n)
	switch {
	case k.state != sockOpen || k.held || k.txCons == k.txProd:
	case k.looks == 0 || k.looked != k.txCons:
		k.looked, k.looks = k.txCons, 1
	case k.looks < orphanLooks:
		k.looks++
	default:
		sh.w.stats.OrphansReset++
		sh.abort(n)
	}
}

// places counts the regions that clients have, will have, or have left connections in: all, and those
// of one user. Precondition: mu is held.
func (s *Server) places(uid uint32) (all, user int) {
	count := func(c *client) {
		all++
		if c.cred.Uid == uid {
			user++
		}
	}
	for c := range s.clients {
		count(c)
	}
	for _, r := range s.regions {
		if len(r.clients) == 0 {
			count(r.owner)
		}
	}
	return all, user
}

// sacrifice resets what is left in the region whose clients have been gone for longest, of the user or
// of any, and reports whether there was one. Sockets that somebody may still hold are spared.
// Precondition: mu is held.
func (s *Server) sacrifice(uid uint32, everybody bool) bool {
	var victim *region
	for _, r := range s.regions {
		if len(r.clients) == 0 && (everybody || r.owner.cred.Uid == uid) && !r.held() &&
			(victim == nil || r.left.Before(victim.left)) {
			victim = r
		}
	}
	if victim == nil {
		return false
	}
	victim.l.eachShare(victim, func(sh *share) {
		sh.w.stats.OrphansReset += uint64(sh.busy)
		sh.end()
	})
	delete(s.regions, victim.id)
	victim.remove()
	return true
}

// held reports whether somebody holds, or may hold, a socket of the region.
func (r *region) held() (held bool) {
	r.l.eachShare(r, func(sh *share) {
		for i := range sh.seen.Load() {
			k := sh.sock(sh.slotBase + i)
			held = held || k.state >= sockListening && k.held
		}
	})
	return held
}
