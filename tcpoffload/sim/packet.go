package sim

import (
	"opentoe/tcpoffload"
	"opentoe/tcpoffload/wire"
)

// node is where a packet can go: a host, a link, a switch. take owns p from then on.
type node interface{ take(p *packet) }

// packet is one segment on its way, or a train of segments that share their fate.
type packet struct {
	seg     tcpoffload.Segment // as the receiver sees it
	pos     uint64             // stream position of the payload at its sender; valid only with origin
	origin  uint64             // which Sock sent the payload; 0: none that the world knows
	from    *Host              // sender, told when the packet is too big; nil: nobody
	octets  int                // on the wire, preamble and gap included
	segSize uint32             // payload of each segment of a train but the last
	corrupt bool
	later   int // packets that overtake it before it goes on
}

// What a frame takes on the wire besides the IP packet: Ethernet header, check sequence, preamble and
// gap; and the least that one takes.
const (
	frameOctets = 14 + 4 + 8 + 12
	leastOctets = 64 + 8 + 12
)

// headerLen returns the octets of IP and TCP headers of s with its options.
func headerLen(s *tcpoffload.Segment) int {
	n := 40 + wire.TCPLen + s.Opt.Len()
	if s.Flow.Is4() {
		n -= 20
	}
	return n
}

// measure fills in what p takes on the wire.
func (p *packet) measure() {
	n := max(int(p.seg.Segs), 1)
	over := headerLen(&p.seg) + frameOctets
	p.octets = max(n*over+int(p.seg.Len), leastOctets)
}

// ipLen returns the size of the largest IP packet of p.
func (p *packet) ipLen() int {
	n := p.seg.Len
	if p.seg.Segs > 1 {
		n = p.segSize
	}
	return headerLen(&p.seg) + int(n)
}

// newPacket returns a packet whose fields may hold anything.
func (w *World) newPacket() *packet {
	if n := len(w.spare); n > 0 {
		p := w.spare[n-1]
		w.spare = w.spare[:n-1]
		return p
	}
	w.made++
	return new(packet)
}

// drop gives p back.
func (w *World) drop(p *packet) { w.spare = append(w.spare, p) }

// clone returns a copy of p.
func (w *World) clone(p *packet) *packet {
	c := w.newPacket()
	*c = *p
	return c
}

// cut splits the first n segments off the train p and returns them; p keeps the rest. Precondition: p
// has more than n segments.
func (w *World) cut(p *packet, n int) *packet {
	c := w.clone(p)
	octets := uint32(n) * p.segSize
	c.seg.Len = octets
	c.seg.Segs = uint16(n)
	c.seg.Flags &^= wire.FIN | wire.PSH
	p.seg.Len -= octets
	p.seg.Segs -= uint16(n)
	p.seg.Seq = p.seg.Seq.Add(octets)
	p.pos += uint64(octets)
	c.measure()
	p.measure()
	return c
}

// packetFor returns s as its receiver will see it, whole.
func (w *World) packetFor(s *tcpoffload.TxSegment) *packet {
	p := w.newPacket()
	*p = packet{
		seg: tcpoffload.Segment{
			Flow: wire.Flow{
				Local: s.Flow.Remote, LocalPort: s.Flow.RemotePort,
				Remote: s.Flow.Local, RemotePort: s.Flow.LocalPort,
			},
			Seq: s.Seq, Ack: s.Ack, Len: s.Len, Wnd: s.Wnd, Urg: s.Urg, Flags: s.Flags, ECN: s.ECN, Opt: s.Opt,
		},
		pos: s.Pos,
	}
	if s.SegSize > 0 && s.Len > uint32(s.SegSize) {
		p.segSize = uint32(s.SegSize)
		p.seg.Segs = uint16((s.Len + p.segSize - 1) / p.segSize)
	}
	p.measure()
	return p
}
