package softdev

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/pmd/frame"
	"opentoe/ports"
	"opentoe/tcpoffload"
	"opentoe/tcpoffload/seq"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
	"opentoe/toe"
)

// FuzzFrames has workers receive bursts of frames that the input describes: segments of a few connections, ICMP
// errors about what the worker sent, ARP, echoes, frames of any octets, and damage to all of those. An even
// first octet keeps to segments within the window: then a worker that merges and one that does not have
// to come to the same. In any case nothing may panic, what is sent has to be sound, and every frame is
// accounted for.
func FuzzFrames(f *testing.F) {
	for seed := range uint64(24) {
		rng := rand.New(rand.NewPCG(seed, 3))
		b := make([]byte, 300)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		f.Add(b)
	}
	f.Fuzz(playTape)
}

// TestRandomFrames is FuzzFrames over seeded input. It has to reach what the programmes are about.
func TestRandomFrames(t *testing.T) {
	var total Counters
	var mib tcpoffload.MIB
	seeds := uint64(400)
	if testing.Short() {
		seeds = 250
	}
	for seed := range seeds {
		rng := rand.New(rand.NewPCG(seed, 5))
		b := make([]byte, 200+rng.IntN(1000))
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		d := newTape(t, b)
		d.run()
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
		w := d.end[0].w
		for i, n := range w.count.Verdicts {
			total.Verdicts[i] += n
		}
		total.Merged += w.count.Merged
		total.ICMPErrors += w.count.ICMPErrors
		total.PassEstablished += w.count.PassEstablished
		mib.InOctets += w.eng.MIB().InOctets
		mib.OutOfOrder += w.eng.MIB().OutOfOrder
		mib.OutOctets += w.eng.MIB().OutOctets
	}
	require.Positive(t, total.Verdicts[wire.VerdictTCP])
	require.Positive(t, total.Verdicts[wire.VerdictOther])
	require.Positive(t, total.Merged)
	require.Positive(t, total.ICMPErrors)
	require.Positive(t, total.PassEstablished)
	require.Positive(t, mib.InOctets)
	require.Positive(t, mib.OutOfOrder)
	require.Positive(t, mib.OutOctets)
}

func playTape(t *testing.T, in []byte) { newTape(t, in[:min(len(in), tapeCap)]).run() }

// tapeCap bounds an input of FuzzFrames, octets.
const tapeCap = 2048

// tape is an input being played to two workers, of which the first merges.
type tape struct {
	t     *testing.T
	in    []byte
	agree bool // nothing happens that the two may treat differently
	now   vtime.Time
	end   [2]*tapeEnd
	flows [tapeFlows]tapeFlow
	cur   int
}

// tapeFlow is one connection of the peer.
type tapeFlow struct {
	flow wire.Flow // as the peer sees it
	next seq.Num   // where its stream goes on
	ack  seq.Num   // all that the first worker has sent
	ts   uint32
	max  seq.Num // end of all text it sent
	fin  seq.Num // where it ends; 0: not yet
	last []byte  // frame of the first worker
}

const tapeFlows = 3

// tapeEnd is one worker with its device.
type tapeEnd struct {
	d  *tape
	w  *worker
	q  *tapeQueue
	up *fakeUpper
}

// newTape makes the workers: end 0 of the tests' addresses, listening on port 80.
func newTape(t *testing.T, in []byte) *tape {
	d := &tape{t: t, in: in, now: vtime.Time(vtime.Second)}
	mode := d.byte()
	d.agree = mode&1 == 0
	for i := range d.flows {
		local, remote := addr4[1], addr4[0]
		if i == tapeFlows-1 {
			local, remote = addr6[1], addr6[0]
		}
		d.flows[i] = tapeFlow{next: rawISS.Add(1), max: rawISS, flow: wire.Flow{
			Local: wire.AddrFrom(local), Remote: wire.AddrFrom(remote), LocalPort: 4000 + uint16(i), RemotePort: 80,
		}}
	}
	for i := range d.end {
		d.end[i] = d.newEnd(mode, i == 1)
	}
	return d
}

