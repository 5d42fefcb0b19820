package server

import (
	"sync/atomic"

	"opentoe/sockshim/shm"
	"opentoe/tcpoffload/vtime"
	"opentoe/toe"
)

// sockState is the private state of a slot. The client's view of it is slot.State.
type sockState uint8

const (
	sockFree      sockState = iota // in the pool
	sockLent                       // in the loan, with the client, or declined
	sockListening                  // ListenStart was asked and has not answered
	sockListen                     // a listener
	sockOpening                    // SYN sent
	sockOpen                       // both streams exist
	sockEnded                      // the device has finished with it; the client still holds it
)

// sock is what the server believes about a slot. It belongs to the slot's worker. Fields above the
// gap are touched per segment.
type sock struct {
	tid    toe.TID // 0: the device knows nothing of it
	rxProd uint64  // readable up to here
	rxCons uint64  // read up to here, as far as we know; chunks before are free
	rxTold uint64  // and so the device was told
	rxEnd  uint64  // placed up to here, holes included
	txProd uint64  // written up to here, as far as we were told and checked
	txCons uint64  // acknowledged up to here
	txSeen uint64  // fetched up to here: beyond it nothing was ever sent
	txTold uint64  // sent up to here, as the device has said for the low-water mark
	rxDir  uint32  // reference that we published
	txDir  uint32  // reference that the client published and we checked
	gen    uint32
	state  sockState
	held   bool // a client holds, or will hold, a descriptor; else the slot frees itself
	waking bool // stands in worker.wakes
	quiet  bool // stands in worker.quiet
	kept   bool // stands in share.kept: the program does not know of it yet

	txLimit   uint64 // octets that the client may be ahead of txCons; only grows
	eorCons   uint32 // borders of messages taken
	txFixed   bool   // the program set SO_SNDBUF: txLimit does not grow with use
	early     bool   // Fast Open: octets may be written before the handshake ends
	rxEOF     bool   // the peer's FIN was told
	txShut    bool   // our FIN was asked for
	opened    bool   // by its client, with a cookie that is its own for sure
	accepted  bool   // valid only if listener != nil: a client has taken it
	uncounted bool   // was kept back: the device does not count it in the listener's queue
	shared    bool   // a probe gave it to a second process
	orderly   bool   // CLOSE_SHARED or BYE was seen: its end is a close, not a death
	credit    bool   // stands in share.credit
	stopping  bool   // closed while listening had not been answered
	signals   uint8  // shm.SignalURG, SignalIO: what signalTo wants to hear by signal
	listener  *listener
	signalTo  *client // valid only if signals != 0
	urgentDue bool    // the mark of the peer has moved, and nobody was signalled
	owner     *region // of the client that opened or accepted it

	pacingBound uint64       // octets per second: the policy's, of what the program may set; 0 none
	hold        *reservation // the port in toed's namespace; nil: the placeholder has it there
	cookie      uint64       // SO_COOKIE of the placeholder; 0 not known
	looked      uint64       // txCons when a closed connection was last looked at,
	looks       uint8        // so many times since it moved
	lastWoken   uint8        // listener: event queue that heard of it last, of those of which one is enough
	keptUntil   vtime.Time   // valid only if kept
	asked       uint64       // EqMask when changes were made of which the waiters have not been woken
}

// unaccepted reports whether s waits in an accept queue: it lives and dies with its listener.
func (s *sock) unaccepted() bool { return s.listener != nil && !s.accepted && s.state >= sockOpen }

// reset makes s a fresh socket in the given state and keeps its generation.
func (s *sock) reset(state sockState) { *s = sock{gen: s.gen, state: state} }

// A SockID is worker, region, generation and slot: enough to find the sock without a table, and
// to recognise an upcall for one that is gone.
const (
	idSlotBits   = 24
	idGenBits    = 20
	idRegionBits = 16

	idGenShift    = idSlotBits
	idRegionShift = idGenShift + idGenBits
	idWorkerShift = idRegionShift + idRegionBits
)

func (sh *share) id(slot uint32) toe.SockID {
	gen := sh.sock(slot).gen
	return toe.SockID(uint64(sh.w.id)<<idWorkerShift | uint64(sh.reg.id)<<idRegionShift |
		uint64(gen&(1<<idGenBits-1))<<idGenShift | uint64(slot))
}

