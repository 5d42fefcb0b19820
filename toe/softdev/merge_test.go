package softdev

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/seq"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
	"opentoe/toe"
)

// rawPeer is end 0 of a pair played by hand: it sends segments of its own making to end 1.
type rawPeer struct {
	p    *pair
	flow wire.Flow
	ack  seq.Num // what it acknowledges: all that end 1 sends
	sock *fakeSock
}

const rawISS = seq.Num(0xfffff000) // the stream crosses the end of the sequence space soon

// newRawPeer has a connection with end 1 of a new pair; plain turns merging off.
func newRawPeer(t testing.TB, plain bool) *rawPeer {
	p := newPair(t, true)
	p.w[1].dev.cfg.NoMerge = plain
	r := &rawPeer{p: p, flow: wire.Flow{
		Local: wire.AddrFrom(addr4[0]), Remote: wire.AddrFrom(addr4[1]), LocalPort: 4000, RemotePort: 80,
	}}
	p.q[1].watch = func(b []byte) {
		var pkt wire.Packet
		if wire.Parse(b, false, false, &pkt) == wire.VerdictTCP {
			r.ack = pkt.Seq.Add(uint32(pkt.PayloadLen))
			if pkt.Flags.Has(wire.SYN) || pkt.Flags.Has(wire.FIN) {
				r.ack = r.ack.Add(1)
			}
		}
	}
	p.listen(1)
	r.burst(rawSegment{seq: rawISS, flags: wire.SYN})
	require.NotZero(t, r.ack)
	r.burst(rawSegment{seq: rawISS.Add(1), flags: wire.ACK})
	require.Len(t, p.up[1].socks, 1)
	r.sock = p.up[1].socks[0]
	return r
}

// rawSegment is a segment whose text is the pattern at its place in the stream.
type rawSegment struct {
	seq   seq.Num
	n     int
	flags wire.Flags
	wnd   uint16
	ecn   wire.ECN
	ts    uint32
}

// burst has end 1 receive segments in one burst.
func (r *rawPeer) burst(list ...rawSegment) {
	w := r.p.w[1]
	w.rx.Truncate(0)
	for _, s := range list {
		h := wire.Header{SrcMAC: macs[0], DstMAC: macs[1], TTL: 64, Flow: r.flow, Seq: s.seq, Flags: s.flags,
			Wnd: 1000 + s.wnd, ECN: s.ecn, Opt: wire.Options{Set: wire.OptTimestamps, TSVal: 5000 + s.ts}}
		if s.flags.Has(wire.ACK) {
			h.Ack = r.ack
		} else {
			h.Opt.Set |= wire.OptMSS
			h.Opt.MSS = 1460
		}
		b := make([]byte, h.Len()+s.n)
		fetchPattern(uint64(uint32(s.seq-rawISS)-1), b[h.Len():])
		h.Put(b, s.n, wire.Sum(b[h.Len():], 0), wire.ChecksumSoftware)
		w.rx.Push().Data = b
	}
	w.inputBurst(&w.lanes[0])
	r.p.now = r.p.now.Add(vtime.Millisecond)
	for r.p.turn(1) > 0 {
	}
}

// state is what has to be the same with and without merging. The peer's window is not in it: a train
// that begins with old octets brings it as an old segment does, and so a segment later.
func (r *rawPeer) state() any {
	var info toe.ConnInfo
	found := r.p.dev[1].ConnInfo(r.sock.tid, &info)
	return []any{found, info.State, info.RcvNxt, info.BytesReceived, info.RcvBufUsed, info.SegsIn,
		r.sock.readable, r.sock.read, r.sock.wrong, r.sock.peerFIN, r.p.w[1].count.Verdicts, r.p.w[1].eng.MIB().InSegs}
}

