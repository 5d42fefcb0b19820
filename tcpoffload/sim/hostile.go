package sim

import (
	"opentoe/tcpoffload"
	"opentoe/tcpoffload/seq"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// Hostile is a peer that completes handshakes and then sends what no TCP should. What it does to its own
// connections is its own affair; what has to hold is that the engine keeps its invariants, that other
// connections do not suffer, and that nothing of it is left in the end.
type Hostile struct {
	Addr wire.Addr
	Sent int

	w     *World
	link  node
	conns []*hostileConn
	until vtime.Time
}

// hostileConn is what a Hostile knows of a connection.
type hostileConn struct {
	flow     wire.Flow
	nxt      seq.Num // of ours
	top      seq.Num // highest sequence number of the peer seen, its acknowledgment due
	una      seq.Num // first of the peer's that we did not acknowledge
	wnd      uint16
	ts       uint32 // the peer's latest timestamp
	opt      bool   // timestamps are in use
	open     bool
	reneging bool
}

// Hostile adds a hostile peer to w, attached to s, that is active until until.
func (w *World) Hostile(addr wire.Addr, s *Switch, up, down LinkConfig, until vtime.Time) *Hostile {
	h := &Hostile{Addr: addr, w: w, until: until}
	h.link = &Link{LinkConfig: up, w: w, to: s}
	s.attach(addr, &Link{LinkConfig: down, w: w, to: h})
	w.hostile = append(w.hostile, addr)
	return h
}

// Connect opens a connection to port of host to, and attacks it when it is open.
func (h *Hostile) Connect(to *Host, local, port uint16) {
	c := h.conn(wire.Flow{Local: h.Addr, LocalPort: local, Remote: to.Addr, RemotePort: port})
	c.opt = h.w.rng.IntN(2) == 0
	h.send(c, h.segment(c, wire.SYN, c.nxt, 0))
	c.nxt = c.nxt.Add(1)
}

func (h *Hostile) conn(f wire.Flow) *hostileConn {
	c := &hostileConn{flow: f, nxt: seq.Num(h.w.rng.Uint32()), wnd: 65535}
	h.conns = append(h.conns, c)
	return c
}

func (h *Hostile) take(p *packet) {
	h.w.passed(p)
	s := p.seg
	h.w.note(p, "hostile")
	h.w.drop(p)
	var c *hostileConn
	for _, x := range h.conns {
		if x.flow == s.Flow {
			c = x
		}
	}
	if c == nil {
		if s.Flags&(wire.SYN|wire.ACK) != wire.SYN {
			return
		}
		c = h.conn(s.Flow)
		c.opt = s.Opt.Set&wire.OptTimestamps != 0 && h.w.rng.IntN(2) == 0
	}
	if s.Opt.Set&wire.OptTimestamps != 0 {
		c.ts = s.Opt.TSVal
	}
	if s.Flags.Has(wire.SYN) {
		c.top = s.Seq.Add(1)
		c.una = c.top
		if c.open {
			return
		}
		c.open = true
		if s.Flags.Has(wire.ACK) {
			h.send(c, h.segment(c, wire.ACK, c.nxt, 0))
		} else {
			h.send(c, h.segment(c, wire.SYN|wire.ACK, c.nxt, 0))
			c.nxt = c.nxt.Add(1)
		}
		h.attackLater(c)
		return
	}
	end := s.Seq.Add(s.Len)
	if s.Flags.Has(wire.FIN) {
		end = end.Add(1)
	}
	c.top = seq.Max(c.top, end)
}

func (h *Hostile) attackLater(c *hostileConn) {
	h.w.After(vtime.Duration(h.w.rng.Int64N(int64(30*vtime.Millisecond))), func() {
		if h.w.now < h.until {
			h.attack(c)
			h.attackLater(c)
		}
	})
}

// segment returns a segment of n octets at sq that acknowledges what was acknowledged before.
func (h *Hostile) segment(c *hostileConn, f wire.Flags, sq seq.Num, n uint32) *tcpoffload.Segment {
	s := &tcpoffload.Segment{Flow: c.flow, Flags: f, Seq: sq, Ack: c.una, Len: n, Wnd: c.wnd}
	if f.Has(wire.SYN) {
		s.Opt.Set = wire.OptMSS | wire.OptSACKPermitted | wire.OptWindowScale
		s.Opt.MSS = []uint16{1460, 536, 1, 0, 65535}[h.w.rng.IntN(5)]
		s.Opt.WScale = uint8([]int{0, 7, 14, 255}[h.w.rng.IntN(4)])
	}
	if c.opt {
		s.Opt.Set |= wire.OptTimestamps
		s.Opt.TSVal, s.Opt.TSEcr = uint32(h.w.now/vtime.Time(vtime.Millisecond)), c.ts
	}
	return s
}

func (h *Hostile) send(c *hostileConn, s *tcpoffload.Segment) {
	h.Sent++
	h.w.inject(h.link, s)
}

// inject puts s, whose flow is seen from its sender, on link; its payload belongs to no stream.
func (w *World) inject(link node, s *tcpoffload.Segment) {
	k := w.newPacket()
	*k = packet{seg: *s}
	k.seg.Flow = wire.Flow{
		Local: s.Flow.Remote, LocalPort: s.Flow.RemotePort, Remote: s.Flow.Local, RemotePort: s.Flow.LocalPort,
	}
	k.measure()
	link.take(k)
}

// attack does one of the things that peers must not do.
func (h *Hostile) attack(c *hostileConn) {
	r := h.w.rng
	somewhere := func() seq.Num { return c.nxt.Add(uint32(r.Int32N(200_000) - 100_000)) }
	switch r.IntN(16) {
	case 0: // acknowledges everything, so that the attack goes on
		c.una = c.top
		h.send(c, h.segment(c, wire.ACK, c.nxt, 0))
	case 1: // optimistic ACKs
		s := h.segment(c, wire.ACK, c.nxt, 0)
		s.Ack = c.top.Add(uint32(r.Int32N(10_000)))
		h.send(c, s)
	case 2: // ACK division
		for c.una.LT(c.top) && r.IntN(50) > 0 {
			c.una = seq.Min(c.una.Add(uint32(1+r.Int32N(40))), c.top)
			h.send(c, h.segment(c, wire.ACK, c.nxt, 0))
		}
	case 3: // spoofed duplicate ACKs
		for range 3 + r.IntN(30) {
			h.send(c, h.segment(c, wire.ACK, c.nxt, 0))
		}
	case 4: // overlapping segments, all over the window
		for range 1 + r.IntN(20) {
			h.send(c, h.segment(c, wire.ACK, somewhere(), uint32(r.Int32N(3000))))
		}
	case 5: // islands of one octet
		at := c.nxt
		for range 1 + r.IntN(300) {
			at = at.Add(uint32(2 + r.Int32N(20)))
			h.send(c, h.segment(c, wire.ACK, at, 1))
		}
	case 6: // in order, octet by octet
		for range 1 + r.IntN(50) {
			h.send(c, h.segment(c, wire.ACK|wire.PSH, c.nxt, 1))
			c.nxt = c.nxt.Add(1)
		}
	case 7: // window shrinks, shuts, opens by little
		c.wnd = []uint16{0, 1, 2, 100, 65535, uint16(r.Uint32())}[r.IntN(6)]
		h.send(c, h.segment(c, wire.ACK, c.nxt, 0))
	case 8: // SACK blocks of nothing, of everything, inside out
		s := h.segment(c, wire.ACK, c.nxt, 0)
		s.Opt.Set |= wire.OptSACK
		s.Opt.NumSACK = uint8(1 + r.IntN(3))
		for i := range s.Opt.NumSACK {
			left := c.una.Add(uint32(r.Int32N(20_000) - 5000))
			s.Opt.SACK[i] = wire.SACKBlock{Left: left, Right: left.Add(uint32(r.Int32N(20_000) - 2000))}
		}
		h.send(c, s)
	case 9: // SACK, then renege
		s := h.segment(c, wire.ACK, c.nxt, 0)
		if mid := c.una.Add(1 + uint32(r.Int32N(3000))); !c.reneging && mid.LT(c.top) {
			s.Opt.Set |= wire.OptSACK
			s.Opt.NumSACK = 1
			s.Opt.SACK[0] = wire.SACKBlock{Left: mid, Right: c.top}
		}
		c.reneging = !c.reneging
		h.send(c, s)
	case 10: // any flags anywhere
		s := h.segment(c, wire.Flags(r.Uint32()), somewhere(), uint32(r.Int32N(100)))
		s.Flags &^= wire.RST
		s.Urg = uint16(r.Uint32())
		s.ECN = wire.ECN(r.Uint32() & 3)
		h.send(c, s)
	case 11: // resets that do not fit
		s := h.segment(c, wire.RST, c.nxt.Add(uint32(1+r.Int32N(50_000))), 0)
		if r.IntN(2) == 0 {
			s.Flags |= wire.ACK
		}
		h.send(c, s)
	case 12: // SYNs in the middle
		h.send(c, h.segment(c, wire.SYN|wire.Flags(r.Uint32()&uint32(wire.ACK)), somewhere(), 0))
	case 13: // a FIN far ahead, text beyond it
		at := somewhere()
		h.send(c, h.segment(c, wire.ACK|wire.FIN, at, uint32(r.Int32N(10))))
		h.send(c, h.segment(c, wire.ACK, at, uint32(r.Int32N(2000))))
	case 14: // timestamps from anywhere
		s := h.segment(c, wire.ACK, c.nxt, uint32(r.Int32N(2)))
		s.Opt.Set |= wire.OptTimestamps
		s.Opt.TSVal, s.Opt.TSEcr = r.Uint32(), r.Uint32()
		h.send(c, s)
	case 15: // very old and very new sequence numbers and ACKs
		s := h.segment(c, wire.ACK, seq.Num(r.Uint32()), uint32(r.Int32N(1500)))
		s.Ack = seq.Num(r.Uint32())
		h.send(c, s)
	}
}
