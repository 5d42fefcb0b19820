package ports_test

import (
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/pmd/frame"
	"opentoe/ports"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// Workers that fight for a table far too small for their neighbours never send to the wrong one.
func TestWorkersShareTheTable(t *testing.T) {
	const workers, neighbours, rounds = 4, 40, 3000
	p := newPort(t, func(c *ports.Config) { c.Workers, c.MaxNeighbours = workers, 8 })
	address := func(i int) wire.Addr { return wire.AddrFrom4([4]byte{10, 99, 0, byte(100 + i)}) }
	hardware := func(i int) wire.MAC { return wire.MAC{2, 0, 0, 0, 1, byte(100 + i)} }
	var wg sync.WaitGroup
	var sent [workers]int
	for w := range workers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 1))
			h, q := p.Host(w), newHeap()
			var tx, one frame.Burst
			now := vtime.Time(100 * vtime.Second)
			idx, to := uint32(0), 0
			for i := range rounds {
				now = now.Add(vtime.Duration(r.Int64N(int64(vtime.Second))))
				if i%3 == 0 {
					to = r.IntN(neighbours)
					idx, _ = h.NextHop(address(to))
				}
				q.Alloc(&one, 1)
				f := *one.At(0)
				one.Truncate(0)
				f.Data = f.Data[:wire.EthernetLen+wire.IPv4Len]
				ip := wire.IPHeader{Src: our4, Dst: address(to), TTL: 1}
				ip.Put(f.Data[wire.EthernetLen:])
				wire.Ethernet(f.Data).SetType(wire.TypeIPv4)
				h.Send(now, idx, &f, q, &tx)
				switch r.IntN(4) {
				case 0:
					h.Confirm(now, idx)
				case 1:
					p.ForgetNeighbour(address(r.IntN(neighbours)))
				case 2:
					n := r.IntN(neighbours)
					_ = p.SetNeighbour(now, address(n), hardware(n), false) // may find no room
				}
				h.Expire(now, q, &tx)
				for _, f := range tx.Frames() {
					eth := wire.Ethernet(f.Data)
					if ip, ok := wire.AsIPv4(eth.Payload()); ok {
						if d := ip.Dst().As4(); eth.Dst() != hardware(int(d[3])-100) {
							t.Errorf("frame to %v went to %v", ip.Dst(), eth.Dst())
						}
						sent[w]++
					}
				}
				q.Transmit(&tx)
			}
			h.Close(q)
			if q.out != 0 {
				t.Errorf("worker %d lost %d buffers", w, q.out)
			}
		})
	}
	wg.Wait()
	for w := range workers {
		require.Positive(t, sent[w])
	}
}
