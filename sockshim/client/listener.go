package client

import (
	"context"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"opentoe/sockshim/shm"
)

// listenBacklog is how many connections may wait for Accept.
const listenBacklog = 1024

// Listener is a listening socket on the TOE and in the kernel: Accept returns connections of both.
type Listener struct {
	c       *Client
	kernel  net.Listener // the placeholder, listening
	network string
	backlog uint32
	held    int  // the kernel's half as a descriptor, if somebody else has made it; else -1
	is4     bool // of a held one: it is an IPv4 socket
	fromK   chan accepted
	closed  chan struct{}
	ending  sync.Once

	estate atomic.Pointer[estate] // of a held one: what its connections inherit. Not under mu, which Close has while Accept ends

	mu    sync.Mutex
	s     *sock         // the TOE's half; nil: none
	moved chan struct{} // closed when s has changed
}

type accepted struct {
	conn net.Conn
	err  error
}

// freebind lets the placeholder take an address that only the TOE has.
func (c *Client) freebind(_, addr string, raw syscall.RawConn) error {
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil
	}
	for _, p := range c.Addrs() {
		if p.Addr() == at.Addr().Unmap() {
			return raw.Control(func(fd uintptr) {
				_ = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_FREEBIND, 1)
				_ = unix.SetsockoptInt(int(fd), unix.SOL_IPV6, unix.IPV6_FREEBIND, 1)
			})
		}
	}
	return nil
}

// Listen listens on addr over the TOE and over the kernel, or over the kernel alone when and as long as the
// TOE does not take it. An address of the TOE that the kernel does not have is the TOE's alone.
func (c *Client) Listen(network, addr string) (net.Listener, error) {
	lc := net.ListenConfig{Control: c.freebind}
	kernel, err := lc.Listen(context.Background(), network, addr)
	if err != nil {
		return nil, err
	}
	if kernel.Addr().(*net.TCPAddr).IP.IsLoopback() {
		return kernel, nil
	}
	l := &Listener{
		c: c, kernel: kernel, network: network, backlog: listenBacklog, held: -1, fromK: make(chan accepted),
		closed: make(chan struct{}), moved: make(chan struct{}),
	}
	c.mu.Lock()
	select {
	case <-c.closed:
		c.mu.Unlock()
		kernel.Close()
		return nil, net.ErrClosed
	default:
	}
	c.listeners[l] = struct{}{}
	c.done.Go(l.acceptKernel)
	c.mu.Unlock()
	l.bring(c.cur.Load())
	return l, nil
}

// bring offers the listener to the toed of a session, in place of one that has gone.
func (l *Listener) bring(c *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.closed:
		return
	default:
	}
	if l.s != nil {
		if l.s.c == c {
			return
		}
		l.s.beneath = nil // it goes on
		_ = l.s.close()
	}
	l.s = l.offer(c)
	close(l.moved)
	l.moved = make(chan struct{})
}

// offer asks toed to listen too; nil if it does not.
func (l *Listener) offer(c *session) *sock {
	if c.lost() {
		return nil
	}
	// The slot's placeholder is a duplicate: one kernel socket, one cookie.
	// It is made without TCPListener.File, which would let Accept block in the kernel, where Close cannot end it.
	raw, err := l.kernel.(syscall.Conn).SyscallConn()
	if err != nil {
		return nil
	}
	fd := -1
	if ctlErr := raw.Control(func(kernel uintptr) { fd, err = unix.FcntlInt(kernel, unix.F_DUPFD_CLOEXEC, 0) }); ctlErr != nil || err != nil {
		return nil
	}
	at := l.kernel.Addr().(*net.TCPAddr).AddrPort()
	s, err := c.open(context.Background(), fd, shm.OpPassOpenReq, func(p *shm.Slot) {
		p.ReqFamily = 6
		if at.Addr().Unmap().Is4() {
			p.ReqFamily = 4
		}
		if l.held >= 0 {
			p.ReqFamily = 6
			if l.is4 {
				p.ReqFamily = 4
			}
			request(p, fd)
		}
		if l.network == "tcp6" {
			p.ReqV6only = 1
		}
		if !at.Addr().IsUnspecified() {
			p.ReqLocalAddr = at.Addr().As16()
		}
		p.ReqLocalPort = at.Port()
	}, l.backlog)
	if err != nil {
		unix.Close(fd)
		return nil
	}
	s.beneath = l.kernel
	return s
}

// acceptKernel hands over what the kernel accepts.
func (l *Listener) acceptKernel() {
	for {
		conn, err := l.kernel.Accept()
		select {
		case l.fromK <- accepted{conn, err}:
		case <-l.closed:
			if conn != nil {
				conn.Close()
			}
			return
		}
		if err != nil {
			return
		}
	}
}

