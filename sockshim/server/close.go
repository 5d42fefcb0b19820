package server

import (
	"sync/atomic"

	"opentoe/sockshim/shm"
	"opentoe/toe"
)

// Notify carries out an upcall.
func (l *layer) Notify(id toe.SockID, e toe.Event) {
	sh, n := l.find(id)
	if sh == nil {
		return
	}
	s, p := sh.sock(n), sh.slot(n)
	switch e.Kind {
	case toe.EventReadable:
		if sh.readable(s, p, e.Pos) {
			sh.noteQuiet(n)
			sh.wake(n)
		}
		if s.kept {
			sh.show(n)
		}
	case toe.EventAcked:
		sh.acked(n, e.Pos)
	case toe.EventEstablished:
		s.state = sockOpen
		if e.Flow != nil {
			setFlow(p, e.Flow)
		}
		sh.setState(n, shm.SlotEstablished)
	case toe.EventPeerClose:
		s.rxEOF = true
		sh.readable(s, p, e.Pos)
		atomic.OrUint32(&p.RxFlags, shm.RxEOF|shm.RxFIN)
		sh.wake(n)
		if s.kept {
			sh.show(n)
		}
	case toe.EventUrgent:
		if e.Pos > atomic.LoadUint64(&p.RxUrg) {
			atomic.StoreUint64(&p.RxUrg, e.Pos)
			s.urgentDue = true
			sh.wake(n)
		}
	case toe.EventSent:
		sh.sent(n, e.Pos)
	case toe.EventSndBuf:
		sh.tuned(n, e.Pos)
	case toe.EventFinished:
		sh.finished(n, e.End)
	}
}

// readable publishes rx_prod and reports whether it moved.
func (sh *share) readable(s *sock, p *shm.Slot, pos uint64) bool {
	if pos <= s.rxProd || !s.held {
		return false
	}
	if pos > s.rxEnd && !sh.dead {
		panic("server: device announced octets that it has not placed")
	}
	s.rxProd = pos
	atomic.StoreUint64(&p.RxProd, pos)
	return true
}

// finished takes the device's last word about a connection.
func (sh *share) finished(n uint32, end toe.End) {
	s, p := sh.sock(n), sh.slot(n)
	s.tid = 0
	s.state = sockEnded
	sh.w.stats.Ends[min(int(end), len(sh.w.stats.Ends)-1)]++
	if s.kept {
		sh.abort(n) // nobody has heard of it
		return
	}
	if !s.held {
		sh.freeSlot(n)
		return
	}
	if errno := errnoOf(end, s.rxEOF && !s.txShut); errno != 0 {
		atomic.StoreUint32(&p.Error, uint32(errno))
		atomic.OrUint32(&p.RxFlags, shm.RxReset)
	} else {
		atomic.OrUint32(&p.RxFlags, shm.RxEOF)
	}
	atomic.OrUint32(&p.TxFlags, shm.TxClosed)
	sh.setState(n, shm.SlotClosed)
}

// shutdown carries out SHUTDOWN.
func (sh *share) shutdown(n uint32, how uint32) {
	s, p := sh.sock(n), sh.slot(n)
	if s.state != sockOpen {
		return
	}
	if how&shm.ShutWR != 0 && !s.txShut {
		sh.txData(n, false)
		if sh.dead {
			return
		}
		s.txShut = true
		atomic.OrUint32(&p.TxFlags, shm.TxClosed)
		if s.tid != 0 {
			sh.w.dev.SendFIN(s.tid)
		}
	}
	if how&shm.ShutRD != 0 {
		// As in Linux, what still comes can be read; the end shows when it is read up.
		atomic.OrUint32(&p.RxFlags, shm.RxEOF)
	}
	sh.wake(n)
}

// close carries out CLOSE_CON_REQ: nobody holds a descriptor any more. Unread octets turn the
// close into a reset, as in Linux.
func (sh *share) close(n uint32) {
	s := sh.sock(n)
	switch s.state {
	case sockListening:
		s.stopping, s.held = true, false
	case sockListen:
		sh.closeListener(n)
	case sockOpening:
		sh.abort(n)
	case sockEnded:
		sh.dropFromBacklog(n)
		s.held = false
		sh.freeSlot(n)
	case sockOpen:
		if !s.held {
			return
		}
		sh.dropFromBacklog(n)
		sh.rxAck(n)
		sh.shutdown(n, shm.ShutWR)
		if sh.dead {
			return
		}
		if s.rxCons != s.rxProd {
			sh.abort(n)
			return
		}
		s.held = false
		sh.disclaim(n)
		sh.freeRx(s, sh.slot(n), s.rxEnd)
		sh.w.dev.Release(s.tid)
		sh.w.stats.Closes++
	}
}

// abort resets the connection and gives the slot back.
func (sh *share) abort(n uint32) {
	s := sh.sock(n)
	switch s.state {
	case sockListening, sockListen:
		sh.close(n)
	case sockOpening, sockOpen, sockEnded:
		if s.tid != 0 {
			sh.w.dev.SendRST(s.tid)
			sh.w.stats.Aborts++
		}
		sh.dropFromBacklog(n)
		s.tid, s.held, s.state = 0, false, sockEnded
		sh.freeSlot(n)
	}
}

// dropFromBacklog corrects the backlog for a connection that ends unaccepted.
func (sh *share) dropFromBacklog(n uint32) {
	s := sh.sock(n)
	if !s.unaccepted() {
		return
	}
	s.accepted = true
	if s.kept {
		sh.unkeep(n)
		return
	}
	s.listener.queued.Add(-1)
	if !s.uncounted {
		sh.w.dev.Accepted(sh.w.id, s.listener.id, 1)
	}
}

// closeListener stops a listener. Its slot is free when every worker has heard of it, so that who
// closes can wait until nobody is let in any more.
func (sh *share) closeListener(n uint32) {
	if s := sh.sock(n); !s.stopping {
		s.stopping, s.held = true, false
		sh.disclaim(n)
		sh.w.l.unlisten(s.listener)
	}
}

// forget ends listener ls on this worker: what it has established and nobody has accepted is reset.
// What was accepted before is not: the reply may lie in any client's queue.
func (w *worker) forget(ls *listener) {
	delete(w.listeners, ls.id)
	w.drainAll()
	if sh := w.share(ls.reg); sh != nil {
		sh.abortUnaccepted(ls)
	}
}

// abortUnaccepted resets what ls has established on this share and nobody has accepted.
func (sh *share) abortUnaccepted(ls *listener) {
	for i := range sh.seen.Load() {
		n := sh.slotBase + i
		if s := sh.sock(n); s.listener == ls && s.unaccepted() {
			sh.abort(n)
		}
	}
}
