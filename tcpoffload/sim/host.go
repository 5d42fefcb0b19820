package sim

import (
	"slices"

	"opentoe/tcpoffload"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// Host is the owner of an engine: it carries out its actions and checks them.
type Host struct {
	Addr   wire.Addr
	Engine *tcpoffload.Engine
	// OnAccept, if set, is told of every connection that a listener offers.
	OnAccept func(s *Sock)
	Verdicts [wire.NumVerdicts]uint64 // of frames, valid only in a world with Wire
	NoBuffer uint64                   // packets lost because the worker stood still for too long

	w     *World
	link  node
	out   *tcpoffload.Output
	socks map[tcpoffload.Handle]*Sock
	all   []*Sock // in the order of their making

	dirty bool       // there may be something to transmit
	wake  vtime.Time // when the engine's next timer is due
	still vtime.Time // the worker stands still until then
	ring  []*packet  // what arrived meanwhile

	running bool
	changed []*Sock // whose programs are to be told

	frame, payload []byte // the frame that arrives, and the payload in it; valid with World.Wire
	arrived, lost  uint64 // segments given to the engine, and calls of Arrive that dropped something
}

// Link returns the link that h sends on.
func (h *Host) Link() *Link { return h.link.(*Link) }

// ringPackets is how many packets a NIC keeps for a worker that stands still; more are lost.
const ringPackets = 512

// Stall keeps h's worker from running for d: packets wait in the ring, timers are late.
func (h *Host) Stall(d vtime.Duration) {
	h.still = h.w.now.Add(d)
	h.wake = max(h.wake, h.still)
	h.w.event("%v stands still for %v", h.Addr, d)
	h.w.At(h.still, h.resume)
}

// resume ends a stall.
func (h *Host) resume() {
	if h.w.now < h.still {
		return
	}
	for _, p := range h.ring {
		h.arrive(p)
	}
	h.ring = h.ring[:0]
	h.dirty = true
}

// take receives p from the wire.
func (h *Host) take(p *packet) {
	h.w.passed(p)
	switch {
	case h.w.now >= h.still:
		h.arrive(p)
	case len(h.ring) < ringPackets:
		h.ring = append(h.ring, p)
	default:
		h.NoBuffer++
		h.w.note(p, "no buffer")
		h.w.drop(p)
	}
}

func (h *Host) call(c *tcpoffload.Call) tcpoffload.CallResult {
	r := h.Engine.Call(h.w.now, c, h.out)
	if r > tcpoffload.CallInvalid {
		h.w.violated("call %d answers %d", c.Kind, r)
	}
	h.flush(nil)
	h.run()
	return r
}

// arrive gives one packet to the engine.
func (h *Host) arrive(p *packet) {
	if h.w.Wire && p.seg.Segs <= 1 {
		if !h.throughWire(p) {
			h.w.note(p, "bad frame")
			h.w.drop(p)
			return
		}
	} else if p.corrupt {
		h.w.note(p, "corrupt")
		h.w.drop(p)
		return
	}
	n := uint64(max(p.seg.Segs, 1))
	h.arrived += n
	mib := h.Engine.MIB()
	segs, errs := mib.InSegs, mib.InErrs
	d := h.Engine.Arrive(h.w.now, &p.seg, h.out)
	what := "arrives"
	if d != tcpoffload.DropNone {
		what = d.String()
		h.lost++
		for _, a := range h.out.Actions {
			if a.Kind == tcpoffload.ActPlace {
				h.w.violated("%v: a segment dropped for %v places octets", p.seg.Flow, d)
			}
		}
	}
	if mib.InSegs != segs+n || mib.InErrs-errs > 1 || mib.InErrs > errs != (d != tcpoffload.DropNone) {
		h.w.violated("%v: a segment with verdict %v is not counted so", p.seg.Flow, d)
	}
	h.w.note(p, what)
	h.flush(p)
	h.run()
	h.w.drop(p)
}

// budget is how many segments a worker takes from Transmit at a time.
const budget = 32

// poll is one iteration of a worker without arrivals.
func (h *Host) poll() {
	if h.w.now < h.still {
		h.wake = h.still
		h.dirty = false
		return
	}
	for {
		h.Engine.Expire(h.w.now, h.out)
		h.flush(nil)
		h.run()
		if h.Engine.NextDeadline() > h.w.now {
			break
		}
	}
	for h.Engine.Pending() {
		n := h.Engine.Transmit(h.w.now, budget, h.out)
		switch {
		case n > budget || n != len(h.out.Segs):
			h.w.violated("Transmit gave %d segments, said %d, was allowed %d", len(h.out.Segs), n, budget)
		case n == 0 && h.Engine.Pending():
			h.w.violated("Transmit makes no progress")
			return
		}
		h.flush(nil)
		h.run()
	}
	h.wake = h.Engine.NextDeadline()
	h.dirty = false
}

// flush carries out what the engine produced. p is the packet that just arrived, or nil.
func (h *Host) flush(p *packet) {
	h.dirty = true
	for i := range h.out.Segs {
		h.emit(&h.out.Segs[i])
	}
	for i := range h.out.Actions {
		h.act(&h.out.Actions[i], p)
	}
	h.out.Reset()
}

// run tells the programs what changed. The calls that they make only add to what is to be told.
func (h *Host) run() {
	if h.running {
		return
	}
	h.running = true
	for i := 0; i < len(h.changed); i++ {
		s := h.changed[i]
		s.queued = false
		s.tell()
	}
	h.changed = h.changed[:0]
	h.running = false
}

// emit sends s, cut as a device would cut it unless the link takes trains.
func (h *Host) emit(s *tcpoffload.TxSegment) {
	sock := h.socks[s.Handle]
	if sock != nil && s.Len > 0 {
		end := s.Pos + uint64(s.Len)
		if end > sock.Sent {
			h.w.violated("%v: sends octets that were not queued", s.Flow)
		}
		if end > sock.top {
			sock.top = end
			defer h.w.wentOn() // when they are on the way
		}
	}
	l, _ := h.link.(*Link)
	if s.SegSize == 0 || s.Len <= uint32(s.SegSize) || l != nil && l.Trains {
		h.emitOne(s, sock, l)
		return
	}
	for off := uint32(0); off < s.Len; {
		c := *s
		c.SegSize = 0
		c.Len = min(uint32(s.SegSize), s.Len-off)
		c.Pos += uint64(off)
		c.Seq = c.Seq.Add(off)
		if off > 0 {
			c.Flags &^= wire.CWR
		}
		if off += c.Len; off < s.Len {
			c.Flags &^= wire.FIN | wire.PSH
		}
		h.emitOne(&c, sock, l)
	}
}

func (h *Host) emitOne(s *tcpoffload.TxSegment, sock *Sock, l *Link) {
	p := h.w.packetFor(s)
	p.from = h
	if sock != nil {
		p.origin = sock.id
	}
	h.w.note(p, "sent")
	if l != nil && l.Drop != nil && l.Drop(s) {
		l.Sent++
		l.lose(p, "lost")
		return
	}
	h.link.take(p)
}

// act carries out one action and checks it.
func (h *Host) act(a *tcpoffload.Action, p *packet) {
	s := h.socks[a.Handle]
	if a.Kind == tcpoffload.ActPassEstablished {
		if s != nil && !s.Finished {
			h.w.violated("connection %x is offered twice", a.Handle)
		}
		s = h.newSock(a.Handle)
		s.Passive, s.Established, s.fresh = true, true, true
		if p != nil {
			s.Flow = p.seg.Flow
			s.Hostile = slices.Contains(h.w.hostile, s.Flow.Remote)
		}
		s.Listener = a.Listener
		h.Engine.SetCookie(a.Handle, s.id)
		h.w.wentOn()
		s.touch()
		return
	}
	if s == nil || s.Finished {
		h.w.violated("action %d for a connection that is not there", a.Kind)
		return
	}
	if a.Cookie != s.id && a.Cookie != 0 {
		h.w.violated("action %d for connection %d carries cookie %d", a.Kind, s.id, a.Cookie)
	}
	switch a.Kind {
	case tcpoffload.ActPlace:
		h.place(s, a, p)
	case tcpoffload.ActReadable:
		if a.Pos < s.Readable || a.Pos > s.placed.edge() {
			h.w.violated("readable to %d, was %d, placed to %d", a.Pos, s.Readable, s.placed.edge())
		}
		s.Readable = a.Pos
		h.w.wentOn()
	case tcpoffload.ActAcked:
		if a.Pos < s.Acked || a.Pos > s.Sent {
			h.w.violated("acknowledged to %d, was %d, sent %d", a.Pos, s.Acked, s.Sent)
		}
		s.Acked = a.Pos
		h.w.wentOn()
	case tcpoffload.ActEstablished:
		if s.Established {
			h.w.violated("established twice")
		}
		s.Established = true
		h.w.wentOn()
	case tcpoffload.ActPeerClose:
		if a.Pos != s.Readable || s.PeerClosed {
			h.w.violated("peer closes at %d, readable to %d", a.Pos, s.Readable)
		}
		s.PeerClosed, s.EOF = true, a.Pos
		h.w.wentOn()
	case tcpoffload.ActFinished:
		s.Finished, s.Reason = true, a.Reason
		delete(h.socks, a.Handle)
		h.w.wentOn()
		h.w.event("%v finished: %d", s.Flow, a.Reason)
	case tcpoffload.ActUrgent:
		s.UrgentPos = a.Pos
	}
	s.touch()
}

// place checks that the payload of p goes where its sender had it.
func (h *Host) place(s *Sock, a *tcpoffload.Action, p *packet) {
	switch {
	case p == nil || a.Off+a.Len > p.seg.Len:
		h.w.violated("%v: places octets that did not arrive", s.Flow)
		return
	case s.Hostile:
		// Its payload belongs to no stream.
	case p.origin == 0:
		h.w.violated("%v: octets that nobody sent are placed", s.Flow)
	case s.peer == 0:
		s.peer = p.origin
	case s.peer != p.origin:
		h.w.violated("%v: octets of another incarnation placed", s.Flow)
	}
	if p.pos+uint64(a.Off) != a.Pos && !s.Hostile {
		h.w.violated("%v: octet %d of the stream placed at %d", s.Flow, p.pos+uint64(a.Off), a.Pos)
	}
	if h.w.Wire && p.seg.Segs <= 1 && !s.Hostile && !isStream(h.payload[a.Off:a.Off+a.Len], p.origin, a.Pos) {
		h.w.violated("%v: wrong octets placed at %d", s.Flow, a.Pos)
	}
	if s.placed.add(a.Pos, a.Pos+uint64(a.Len)) {
		h.w.wentOn()
	}
}
