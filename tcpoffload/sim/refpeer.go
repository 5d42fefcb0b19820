package sim

import (
	"opentoe/tcpoffload"
	"opentoe/tcpoffload/seq"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// RefPeer is an independent TCP end, as simple as RFC 9293 allows: go-back-N, one fixed timeout, no
// options, no congestion control, an ACK for every segment. It listens on every port. What it has in common
// with the engine is the notation only, so that an error in the engine does not hide in its peer.
type RefPeer struct {
	Addr   wire.Addr
	MSS    uint32 // octets of payload that it sends in a segment
	Window uint32 // octets, up to 65535, in flight either way at most
	Octets uint64 // that every connection sends before it closes
	Conns  []*RefConn

	w    *World
	link node
}

// RefConn is one connection of a RefPeer.
type RefConn struct {
	Flow     wire.Flow
	Got      uint64 // octets received in order
	Finished bool   // both FINs are acknowledged
	Reset    bool

	p        *RefPeer
	id       uint64
	iss, irs seq.Num
	una, nxt uint64 // our sequence space, 0 is the SYN
	most     uint64 // largest nxt ever
	rcv      uint64 // the peer's: next expected, 0 is its SYN
	wnd      uint32 // the peer's window
	synced   bool   // the peer's SYN arrived
	finRcvd  bool
	timer    int // generation of the timeout that runs
	tries    int
}

const (
	refTimeout = 300 * vtime.Millisecond
	refTries   = 40 // timeouts in a row, then it gives up
)

// RefPeer adds a reference peer to w; it is attached to s by the links up and down.
func (w *World) RefPeer(addr wire.Addr, s *Switch, up, down LinkConfig) *RefPeer {
	p := &RefPeer{Addr: addr, MSS: 536, Window: 8000, w: w}
	p.link = &Link{LinkConfig: up, w: w, to: s}
	s.attach(addr, &Link{LinkConfig: down, w: w, to: p})
	return p
}

// Connect opens a connection to port of host h.
func (p *RefPeer) Connect(h *Host, local, port uint16) *RefConn {
	c := p.conn(wire.Flow{Local: p.Addr, LocalPort: local, Remote: h.Addr, RemotePort: port})
	c.push()
	return c
}

func (p *RefPeer) conn(f wire.Flow) *RefConn {
	p.w.socks++
	c := &RefConn{Flow: f, p: p, id: p.w.socks, iss: seq.Num(p.w.rng.Uint32())}
	p.Conns = append(p.Conns, c)
	return c
}

func (p *RefPeer) take(k *packet) {
	p.w.passed(k)
	s := k.seg
	pos, origin, bad := k.pos, k.origin, k.corrupt
	p.w.note(k, "reference")
	p.w.drop(k)
	if bad {
		return
	}
	syn := s.Flags&(wire.SYN|wire.ACK) == wire.SYN
	for i := len(p.Conns) - 1; i >= 0; i-- {
		if c := p.Conns[i]; c.Flow == s.Flow {
			if c.Reset && !syn {
				break // there is no such connection any more, and the other end has to know
			}
			if (c.Finished || c.Reset) && syn && s.Seq != c.irs {
				break // a new incarnation
			}
			c.arrive(&s, pos, origin)
			return
		}
	}
	switch {
	case s.Flags.Has(wire.RST):
	case syn:
		p.conn(s.Flow).arrive(&s, pos, origin)
	default:
		p.send(&tcpoffload.Segment{Flow: s.Flow, Seq: s.Ack, Flags: wire.RST}, 0, 0)
	}
}

// send sends s, whose flow is seen from here.
func (p *RefPeer) send(s *tcpoffload.Segment, pos, origin uint64) {
	k := p.w.newPacket()
	*k = packet{seg: *s, pos: pos, origin: origin}
	k.seg.Flow = wire.Flow{
		Local: s.Flow.Remote, LocalPort: s.Flow.RemotePort, Remote: s.Flow.Local, RemotePort: s.Flow.LocalPort,
	}
	k.measure()
	p.link.take(k)
}

// end is our sequence space with SYN, octets and FIN.
func (c *RefConn) end() uint64 { return c.p.Octets + 2 }

func (c *RefConn) arrive(s *tcpoffload.Segment, pos, origin uint64) {
	if c.Reset {
		return
	}
	if !c.synced {
		if !s.Flags.Has(wire.SYN) || s.Flags.Has(wire.ACK) && s.Ack != c.iss.Add(1) {
			if s.Flags.Has(wire.RST) && s.Flags.Has(wire.ACK) && s.Ack == c.iss.Add(1) {
				c.Reset = true
			}
			return
		}
		c.synced, c.irs, c.rcv = true, s.Seq, 1
		if s.Flags.Has(wire.ACK) {
			c.una = 1
		}
		c.wnd = uint32(s.Wnd)
		c.nxt, c.most = 1, 1
		c.ack(wire.SYN&^(wire.SYN*wire.Flags(c.una)), c.una)
		c.push()
		return
	}
	if s.Flags.Has(wire.SYN) {
		if s.Seq == c.irs {
			c.ack(wire.SYN&^(wire.SYN*wire.Flags(min(c.una, 1))), min(c.una, 1))
		}
		return
	}
	at := int64(s.Seq.Sub(c.irs)) - int64(uint32(c.rcv))
	at = int64(int32(at)) // of the first octet, from what we expect
	if s.Flags.Has(wire.RST) {
		c.Reset = c.Reset || at == 0 && !c.Finished
		return
	}
	if s.Flags.Has(wire.ACK) {
		if n := uint64(uint32(s.Ack - c.iss.Add(uint32(c.una)))); n <= c.most-c.una {
			c.wnd = uint32(s.Wnd)
			if n > 0 {
				c.una += n
				c.nxt = max(c.nxt, c.una)
				c.tries = 0
				c.timer++
				c.p.w.wentOn()
			}
		}
	}
	if s.Len > 0 || s.Flags.Has(wire.FIN) {
		c.text(s, at, pos, origin)
		c.ack(0, c.nxt)
	}
	c.Finished = c.finRcvd && c.una == c.end()
	c.push()
}

// text takes what of s comes next, at octets from what we expect.
func (c *RefConn) text(s *tcpoffload.Segment, at int64, pos, origin uint64) {
	n := int64(s.Len)
	if at > 0 || at+n < 0 || c.finRcvd || c.rcv == 0 {
		return
	}
	if n > 0 && at+n > 0 {
		if pos != c.Got-uint64(-at) || origin == 0 {
			c.p.w.violated("%v: octet %d of stream %d comes as %d", c.Flow, pos, origin, c.Got-uint64(-at))
		}
		c.rcv += uint64(at + n)
		c.Got += uint64(at + n)
		c.p.w.wentOn()
	}
	if s.Flags.Has(wire.FIN) {
		c.rcv++
		c.finRcvd = true
	}
}

// ack sends an ACK, or with SYN our SYN and ACK.
func (c *RefConn) ack(f wire.Flags, sq uint64) {
	c.p.send(&tcpoffload.Segment{
		Flow: c.Flow, Seq: c.iss.Add(uint32(sq)), Ack: c.irs.Add(uint32(c.rcv)), Flags: f | wire.ACK, Wnd: uint16(c.p.Window),
	}, 0, 0)
}

// push sends what the windows allow, and starts the timer if something is in flight.
func (c *RefConn) push() {
	if c.nxt == 0 {
		c.p.send(&tcpoffload.Segment{Flow: c.Flow, Seq: c.iss, Flags: wire.SYN, Wnd: uint16(c.p.Window)}, 0, 0)
		c.nxt = 1
	}
	for c.una > 0 && c.nxt < c.end() {
		room := int64(c.una) + int64(min(c.wnd, c.p.Window)) - int64(c.nxt)
		if room <= 0 {
			break
		}
		c.sendOne(uint32(min(int64(c.p.MSS), room)))
	}
	if c.una < c.end() {
		c.arm()
	}
}

// sendOne sends the segment at nxt, of up to n octets, with the FIN if it ends the stream.
func (c *RefConn) sendOne(n uint32) {
	pos := c.nxt - 1
	n = uint32(min(uint64(n), c.p.Octets-pos))
	f := wire.ACK
	s := tcpoffload.Segment{
		Flow: c.Flow, Seq: c.iss.Add(uint32(c.nxt)), Ack: c.irs.Add(uint32(c.rcv)), Len: n, Wnd: uint16(c.p.Window),
	}
	c.nxt += uint64(n)
	if pos+uint64(n) == c.p.Octets {
		f |= wire.FIN
		c.nxt++
	}
	c.most = max(c.most, c.nxt)
	s.Flags = f
	c.p.send(&s, pos, c.id)
}

// arm has everything sent again that is not acknowledged in time.
func (c *RefConn) arm() {
	c.timer++
	gen := c.timer
	c.p.w.After(refTimeout, func() {
		if gen != c.timer || c.Reset || c.Finished {
			return
		}
		if c.tries++; c.tries > refTries {
			c.Reset = true
			return
		}
		switch {
		case c.una == 0 && !c.synced:
			c.nxt = 0
		case c.una == 0:
			c.ack(wire.SYN, 0)
		case c.wnd == 0 && c.una < c.end():
			c.nxt = c.una
			c.sendOne(1) // probe
		default:
			c.nxt = c.una
		}
		c.push()
	})
}
