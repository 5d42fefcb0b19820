package socket

// socket, bind, listen, accept, connect, getsockname, getpeername.

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"opentoe/tcpoffload"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// Socket is socket(2). SOCK_NONBLOCK in Type is understood.
type Socket struct{ Domain, Type, Protocol int }

func (c *Socket) do(h *Host) Result {
	switch {
	case c.Domain != unix.AF_INET && c.Domain != unix.AF_INET6:
		return failed(unix.EAFNOSUPPORT)
	case c.Type&^(unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC) != unix.SOCK_STREAM:
		return failed(unix.ESOCKTNOSUPPORT)
	case c.Protocol != 0 && c.Protocol != unix.IPPROTO_TCP:
		return failed(unix.EPROTONOSUPPORT)
	}
	s := h.newSock(c.Domain)
	s.nonblock = c.Type&unix.SOCK_NONBLOCK != 0
	s.fds = 1
	return value(h.install(s))
}

// Bind is bind(2).
type Bind struct {
	FD   int
	Addr netip.AddrPort
}

func (c *Bind) do(h *Host) Result {
	s, e := h.sock(c.FD)
	if e != 0 {
		return failed(e)
	}
	a := wire.AddrFrom(c.Addr.Addr())
	switch {
	case s.bound || s.state != sockNew:
		return failed(unix.EINVAL)
	case !s.takesFamily(a):
		return failed(unix.EAFNOSUPPORT)
	case !a.IsUnspecified() && !h.owns(a):
		return failed(unix.EADDRNOTAVAIL)
	}
	port := c.Addr.Port()
	if port == 0 {
		port = h.freePort(nil)
	} else if h.boundElsewhere(s, a, port) {
		return failed(unix.EADDRINUSE)
	}
	s.flow.Local, s.flow.LocalPort, s.bound = a, port, true
	return value(0)
}

// takesFamily reports whether a socket of s's family may be bound to a.
func (s *sock) takesFamily(a wire.Addr) bool {
	return s.domain == unix.AF_INET6 || a.Is4() || a == wire.Addr{}
}

// boundElsewhere reports whether another socket holds the port so that s may not.
func (h *Host) boundElsewhere(s *sock, a wire.Addr, port uint16) bool {
	for _, f := range h.files {
		o, ok := f.(*sock)
		if !ok || o == s || !o.bound || o.flow.LocalPort != port {
			continue
		}
		if !a.IsUnspecified() && !o.flow.Local.IsUnspecified() && a != o.flow.Local {
			continue
		}
		reuse := s.opts.get(unix.SOL_SOCKET, unix.SO_REUSEADDR) != 0 && o.opts.get(unix.SOL_SOCKET, unix.SO_REUSEADDR) != 0
		if !reuse || o.state == sockListening {
			return true
		}
	}
	return false
}

// freePort returns a local port that nobody uses; with f, one that makes f's 4-tuple unused.
func (h *Host) freePort(f *wire.Flow) uint16 {
	for {
		h.port = max(h.port+1, firstPort)
		used := false
		for _, o := range h.files {
			if s, ok := o.(*sock); ok && s.bound && s.flow.LocalPort == h.port {
				used = true
				break
			}
		}
		if f != nil && !used {
			g := *f
			g.LocalPort = h.port
			_, used = h.Engine.Lookup(&g)
		}
		if !used {
			return h.port
		}
	}
}

// Listen is listen(2).
type Listen struct{ FD, Backlog int }

// maxBacklog is net.core.somaxconn.
const maxBacklog = 4096

func (c *Listen) do(h *Host) Result {
	s, e := h.sock(c.FD)
	switch {
	case e != 0:
		return failed(e)
	case s.state == sockListening:
		return value(0)
	case s.state != sockNew:
		return failed(unix.EINVAL)
	}
	if !s.bound {
		s.flow.LocalPort, s.bound = h.freePort(nil), true
	}
	if fo := (option{unix.IPPROTO_TCP, unix.TCP_FASTOPEN}); h.set.FastOpenListen && s.opts[fo] == 0 {
		s.opts[fo] = int64(max(c.Backlog, 0))
	}
	k := tcpoffload.Call{
		Kind: tcpoffload.CallListen, Flow: s.flow, V6Only: s.v6only, Opt: s.socketOptions(),
		// Linux lets one more connection wait than was asked for.
		Value: int64(min(max(c.Backlog, 0), maxBacklog)) + 1,
	}
	if s.domain == unix.AF_INET && s.flow.Local.IsUnspecified() {
		k.Flow.Local = wire.AddrFrom4([4]byte{})
	}
	if e := errnoOf(h.call(&k)); e != 0 {
		return failed(e)
	}
	s.listener, s.state, s.backlog = k.Listener, sockListening, c.Backlog
	h.lists[k.Listener] = s

	return value(0)
}

