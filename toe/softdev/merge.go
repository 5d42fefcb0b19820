package softdev

import (
	"opentoe/pmd/frame"
	"opentoe/tcpoffload"
	"opentoe/tcpoffload/wire"
	"opentoe/toe"
)

// Receive merging: segments of one connection that follow each other in a burst, and differ in
// nothing but their text, become one segment for the engine, as in Linux' GRO. The engine looks at the
// connection once instead of once a frame, and answers once. The octets stay where they are: a train
// lists the payloads of its frames, which live until the burst is freed.

// train is one segment for the engine: the header of the first frame, and the payloads of all.
type train struct {
	seg   tcpoffload.Segment
	lane  *lane
	parts [frame.MaxBurst][]byte       // the payload, in order; the first n are valid, at least one
	from  [frame.MaxBurst]*frame.Frame // of each part
	n     int
	full  bool // takes no more: it has a PSH or a part shorter than the first
}

// begin makes t the segment p with the payload b, which came in f.
func (t *train) begin(l *lane, f *frame.Frame, p *wire.Packet, b []byte) {
	t.seg = tcpoffload.Segment{
		Flow: p.Flow, Seq: p.Seq, Ack: p.Ack, Len: uint32(len(b)),
		Wnd: p.Wnd, Urg: p.Urg, Flags: p.Flags, ECN: p.ECN, Segs: 1, Opt: p.Opt,
	}
	t.lane, t.n, t.full = l, 1, p.Flags.Has(wire.PSH)
	t.parts[0], t.from[0] = b, f
}

// mergeable reports whether p may be part of a train at all: text with nothing to say besides.
func mergeable(p *wire.Packet) bool {
	return p.PayloadLen > 0 && p.Flags&^wire.PSH == wire.ACK && p.Opt.Set&^wire.OptTimestamps == 0 && !p.BadOptions
}

// take appends the mergeable segment p with the payload b, which came in f, and reports whether it belongs there: the next
// octets, and no other news. The same timestamps are demanded, so that TS.Recent and the round-trip
// time come out as without merging; a burst is shorter than a tick of any sender's clock but for the
// one in which the clock ticks.
func (t *train) take(f *frame.Frame, p *wire.Packet, b []byte) bool {
	s := &t.seg
	if t.full || p.Seq != s.Seq.Add(s.Len) || p.Ack != s.Ack || p.Wnd != s.Wnd || p.ECN != s.ECN ||
		len(b) > len(t.parts[0]) || s.Len+uint32(len(b)) > maxTrain || t.n == len(t.parts) ||
		p.Opt.Set != s.Opt.Set || p.Opt.Set != 0 && (p.Opt.TSVal != s.Opt.TSVal || p.Opt.TSEcr != s.Opt.TSEcr) {
		return false
	}
	t.parts[t.n], t.from[t.n] = b, f
	t.n++
	s.Len += uint32(len(b))
	s.Segs++
	s.Flags |= p.Flags
	t.full = p.Flags.Has(wire.PSH) || len(b) < len(t.parts[0])
	return true
}

// place copies octets [off, off+n) of the payload to position pos of s's receive stream.
func (t *train) place(up toe.UpperLayer, s toe.SockID, pos uint64, off, n uint32) {
	for _, b := range t.parts[:t.n] {
		size := uint32(len(b))
		if off >= size {
			off -= size
			continue
		}
		b = b[off:min(size, off+n)]
		up.Place(s, pos, b)
		off = 0
		pos += uint64(len(b))
		if n -= uint32(len(b)); n == 0 {
			return
		}
	}
}

// merge puts a sound segment for us into a train, or gives it to the engine after the train of its
// connection, so that each connection's segments arrive in order. Trains of other connections may
// be overtaken, as by another queue.
func (w *worker) merge(l *lane, f *frame.Frame, p *wire.Packet, b []byte) {
	fits := mergeable(p)
	for i := range w.trains[:w.open] {
		t := &w.trains[i]
		if t.seg.Flow != p.Flow {
			continue
		}
		if fits && t.take(f, p, b) {
			w.count.Merged++
			return
		}
		w.arrive(t)
		if fits {
			t.begin(l, f, p, b)
			return
		}
		w.open--
		if i < w.open {
			w.trains[i] = w.trains[w.open]
		}
		break
	}
	if !fits {
		w.single.begin(l, f, p, b)
		w.arrive(&w.single)
		return
	}
	if w.open == len(w.trains) {
		w.depart()
	}
	w.trains[w.open].begin(l, f, p, b)
	w.open++
}

// depart gives every train to the engine.
func (w *worker) depart() {
	for i := range w.trains[:w.open] {
		w.arrive(&w.trains[i])
	}
	w.open = 0
}
