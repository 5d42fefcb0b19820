package sim

import (
	"opentoe/tcpoffload"
	"opentoe/tcpoffload/wire"
)

// Host is the owner of an engine: it carries out its actions and checks them.
type Host struct {
	Addr   wire.Addr
	Engine *tcpoffload.Engine
	// OnAccept, if set, is told of every connection that a listener offers.
	OnAccept func(s *Sock)

	w     *World
	link  *Link
	out   *tcpoffload.Output
	socks map[tcpoffload.Handle]*Sock

	draining bool
	changed  []*Sock
}

// Sock is one connection as its program sees it.
type Sock struct {
	Host        *Host
	Handle      tcpoffload.Handle
	Established bool
	PeerClosed  bool
	Finished    bool
	Reason      tcpoffload.EndReason // valid with Finished
	Sent        uint64               // end of the send stream
	Acked       uint64
	Readable    uint64 // end of what is in order
	Read        uint64 // end of what the program has read
	EOF         uint64 // end of the receive stream, valid with PeerClosed
	// Stopped: the program does not read. Otherwise it reads what is readable at once.
	Stopped bool
	// OnEvent, if set, is called after every change of the fields above.
	OnEvent func()

	placed spans
	fresh  bool // OnAccept is still to be called
}

// Listen opens port on h.
func (h *Host) Listen(port uint16, backlog int, opt tcpoffload.SocketOptions) (tcpoffload.ListenerID, tcpoffload.CallResult) {
	c := tcpoffload.Call{
		Kind: tcpoffload.CallListen, Flow: wire.Flow{LocalPort: port}, Value: int64(backlog), Opt: opt,
	}
	r := h.call(&c)
	return c.Listener, r
}

// Connect opens a connection from port local of h to port remote of to.
func (h *Host) Connect(to *Host, local, remote uint16, opt tcpoffload.SocketOptions) (*Sock, tcpoffload.CallResult) {
	c := tcpoffload.Call{
		Kind: tcpoffload.CallOpen, Opt: opt,
		Flow: wire.Flow{Local: h.Addr, Remote: to.Addr, LocalPort: local, RemotePort: remote},
	}
	r := h.call(&c)
	if r != tcpoffload.CallOK {
		return nil, r
	}
	s := &Sock{Host: h, Handle: c.Handle}
	h.socks[c.Handle] = s
	return s, r
}

// Send appends n octets to the send stream.
func (s *Sock) Send(n uint64) tcpoffload.CallResult {
	s.Sent += n
	return s.Host.call(&tcpoffload.Call{Kind: tcpoffload.CallSend, Handle: s.Handle, Pos: s.Sent})
}

// Close ends the send stream; Abort resets; Detach says that nobody reads any more.
func (s *Sock) Close() tcpoffload.CallResult { return s.simple(tcpoffload.CallClose) }

// Abort resets the connection.
func (s *Sock) Abort() tcpoffload.CallResult {
	r := s.simple(tcpoffload.CallAbort)
	s.Finished = true
	return r
}

// Detach says that nobody reads any more.
func (s *Sock) Detach() tcpoffload.CallResult { return s.simple(tcpoffload.CallDetach) }

// ReadAll lets the program read everything in order.
func (s *Sock) ReadAll() {
	if s.Read == s.Readable || s.Finished {
		return
	}
	s.Read = s.Readable
	s.Host.call(&tcpoffload.Call{Kind: tcpoffload.CallReceived, Handle: s.Handle, Pos: s.Read})
}

func (s *Sock) simple(k tcpoffload.CallKind) tcpoffload.CallResult {
	return s.Host.call(&tcpoffload.Call{Kind: k, Handle: s.Handle})
}

func (h *Host) call(c *tcpoffload.Call) tcpoffload.CallResult {
	r := h.Engine.Call(h.w.now, c, h.out)
	h.drain(0)
	return r
}

// arrive gives one segment to the engine; its payload stands at pos of the sender's stream.
func (h *Host) arrive(seg *tcpoffload.Segment, pos uint64) {
	d := h.Engine.Arrive(h.w.now, seg, h.out)
	if d != tcpoffload.DropNone {
		for _, a := range h.out.Actions {
			if a.Kind == tcpoffload.ActPlace {
				h.w.violated("%v: a segment dropped for %v places octets", seg.Flow, d)
			}
		}
	}
	h.drain(pos)
}

