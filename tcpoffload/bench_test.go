package tcpoffload

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/seq"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// duo is two engines joined by nothing: segments are handed over at once, in order.
type duo struct {
	t    testing.TB
	now  vtime.Time
	e    [2]*Engine
	h    [2]Handle
	out  [2]*Output
	sent [2]uint64
	seen [2]uint64 // receive stream in order
	seg  Segment   // on its way
	call Call
	// loses says whether a segment of side from is lost, and may change it; nil: none is.
	loses func(from int, seg *Segment) bool
}

// newDuo returns two engines with one established connection, opened by side 1.
func newDuo(t testing.TB, edit func(*Config)) *duo {
	d := &duo{t: t, now: vtime.Time(vtime.Second)}
	for i := range d.e {
		cfg := Config{Memory: NewMemory(16, 4), Tunables: DefaultTunables(), Seed: uint64(i) + 1}
		if edit != nil {
			edit(&cfg)
		}
		e, err := New(cfg)
		require.NoError(t, err)
		d.e[i], d.out[i] = e, NewOutput(256, 256)
	}
	srv, cli := wire.AddrFrom4([4]byte{10, 0, 0, 1}), wire.AddrFrom4([4]byte{10, 0, 0, 2})
	c := Call{Kind: CallListen, Flow: wire.Flow{LocalPort: 80}, Value: 5}
	require.Equal(t, CallOK, d.e[0].Call(d.now, &c, d.out[0]))
	c = Call{Kind: CallOpen, Flow: wire.Flow{Local: cli, Remote: srv, LocalPort: 1000, RemotePort: 80}, Cookie: 9}
	require.Equal(t, CallOK, d.e[1].Call(d.now, &c, d.out[1]))
	d.h[1] = c.Handle
	for d.h[0] == 0 || d.busy() {
		d.step()
	}
	return d
}

func (d *duo) busy() bool {
	return d.e[0].Pending() || d.e[1].Pending() || len(d.out[0].Segs)+len(d.out[1].Segs) > 0
}

// step lets each side transmit once, and the other receive it.
func (d *duo) step() {
	for i, e := range d.e {
		d.now += vtime.Time(10 * vtime.Microsecond)
		e.Transmit(d.now, 64, d.out[i])
		peer, to := d.e[1-i], d.out[1-i]
		for k := range d.out[i].Segs {
			turn(&d.seg, &d.out[i].Segs[k])
			if d.loses != nil && d.loses(i, &d.seg) {
				continue
			}
			peer.Arrive(d.now, &d.seg, to)
			d.act(1 - i)
		}
		d.out[i].Segs = d.out[i].Segs[:0]
		if e.NextDeadline() <= d.now {
			e.Expire(d.now, d.out[i])
			d.act(i)
		}
	}
}

func (d *duo) act(i int) {
	for k := range d.out[i].Actions {
		switch a := &d.out[i].Actions[k]; a.Kind {
		case ActPassEstablished:
			d.h[i] = a.Handle
			d.e[i].SetCookie(a.Handle, 7)
		case ActReadable:
			d.seen[i] = a.Pos
		}
	}
	d.out[i].Actions = d.out[i].Actions[:0]
}

// mirror returns s as its receiver sees it.
func mirror(s *TxSegment) (seg Segment) {
	turn(&seg, s)
	return seg
}

// turn makes seg what the receiver of s sees, where it stands: benchmarks pay for the engine, not for copies.
func turn(seg *Segment, s *TxSegment) {
	f := &seg.Flow
	f.Local, f.LocalPort = s.Flow.Remote, s.Flow.RemotePort
	f.Remote, f.RemotePort = s.Flow.Local, s.Flow.LocalPort
	seg.Seq, seg.Ack, seg.Len, seg.Wnd, seg.Urg = s.Seq, s.Ack, s.Len, s.Wnd, s.Urg
	seg.Flags, seg.ECN, seg.Segs, seg.NextHop, seg.MTU = s.Flags, s.ECN, 0, 0, 0
	seg.Opt = s.Opt
}

// read tells engine i that its program has read everything.
func (d *duo) read(i int) {
	c := &d.call
	c.Kind, c.Handle, c.Pos = CallReceived, d.h[i], d.seen[i]
	d.e[i].Call(d.now, c, d.out[i])
}