func (d *tape) newEnd(mode byte, plain bool) *tapeEnd {
	e := &tapeEnd{d: d, q: &tapeQueue{}}
	e.q.sent = e.check
	dev, err := New(Config{
		Name: "toe0", Ports: []PortQueues{{Port: testPort(d.t, 0, mode&2 == 0), Queues: []ports.Queue{e.q}}},
		MaxConns: 4, MaxListeners: 1, HalfOpens: 4, TimeWaits: 4, Tunables: tcpoffload.DefaultTunables(), NoMerge: plain,
	})
	require.NoError(d.t, err)
	d.t.Cleanup(func() { require.NoError(d.t, dev.Close()) })
	// An engine whose numbers are the same each time.
	eng, err := tcpoffload.New(tcpoffload.Config{
		Memory: tcpoffload.NewMemoryOf(tcpoffload.Sizes{
			Conns: 4, Listeners: 1, HalfOpens: 4, TimeWaits: 4, FastOpens: 4, Flights: 32, Ranges: 32,
		}),
		Tunables: tcpoffload.DefaultTunables(), ISNKey: [16]byte{1}, Seed: 2,
	})
	require.NoError(d.t, err)
	w := dev.workers[0]
	w.eng, w.now = eng, d.now
	w.clock = func() vtime.Time { return d.now }
	e.w, e.up = w, &fakeUpper{dev: dev, rcvbuf: 64 << 10, sndbuf: 16 << 10}
	if !d.agree {
		e.up.total = uint64(mode) << 8
	}
	w.up = e.up
	w.mail.start()
	l := &toe.Listener{ID: 7, Port: 80, V6: true, Backlog: 4}
	l.Opt.RcvBuf = uint32(e.up.rcvbuf)
	require.Equal(d.t, toe.Offloaded, w.listen(l))
	return e
}

func (d *tape) byte() byte {
	if len(d.in) == 0 {
		return 0
	}
	b := d.in[0]
	d.in = d.in[1:]
	return b
}

// run plays the input, burst by burst.
func (d *tape) run() {
	received := 0
	for len(d.in) > 0 {
		var burst []frame.Frame
		for range 1 + d.byte()%24 {
			burst = append(burst, d.frame())
		}
		received += len(burst)
		d.turn(burst)
		b := d.byte()
		d.now = d.now.Add(vtime.Duration(b%16) * vtime.Millisecond)
		if b > 200 {
			d.now = d.now.Add(vtime.Duration(b) * 100 * vtime.Millisecond)
		}
		d.turn(nil)
		if d.agree {
			require.Equal(d.t, d.end[1].state(), d.end[0].state())
		}
		for i := range d.flows {
			d.flows[i].next = rawISS.Add(1 + uint32(d.end[0].readable(&d.flows[i].flow)))
		}
	}
	for _, e := range d.end {
		sum := uint64(0)
		for _, n := range e.w.count.Verdicts {
			sum += n
		}
		require.Equal(d.t, uint64(received), sum+e.w.count.Drops[DropDeviceChecksum], "every frame has its verdict")
	}
}

// turn gives both workers a burst.
func (d *tape) turn(burst []frame.Frame) {
	for _, e := range d.end {
		e.q.in = burst
		e.w.tick()
		for range 4 {
			if e.w.iterate() == 0 {
				break
			}
		}
	}
}

// frame makes the next frame.
func (d *tape) frame() frame.Frame {
	b := d.byte()
	if b&3 == 3 {
		d.cur = int(b>>2) % tapeFlows
	}
	fl := &d.flows[d.cur]
	f := frame.Frame{}
	switch k := d.byte(); {
	case k < 170 || d.agree:
		f.Data = d.segment(fl, k)
	case k < 215:
		f.Data = d.icmp(fl)
	case k < 225:
		f.Data = d.other(k)
	default: // any octets
		n := min(int(d.byte())*4, len(d.in))
		f.Data = bytes.Clone(d.in[:n])
		d.in = d.in[n:]
		if k > 235 && n >= wire.EthernetLen {
			wire.PutEthernet(f.Data, macs[0], macs[1], [...]wire.EtherType{wire.TypeIPv4, wire.TypeIPv6, wire.TypeARP, wire.TypeVLAN}[k%4])
		}
	}
	if d.agree {
		return f
	}
	for k := d.byte(); k > 200 && len(f.Data) > 0; k -= 11 { // damage, which the port may say is none
		f.Data[(int(d.byte())|int(d.byte())<<8)%min(len(f.Data), 120)] ^= d.byte()
		f.Flags |= frame.RxIPCsumGood | frame.RxL4CsumGood
	}
	if k := d.byte(); k > 240 {
		f.Flags = frame.Flags(d.byte())
		f.Data = f.Data[:len(f.Data)*int(d.byte())/255]
	}
	return f
}