// errnoOf translates what the engine says of an open.
func errnoOf(r tcpoffload.CallResult) unix.Errno {
	switch r {
	case tcpoffload.CallOK:
		return 0
	case tcpoffload.CallInUse:
		return unix.EADDRINUSE
	case tcpoffload.CallTableFull:
		return unix.ENOBUFS
	}
	return unix.EINVAL
}

// offered takes a connection that a listener offers.
func (h *Host) offered(a *tcpoffload.Action) {
	var i tcpoffload.Info
	h.Engine.Info(a.Handle, h.now, &i)
	l := h.listenerOf(&i.Flow)
	if l == nil {
		h.later = append(h.later, tcpoffload.Call{Kind: tcpoffload.CallAbort, Handle: a.Handle})
		return
	}
	s := h.newSock(l.domain)
	s.state, s.told, s.bound = sockOpen, true, true
	s.flow, s.handle = i.Flow, a.Handle
	s.opts = l.opts.clone()
	s.tos, s.fixedSnd, s.sndBuf = l.tos, l.fixedSnd, l.sndBuf
	h.conns[a.Handle] = s
	h.Engine.SetCookie(a.Handle, uint64(a.Handle))
	l.queue = append(l.queue, s)
	h.inherit(s)
	l.wake(unix.EPOLLIN | unix.EPOLLPRI | unix.EPOLLRDNORM | unix.EPOLLRDBAND)
}

// listenerOf returns the listening socket that a new connection belongs to, as the engine finds it:
// the more specific address first.
func (h *Host) listenerOf(f *wire.Flow) *sock {
	var best *sock
	rank := 0
	for _, l := range h.lists {
		k := 0
		switch {
		case l.flow.LocalPort != f.LocalPort:
		case l.flow.Local == f.Local:
			k = 3
		case !l.flow.Local.IsUnspecified():
		case l.domain == unix.AF_INET || l.v6only:
			if f.Local.Is4() == (l.domain == unix.AF_INET) {
				k = 2
			}
		default:
			k = 1
		}
		if k > rank {
			best, rank = l, k
		}
	}
	return best
}

// Accept is accept4(2); Flags may hold SOCK_NONBLOCK. Peer is a result.
type Accept struct {
	FD, Flags int
	Peer      netip.AddrPort
}

func (c *Accept) do(h *Host) Result {
	l, e := h.sock(c.FD)
	switch {
	case e != 0:
		return failed(e)
	case l.state != sockListening:
		return failed(unix.EINVAL)
	case len(l.queue) == 0 && l.nonblock:
		return failed(unix.EAGAIN)
	case len(l.queue) == 0:
		return blocked(vtime.Never)
	}
	s := l.queue[0]
	l.queue = l.queue[1:]
	s.nonblock = c.Flags&unix.SOCK_NONBLOCK != 0
	s.fds = 1
	h.call(&tcpoffload.Call{Kind: tcpoffload.CallAccepted, Listener: l.listener, Value: 1})
	c.Peer = s.peer()
	return value(h.install(s))
}

// Connect is connect(2). An Addr that is not valid stands for AF_UNSPEC: disconnect.
type Connect struct {
	FD   int
	Addr netip.AddrPort

	started bool
}

func (c *Connect) do(h *Host) Result {
	s, e := h.sock(c.FD)
	if e != 0 {
		return failed(e)
	}
	if !c.Addr.IsValid() {
		return h.disconnect(s)
	}
	switch s.state {
	case sockNew:
		if c.started {
			return failed(unix.ECONNABORTED)
		}
		if !s.takesFamily(wire.AddrFrom(c.Addr.Addr())) {
			return failed(unix.EAFNOSUPPORT)
		}
		fast := fastOpenNot
		if s.opts.get(unix.IPPROTO_TCP, unix.TCP_FASTOPEN_CONNECT) != 0 {
			fast = fastOpenHeld
		}
		if e := h.open(s, c.Addr, fast); e != 0 {
			return failed(e)
		}
		if fast == fastOpenHeld && s.synRoom > 0 {
			s.deferred = true
			return value(0)
		}
		c.started = true
		if s.nonblock {
			return failed(unix.EINPROGRESS)
		}
		return blocked(vtime.Never)
	case sockOpening:
		if s.deferred {
			return failed(unix.EISCONN)
		}
		if c.started || !s.nonblock {
			c.started = true
			return blocked(vtime.Never)
		}
		return failed(unix.EALREADY)
	case sockOpen:
		if !s.told {
			s.told = true
			return value(0)
		}
	case sockEnded:
		if !s.told {
			e := s.takeErr()
			if e == 0 {
				e = unix.ECONNABORTED
			}
			h.reset(s)
			return failed(e)
		}
	}
	return failed(unix.EISCONN)
}

