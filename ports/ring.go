package ports

import (
	"encoding/binary"
	"os"
	"sync/atomic"

	"opentoe/tcpoffload/vtime"
	"opentoe/toe"
)

// record is one mirrored frame.
type record struct {
	now     vtime.Time
	port    int // its place among the mirror's ports
	dir     toe.Direction
	origLen int    // octets on the wire
	data    []byte // at most origLen octets, valid until the ring is advanced
}

// A record in the ring: 8 octets of instant, 4 of original length, 4 of kept length with the port and
// the direction above it, then the octets, filled up to a multiple of 8. A record does not wrap:
// where it would, skipMark fills the rest of the ring instead.
const (
	recordHead = 16
	portShift  = 24
	keptMask   = 1<<portShift - 1
	dirBit     = 1 << 31
	skipMark   = 1<<64 - 1
)

// ring is a bounded queue of frames from one thread (put, publish) to another (peek, advance): from a
// worker to the mirror's goroutine, or between a worker and the kernel's interface. Positions run freely
// and are masked on use.
type ring struct {
	buf  []byte // a power of two
	mask uint64

	_        [64]byte
	prod     uint64 // producer's own: end of what is written
	seenCons uint64 // producer's own: cons when it last looked
	// By port, written by the producer: frames offered, and of these frames that found no room.
	seen, lost [maxMirrored]atomic.Uint64
	_          [64]byte
	head       atomic.Uint64 // end of what is published; written by the producer
	_          [64]byte
	cons       atomic.Uint64 // end of what is consumed; written by the consumer
	_          [64]byte
}

func newRing(size int) *ring {
	r := &ring{buf: make([]byte, size), mask: uint64(size - 1)}
	for i := 0; i < size; i += os.Getpagesize() {
		r.buf[i] = 1 // the page faults happen here and not on the worker
	}
	return r
}

// fits reports whether put has room for a frame of n octets. It is for the producer.
func (r *ring) fits(n int) bool {
	r.seenCons = r.cons.Load()
	need := uint64(recordHead+n+7) &^ 7
	if rest := uint64(len(r.buf)) - r.prod&r.mask; rest < need {
		need += rest
	}
	return r.prod+need-r.seenCons <= uint64(len(r.buf))
}

// put copies a frame into the ring, at most snap octets of it, or counts it as lost.
func (r *ring) put(now vtime.Time, port int, dir toe.Direction, b []byte, snap int) {
	n := min(len(b), snap)
	need := uint64(recordHead+n+7) &^ 7
	at := r.prod & r.mask
	skip := uint64(0)
	if rest := uint64(len(r.buf)) - at; rest < need {
		skip = rest
	}
	if r.prod+skip+need-r.seenCons > uint64(len(r.buf)) {
		r.seenCons = r.cons.Load()
		if r.prod+skip+need-r.seenCons > uint64(len(r.buf)) {
			r.lost[port].Store(r.lost[port].Load() + 1)
			return
		}
	}
	if skip > 0 {
		binary.NativeEndian.PutUint64(r.buf[at:], skipMark)
		r.prod += skip
		at = 0
	}
	kept := uint32(n) | uint32(port)<<portShift
	if dir == toe.Transmit {
		kept |= dirBit
	}
	rec := r.buf[at:][:need]
	binary.NativeEndian.PutUint64(rec, uint64(now))
	binary.NativeEndian.PutUint32(rec[8:], uint32(len(b)))
	binary.NativeEndian.PutUint32(rec[12:], kept)
	copy(rec[recordHead:], b[:n])
	r.prod += need
}

// publish shows the consumer what was put.
func (r *ring) publish() { r.head.Store(r.prod) }

// peek returns the oldest record; ok is false when there is none.
func (r *ring) peek(rec *record) (ok bool) {
	cons := r.cons.Load()
	if cons == r.head.Load() {
		return false
	}
	at := cons & r.mask
	if binary.NativeEndian.Uint64(r.buf[at:]) == skipMark {
		r.cons.Store(cons + uint64(len(r.buf)) - at)
		at = 0
	}
	kept := binary.NativeEndian.Uint32(r.buf[at+12:])
	rec.now = vtime.Time(binary.NativeEndian.Uint64(r.buf[at:]))
	rec.origLen = int(binary.NativeEndian.Uint32(r.buf[at+8:]))
	rec.dir = toe.Direction(kept >> 31)
	rec.port = int(kept >> portShift & (maxMirrored - 1))
	rec.data = r.buf[at+recordHead:][:kept&keptMask]
	return true
}

// advance gives back the record that peek returned.
func (r *ring) advance(rec *record) {
	r.cons.Store(r.cons.Load() + uint64(recordHead+len(rec.data)+7)&^7)
}

// used returns how many octets are published and not consumed.
func (r *ring) used() int { return int(r.head.Load() - r.cons.Load()) }

// empty reports whether nothing is published that was not consumed.
func (r *ring) empty() bool { return r.cons.Load() == r.head.Load() }