// segment makes a segment of flow fl: mostly the next of its stream.
func (d *tape) segment(fl *tapeFlow, k byte) []byte {
	h := wire.Header{SrcMAC: macs[1], DstMAC: macs[0], TTL: 64, Flow: fl.flow, Seq: fl.next, Ack: fl.ack, Flags: wire.ACK, Wnd: 60000}
	h.Opt = wire.Options{Set: wire.OptTimestamps, TSVal: 5000 + fl.ts}
	n := 1448
	switch fl.ack {
	case 0:
		h.Seq, h.Flags, n = rawISS, wire.SYN, 0
		h.Opt.Set |= wire.OptMSS | wire.OptSACKPermitted
		h.Opt.MSS = 1460
	default:
		d.vary(fl, k, &h, &n)
	}
	if d.agree {
		fl.keepWord(&h, &n)
	}
	b := make([]byte, h.Len()+n)
	fetchPattern(uint64(uint32(h.Seq-rawISS)-1), b[h.Len():])
	h.Put(b, n, wire.Sum(b[h.Len():], 0), wire.ChecksumSoftware)
	if h.Seq == fl.next && h.Flags.Has(wire.ACK) {
		fl.next = fl.next.Add(uint32(n))
	}
	return b
}

// keepWord takes out of h, with n octets of text, what contradicts what the peer said before: what becomes of
// text behind a FIN depends on which of them is seen first.
func (fl *tapeFlow) keepWord(h *wire.Header, n *int) {
	end := h.Seq.Add(uint32(*n))
	switch {
	case fl.fin != 0 && end.GT(fl.fin):
		h.Seq, h.Flags, *n = fl.fin.Add(1), h.Flags&^(wire.FIN|wire.URG), 0
	case h.Flags.Has(wire.FIN) && (end.LT(fl.max) || fl.fin != 0 && fl.fin != end):
		h.Flags &^= wire.FIN
	case h.Flags.Has(wire.FIN):
		fl.fin = end
	}
	fl.max = seq.Max(fl.max, end)
}

// vary makes h, with n octets of text, one of the segments that are not simply the next.
func (d *tape) vary(fl *tapeFlow, k byte, h *wire.Header, n *int) {
	v := int(d.byte())
	switch k % 25 {
	case 0:
		*n = v * 5
	case 1, 2, 3:
		*n = 0
	case 4: // a hole
		h.Seq = h.Seq.Add(uint32(v) * 30)
	case 5: // again, or in part
		if old := seq.Num(v * 16); h.Seq.Sub(rawISS.Add(1)) > int32(old) {
			h.Seq -= old
		}
	case 6:
		fl.ts++
		h.Opt.TSVal++
	case 7:
		h.Opt.TSVal -= uint32(v)
	case 8:
		h.Wnd = uint16(v)
	case 9:
		h.ECN = wire.ECN(v % 4)
	case 10, 11:
		h.Flags |= wire.PSH
	case 12:
		h.Opt.Set &^= wire.OptTimestamps
	case 13:
		if v > 100 {
			h.Flags |= wire.FIN
		}
	case 14:
		if v > 200 {
			h.Flags |= wire.RST
		}
	case 15:
		h.Flags |= wire.URG
		h.Urg = uint16(v)
	case 16:
		h.Seq, h.Flags, *n = rawISS, wire.SYN, 0
	case 17:
		h.Ack = h.Ack.Add(1)
	case 18:
		if !d.agree {
			h.Flags ^= wire.Flags(v)
		}
	case 19:
		if !d.agree {
			h.Seq, h.Ack = h.Seq.Add(uint32(v)<<24|uint32(d.byte())<<10), h.Ack-seq.Num(d.byte())<<8
		}
	case 20, 21:
		if !d.agree {
			h.Ack -= min(seq.Num(v)<<6, h.Ack-1) // not all that was sent
		}
	}
}

// icmp makes an ICMP error about the last frame that the worker sent on fl.
func (d *tape) icmp(fl *tapeFlow) []byte {
	if len(fl.last) == 0 {
		return d.segment(fl, 0)
	}
	return icmpFrame(fl.last, [...]byte{3, 3, 3, 11, 12, 1, 2, 4}[d.byte()%8], d.byte()%16, uint16(d.byte())*8)
}

