package ports

import (
	"hash/maphash"
	"math/bits"
	"sync"
	"sync/atomic"

	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// State is that of a neighbour, as in the kernel.
type State uint8

// The states (RFC 4861 §7.3.2; FAILED and PERMANENT are the kernel's).
const (
	StateNone       State = iota // the entry is free
	StateIncomplete              // asked for, no answer yet
	StateReachable               // confirmed within reachableTime
	StateStale                   // known, unconfirmed, unused
	StateDelay                   // known, in use, a confirmation may come by itself
	StateProbe                   // known, in use, asked directly
	StateFailed                  // does not answer
	StatePermanent               // configured
	numStates
)

var stateNames = [numStates]string{
	"NONE", "INCOMPLETE", "REACHABLE", "STALE", "DELAY", "PROBE", "FAILED", "PERMANENT",
}

// String returns the name that `ip neigh` shows.
func (s State) String() string {
	if s < numStates {
		return stateNames[s]
	}
	return "UNKNOWN"
}

// hasMAC reports whether frames can be sent in state s.
func (s State) hasMAC() bool {
	return s == StateReachable || s == StateStale || s == StateDelay || s == StateProbe ||
		s == StatePermanent
}

// A next-hop index is a slot of the table and the generation of the entry in it.
const (
	slotBits = 18
	genBits  = 12
	slotMask = 1<<slotBits - 1
	genMask  = 1<<genBits - 1

	// HopBits is how many bits of a next-hop index a port uses, so that who has several ports can
	// keep the port's number above them.
	HopBits = slotBits + genBits
)

// word is an entry's state in one atomic unit: hardware address (48 bits), generation (12),
// state (4).
type word uint64

func makeWord(mac wire.MAC, gen uint32, s State) word {
	return word(mac[0])<<56 | word(mac[1])<<48 | word(mac[2])<<40 | word(mac[3])<<32 |
		word(mac[4])<<24 | word(mac[5])<<16 | word(gen)<<4 | word(s)
}

func (w word) state() State { return State(w & 0xf) }
func (w word) gen() uint32  { return uint32(w) >> 4 & genMask }
func (w word) mac() wire.MAC {
	return wire.MAC{byte(w >> 56), byte(w >> 48), byte(w >> 40), byte(w >> 32), byte(w >> 24),
		byte(w >> 16)}
}
func (w word) with(s State) word { return w&^0xf | word(s) }

// entry is one neighbour, on a cache line of its own. Any worker changes word by compare-and-swap;
// the address changes only while the state is NONE and the table's mutex is held.
type entry struct {
	word    atomic.Uint64
	changed atomic.Int64 // vtime.Time of the last confirmation, or of the failure
	hi, lo  atomic.Uint64
	next    atomic.Uint32 // slot+1 of the next entry in the bucket; written under the mutex
	_       [28]byte
}

func (e *entry) load() word             { return word(e.word.Load()) }
func (e *entry) cas(old, new word) bool { return e.word.CompareAndSwap(uint64(old), uint64(new)) }
func (e *entry) addr() wire.Addr        { return unhalve(e.hi.Load(), e.lo.Load()) }
func (e *entry) since(now vtime.Time) vtime.Duration {
	return now.Sub(vtime.Time(e.changed.Load()))
}

// longAgo is the time of a failure that nobody remembers.
const longAgo = -1 << 62

// l2Table is the neighbours of one port, shared by its workers. Lookups are lock-free; a new
// neighbour takes the mutex. It holds no pointers besides its two slices.
type l2Table struct {
	seed    maphash.Seed
	entries []entry
	buckets []atomic.Uint32 // slot+1 of the first entry

	mu   sync.Mutex
	used int // entries that were ever used; the ones behind are free
	hand int // where the search for an entry to give up goes on
}

func newL2Table(size int) *l2Table {
	return &l2Table{
		seed:    maphash.MakeSeed(),
		entries: make([]entry, size),
		buckets: make([]atomic.Uint32, 1<<bits.Len(uint(size))),
	}
}

func (t *l2Table) bucket(a *wire.Addr) *atomic.Uint32 {
	return &t.buckets[maphash.Bytes(t.seed, a[:])&uint64(len(t.buckets)-1)]
}

// at returns the entry that idx names and its word, or nil if it has another occupant by now.
func (t *l2Table) at(idx uint32) (*entry, word) {
	slot := idx & slotMask
	if int(slot) >= len(t.entries) {
		return nil, 0
	}
	e := &t.entries[slot]
	w := e.load()
	if w.gen() != idx>>slotBits || w.state() == StateNone {
		return nil, 0
	}
	return e, w
}

// find returns the index of a's entry. A miss while another worker changes the bucket is possible;
// insert looks again.
func (t *l2Table) find(a wire.Addr) (idx uint32, ok bool) {
	hi, lo := halves(a)
	link := t.bucket(&a).Load()
	// A chain can change under the walk, so its length is bounded.
	for range len(t.entries) {
		if link == 0 {
			return 0, false
		}
		e := &t.entries[link-1]
		w := e.load()
		if e.hi.Load() == hi && e.lo.Load() == lo && w.state() != StateNone &&
			e.load().gen() == w.gen() {
			return w.gen()<<slotBits | (link - 1), true
		}
		link = e.next.Load()
	}
	return 0, false
}

// insert returns the index of a's entry and makes one in the given state, last changed at changed,
// if there is none. It is refused when every entry is in use.
func (t *l2Table) insert(now, changed vtime.Time, a wire.Addr, mac wire.MAC, s State) (idx uint32,
	ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if idx, ok := t.find(a); ok {
		return idx, true
	}
	slot, ok := t.vacate(now)
	if !ok {
		return 0, false
	}
	e := &t.entries[slot]
	gen := e.load().gen()%genMask + 1 // 1-4095: index 0 names nothing
	hi, lo := halves(a)
	e.hi.Store(hi)
	e.lo.Store(lo)
	e.changed.Store(int64(changed))
	head := t.bucket(&a)
	e.next.Store(head.Load())
	e.word.Store(uint64(makeWord(mac, gen, s)))
	head.Store(slot + 1)
	return gen<<slotBits | slot, true
}

// vacate returns a free slot, if need be one whose neighbour nobody has used for a while.
// Precondition: mu is held.
func (t *l2Table) vacate(now vtime.Time) (slot uint32, ok bool) {
	if t.used < len(t.entries) {
		t.used++
		return uint32(t.used - 1), true
	}
	for range t.entries {
		if t.hand++; t.hand >= len(t.entries) {
			t.hand = 0
		}
		if e := &t.entries[t.hand]; t.giveUp(now, e) {
			return uint32(t.hand), true
		}
	}
	return 0, false
}

// giveUp frees e if it is unused. Precondition: mu is held.
func (t *l2Table) giveUp(now vtime.Time, e *entry) bool {
	w := e.load()
	switch w.state() {
	case StateNone:
		return true // unlinked already
	case StateStale, StateFailed:
	case StateReachable:
		if e.since(now) <= reachableTime {
			return false
		}
	default:
		return false
	}
	if !e.cas(w, w.with(StateNone)) {
		return false
	}
	t.unlink(e)
	return true
}

// unlink takes e out of its bucket. Precondition: mu is held.
func (t *l2Table) unlink(e *entry) {
	a := e.addr()
	link := t.bucket(&a)
	for n := link.Load(); n != 0; n = link.Load() {
		if f := &t.entries[n-1]; f != e {
			link = &f.next
			continue
		}
		link.Store(e.next.Load())
		return
	}
}

// transition moves idx's entry from one state to another, keeping the hardware address. It reports
// whether it was this caller that did.
func (t *l2Table) transition(now vtime.Time, idx uint32, from, to State) bool {
	e, w := t.at(idx)
	if e == nil || w.state() != from || !e.cas(w, w.with(to)) {
		return false
	}
	if to == StateReachable || to == StateFailed {
		e.changed.Store(int64(now))
	}
	return true
}

// update gives idx's entry a hardware address and a state. Permanent entries stay.
func (t *l2Table) update(now vtime.Time, idx uint32, mac wire.MAC, to State) bool {
	for {
		e, w := t.at(idx)
		if e == nil || w.state() == StatePermanent && to != StatePermanent {
			return false
		}
		e.changed.Store(int64(now))
		if e.cas(w, makeWord(mac, w.gen(), to)) {
			return true
		}
	}
}
