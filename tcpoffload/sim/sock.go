package sim

import (
	"opentoe/tcpoffload"
	"opentoe/tcpoffload/wire"
)

// Sock is one connection as its program sees it.
type Sock struct {
	Host        *Host
	Handle      tcpoffload.Handle
	Flow        wire.Flow
	Passive     bool
	Listener    uint64 // cookie of the listener; valid with Passive
	Established bool
	PeerClosed  bool
	Finished    bool
	Reason      tcpoffload.EndReason // valid with Finished
	Sent        uint64               // end of the send stream
	Acked       uint64
	Readable    uint64 // end of what is in order
	Read        uint64 // end of what the program has read
	EOF         uint64 // end of the receive stream, valid with PeerClosed
	UrgentPos   uint64 // last urgent pointer; 0: none
	// Stopped: the program does not read. Otherwise it reads what is readable at once.
	Stopped bool
	// Hostile: the peer sends what it likes, so its positions say nothing.
	Hostile bool
	// OnEvent, if set, is called after every change of the fields above.
	OnEvent func()

	id     uint64
	peer   uint64 // the Sock whose octets arrive; 0: none so far
	placed spans
	top    uint64 // end of what was ever sent
	fresh  bool   // OnAccept is still to be called
	queued bool   // on Host.changed
}

func (h *Host) newSock(handle tcpoffload.Handle) *Sock {
	h.w.socks++
	s := &Sock{Host: h, Handle: handle, id: h.w.socks}
	h.socks[handle] = s
	h.all = append(h.all, s)
	return s
}

// Listen opens port on h.
func (h *Host) Listen(port uint16, backlog int, opt tcpoffload.SocketOptions) (tcpoffload.ListenerID, tcpoffload.CallResult) {
	c := tcpoffload.Call{
		Kind: tcpoffload.CallListen, Flow: wire.Flow{LocalPort: port}, Value: int64(backlog), Opt: opt, Cookie: uint64(port),
	}
	r := h.call(&c)
	return c.Listener, r
}

// Unlisten closes listener l.
func (h *Host) Unlisten(l tcpoffload.ListenerID) tcpoffload.CallResult {
	return h.call(&tcpoffload.Call{Kind: tcpoffload.CallUnlisten, Listener: l})
}

// Accepted takes n connections off the accept queue of l.
func (h *Host) Accepted(l tcpoffload.ListenerID, n int) tcpoffload.CallResult {
	return h.call(&tcpoffload.Call{Kind: tcpoffload.CallAccepted, Listener: l, Value: int64(n)})
}

// Connect opens a connection from port local of h to port remote of to.
func (h *Host) Connect(to *Host, local, remote uint16, opt tcpoffload.SocketOptions) (*Sock, tcpoffload.CallResult) {
	return h.ConnectAddr(to.Addr, local, remote, opt)
}

// ConnectAddr opens a connection from port local of h to port remote of address to.
func (h *Host) ConnectAddr(to wire.Addr, local, remote uint16, opt tcpoffload.SocketOptions) (*Sock, tcpoffload.CallResult) {
	c := tcpoffload.Call{
		Kind: tcpoffload.CallOpen, Opt: opt, Cookie: h.w.socks + 1,
		Flow: wire.Flow{Local: h.Addr, Remote: to, LocalPort: local, RemotePort: remote},
	}
	r := h.call(&c)
	if r != tcpoffload.CallOK {
		return nil, r
	}
	s := h.newSock(c.Handle)
	s.Flow = c.Flow
	return s, r
}

// Send appends n octets to the send stream.
func (s *Sock) Send(n uint64) tcpoffload.CallResult {
	return s.SendCall(&tcpoffload.Call{Pos: s.Sent + n})
}

// SendCall makes CallSend of c, whose Pos, More and Urgent are set.
func (s *Sock) SendCall(c *tcpoffload.Call) tcpoffload.CallResult {
	was := s.Sent
	c.Kind, c.Handle = tcpoffload.CallSend, s.Handle
	s.Sent = max(s.Sent, c.Pos)
	r := s.Host.call(c)
	if r != tcpoffload.CallOK {
		s.Sent = was
	}
	return r
}

// Close ends the send stream.
func (s *Sock) Close() tcpoffload.CallResult { return s.simple(tcpoffload.CallClose) }

// Abort resets the connection.
func (s *Sock) Abort() tcpoffload.CallResult {
	r := s.simple(tcpoffload.CallAbort)
	if !s.Finished {
		s.Finished, s.Reason = true, tcpoffload.ReasonAborted
		delete(s.Host.socks, s.Handle)
		s.Host.w.wentOn()
	}
	return r
}

// Detach says that nobody reads any more.
func (s *Sock) Detach() tcpoffload.CallResult { return s.simple(tcpoffload.CallDetach) }

// Set changes an option.
func (s *Sock) Set(o tcpoffload.Option, v int64) tcpoffload.CallResult {
	return s.Host.call(&tcpoffload.Call{Kind: tcpoffload.CallSetOption, Handle: s.Handle, Option: o, Value: v})
}

// ReadAll lets the program read everything in order.
func (s *Sock) ReadAll() { s.ReadSome(s.Readable - s.Read) }

// ReadSome lets the program read n octets, or what there is.
func (s *Sock) ReadSome(n uint64) {
	n = min(n, s.Readable-s.Read)
	if n == 0 || s.Finished {
		return
	}
	s.Read += n
	s.Host.w.wentOn()
	s.Host.call(&tcpoffload.Call{Kind: tcpoffload.CallReceived, Handle: s.Handle, Pos: s.Read})
}

func (s *Sock) simple(k tcpoffload.CallKind) tcpoffload.CallResult {
	return s.Host.call(&tcpoffload.Call{Kind: k, Handle: s.Handle})
}

// touch has the program told of a change.
func (s *Sock) touch() {
	if !s.queued {
		s.queued = true
		s.Host.changed = append(s.Host.changed, s)
	}
}

// tell lets the program act on what changed.
func (s *Sock) tell() {
	if s.fresh {
		s.fresh = false
		if s.Host.OnAccept != nil {
			s.Host.OnAccept(s)
		}
	}
	if !s.Stopped {
		s.ReadAll()
	}
	if s.OnEvent != nil {
		s.OnEvent()
	}
}

// spans are disjoint ranges of stream positions that do not touch, sorted.
type spans [][2]uint64

// add joins [lo, hi) to s and reports whether it was not all there.
func (s *spans) add(lo, hi uint64) (news bool) {
	v := *s
	i := 0
	for i < len(v) && v[i][1] < lo {
		i++
	}
	if i < len(v) && v[i][0] <= lo && hi <= v[i][1] {
		return false
	}
	j := i // [i, j) are the ranges that [lo, hi) joins
	for j < len(v) && v[j][0] <= hi {
		lo, hi = min(lo, v[j][0]), max(hi, v[j][1])
		j++
	}
	switch {
	case i == j:
		v = append(v, [2]uint64{})
		copy(v[i+1:], v[i:])
	case j > i+1:
		v = v[:i+1+copy(v[i+1:], v[j:])]
	}
	v[i] = [2]uint64{lo, hi}
	*s = v
	return true
}

// edge returns the position before which everything is in s.
func (s spans) edge() uint64 {
	if len(s) == 0 || s[0][0] != 0 {
		return 0
	}
	return s[0][1]
}