// find returns the share and slot of id, or nil when the socket is gone.
// It is called on the thread of the worker that id names.
func (l *layer) find(id toe.SockID) (*share, uint32) {
	w := l.workers[uint64(id)>>idWorkerShift%uint64(len(l.workers))]
	r := uint32(id>>idRegionShift) & (1<<idRegionBits - 1)
	slot := uint32(id) & (1<<idSlotBits - 1)
	if r >= uint32(len(w.shares)) || w.shares[r] == nil {
		return nil, 0
	}
	sh := w.shares[r]
	if !sh.slots.Has(slot) || sh.sock(slot).state < sockListening ||
		sh.sock(slot).gen&(1<<idGenBits-1) != uint32(id>>idGenShift)&(1<<idGenBits-1) {
		return nil, 0
	}
	return sh, slot
}

// sock returns the private half of a slot. Precondition: sh.slots.Has(slot).
func (sh *share) sock(slot uint32) *sock { return &sh.socks[slot-sh.slotBase] }

// slot returns the shared half. Precondition: as sock.
func (sh *share) slot(slot uint32) *shm.Slot { return &sh.mem.Slots[slot] }

// takeSlot takes a slot out of the pool for a socket, with its shared half made fresh, or
// returns 0.
func (sh *share) takeSlot(u shm.Use, state sockState) uint32 {
	n := sh.slots.Take(u)
	if n == 0 {
		return 0
	}
	s, p := sh.sock(n), sh.slot(n)
	s.reset(state)
	s.gen++
	if used := n - sh.slotBase + 1; used > sh.seen.Load() {
		sh.seen.Store(used)
	}
	worker := uint16(sh.w.id)
	*p = shm.Slot{Gen: s.gen, Worker: worker}
	return n
}

// freeSlot gives everything of a socket back. Precondition: the device does not know it any more,
// and no client holds it.
func (sh *share) freeSlot(n uint32) {
	s, p := sh.sock(n), sh.slot(n)
	atomic.StoreUint32(&p.State, shm.SlotFree)
	sh.wake(n)         // whoever still waits sees that it is gone,
	sh.wakeSleepers(n) // and at once: what follows forgets who asked
	sh.freeStreams(n)
	sh.disclaim(n)
	use := shm.InUse
	if s.state == sockLent {
		use = shm.Lent
	} else {
		sh.busy--
		sh.reg.account.give()
		sh.w.l.release(s.hold)
	}
	s.reset(sockFree)
	s.gen++
	if !sh.slots.Give(n, use) {
		panic("server: slot was not in use") // our own accounting
	}
	sh.refill = true
	if sh.busy == 0 && sh.reg.orphan.Load() {
		go sh.reg.srv.reap(sh.reg)
	}
}

// claim notes that slot n is the socket with the cookie.
func (sh *share) claim(n uint32, cookie uint64) {
	s := sh.sock(n)
	if s.cookie = cookie; cookie != 0 {
		if was := uint32(sh.w.cookies.put(s.cookie, sh.placeOf(n))) &^ sure; was != 0 && was != n {
			sh.sock(was).cookie = 0 // it was not that one's
		}
	}
}

// placeOf returns where slot n is in the table of cookies.
func (sh *share) placeOf(n uint32) uint64 {
	if sh.sock(n).opened {
		return place(sh.reg.id, n) | sure
	}
	return place(sh.reg.id, n)
}

// falsely reports whether the cookie that slot n claims is for sure another region's. [worker]
func (sh *share) falsely(n uint32) bool {
	s := sh.sock(n)
	if s.opened {
		return false
	}
	var few [4]uint64
	for _, w := range sh.w.l.workers {
		for _, at := range w.cookies.get(few[:0], s.cookie) {
			if at&sure != 0 && uint32(at>>32) != sh.reg.id {
				return true
			}
		}
	}
	return false
}

// disclaim undoes claim.
func (sh *share) disclaim(n uint32) {
	if s := sh.sock(n); s.cookie != 0 {
		sh.w.cookies.delete(s.cookie, sh.placeOf(n))
		s.cookie = 0
	}
}

// setState publishes a state and has waiters woken.
func (sh *share) setState(n uint32, state uint32) {
	atomic.StoreUint32(&sh.slot(n).State, state)
	sh.wake(n)
}
