package ports_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/pmd/frame"
	"opentoe/ports"
	"opentoe/tcpoffload/wire"
)

var (
	ourMAC   = wire.MAC{2, 0, 0, 0, 0, 1}
	peerMAC  = wire.MAC{2, 0, 0, 0, 0, 2}
	otherMAC = wire.MAC{2, 0, 0, 0, 0, 3}
	our4     = addr("10.99.0.1")
	peer4    = addr("10.99.0.2")
	our6     = addr("fd99::1")
	peer6    = addr("fd99::2")
)

func addr(s string) wire.Addr { return wire.AddrFrom(netip.MustParseAddr(s)) }

// heap is a ports.Queue whose buffers come from the heap. It counts those not given back.
type heap struct {
	room  int // octets of a buffer
	limit int // buffers at a time
	out   int // buffers with the user
	pool  [][]byte
}

func newHeap() *heap { return &heap{room: 2048, limit: 1 << 20} }

func (q *heap) Receive(b *frame.Burst) int { b.Truncate(0); return 0 }

func (q *heap) Alloc(b *frame.Burst, n int) int {
	for i := range n {
		if q.out == q.limit || b.Room() == 0 {
			return i
		}
		q.out++
		f := b.Push()
		if last := len(q.pool) - 1; last >= 0 {
			f.Data = q.pool[last][:0]
			q.pool = q.pool[:last]
		} else {
			f.Data = make([]byte, 0, q.room)
		}
	}
	return n
}

func (q *heap) Transmit(b *frame.Burst) int {
	n := b.Len()
	q.Free(b)
	return n
}

func (q *heap) Free(b *frame.Burst) {
	q.out -= b.Len()
	for _, f := range b.Frames() {
		q.pool = append(q.pool, f.Data[:0])
	}
	b.Truncate(0)
}

func config() ports.Config {
	return ports.Config{
		Name: "toe0", MAC: ourMAC, MTU: 1500, Workers: 1,
		Addresses: []netip.Prefix{netip.MustParsePrefix("10.99.0.1/24"), netip.MustParsePrefix("fd99::1/64")},
		Routes: []ports.Route{
			{Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("10.99.0.254")},
			{Dst: netip.MustParsePrefix("192.0.2.0/24"), Via: netip.MustParseAddr("10.99.0.253")},
			{Dst: netip.MustParsePrefix("::/0"), Via: netip.MustParseAddr("fd99::fe")},
		},
	}
}

func newPort(t testing.TB, change func(*ports.Config)) *ports.Port {
	t.Helper()
	cfg := config()
	if change != nil {
		change(&cfg)
	}
	p, err := ports.New(cfg)
	require.NoError(t, err)
	return p
}