// half returns the TOE's half, nil when there is none, and what is closed when that changes.
func (l *Listener) half() (*sock, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.s == nil || l.s.c.lost() {
		return nil, l.moved
	}
	return l.s, l.moved
}

// Accept returns the next connection.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		var readable <-chan struct{}
		s, moved := l.half()
		if s != nil {
			conn, err := l.take(s)
			if conn != nil {
				return conn, nil
			}
			if err != nil && !s.c.lost() {
				return nil, l.wrap(err)
			}
			readable = s.readable
		}
		select {
		case <-readable:
		case a := <-l.fromK:
			return a.conn, a.err
		case <-moved:
		case <-l.closed:
			return nil, l.wrap(net.ErrClosed)
		}
	}
}

func (l *Listener) wrap(err error) error {
	return &net.OpError{Op: "accept", Net: "tcp", Addr: l.Addr(), Err: err}
}

// take takes one record off the listener's stream; nil, nil when there is none.
func (l *Listener) take(s *sock) (net.Conn, error) {
	s.readMu.Lock()
	defer s.readMu.Unlock()
	select {
	case <-s.closed:
		return nil, net.ErrClosed
	default:
	}
	for {
		if s.c.lost() {
			return nil, os.NewSyscallError("accept", unix.ECONNRESET)
		}
		if atomic.LoadUint64(&s.p.RxProd)-s.rxCons < shm.SizeofAccept {
			return nil, nil
		}
		var rec [shm.SizeofAccept]byte
		if !s.c.region.ReadStream(&s.p.RxEntry, atomic.LoadUint32(&s.p.RxDir), s.rxCons, rec[:]) {
			continue
		}
		s.consumed(shm.SizeofAccept)
		if atomic.LoadUint64(&s.p.RxProd)-s.rxCons >= shm.SizeofAccept {
			s.news() // one token may stand for several records
		}
		a := shm.ParseAccept(rec)
		if int(a.Slot) >= len(s.c.region.Slots) || atomic.LoadUint32(&s.c.region.Slots[a.Slot].Gen) != a.Gen {
			continue
		}
		return l.accept(s, a.Slot)
	}
}

// accept makes a connection of an established slot.
func (l *Listener) accept(from *sock, slot uint32) (net.Conn, error) {
	c := from.c
	p := &c.region.Slots[slot]
	is4 := p.Family == 4
	if l.held >= 0 {
		is4 = l.is4
	}
	fd, err := unix.Socket(map[bool]int{true: unix.AF_INET, false: unix.AF_INET6}[is4],
		unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_TCP)
	s := newSock(c, slot, fd)
	if err == nil && l.held >= 0 {
		l.inherit(fd)
	}
	if err == nil {
		err = s.setCookie()
	}
	if err != nil {
		s.post(shm.OpAbortReq, 0)
		return nil, os.NewSyscallError("socket", err)
	}
	s.post(shm.OpPassAcceptRpl, from.slot)
	if !c.adopt(s) {
		s.post(shm.OpCloseConReq, 0)
		unix.Close(fd)
		return nil, net.ErrClosed
	}
	if l.held >= 0 {
		s.requestLater(fd)
	}
	return newConn(s), nil
}

// Close stops listening. Connections that were not accepted are reset; when it returns, new ones are
// refused.
func (l *Listener) Close() error {
	err := net.ErrClosed
	l.ending.Do(func() {
		close(l.closed)
		l.c.mu.Lock()
		delete(l.c.listeners, l)
		l.c.mu.Unlock()
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.s != nil {
			err = l.s.close() // the kernel's half with it
		} else {
			err = l.kernel.Close()
		}
	})
	if err != nil {
		return &net.OpError{Op: "close", Net: "tcp", Addr: l.Addr(), Err: err}
	}
	return nil
}

// closePatience is how long Close waits for a toed that hangs to stop a listener: one that lacks a processor
// may take a while, and one that has ended is noticed.
const closePatience = 30 * time.Second

// stopped waits until toed has stopped a listener, whose slot is free then or another socket's.
func (s *sock) stopped() {
	patience := time.NewTimer(closePatience)
	defer patience.Stop()
	for atomic.LoadUint32(&s.p.State) == shm.SlotListen && atomic.LoadUint32(&s.p.Gen) == s.gen {
		select {
		case <-s.readable:
		case <-s.c.gone:
			return
		case <-patience.C:
			return
		}
	}
}

// Addr returns where the listener listens.
func (l *Listener) Addr() net.Addr { return l.kernel.Addr() }
