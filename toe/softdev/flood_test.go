package softdev

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/pmd/frame"
	"opentoe/ports"
	"opentoe/tcpoffload/seq"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
	"opentoe/toe"
)

// A worker under a SYN flood, on a wire without a kernel: the flood and a peer's frames fall into a receive ring of
// limited size, what the worker sends drains at the link's rate, and time is what the worker takes. In tests that
// is a model, in benchmarks it is measured; the peer and the flooder take none.

const (
	floodRing   = 1024                    // frames that the receive ring and the transmit ring hold
	floodDelay  = 500 * vtime.Microsecond // of the peer's frames, at least: up to twice that
	spoofs      = 1 << 12                 // different SYNs
	floodHandle = 2                       // marks their frames
	frameGap    = 24                      // octets that the wire takes besides: preamble, checksum, gap
)

// floodQueue is the victim's end of the wire.
type floodQueue struct {
	*memQueue  // the peer's frames come in here
	now        *vtime.Time
	ring       [floodRing]floodFrame // received: those from head to tail
	head, tail uint
	sure       vtime.Time   // when the last of the peer's frames arrives
	late       []floodFrame // the peer's, on their way
	spoof      [][]byte
	next       int // of spoof
	rng        *rand.Rand
	interval   vtime.Duration        // between two SYNs, in units of 1/256 ns; 0: no flood
	due        vtime.Time            // of the next one, in the same unit
	octet      vtime.Duration        // that the link takes for one, in units of 1/256 ns
	sentUntil  vtime.Time            // when all that was sent has left, in the same unit
	leaves     [floodRing]vtime.Time // when the last frames sent leave
	sends      uint                  // frames
	lost       int                   // of the peer's frames, for want of room in the ring
	flooded    int
	refused    int
}

type floodFrame struct {
	data  []byte
	due   vtime.Time
	spoof bool
}

func newFloodQueue(q *memQueue, now *vtime.Time) *floodQueue {
	f := &floodQueue{memQueue: q, now: now, rng: rand.New(rand.NewPCG(1, 2))}
	h := wire.Header{DstMAC: macs[1], SrcMAC: macs[0], Flags: wire.SYN, TTL: 60, Wnd: 65535}
	h.Flow.Remote, h.Flow.RemotePort = wire.AddrFrom(addr4[1]), 80
	h.Opt = wire.Options{Set: wire.OptMSS | wire.OptSACKPermitted | wire.OptTimestamps | wire.OptWindowScale, MSS: 1460, WScale: 7}
	for i := range spoofs {
		h.Flow.Local = wire.AddrFrom4([4]byte{11 + byte(i%100), byte(f.rng.Uint32()), byte(f.rng.Uint32()), 1})
		h.Flow.LocalPort = uint16(1 + f.rng.IntN(65535))
		h.Seq, h.Opt.TSVal = seq.Num(f.rng.Uint32()), f.rng.Uint32()
		b := make([]byte, h.Len(), memBuffer)
		h.Put(b, 0, 0, wire.ChecksumSoftware)
		f.spoof = append(f.spoof, b)
	}
	return f
}

// flood begins a flood of rate SYNs a second; 0 ends it.
func (f *floodQueue) flood(rate int) {
	f.interval = 0
	if rate > 0 {
		f.interval = 256 * vtime.Second / vtime.Duration(rate)
	}
	f.due = *f.now << 8
}

// arrive brings into the ring what the wire has brought until now.
func (f *floodQueue) arrive() {
	for data, ok := f.in.get(); ok; data, ok = f.in.get() {
		f.sure = max(f.sure, f.now.Add(floodDelay+vtime.Duration(f.rng.Int64N(int64(floodDelay)))))
		f.late = append(f.late, floodFrame{data: data, due: f.sure})
	}
	n := 0
	for n < len(f.late) && f.late[n].due <= *f.now {
		f.floodUntil(f.late[n].due)
		if !f.put(f.late[n]) {
			f.lost++
			f.peer.empty.put(f.late[n].data[:0])
		}
		n++
	}
	f.late = f.late[:copy(f.late, f.late[n:])]
	f.floodUntil(*f.now)
}

func (f *floodQueue) floodUntil(t vtime.Time) {
	if f.interval == 0 {
		return
	}
	for ; f.due <= t<<8; f.due = f.due.Add(f.interval) {
		f.flooded++
		f.next = (f.next + 1) % spoofs
		f.put(floodFrame{data: f.spoof[f.next], spoof: true})
	}
}

func (f *floodQueue) put(r floodFrame) bool {
	if f.tail-f.head == floodRing {
		return false
	}
	f.ring[f.tail%floodRing] = r
	f.tail++
	return true
}

