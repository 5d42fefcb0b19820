package softdev

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"opentoe/pmd/frame"
	"opentoe/ports"
	"opentoe/tcpoffload/wire"
)

// memBuffer is the size of a frame's buffer in octets: no power of two, for then the headers of all
// frames would lie in the same few cache sets, as a driver's do not.
const memBuffer = 2304

// memRing carries buffers from one thread to another: single producer, single consumer.
type memRing struct {
	slot []([]byte)
	_    [64]byte
	head atomic.Uint64 // consumer's
	_    [64]byte
	tail atomic.Uint64 // producer's
	_    [64]byte
}

func newMemRing(size int) *memRing { return &memRing{slot: make([][]byte, size)} }

func (r *memRing) put(b []byte) bool {
	t := r.tail.Load()
	if t-r.head.Load() == uint64(len(r.slot)) {
		return false
	}
	r.slot[t%uint64(len(r.slot))] = b
	r.tail.Store(t + 1)
	return true
}

func (r *memRing) get() ([]byte, bool) {
	h := r.head.Load()
	if h == r.tail.Load() {
		return nil, false
	}
	b := r.slot[h%uint64(len(r.slot))]
	r.head.Store(h + 1)
	return b, true
}

// memQueue is one end of a wire in memory: a ports.Queue for one thread. Buffers travel by
// reference and come back by a ring of their own, so nothing is copied or allocated.
type memQueue struct {
	peer  *memQueue
	in    *memRing // frames for us
	empty *memRing // our buffers, empty
	own   [][]byte // of empty, given back without having been sent
	fd    int      // eventfd that tells us of frames, -1 for none

	// Impairments of what we send, drawn from rng.
	rng                          *rand.Rand
	loss, duplication, disorder  float64
	delayed                      []byte // a frame that the next one overtakes
	watch                        func(b []byte)
	sent, lost, doubled, swapped int
}

// newMemWire returns the two ends of a wire with room for size frames each way.
func newMemWire(t testing.TB, size int, events bool) (a, b *memQueue) {
	end := func() *memQueue {
		q := &memQueue{in: newMemRing(size), empty: newMemRing(2 * size), fd: -1}
		for range 2 * size {
			q.empty.put(make([]byte, 0, memBuffer))
		}
		if events {
			fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
			require.NoError(t, err)
			t.Cleanup(func() { unix.Close(fd) })
			q.fd = fd
		}
		return q
	}
	a, b = end(), end()
	a.peer, b.peer = b, a
	return a, b
}

func (q *memQueue) impair(seed uint64, loss, duplication, disorder float64) {
	q.rng = rand.New(rand.NewPCG(seed, 1))
	q.loss, q.duplication, q.disorder = loss, duplication, disorder
}

func (q *memQueue) Receive(b *frame.Burst) int {
	b.Truncate(0)
	for b.Room() > 0 {
		data, ok := q.in.get()
		if !ok {
			break
		}
		b.Push().Data = data
	}
	if b.Len() == 0 && q.fd >= 0 {
		// Dry: take the readiness back, then look again, as a driver does with its interrupt.
		var n [8]byte
		unix.Read(q.fd, n[:])
		if data, ok := q.in.get(); ok {
			b.Push().Data = data
		}
	}
	return b.Len()
}

func (q *memQueue) Alloc(b *frame.Burst, n int) int {
	n = min(n, b.Room())
	for i := range n {
		data, ok := q.buffer()
		if !ok {
			return i
		}
		f := b.Push()
		f.Data, f.Handle = data[:0], memOwn
	}
	return n
}

func (q *memQueue) buffer() ([]byte, bool) {
	if last := len(q.own) - 1; last >= 0 {
		b := q.own[last]
		q.own = q.own[:last]
		return b, true
	}
	return q.empty.get()
}

func (q *memQueue) Transmit(b *frame.Burst) int {
	sent := 0
	for i := range b.Len() {
		if q.send(b.At(i).Data) {
			sent++
		}
	}
	b.Truncate(0)
	if sent > 0 && q.peer.fd >= 0 {
		unix.Write(q.peer.fd, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	}
	return sent
}

func (q *memQueue) send(data []byte) bool {
	q.sent++
	if q.watch != nil {
		q.watch(data)
	}
	if q.rng != nil {
		switch {
		case q.rng.Float64() < q.loss:
			q.lost++
			q.own = append(q.own, data[:0])
			return true
		case q.rng.Float64() < q.duplication:
			if again, ok := q.buffer(); ok {
				q.doubled++
				q.push(append(again[:0], data...))
			}
		case q.delayed == nil && q.rng.Float64() < q.disorder:
			q.swapped++
			q.delayed = data
			return true
		}
	}
	ok := q.push(data)
	if late := q.delayed; late != nil {
		q.delayed = nil
		q.push(late)
	}
	return ok
}

func (q *memQueue) push(data []byte) bool {
	if q.peer.in.put(data) {
		return true
	}
	q.own = append(q.own, data[:0])
	return false
}

// Free gives received frames back to the end that allocated them, and our own to ourselves.
func (q *memQueue) Free(b *frame.Burst) {
	for i := range b.Len() {
		if f := b.At(i); f.Handle == memOwn {
			q.own = append(q.own, f.Data[:0])
		} else {
			q.peer.empty.put(f.Data[:0])
		}
	}
	b.Truncate(0)
}

// memOwn marks frames that this end allocated and did not send.
const memOwn = 1

var _ ports.Queue = (*memQueue)(nil)

// Addresses of the two ends in tests.
var (
	macs  = [2]wire.MAC{{2, 0, 0, 0, 0, 1}, {2, 0, 0, 0, 0, 2}}
	addr4 = [2]netip.Addr{netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("10.9.0.2")}
	addr6 = [2]netip.Addr{netip.MustParseAddr("fd09::1"), netip.MustParseAddr("fd09::2")}
)

// testPort returns the port of end i; with static set it knows the other end's MAC.
func testPort(t testing.TB, i int, static bool) *ports.Port {
	cfg := ports.Config{
		Name: fmt.Sprintf("mem%d", i), MAC: macs[i], MTU: 1500, Workers: 1,
		Addresses: []netip.Prefix{netip.PrefixFrom(addr4[i], 24), netip.PrefixFrom(addr6[i], 64)},
	}
	if static {
		cfg.Neighbours = []ports.Neighbour{{Addr: addr4[1-i], MAC: macs[1-i]}, {Addr: addr6[1-i], MAC: macs[1-i]}}
	}
	p, err := ports.New(cfg)
	require.NoError(t, err)
	return p
}