// other makes an ARP request or an ICMP echo.
func (d *tape) other(k byte) []byte {
	b := make([]byte, 60)
	if k%2 == 0 {
		wire.PutEthernet(b, wire.BroadcastMAC(), macs[1], wire.TypeARP)
		copy(b[wire.EthernetLen:], []byte{0, 1, 8, 0, 6, 4, 0, 1 + k%3})
		copy(b[wire.EthernetLen+8:], macs[1][:])
		copy(b[wire.EthernetLen+14:], addr4[1].AsSlice())
		copy(b[wire.EthernetLen+24:], addr4[0].AsSlice())
		return b
	}
	ip := wire.IPHeader{Src: wire.AddrFrom(addr4[1]), Dst: wire.AddrFrom(addr4[0]), Proto: wire.ProtoICMP, TTL: 64, Payload: 26}
	wire.PutEthernet(b, macs[0], macs[1], ip.Type())
	msg := wire.ICMP(b[wire.EthernetLen+ip.Put(b[wire.EthernetLen:]):])
	msg.SetType(8, 0)
	msg.UpdateChecksum(0)
	return b
}

// readable returns how much of the peer's stream of flow f the worker has.
func (e *tapeEnd) readable(f *wire.Flow) uint64 {
	for i := len(e.up.socks) - 1; i >= 0; i-- {
		if s := e.up.socks[i]; s.flow.Remote == f.Local && s.flow.RemotePort == f.LocalPort {
			return s.readable
		}
	}
	return 0
}

// state is what has to be the same with and without merging.
func (e *tapeEnd) state() any {
	type conn struct {
		found                            bool
		state                            string
		rcvNxt                           uint32
		readable, read, peerEnd          uint64
		wrong                            int
		peerFIN, closed, finished, wrote bool
		end                              toe.End
	}
	conns := map[wire.Flow][]conn{}
	for _, s := range e.up.socks {
		var info toe.ConnInfo
		c := conn{found: e.w.dev.ConnInfo(s.tid, &info), state: info.State, rcvNxt: uint32(info.RcvNxt), readable: s.readable, read: s.read,
			peerEnd: s.peerEnd, wrong: s.wrong, peerFIN: s.peerFIN, closed: s.closed, finished: s.finished, end: s.end}
		require.Zero(e.d.t, s.wrong, "the stream arrives as it was sent")
		conns[s.flow] = append(conns[s.flow], c)
	}
	return []any{conns, e.w.count.Verdicts}
}

// check looks at a frame that the worker sends.
func (e *tapeEnd) check(b []byte) {
	t := e.d.t
	require.LessOrEqual(t, len(b), wire.EthernetLen+1500)
	require.Equal(t, macs[0], wire.Ethernet(b).Src())
	var p wire.Packet
	switch wire.Parse(b, false, false, &p) {
	case wire.VerdictTCP:
		require.False(t, p.BadOptions)
		for i := range e.d.flows {
			fl := &e.d.flows[i]
			if e != e.d.end[0] || p.Flow.Local != fl.flow.Local || p.Flow.LocalPort != fl.flow.LocalPort {
				continue
			}
			fl.last = append(fl.last[:0], b...)
			fl.ack = p.Seq.Add(uint32(p.PayloadLen))
			if p.Flags&(wire.SYN|wire.FIN) != 0 {
				fl.ack = fl.ack.Add(1)
			}
		}
	case wire.VerdictOther:
	default:
		t.Fatalf("a frame that cannot be parsed: %x", b)
	}
}

// tapeQueue is a port that receives what it is given and shows what is sent.
type tapeQueue struct {
	in    []frame.Frame
	empty [][]byte
	sent  func(b []byte)
}

func (q *tapeQueue) Receive(b *frame.Burst) int {
	b.Truncate(0)
	for b.Room() > 0 && len(q.in) > 0 {
		*b.Push() = q.in[0]
		q.in = q.in[1:]
	}
	return b.Len()
}

func (q *tapeQueue) Alloc(b *frame.Burst, n int) int {
	n = min(n, b.Room())
	for range n {
		if len(q.empty) == 0 {
			q.empty = append(q.empty, make([]byte, 0, memBuffer))
		}
		f, last := b.Push(), len(q.empty)-1
		f.Data, f.Handle = q.empty[last], memOwn
		q.empty = q.empty[:last]
	}
	return n
}

func (q *tapeQueue) Transmit(b *frame.Burst) int {
	n := b.Len()
	for i := range n {
		q.sent(b.At(i).Data)
	}
	q.Free(b)
	return n
}

func (q *tapeQueue) Free(b *frame.Burst) {
	for i := range b.Len() {
		if f := b.At(i); f.Handle == memOwn {
			q.empty = append(q.empty, f.Data[:0])
		}
	}
	b.Truncate(0)
}
