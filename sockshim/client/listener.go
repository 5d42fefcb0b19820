package client

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
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
	s      *sock
	kernel net.Listener // the placeholder, listening
	addr   net.Addr
	fromK  chan accepted
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
	for _, p := range c.addrs {
		if p.Addr() == at.Addr().Unmap() {
			return raw.Control(func(fd uintptr) {
				_ = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_FREEBIND, 1)
				_ = unix.SetsockoptInt(int(fd), unix.SOL_IPV6, unix.IPV6_FREEBIND, 1)
			})
		}
	}
	return nil
}

// Listen listens on addr over the TOE and over the kernel, or over the kernel alone when the TOE
// does not take it. An address of the TOE that the kernel does not have is the TOE's alone.
func (c *Client) Listen(network, addr string) (net.Listener, error) {
	lc := net.ListenConfig{Control: c.freebind}
	kernel, err := lc.Listen(context.Background(), network, addr)
	if err != nil {
		return nil, err
	}
	at := kernel.Addr().(*net.TCPAddr).AddrPort()
	if c.lost() || at.Addr().IsLoopback() {
		return kernel, nil
	}
	// The slot's placeholder is a duplicate: one kernel socket, one cookie.
	file, err := kernel.(*net.TCPListener).File()
	if err != nil {
		kernel.Close()
		return nil, err
	}
	defer file.Close()
	fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		err = unix.SetNonblock(fd, true) // File has made the shared description blocking
	}
	if err != nil {
		kernel.Close()
		return nil, os.NewSyscallError("dup", err)
	}
	s, err := c.open(context.Background(), fd, shm.OpPassOpenReq, func(p *shm.Slot) {
		p.ReqFamily = 6
		if at.Addr().Unmap().Is4() {
			p.ReqFamily = 4
		}
		if network == "tcp6" {
			p.ReqV6only = 1
		}
		if !at.Addr().IsUnspecified() {
			p.ReqLocalAddr = at.Addr().As16()
		}
		p.ReqLocalPort = at.Port()
	}, listenBacklog)
	if err != nil {
		unix.Close(fd)
		if errors.Is(err, errDeclined) || errors.Is(err, errInUse) {
			return kernel, nil
		}
		kernel.Close()
		return nil, &net.OpError{Op: "listen", Net: network, Addr: kernel.Addr(), Err: err}
	}
	s.beneath = kernel
	l := &Listener{s: s, kernel: kernel, addr: kernel.Addr(), fromK: make(chan accepted)}
	c.done.Go(l.acceptKernel)
	return l, nil
}

// acceptKernel hands over what the kernel accepts.
func (l *Listener) acceptKernel() {
	for {
		conn, err := l.kernel.Accept()
		select {
		case l.fromK <- accepted{conn, err}:
		case <-l.s.closed:
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

// Accept returns the next connection.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		conn, err := l.take()
		if conn != nil {
			return conn, nil
		}
		if err != nil {
			return nil, l.wrap(err)
		}
		select {
		case <-l.s.readable:
		case a := <-l.fromK:
			return a.conn, a.err
		case <-l.s.closed:
			return nil, l.wrap(net.ErrClosed)
		}
	}
}

func (l *Listener) wrap(err error) error {
	return &net.OpError{Op: "accept", Net: "tcp", Addr: l.addr, Err: err}
}

// take takes one record off the listener's stream; nil, nil when there is none.
func (l *Listener) take() (net.Conn, error) {
	s := l.s
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
		return l.accept(a.Slot)
	}
}

// accept makes a connection of an established slot.
func (l *Listener) accept(slot uint32) (net.Conn, error) {
	c := l.s.c
	p := &c.region.Slots[slot]
	fd, err := unix.Socket(map[bool]int{true: unix.AF_INET, false: unix.AF_INET6}[p.Family == 4],
		unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_TCP)
	s := newSock(c, slot, fd)
	if err == nil {
		err = s.setCookie()
	}
	if err != nil {
		s.post(shm.OpAbortReq, 0)
		return nil, os.NewSyscallError("socket", err)
	}
	s.post(shm.OpPassAcceptRpl, l.s.slot)
	if !c.adopt(s) {
		s.post(shm.OpCloseConReq, 0)
		unix.Close(fd)
		return nil, net.ErrClosed
	}
	return newConn(s), nil
}

// Close stops listening. Connections that were not accepted are reset; when it returns, new ones are
// refused.
func (l *Listener) Close() error {
	if err := l.s.close(); err != nil {
		return &net.OpError{Op: "close", Net: "tcp", Addr: l.addr, Err: err}
	}
	return nil
}

// closePatience is how long Close waits for toed to stop a listener. It goes on without us.
const closePatience = time.Second

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
func (l *Listener) Addr() net.Addr { return l.addr }