// send queues n octets at engine i.
func (d *duo) send(i int, n uint64) {
	d.sent[i] += n
	c := &d.call
	c.Kind, c.Handle, c.Pos = CallSend, d.h[i], d.sent[i]
	d.e[i].Call(d.now, c, d.out[i])
}

// BenchmarkArrive is the receive side of a bulk transfer: in-order full segments with timestamps.
func BenchmarkArrive(b *testing.B) {
	d := newDuo(b, nil)
	e, out := d.e[0], d.out[0]
	t := &e.conns[d.h[0].Index()]
	seg := Segment{Flow: t.flow, Seq: t.rcv.nxt, Ack: t.snd.nxt, Len: 1448, Wnd: 500, Flags: wire.ACK}
	seg.Opt.Set = wire.OptTimestamps
	seg.Opt.TSVal = t.ts.recent
	b.SetBytes(1448)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		e.Arrive(d.now, &seg, out)
		seg.Seq = seg.Seq.Add(1448)
		out.Actions = out.Actions[:0]
		if i%32 == 31 {
			d.now += vtime.Time(10 * vtime.Microsecond)
			c := Call{Kind: CallReceived, Handle: d.h[0], Pos: t.rcvPos()}
			e.Call(d.now, &c, out)
			e.Transmit(d.now, 64, out)
			out.Reset()
		}
	}
}

// BenchmarkTransmit is the send side: full segments, one ACK for every 32.
func BenchmarkTransmit(b *testing.B) {
	d := newDuo(b, nil)
	e, out := d.e[0], d.out[0]
	t := &e.conns[d.h[0].Index()]
	t.snd.wnd, t.cc.Cwnd = 1<<20, 1<<20
	ack := Segment{Flow: t.flow, Seq: t.rcv.nxt, Wnd: 65535, Flags: wire.ACK}
	ack.Opt.Set = wire.OptTimestamps
	ack.Opt.TSVal = t.ts.recent
	b.SetBytes(1448)
	b.ReportAllocs()
	for n := 0; b.Loop(); n-- {
		if n == 0 {
			out.Reset()
			ack.Ack = t.snd.nxt
			d.now += vtime.Time(10 * vtime.Microsecond)
			e.Arrive(d.now, &ack, out)
			d.send(0, 32*1448)
			n = e.Transmit(d.now, 32, out)
			if n != 32 {
				b.Fatalf("%d segments", n)
			}
		}
	}
}

// BenchmarkArriveAck is the send side's other half: pure ACKs for two full segments each.
func BenchmarkArriveAck(b *testing.B) {
	d := newDuo(b, nil)
	e, out := d.e[0], d.out[0]
	t := &e.conns[d.h[0].Index()]
	t.snd.wnd, t.cc.Cwnd = 1<<20, 1<<20
	ack := Segment{Flow: t.flow, Seq: t.rcv.nxt, Wnd: 65535, Flags: wire.ACK}
	ack.Opt.Set = wire.OptTimestamps
	ack.Opt.TSVal = t.ts.recent
	b.ReportAllocs()
	for b.Loop() {
		if t.snd.una == t.snd.nxt {
			b.StopTimer()
			d.now += vtime.Time(10 * vtime.Microsecond)
			d.send(0, 128*1448)
			for e.Transmit(d.now, 64, out) > 0 {
				out.Reset()
			}
			b.StartTimer()
		}
		ack.Ack = t.snd.una.Add(min(2*1448, t.flight()))
		e.Arrive(d.now, &ack, out)
		out.Reset()
	}
}

// BenchmarkArriveOutOfOrder is the receive side of loss: every other segment is missing, then all of them
// come.
func BenchmarkArriveOutOfOrder(b *testing.B) {
	d := newDuo(b, nil)
	e, out := d.e[0], d.out[0]
	t := &e.conns[d.h[0].Index()]
	seg := Segment{Flow: t.flow, Ack: t.snd.nxt, Len: 1000, Wnd: 500, Flags: wire.ACK}
	seg.Opt.Set = wire.OptTimestamps
	seg.Opt.TSVal = t.ts.recent
	b.ReportAllocs()
	base := t.rcv.nxt
	for i := uint32(0); b.Loop(); i++ {
		n := i % 128
		if n == 0 {
			c := Call{Kind: CallReceived, Handle: d.h[0], Pos: t.rcvPos()}
			e.Call(d.now, &c, out)
			e.Transmit(d.now, 64, out)
			base = t.rcv.nxt
		}
		if n < 64 {
			seg.Seq = base.Add(2000*n + 1000)
		} else {
			seg.Seq = base.Add(2000 * (n - 64))
		}
		e.Arrive(d.now, &seg, out)
		out.Reset()
	}
}