// TestMergingChangesNothing: bursts of every kind of segment, drawn at random, leave the stream and the
// connection as they do one by one.
func TestMergingChangesNothing(t *testing.T) {
	merged := uint64(0)
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 7))
		a, b := newRawPeer(t, false), newRawPeer(t, true)
		next, ts := rawISS.Add(1), uint32(0)
		for range 30 {
			var list []rawSegment
			wnd := uint16(rng.IntN(2))
			for range 1 + rng.IntN(24) { // within the window that both have advertised
				s := rawSegment{seq: next, n: 1448, flags: wire.ACK, wnd: wnd, ts: ts}
				switch rng.IntN(40) {
				case 0:
					s.n = 1 + rng.IntN(1448)
				case 1:
					s.n = 0
				case 2:
					s.seq = next.Add(uint32(rng.IntN(4000))) // a hole
				case 3:
					s.seq = next - seq.Num(rng.IntN(4000)) // again
				case 4:
					ts++
				case 5:
					s.wnd++
				case 6:
					s.ecn = wire.CE
				case 7, 8:
					s.flags |= wire.PSH
				}
				if s.seq.Sub(rawISS) <= 0 {
					s.seq = next
				}
				if s.seq == next {
					next = next.Add(uint32(s.n))
				}
				list = append(list, s)
			}
			a.burst(list...)
			b.burst(list...)
			require.Equal(t, b.state(), a.state(), "seed %d", seed)
			next = seq.Num(uint32(rawISS) + 1 + uint32(a.sock.readable))
		}
		var last []rawSegment // beyond every octet that came early
		for range 20 {
			last = append(last, rawSegment{seq: next, n: 1000, flags: wire.ACK, ts: ts})
			next = next.Add(1000)
		}
		last = append(last, rawSegment{seq: next, n: 10, flags: wire.ACK | wire.FIN, ts: ts})
		a.burst(last...)
		b.burst(last...)
		require.Equal(t, b.state(), a.state(), "seed %d", seed)
		require.True(t, a.sock.peerFIN)
		require.Zero(t, a.sock.wrong)
		require.Zero(t, b.p.w[1].count.Merged)
		merged += a.p.w[1].count.Merged
	}
	require.Greater(t, merged, uint64(5000), "there was little to see")
}

// TestWhatIsMerged: which neighbours in a burst become one segment.
func TestWhatIsMerged(t *testing.T) {
	seg := func(at, n int, change func(s *rawSegment)) rawSegment {
		s := rawSegment{seq: rawISS.Add(uint32(1 + at)), n: n, flags: wire.ACK}
		if change != nil {
			change(&s)
		}
		return s
	}
	for _, c := range []struct {
		name   string
		list   []rawSegment
		merged uint64
	}{
		{"alone", []rawSegment{seg(0, 100, nil)}, 0},
		{"in order", []rawSegment{seg(0, 100, nil), seg(100, 100, nil), seg(200, 100, nil)}, 2},
		{"a short one ends it", []rawSegment{seg(0, 100, nil), seg(100, 50, nil), seg(150, 50, nil)}, 1},
		{"a long one begins anew", []rawSegment{seg(0, 50, nil), seg(50, 100, nil), seg(150, 100, nil)}, 1},
		{"PSH ends it", []rawSegment{seg(0, 100, nil), seg(100, 100, func(s *rawSegment) { s.flags |= wire.PSH }), seg(200, 100, nil)}, 1},
		{"a hole", []rawSegment{seg(0, 100, nil), seg(200, 100, nil)}, 0},
		{"window", []rawSegment{seg(0, 100, nil), seg(100, 100, func(s *rawSegment) { s.wnd = 9 })}, 0},
		{"mark", []rawSegment{seg(0, 100, nil), seg(100, 100, func(s *rawSegment) { s.ecn = wire.CE })}, 0},
		{"timestamp", []rawSegment{seg(0, 100, nil), seg(100, 100, func(s *rawSegment) { s.ts = 1 })}, 0},
		{"FIN", []rawSegment{seg(0, 100, nil), seg(100, 100, func(s *rawSegment) { s.flags |= wire.FIN })}, 0},
		{"no text", []rawSegment{seg(0, 100, nil), seg(100, 0, nil), seg(100, 100, nil)}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRawPeer(t, false)
			r.burst(c.list...)
			require.Equal(t, c.merged, r.p.w[1].count.Merged)
			require.Zero(t, r.p.w[1].open)
		})
	}
}

// TestMergingManyConnections: more connections in a burst than trains.
func TestMergingManyConnections(t *testing.T) {
	p := newPair(t, true)
	p.listen(1)
	var clients, servers [3 * openTrains]*fakeSock
	for i := range clients {
		clients[i], servers[i] = p.open(300_000, 0)
	}
	p.run(vtime.Minute, func() bool {
		for _, s := range servers {
			if s.read != 300_000 {
				return false
			}
		}
		return true
	})
	for _, s := range servers {
		require.Zero(t, s.wrong)
	}
	require.NotZero(t, p.w[1].count.Merged)
	require.Zero(t, p.w[0].eng.MIB().RetransSegs)
}

// BenchmarkReceive is a burst of 32 full segments of one connection, merged and not.
func BenchmarkReceive(b *testing.B) {
	for name, plain := range map[string]bool{"merged": false, "single": true} {
		b.Run(name, func(b *testing.B) {
			p, _, server := benchPair(b, 1<<60, 0)
			p.w[1].dev.cfg.NoMerge = plain
			for range 2000 {
				p.step()
			}
			start := server.read
			b.SetBytes(1448)
			b.ReportAllocs()
			b.ResetTimer()
			for server.read-start < uint64(b.N)*1448 {
				p.now = p.now.Add(5 * vtime.Microsecond)
				b.StopTimer()
				p.turn(0)
				b.StartTimer()
				p.turn(1)
			}
		})
	}
}
