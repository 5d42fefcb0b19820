package sim

import (
	"encoding/binary"

	"opentoe/tcpoffload"
	"opentoe/tcpoffload/wire"
)

// Frames with payload. In a world whose Wire is set every packet becomes a frame when it reaches a host,
// is damaged if a link says so, and is parsed again: the engine sees only what the wire package understood.

// streamWord is octets 8i to 8i+7 of the stream of Sock origin.
func streamWord(origin, i uint64) uint64 {
	x := (origin*0x9e3779b97f4a7c15 ^ i) * 0xbf58476d1ce4e5b9
	return x ^ x>>29
}

// fillStream writes to b the octets of the stream of Sock origin from position pos.
func fillStream(b []byte, origin, pos uint64) {
	var word [8]byte
	for len(b) > 0 {
		binary.LittleEndian.PutUint64(word[:], streamWord(origin, pos/8))
		n := copy(b, word[pos%8:])
		b, pos = b[n:], pos+uint64(n)
	}
}

// isStream reports whether b is what fillStream writes.
func isStream(b []byte, origin, pos uint64) bool {
	var word [8]byte
	for len(b) > 0 {
		binary.LittleEndian.PutUint64(word[:], streamWord(origin, pos/8))
		k := int(pos % 8)
		n := min(8-k, len(b))
		if string(b[:n]) != string(word[k:k+n]) {
			return false
		}
		b, pos = b[n:], pos+uint64(n)
	}
	return true
}

// encode builds p's frame in h.frame.
func (h *Host) encode(p *packet) {
	s := &p.seg
	hdr := wire.Header{
		TTL: 64, DF: true, Flags: s.Flags, ECN: s.ECN, Seq: s.Seq, Ack: s.Ack, Wnd: s.Wnd, Urg: s.Urg, Opt: s.Opt,
		Flow: wire.Flow{
			Local: s.Flow.Remote, LocalPort: s.Flow.RemotePort,
			Remote: s.Flow.Local, RemotePort: s.Flow.LocalPort,
		},
	}
	n := hdr.Len()
	total := n + int(s.Len)
	if cap(h.frame) < total {
		h.frame = make([]byte, 1<<16+256)
	}
	h.frame = h.frame[:total]
	fillStream(h.frame[n:], p.origin, p.pos)
	hdr.Put(h.frame, int(s.Len), wire.Sum(h.frame[n:], 0), wire.ChecksumSoftware)
}

// damage flips bits of the IP packet in h.frame: one error burst of at most 15 bits, which the checksum of
// the headers or of the segment finds wherever it falls on what they cover (RFC 1071).
func (h *Host) damage() {
	bits := (len(h.frame) - wire.EthernetLen) * 8
	at := h.w.rng.IntN(bits)
	for i := range min(1+h.w.rng.IntN(15), bits-at) {
		if i == 0 || h.w.rng.IntN(2) == 0 {
			k := at + i
			h.frame[wire.EthernetLen+k/8] ^= 0x80 >> (k % 8)
		}
	}
}

// throughWire replaces p's segment by what a parser makes of its frame, and reports whether it is sound.
func (h *Host) throughWire(p *packet) bool {
	h.encode(p)
	if p.corrupt {
		h.damage()
	}
	var k wire.Packet
	v := wire.Parse(h.frame, false, false, &k)
	h.Verdicts[v]++
	if v != wire.VerdictTCP {
		if !p.corrupt {
			h.w.violated("%v: a sound frame is %v", p.seg.Flow, v)
		}
		return false
	}
	got := tcpoffload.Segment{
		Flow: k.Flow, Seq: k.Seq, Ack: k.Ack, Len: uint32(k.PayloadLen), Wnd: k.Wnd, Urg: k.Urg,
		Flags: k.Flags, ECN: k.ECN, Opt: k.Opt, Segs: p.seg.Segs,
	}
	if p.corrupt {
		// Only fields that no checksum covers may differ: traffic class, flow label and hop limit of IPv6.
		p.seg.ECN = got.ECN
	}
	if !sameSegment(&got, &p.seg) {
		h.w.violated("%v: parsed %+v from a frame of %+v", p.seg.Flow, got, p.seg)
		return false
	}
	p.seg = got
	h.payload = h.frame[k.PayloadOff : k.PayloadOff+k.PayloadLen]
	return true
}

// sameSegment compares a and b by what of their options is valid.
func sameSegment(a, b *tcpoffload.Segment) bool {
	x, y := *a, *b
	x.Opt, y.Opt = wire.Options{}, wire.Options{}
	if x != y || a.Opt.Set != b.Opt.Set {
		return false
	}
	var p, q [wire.MaxOptionsLen]byte
	n := a.Opt.Len()
	if n != b.Opt.Len() {
		return false
	}
	a.Opt.Put(p[:n])
	b.Opt.Put(q[:n])
	return p == q
}
