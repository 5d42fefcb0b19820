package tcpoffload

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// crowd is two engines with n established connections between them, opened by side 1.
type crowd struct {
	now  vtime.Time
	e    [2]*Engine
	out  [2]*Output
	conn []pair
	seg  Segment
	call Call
}

// pair is both ends of a connection; the cookie of either end is the pair's index.
type pair struct {
	h          [2]Handle
	sent, seen [2]uint64
}

func newCrowd(t testing.TB, n int) *crowd {
	c := &crowd{now: vtime.Time(vtime.Second), conn: make([]pair, n)}
	for i := range c.e {
		e, err := New(Config{Memory: NewMemory(n, 1), Tunables: DefaultTunables(), Seed: uint64(i) + 1})
		require.NoError(t, err)
		c.e[i], c.out[i] = e, NewOutput(1024, 4096)
	}
	srv := wire.AddrFrom4([4]byte{10, 0, 0, 1})
	l := Call{Kind: CallListen, Flow: wire.Flow{LocalPort: 80}, Value: int64(n)}
	require.Equal(t, CallOK, c.e[0].Call(c.now, &l, c.out[0]))
	for i := range c.conn {
		o := Call{Kind: CallOpen, Cookie: uint64(i), Flow: wire.Flow{
			Local: wire.AddrFrom4([4]byte{10, 1, byte(i >> 16), 1}), LocalPort: uint16(i), Remote: srv, RemotePort: 80,
		}}
		if o.Flow.LocalPort == 0 {
			o.Flow.LocalPort = 80 // 0 would be chosen by the engine; no other client has 80 twice
			o.Flow.Local[14] |= 0x80
		}
		require.Equal(t, CallOK, c.e[1].Call(c.now, &o, c.out[1]))
		c.conn[i].h[1] = o.Handle
		for c.conn[i].h[0] == 0 || c.e[0].Pending() || c.e[1].Pending() {
			c.step()
		}
	}
	return c
}

// step lets each side transmit once, and the other receive it.
func (c *crowd) step() {
	for i, e := range c.e {
		c.now += vtime.Time(10 * vtime.Microsecond)
		e.Transmit(c.now, 256, c.out[i])
		for k := range c.out[i].Segs {
			turn(&c.seg, &c.out[i].Segs[k])
			c.e[1-i].Arrive(c.now, &c.seg, c.out[1-i])
			c.act(1 - i)
		}
		c.out[i].Segs = c.out[i].Segs[:0]
		if e.NextDeadline() <= c.now {
			e.Expire(c.now, c.out[i])
			c.act(i)
		}
	}
}

func (c *crowd) act(i int) {
	for k := range c.out[i].Actions {
		switch a := &c.out[i].Actions[k]; a.Kind {
		case ActPassEstablished:
			f := &c.seg.Flow
			n := uint64(f.RemotePort) | uint64(f.Remote[14])<<16
			if f.Remote[14]&0x80 != 0 {
				n = uint64(f.Remote[14]&0x7f) << 16
			}
			c.conn[n].h[0] = a.Handle
			c.e[i].SetCookie(a.Handle, n)
		case ActReadable:
			p := &c.conn[a.Cookie]
			p.seen[i] = a.Pos
		}
	}
	c.out[i].Actions = c.out[i].Actions[:0]
}

// send queues n octets of p at side i, and says that its program has read all that came.
func (c *crowd) send(p *pair, i int, n uint64) {
	p.sent[i] += n
	c.do(p, i, CallSend, p.sent[i])
}

func (c *crowd) do(p *pair, i int, kind CallKind, pos uint64) {
	c.call.Kind, c.call.Handle, c.call.Pos = kind, p.h[i], pos
	c.e[i].Call(c.now, &c.call, c.out[i])
}

// BenchmarkEchoes sends 64 octets there and back on each of many connections, 64 of them at a time.
func BenchmarkEchoes(b *testing.B) {
	for _, n := range []int{1, 64, 1000, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c := newCrowd(b, n)
			batch := min(n, 64)
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; i < b.N; i += batch {
				from := i % (n - n%batch)
				for side := 1; side >= 0; side-- {
					for k := from; k < from+batch; k++ {
						c.send(&c.conn[k], side, 64)
					}
					last := &c.conn[from+batch-1]
					for last.seen[1-side] < last.sent[side] {
						c.step()
					}
					for k := from; k < from+batch; k++ {
						c.do(&c.conn[k], 1-side, CallReceived, c.conn[k].seen[1-side])
					}
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "M/s")
		})
	}
}

// BenchmarkStreams sends 64 KiB on each of many connections, 64 of them at a time, in segments of 1448 octets.
func BenchmarkStreams(b *testing.B) {
	for _, n := range []int{1, 64, 1000, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c := newCrowd(b, n)
			const chunk = 64 << 10
			batch := min(n, 64)
			b.SetBytes(chunk)
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; i < b.N; i += batch {
				from := i % (n - n%batch)
				conn := c.conn[from : from+batch]
				for k := range conn {
					c.send(&conn[k], 1, chunk)
				}
				for todo := true; todo; {
					c.step()
					todo = false
					for k := range conn {
						p := &conn[k]
						c.do(p, 0, CallReceived, p.seen[0])
						todo = todo || p.seen[0] < p.sent[1]
					}
				}
			}
			b.ReportMetric(float64(b.N)*chunk*8/float64(b.Elapsed().Nanoseconds()), "Gb/s")
		})
	}
}