func (f *floodQueue) Receive(b *frame.Burst) int {
	b.Truncate(0)
	for f.head != f.tail && b.Room() > 0 {
		r, to := &f.ring[f.head%floodRing], b.Push()
		f.head++
		*to = frame.Frame{Data: r.data, Flags: frame.RxIPCsumGood | frame.RxL4CsumGood} // as a NIC does
		if r.spoof {
			to.Handle = floodHandle
		}
	}
	return b.Len()
}

func (f *floodQueue) Free(b *frame.Burst) {
	kept := 0
	for i := range b.Len() {
		if r := b.At(i); r.Handle != floodHandle {
			*b.At(kept) = *r
			kept++
		}
	}
	b.Truncate(kept)
	f.memQueue.Free(b)
}

// Transmit sends what the ring has room for. What goes to spoofed addresses is gone.
func (f *floodQueue) Transmit(b *frame.Burst) int {
	sent := 0
	f.sentUntil = max(f.sentUntil, *f.now<<8)
	for i := range b.Len() {
		data := b.At(i).Data
		switch {
		case f.leaves[f.sends%floodRing] > *f.now<<8:
			f.refused++
			f.own = append(f.own, data[:0])
			continue
		case netip.AddrFrom4([4]byte(data[30:34])) != addr4[0]:
			f.own = append(f.own, data[:0])
		default:
			f.push(data)
		}
		f.sentUntil = f.sentUntil.Add(f.octet * vtime.Duration(max(len(data), 60)+frameGap))
		f.leaves[f.sends%floodRing] = f.sentUntil
		f.sends++
		sent++
	}
	b.Truncate(0)
	return sent
}

// floodedPair is a pair whose end 1 is flooded beside a connection that both ends send over at steady rates.
type floodedPair struct {
	*pair
	wire           *floodQueue
	rates          [2]uint64 // octets per second that end 0 and end 1 write
	began          vtime.Time
	client, server *fakeSock
	cost           func(work func()) vtime.Duration // of an iteration of end 1
}

func newFloodedPair(t testing.TB, linkBps uint64, rates [2]uint64) *floodedPair {
	// The spoofed sources are behind the peer, so that no neighbour has to be found for each.
	victim, err := ports.New(ports.Config{
		Name: "mem1", MAC: macs[1], MTU: 1500, Workers: 1,
		Addresses:  []netip.Prefix{netip.PrefixFrom(addr4[1], 24)},
		Neighbours: []ports.Neighbour{{Addr: addr4[0], MAC: macs[0]}},
		Routes:     []ports.Route{{Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: addr4[0]}},
	})
	require.NoError(t, err)
	p := newPairOf(t, [2]*ports.Port{testPort(t, 0, true), victim})
	f := &floodedPair{pair: p, rates: rates}
	f.wire = newFloodQueue(p.q[1], &p.now)
	f.wire.octet = vtime.Duration(256 * 8 * uint64(vtime.Second) / linkBps)
	for _, u := range p.up {
		u.rcvbuf, u.sndbuf = 1<<20, 1<<20
	}
	p.listen(1)
	f.client, f.server = p.open(0, 0)
	p.w[1].lanes[0].queue = f.wire
	f.began = p.now
	return f
}

// step lets the peer act, the wire bring what is due, and the victim act.
func (f *floodedPair) step() {
	for i, s := range [2]*fakeSock{f.client, f.server} {
		s.total = f.rates[i] * uint64(f.now.Sub(f.began)/vtime.Microsecond) / 1e6
	}
	f.turn(0)
	f.wire.arrive()
	f.now = f.now.Add(f.cost(func() { f.turn(1) }))
}

// floodReport is what came of a flood.
type floodReport struct {
	kept     [2]float64 // of what end 0 and end 1 wrote, the part that arrived
	syns     int        // of the flood
	answered uint64     // of them
	lost     int        // frames of the peer that found no room in the ring
	refused  int        // frames of the victim that found none
}

// under runs for the time d under a flood of rate SYNs a second.
func (f *floodedPair) under(rate int, d vtime.Duration) (r floodReport) {
	f.wire.flood(rate)
	read := [2]uint64{f.server.read, f.client.read}
	m := f.w[1].eng.MIB()
	answered, syns, lost, refused := m.SyncookiesSent+m.PassiveOpens, f.wire.flooded, f.wire.lost, f.wire.refused
	start, end := f.now, f.now.Add(d)
	for f.now.Before(end) {
		f.step()
	}
	seconds := float64(f.now.Sub(start)) / float64(vtime.Second)
	for i, s := range [2]*fakeSock{f.server, f.client} {
		r.kept[i] = float64(s.read-read[i]) / (seconds * float64(f.rates[i]))
	}
	r.syns, r.answered = f.wire.flooded-syns, m.SyncookiesSent+m.PassiveOpens-answered
	r.lost, r.refused = f.wire.lost-lost, f.wire.refused-refused
	f.wire.flood(0)
	return r
}