// BenchmarkSACKRecovery is the send side of loss: of 64 segments every eighth is lost, SACKed round about, sent
// again and acknowledged. An operation is one such flight, of about 64 ACKs.
func BenchmarkSACKRecovery(b *testing.B) {
	d := newDuo(b, nil)
	e, out := d.e[0], d.out[0]
	t := &e.conns[d.h[0].Index()]
	ack := Segment{Flow: t.flow, Seq: t.rcv.nxt, Wnd: 65535, Flags: wire.ACK}
	b.ReportAllocs()
	for b.Loop() {
		t.snd.wnd, t.cc.Cwnd = 1<<20, 1<<20
		d.send(0, 64*1448)
		first := t.snd.nxt
		e.Transmit(d.now, 64, out)
		out.Reset()
		d.now += vtime.Time(10 * vtime.Millisecond)
		ack.Opt.TSVal = t.ts.recent
		ack.Opt.Set = wire.OptTimestamps | wire.OptSACK
		ack.Ack = first
		for n := uint32(0); n < 64; n++ {
			if n%8 == 0 {
				continue
			}
			from := n &^ 7
			ack.Opt.SACK[0] = wire.SACKBlock{Left: first.Add((from + 1) * 1448), Right: first.Add((n + 1) * 1448)}
			ack.Opt.NumSACK = 1
			if from > 0 {
				ack.Opt.SACK[1] = wire.SACKBlock{Left: first.Add((from - 7) * 1448), Right: first.Add(from * 1448)}
				ack.Opt.NumSACK = 2
			}
			e.Arrive(d.now, &ack, out)
			e.Transmit(d.now, 64, out)
			out.Reset()
		}
		d.now += vtime.Time(10 * vtime.Millisecond)
		ack.Opt.Set, ack.Opt.NumSACK = wire.OptTimestamps, 0
		ack.Ack = t.snd.nxt
		e.Arrive(d.now, &ack, out)
		out.Reset()
	}
}

// BenchmarkExpire is the timers of a connection that sends and is answered: armed, moved, looked at.
func BenchmarkExpire(b *testing.B) {
	d := newDuo(b, nil)
	e, out := d.e[0], d.out[0]
	t := &e.conns[d.h[0].Index()]
	b.ReportAllocs()
	for b.Loop() {
		d.now += vtime.Time(70 * vtime.Microsecond)
		e.setTimer(t, TimerRexmt, d.now.Add(vtime.Millisecond))
		if e.NextDeadline() <= d.now {
			e.Expire(d.now, out)
			out.Reset()
		}
	}
}

// BenchmarkBulk sends one stream from engine to engine in memory.
func BenchmarkBulk(b *testing.B) { bulk(b, nil) }

// BenchmarkBulkTSO does it with segments that the device cuts.
func BenchmarkBulkTSO(b *testing.B) { bulk(b, func(c *Config) { c.DeviceSegments = true }) }

func bulk(b *testing.B, edit func(*Config)) {
	d := newDuo(b, edit)
	const chunk = 64 << 10
	b.SetBytes(chunk)
	b.ReportAllocs()
	for b.Loop() {
		d.send(1, chunk)
		for d.seen[0] < d.sent[1] {
			d.step()
			d.read(0)
		}
	}
}

// BenchmarkEcho sends 64 octets there and back.
func BenchmarkEcho(b *testing.B) {
	d := newDuo(b, nil)
	b.ReportAllocs()
	for b.Loop() {
		d.send(1, 64)
		for d.seen[0] < d.sent[1] {
			d.step()
		}
		d.read(0)
		d.send(0, 64)
		for d.seen[1] < d.sent[0] {
			d.step()
		}
		d.read(1)
	}
}

var _ = seq.Num(0)
