package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"opentoe/sockshim/shm"
)

func isEOF(err error) bool { return err == io.EOF }

// listenBacklog is how many connections may wait for Accept.
const listenBacklog = 1024

// errDeclined says that toed leaves the socket to the kernel.
var errDeclined = errors.New("not offloaded")

// DialContext connects to addr ("host:port") over the TOE, or, when the TOE does not take the
// connection, over the kernel. network is tcp, tcp4 or tcp6.
func (c *Client) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	targets, err := resolve(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	var first error
	for _, t := range targets {
		conn, err := c.dialAddr(ctx, t)
		if errors.Is(err, errDeclined) {
			var kernel net.Dialer
			return kernel.DialContext(ctx, network, addr)
		}
		if err == nil {
			return conn, nil
		}
		if first == nil {
			first = &net.OpError{Op: "dial", Net: network, Addr: net.TCPAddrFromAddrPort(t), Err: err}
		}
	}
	return nil, first
}

func resolve(ctx context.Context, network, addr string) ([]netip.AddrPort, error) {
	host, service, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	port, err := net.DefaultResolver.LookupPort(ctx, network, service)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	family := map[string]string{"tcp": "ip", "tcp4": "ip4", "tcp6": "ip6"}[network]
	if family == "" {
		return nil, &net.OpError{Op: "dial", Net: network, Err: net.UnknownNetworkError(network)}
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, family, host)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	var list []netip.AddrPort
	for _, ip := range ips {
		list = append(list, netip.AddrPortFrom(ip.Unmap(), uint16(port)))
	}
	return list, nil
}

// dialAddr connects to one address over the TOE; errDeclined when that is the kernel's.
func (c *Client) dialAddr(ctx context.Context, to netip.AddrPort) (*Conn, error) {
	if c.lost() || to.Addr().IsLoopback() || to.Addr().IsUnspecified() || to.Addr().Zone() != "" {
		return nil, errDeclined
	}
	fd, err := placeholder(to.Addr().Is4(), netip.AddrPort{})
	if err != nil {
		return nil, err
	}
	local, err := boundPort(fd)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	s, err := c.open(ctx, fd, shm.OpActOpenReq, func(p *shm.Slot) {
		p.ReqFamily, p.ReqRemoteAddr, p.ReqRemotePort = 6, to.Addr().As16(), to.Port()
		if to.Addr().Is4() {
			p.ReqFamily = 4
		}
		p.ReqLocalPort = local
	}, 0)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	if err := s.established(ctx); err != nil {
		_ = s.close()
		return nil, err
	}
	return newConn(s), nil
}

// placeholder makes the kernel socket, bound: to at, or to any port.
func placeholder(is4 bool, at netip.AddrPort) (int, error) {
	family := unix.AF_INET6
	if is4 {
		family = unix.AF_INET
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_TCP)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if at.Port() != 0 {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}
	var sa unix.Sockaddr = &unix.SockaddrInet6{Port: int(at.Port())}
	if is4 {
		sa = &unix.SockaddrInet4{Port: int(at.Port())}
	}
	if err := unix.Bind(fd, sa); err != nil {
		unix.Close(fd)
		return -1, os.NewSyscallError("bind", err)
	}
	return fd, nil
}

func boundPort(fd int) (uint16, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return 0, os.NewSyscallError("getsockname", err)
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return uint16(sa.Port), nil
	case *unix.SockaddrInet6:
		return uint16(sa.Port), nil
	}
	return 0, fmt.Errorf("placeholder has no port: %w", unix.EAFNOSUPPORT)
}

// open takes a slot, has args fill in the request, posts op, and waits for the decision. On
// failure the placeholder stays the caller's.
func (c *Client) open(ctx context.Context, fd int, op uint8, args func(*shm.Slot), arg uint32) (*sock, error) {
	for worker, tries := 0, 0; tries <= c.region.Workers; tries++ {
		slot, ok := c.takeSlot(worker)
		if !ok {
			return nil, errDeclined
		}
		s := newSock(c, slot, fd)
		if err := s.setCookie(); err != nil {
			s.post(shm.OpSlotReturn, 0)
			return nil, err
		}
		args(s.p)
		if !c.adopt(s) {
			s.post(shm.OpSlotReturn, 0)
			return nil, net.ErrClosed
		}
		atomic.StoreUint32(&s.p.State, shm.SlotOpening)
		s.post(op, arg)
		err := s.decided(ctx)
		if err == nil {
			return s, nil
		}
		c.forget(s)
		if !errors.Is(err, errDeclined) {
			s.post(shm.OpCloseConReq, 0)
			return nil, err
		}
		steer, reason := s.p.Steer, s.p.Reason
		s.post(shm.OpSlotReturn, 0)
		if reason != shm.ReasonSteer || int(steer) >= c.region.Workers {
			return nil, errDeclined
		}
		worker = int(steer)
	}
	return nil, errDeclined
}

// decided waits until toed has decided about an open.
func (s *sock) decided(ctx context.Context) error {
	return s.await(ctx, func(state uint32) (bool, error) {
		if state == shm.SlotDeclined {
			return true, errDeclined
		}
		return state != shm.SlotOpening, nil
	})
}

// established waits for the end of a handshake.
func (s *sock) established(ctx context.Context) error {
	return s.await(ctx, func(state uint32) (bool, error) {
		switch state {
		case shm.SlotSynSent:
			return false, nil
		case shm.SlotEstablished:
			return true, nil
		}
		if err := s.fault(); err != nil {
			return true, err
		}
		return true, nil // open and already over: reading tells
	})
}

// await calls look with the slot's state until it is done.
func (s *sock) await(ctx context.Context, look func(state uint32) (done bool, err error)) error {
	for {
		if s.c.lost() {
			return os.NewSyscallError("connect", unix.ECONNRESET)
		}
		if done, err := look(atomic.LoadUint32(&s.p.State)); done || err != nil {
			return err
		}
		select {
		case <-s.readable:
		case <-s.closed:
			return net.ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

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
		if errors.Is(err, errDeclined) {
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
		conn, err := l.take1()
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

// take1 takes one record off the listener's stream; nil, nil when there is none.
func (l *Listener) take1() (net.Conn, error) {
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

// Close stops listening. Connections that were not accepted are reset.
func (l *Listener) Close() error {
	if err := l.s.close(); err != nil {
		return &net.OpError{Op: "close", Net: "tcp", Addr: l.addr, Err: err}
	}
	return nil
}

// Addr returns where the listener listens.
func (l *Listener) Addr() net.Addr { return l.addr }