// modelled makes an iteration cost time for what it did: unit for a frame received or sent, a thirtieth of it for a SYN dropped
// unread.
func (f *floodedPair) modelled(unit vtime.Duration) func(work func()) vtime.Duration {
	w := f.w[1]
	l := &w.lanes[0]
	return func(work func()) vtime.Duration {
		frames, dropped := l.count.RxFrames+l.count.TxFrames, w.count.Drops[DropSynFlood]
		work()
		dropped = w.count.Drops[DropSynFlood] - dropped
		frames = l.count.RxFrames + l.count.TxFrames - frames - dropped
		return unit*vtime.Duration(frames) + unit*vtime.Duration(dropped)/30 + 50*vtime.Microsecond
	}
}

// newcomers opens n connections during a flood and returns how many are open after the time d. Their first SYN is repeated
// after 20 ms, so that a few seconds are many attempts.
func (f *floodedPair) newcomers(n, rate int, d vtime.Duration) (open int) {
	eng := f.w[0].eng
	tun := eng.Tunables()
	tun.RTOInit, tun.RTOMax, tun.SynRetries = 20*vtime.Millisecond, vtime.Second, 127
	require.NoError(f.t, eng.SetTunables(tun))
	var socks []*fakeSock
	for range n {
		socks = append(socks, f.connect(0, netip.Addr{}, addr4[1], 0))
		f.under(rate, 3*vtime.Millisecond)
	}
	f.under(rate, d)
	for _, s := range socks {
		if len(s.events) > 0 && s.events[0] == toe.EventEstablished {
			open++
		}
	}
	return open
}

// TestSynGate: who comes in a crowd is let in as far as there is room; who does not, always.
func TestSynGate(t *testing.T) {
	ask := func(g *synGate, n int) (let int) {
		for range n {
			if g.admits() {
				let++
			}
		}
		return let
	}
	at := func(d vtime.Duration) vtime.Time { return vtime.Time(vtime.Minute).Add(d) }

	t.Run("large bursts", func(t *testing.T) {
		var g synGate
		require.False(t, g.begin(at(0), 64, 0), "one is none")
		require.False(t, g.begin(at(1), largeBurst-1, 0))
		require.False(t, g.begin(at(2), 64, 0))
		g.dry()
		require.False(t, g.begin(at(3), 64, 0))
		require.True(t, g.begin(at(4), largeBurst, 0))
		require.Equal(t, savedSyns+1+32/roomPerSyn, ask(&g, 5000), "many clients at a time")
		require.True(t, g.begin(at(5), 64, 0))
		require.Equal(t, 1, ask(&g, 64))
		require.True(t, g.begin(at(6), 8, 0), "for a while")
		require.Equal(t, 8, ask(&g, 8), "small bursts pass")
		require.False(t, g.begin(at(5+crowdTime), 8, 0))
		require.False(t, g.begin(at(vtime.Second), 64, 0))
		require.True(t, g.begin(at(vtime.Second), 64, 0))
		require.Equal(t, savedSyns+1, ask(&g, 5000), "saved again")
	})
	t.Run("a full transmit ring", func(t *testing.T) {
		var g synGate
		require.False(t, g.begin(at(0), 2, 1e6))
		g.refused(at(0), 10, 1e6)
		require.False(t, g.begin(at(1), 2, 1e6), "of data")
		g.refused(at(0), 1000, 2e6)
		require.True(t, g.begin(at(1), 2, 2e6))
		require.Equal(t, savedSyns+synAckOctetsMost/synAckOctets, ask(&g, 5000))
		require.True(t, g.begin(at(2), 2, 2e6+synAckShare*synAckOctets*3))
		require.Equal(t, 3, ask(&g, 64), "a share of what is sent")
		require.True(t, g.begin(at(2+5*savedSynEvery), 2, 2e6+synAckShare*synAckOctets*3))
		require.Equal(t, 5, ask(&g, 64), "and those saved")
		require.False(t, g.begin(at(jamTime), 2, 1e9))
	})
}

