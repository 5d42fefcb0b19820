package sim

import (
	"math/rand/v2"

	"opentoe/tcpoffload"
	"opentoe/tcpoffload/seq"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// What faulty clients and attackers do.

// mischief makes one call that no sound program makes: on the plan's own connection, on one that is gone, or
// on none. Whatever the engine answers, it has to stay sound.
func (p *plan) mischief(r *rand.Rand) {
	h := oneOf(r, p.from, p.to)
	s := p.client
	if h == p.to {
		s = p.server
	}
	c := tcpoffload.Call{
		Kind: tcpoffload.CallKind(r.IntN(int(tcpoffload.CallPathMTU) + 3)), Option: tcpoffload.Option(r.IntN(24)),
		Value: oneOf(r, -1, 0, 1, int64(r.Uint32()), r.Int64()), More: r.IntN(2) == 0, Urgent: r.IntN(2) == 0,
		ICMP: tcpoffload.ICMPKind(r.IntN(5)), Pos: oneOf(r, 0, uint64(r.Uint32N(100_000)), r.Uint64()), Seq: seq.Num(r.Uint32()),
		Listener: tcpoffload.ListenerID(oneOf(r, 0, 1, 1<<32|1, r.Uint64())),
	}
	c.Border = c.Pos%2 == 0
	own := s != nil && !s.Finished && r.IntN(3) > 0
	switch {
	case own:
		c.Handle, c.Flow = s.Handle, s.Flow
	default:
		c.Handle = tcpoffload.Handle(oneOf(r, 0, r.Uint64(), uint64(r.IntN(40)), uint64(9000+r.IntN(9))<<32|uint64(r.IntN(40))))
		if x := h.socks[c.Handle]; x != nil {
			return // of somebody who has done nothing
		}
	}
	switch c.Kind {
	case tcpoffload.CallOpen:
		c.Flow = oneOf(r, wire.Flow{}, wire.Flow{Local: h.Addr, Remote: h.Addr, LocalPort: 0, RemotePort: 9}, p.flowOf(h))
		if r.IntN(2) == 0 {
			c.Opt.MSS, c.Opt.RcvBuf = 1, 1<<31
		}
	case tcpoffload.CallListen:
		c.Flow.LocalPort = oneOf[uint16](r, 0, port)
		c.Flow.Local = wire.Addr{}
		c.Value = oneOf[int64](r, 0, -1, 1<<40)
	case tcpoffload.CallUnlisten, tcpoffload.CallAccepted:
		for _, e := range p.sc.ears {
			if e.id == c.Listener && e.h == h {
				return
			}
		}
	case tcpoffload.CallICMP:
		if !own {
			c.Flow = wire.Flow{Local: h.Addr, Remote: p.sc.addr(77), LocalPort: 7, RemotePort: 7}
		}
	case tcpoffload.CallSetOption:
		c.Listener = 0
		if c.Option == tcpoffload.OptionKeepIdle || c.Option == tcpoffload.OptionLinger2 {
			c.Value = min(c.Value, int64(10*vtime.Second))
		}
	}
	if own {
		switch c.Kind {
		case tcpoffload.CallSend:
			s.SendCall(&c)
			return
		case tcpoffload.CallReceived:
			if h.call(&c) == tcpoffload.CallOK {
				if c.Pos > s.Readable || c.Pos < s.Read {
					h.w.violated("read to %d of %d is accepted", c.Pos, s.Readable)
				}
				s.Read = c.Pos
			}
			return
		case tcpoffload.CallAbort:
			s.Abort()
			return
		}
	}
	res := h.call(&c)
	switch {
	case res == tcpoffload.CallOK && c.Kind == tcpoffload.CallOpen:
		h.call(&tcpoffload.Call{Kind: tcpoffload.CallAbort, Handle: c.Handle})
	case res == tcpoffload.CallOK && c.Kind == tcpoffload.CallListen:
		h.Unlisten(c.Listener)
	case res == tcpoffload.CallOK && !own && c.Kind != tcpoffload.CallICMP:
		h.w.violated("call %d for nothing is accepted", c.Kind)
	}
}

// flowOf returns the plan's flow as h sees it.
func (p *plan) flowOf(h *Host) wire.Flow {
	f := wire.Flow{Local: p.from.Addr, LocalPort: p.local, Remote: p.to.Addr, RemotePort: p.remote}
	if h == p.to {
		f.Local, f.Remote, f.LocalPort, f.RemotePort = f.Remote, f.Local, f.RemotePort, f.LocalPort
	}
	return f
}

// inject hands one end of the connection a segment forged by somebody who guessed the window but not the
// exact numbers (RFC 5961). The connection must not notice.
func (p *plan) inject(r *rand.Rand) {
	s := oneOf(r, p.client, p.server)
	if s == nil || s.Finished || s.Host.w.now < s.Host.still {
		return
	}
	h := s.Host
	var i tcpoffload.Info
	if !h.Engine.Info(s.Handle, h.w.now, &i) || i.State != tcpoffload.StateEstablished {
		return
	}
	inside := func() seq.Num { return i.RcvNxt.Add(1 + r.Uint32N(max(i.RcvWnd, 2)-1)) }
	g := tcpoffload.Segment{
		// From the sender's point of view, as World.inject wants it.
		Flow:  wire.Flow{Local: s.Flow.Remote, LocalPort: s.Flow.RemotePort, Remote: s.Flow.Local, RemotePort: s.Flow.LocalPort},
		Flags: wire.ACK, Seq: inside(), Ack: i.SndUna, Wnd: uint16(r.Uint32()),
	}
	switch r.IntN(7) {
	case 0:
		g.Flags = wire.RST | oneOf(r, 0, wire.ACK)
	case 1:
		g.Flags = wire.SYN | oneOf(r, 0, wire.ACK)
		g.Seq = oneOf(r, g.Seq, i.RcvNxt, i.RcvNxt-1)
	case 2:
		g.Len, g.Ack = 1+r.Uint32N(1000), i.SndNxt.Add(1+r.Uint32N(1<<29))
	case 3:
		g.Len, g.Ack = 1+r.Uint32N(1000), i.SndUna-seq.Num(1<<30+r.Uint32N(1<<29))
	case 4:
		g.Flags, g.Seq = wire.RST, i.RcvNxt-seq.Num(1+r.Uint32N(1<<30))
	case 5:
		g.Ack = i.SndNxt.Add(1 + r.Uint32N(1<<29))
	case 6:
		g.Flags, g.Len = 0, r.Uint32N(100) // no ACK bit
	}
	h.w.inject(h, &g)
}