// poll is one iteration of a worker without arrivals.
func (h *Host) poll() {
	for {
		h.Engine.Expire(h.w.now, h.out)
		h.drain(0)
		if h.Engine.NextDeadline() > h.w.now {
			break
		}
	}
	for h.Engine.Pending() {
		if h.Engine.Transmit(h.w.now, 32, h.out) == 0 && h.Engine.Pending() {
			h.w.violated("Transmit makes no progress")
			return
		}
		h.drain(0)
	}
}

// drain carries out what the engine produced. pos is where the payload of the segment that just
// arrived stands in the sender's stream. Calls that programs make meanwhile only append.
func (h *Host) drain(pos uint64) {
	if h.draining {
		return
	}
	h.draining = true
	for len(h.out.Actions) > 0 || len(h.out.Segs) > 0 {
		for i := range h.out.Segs {
			s := &h.out.Segs[i]
			if sock := h.socks[s.Handle]; sock != nil && s.Len > 0 && s.Pos+uint64(s.Len) > sock.Sent {
				h.w.violated("%v: sends octets that were not queued", s.Flow)
			}
			h.link.send(s)
		}
		h.changed = h.changed[:0]
		for i := range h.out.Actions {
			if s := h.act(&h.out.Actions[i], pos); s != nil {
				h.changed = append(h.changed, s)
			}
		}
		h.out.Reset()
		for _, s := range h.changed {
			if !s.Stopped {
				s.ReadAll()
			}
			if s.OnEvent != nil {
				s.OnEvent()
			}
			if s.fresh {
				s.fresh = false
				if h.OnAccept != nil {
					h.OnAccept(s)
				}
			}
		}
	}
	h.draining = false
}

// act carries out one action and checks it.
func (h *Host) act(a *tcpoffload.Action, pos uint64) *Sock {
	s := h.socks[a.Handle]
	if a.Kind == tcpoffload.ActPassEstablished {
		s = &Sock{Host: h, Handle: a.Handle, Established: true}
		h.socks[a.Handle] = s
		h.Engine.SetCookie(a.Handle, uint64(a.Handle))
		s.fresh = true
		return s
	}
	if s == nil || s.Finished {
		h.w.violated("action %d for a connection that is not there", a.Kind)
		return nil
	}
	switch a.Kind {
	case tcpoffload.ActPlace:
		if pos+uint64(a.Off) != a.Pos {
			h.w.violated("octet %d of the stream placed at %d", pos+uint64(a.Off), a.Pos)
		}
		s.placed.add(a.Pos, a.Pos+uint64(a.Len))
	case tcpoffload.ActReadable:
		if a.Pos < s.Readable || a.Pos > s.placed.edge() {
			h.w.violated("readable to %d, was %d, placed to %d", a.Pos, s.Readable, s.placed.edge())
		}
		s.Readable = a.Pos
	case tcpoffload.ActAcked:
		if a.Pos < s.Acked || a.Pos > s.Sent {
			h.w.violated("acknowledged to %d, was %d, sent %d", a.Pos, s.Acked, s.Sent)
		}
		s.Acked = a.Pos
	case tcpoffload.ActEstablished:
		s.Established = true
	case tcpoffload.ActPeerClose:
		if a.Pos != s.Readable || s.PeerClosed {
			h.w.violated("peer closes at %d, readable to %d", a.Pos, s.Readable)
		}
		s.PeerClosed, s.EOF = true, a.Pos
	case tcpoffload.ActFinished:
		s.Finished, s.Reason = true, a.Reason
	}
	return s
}

// spans are disjoint ranges of stream positions, sorted.
type spans [][2]uint64

// add joins [lo, hi) to s.
func (s *spans) add(lo, hi uint64) {
	out := (*s)[:0:0]
	for _, r := range *s {
		if r[1] < lo || hi < r[0] {
			out = append(out, r)
			continue
		}
		lo, hi = min(lo, r[0]), max(hi, r[1])
	}
	i := 0
	for i < len(out) && out[i][0] < lo {
		i++
	}
	out = append(out, [2]uint64{})
	copy(out[i+1:], out[i:])
	out[i] = [2]uint64{lo, hi}
	*s = out
}

// edge returns the position before which everything is in s.
func (s spans) edge() uint64 {
	if len(s) == 0 || s[0][0] != 0 {
		return 0
	}
	return s[0][1]
}