// TestSynFlood: a flood that fills a link is more than the worker can answer, or more than the link can carry the answers of.
// What is established goes on in either case, and new connections get in. Everything is ten times as slow as it might be.
func TestSynFlood(t *testing.T) {
	const link, flood = 100e6, 120_000 // SYNs of 98 octets on the wire: 94 % of the link
	for _, c := range []struct {
		name string
		unit vtime.Duration // that the worker takes for a frame
		mbps [2]uint64      // that are sent in and out
		few  bool           // SYNs have to be dropped
		wait vtime.Duration // for new connections, with seven to nine SYNs each
		open int            // of ten
	}{
		{"a worker that answers all of it", 1500, [2]uint64{5, 2}, false, 200 * vtime.Millisecond, 10},
		{"a slow worker", 15000, [2]uint64{5, 10}, true, 2 * vtime.Second, 4},
		{"a link that is used", 1500, [2]uint64{5, 50}, true, 4 * vtime.Second, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFloodedPair(t, link, [2]uint64{c.mbps[0] * 1e6 / 8, c.mbps[1] * 1e6 / 8})
			f.cost = f.modelled(c.unit)
			f.under(0, 100*vtime.Millisecond)
			r := f.under(flood, vtime.Second/2)
			require.GreaterOrEqual(t, r.kept[0], 0.9, "in: %+v", r)
			require.GreaterOrEqual(t, r.kept[1], 0.9, "out: %+v", r)
			require.Equal(t, c.few, f.w[1].count.Drops[DropSynFlood] > 0)
			require.GreaterOrEqual(t, f.newcomers(10, flood, c.wait), c.open)
			require.Zero(t, f.server.wrong+f.client.wrong)
		})
	}
}

// measured makes an iteration cost what it takes here. One in which the thread was preempted is taken for a long
// one.
func measured(b *testing.B) func(work func()) vtime.Duration {
	now, err := monotonic()
	require.NoError(b, err)
	return func(work func()) vtime.Duration {
		start := now()
		work()
		return min(max(now().Sub(start), 1), 25*vtime.Microsecond)
	}
}

// BenchmarkFlood is one worker that receives and sends at steady rates beside a flood, up to the rate of the link: how much of what is
// established goes on, what part of the SYNs is answered, and what of the peer's frames finds no room.
func BenchmarkFlood(b *testing.B) {
	for _, c := range []struct {
		link float64 // Gb/s
		mbps [2]uint64
		mpps []float64 // 98 octets on the wire each
	}{
		{1, [2]uint64{50, 500}, []float64{0, 0.3, 0.6, 1.2}},
		{10, [2]uint64{500, 1000}, []float64{0, 1, 2, 3, 5, 8, 12}},
	} {
		for _, mpps := range c.mpps {
			b.Run(fmt.Sprintf("%.0fGbps/%.1fMpps", c.link, mpps), func(b *testing.B) {
				f := newFloodedPair(b, uint64(c.link*1e9), [2]uint64{c.mbps[0] * 1e6 / 8, c.mbps[1] * 1e6 / 8})
				f.cost = measured(b)
				for _, u := range f.up {
					u.noCheck = true
				}
				f.under(0, 50*vtime.Millisecond)
				var sum floodReport
				n := 0.0
				for b.Loop() {
					r := f.under(int(mpps*1e6), 50*vtime.Millisecond)
					n++
					sum.kept[0] += r.kept[0]
					sum.kept[1] += r.kept[1]
					sum.syns += r.syns
					sum.answered += r.answered
					sum.lost += r.lost
				}
				b.ReportMetric(100*sum.kept[0]/n, "%in")
				b.ReportMetric(100*sum.kept[1]/n, "%out")
				b.ReportMetric(100*float64(sum.answered)/float64(max(sum.syns, 1)), "%answered")
				b.ReportMetric(float64(sum.lost)/n/50, "lost/ms")
			})
		}
	}
}

// BenchmarkSyn is what a worker takes for one SYN of a burst, from the receive ring to the cookie in the transmit ring,
// and for one that it drops unread; BenchmarkReceive is the same for data.
func BenchmarkSyn(b *testing.B) {
	for name, crowded := range map[string]bool{"answered": false, "dropped": true} {
		b.Run(name, func(b *testing.B) {
			f := newFloodedPair(b, 1e12, [2]uint64{})
			f.cost = measured(b)
			f.under(100_000, vtime.Millisecond) // the backlog is full
			gate := &f.w[1].lanes[0].gate
			var took vtime.Duration
			for b.Loop() {
				f.now = f.now.Add(vtime.Microsecond)
				for range frame.MaxBurst {
					f.wire.next = (f.wire.next + 1) % spoofs
					f.wire.put(floodFrame{data: f.wire.spoof[f.wire.next], spoof: true})
				}
				*gate = synGate{}
				if crowded {
					gate.jam, gate.savedAt, gate.sent = f.now.Add(1), f.now, f.w[1].lanes[0].count.TxOctets // none is taken
				}
				took += f.cost(func() { f.turn(1) })
			}
			b.ReportMetric(float64(took)/float64(b.N)/frame.MaxBurst, "ns/SYN")
		})
	}
}