// fastOpenUse says what an open has to do with Fast Open.
type fastOpenUse uint8

const (
	fastOpenNot fastOpenUse = iota
	fastOpenNow
	fastOpenHeld // the SYN waits for octets if it takes any
)

// open starts an active open of s.
func (h *Host) open(s *sock, to netip.AddrPort, fast fastOpenUse) unix.Errno {
	f := s.flow
	f.Remote, f.RemotePort = wire.AddrFrom(to.Addr()), to.Port()
	if f.Remote.IsUnspecified() {
		return unix.ECONNREFUSED
	}
	if f.Local.IsUnspecified() {
		found := false
		for _, a := range h.cfg.Addrs {
			if a.Is4() == f.Remote.Is4() {
				f.Local, found = a, true
				break
			}
		}
		if !found {
			return unix.ENETUNREACH
		}
	}
	if f.LocalPort == 0 {
		f.LocalPort = h.freePort(&f)
	}
	k := tcpoffload.Call{Kind: tcpoffload.CallOpen, Flow: f, Opt: s.socketOptions()}
	k.Opt.FastOpenConn, k.Opt.FastOpenHold = fast != fastOpenNot, fast == fastOpenHeld
	if r := h.call(&k); r != tcpoffload.CallOK {
		if r == tcpoffload.CallInUse {
			return unix.EADDRNOTAVAIL
		}
		return errnoOf(r)
	}
	s.flow, s.bound = f, true
	s.handle, s.state, s.told = k.Handle, sockOpening, false
	s.synRoom = int(k.Value)
	h.conns[k.Handle] = s
	h.inherit(s)
	h.drain(nil)
	return 0
}

// disconnect is connect to AF_UNSPEC: a reset, and the socket is new again.
func (h *Host) disconnect(s *sock) Result {
	switch s.state {
	case sockListening:
		h.unlisten(s)
	case sockOpening, sockOpen:
		h.abort(s)
	}
	h.reset(s)
	return value(0)
}

// reset makes s unconnected. Its options stay, and a local port that the program chose.
func (h *Host) reset(s *sock) {
	f := s.flow
	f.Remote, f.RemotePort = wire.Addr{}, 0
	n := h.newSock(s.domain)
	n.fds, n.nonblock, n.bound, n.flow = s.fds, s.nonblock, s.bound, f
	n.v6only, n.opts, n.sndBuf, n.fixedSnd, n.tos = s.v6only, s.opts, s.sndBuf, s.fixedSnd, s.tos
	n.watch = s.watch
	*s = *n
}

// GetSockName is getsockname(2); Addr is the result.
type GetSockName struct {
	FD   int
	Addr netip.AddrPort
}

func (c *GetSockName) do(h *Host) Result {
	s, e := h.sock(c.FD)
	if e != 0 {
		return failed(e)
	}
	c.Addr = s.endpoint(s.flow.Local, s.flow.LocalPort)
	return value(0)
}

// GetPeerName is getpeername(2); Addr is the result.
type GetPeerName struct {
	FD   int
	Addr netip.AddrPort
}

func (c *GetPeerName) do(h *Host) Result {
	s, e := h.sock(c.FD)
	switch {
	case e != 0:
		return failed(e)
	case s.state != sockOpen && s.state != sockOpening:
		return failed(unix.ENOTCONN)
	}
	c.Addr = s.peer()
	return value(0)
}

func (s *sock) peer() netip.AddrPort { return s.endpoint(s.flow.Remote, s.flow.RemotePort) }

// endpoint writes an address in the family of the socket.
func (s *sock) endpoint(a wire.Addr, port uint16) netip.AddrPort {
	ip := netip.AddrFrom16(a)
	if s.domain == unix.AF_INET {
		ip = ip.Unmap()
		if a == (wire.Addr{}) {
			ip = netip.IPv4Unspecified()
		}
	}
	return netip.AddrPortFrom(ip, port)
}
