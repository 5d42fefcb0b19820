package client

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"opentoe/sockshim/shm"
)

// ErrDeclined is what Offer and OfferListener return for a socket that is the kernel's.
var ErrDeclined = errDeclined

// Offer asks toed to connect the kernel socket fd, which somebody else has made, to an address. What the
// socket was told by setsockopt and bind goes with it. When Offer returns, toed has decided and the
// handshake is under way: see [Conn.Established]. The Conn has a duplicate of fd.
func (c *Client) Offer(ctx context.Context, fd int, to netip.AddrPort) (*Conn, error) {
	s := c.cur.Load()
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	if s.lost() || to.Addr().IsLoopback() || to.Addr().IsUnspecified() || to.Addr().Zone() != "" || to.Port() == 0 {
		return nil, ErrDeclined
	}
	local, ours, err := bindLocal(fd)
	if err != nil || local.Addr().IsLoopback() {
		return nil, ErrDeclined
	}
	held, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("dup", err)
	}
	for range portTries {
		sock, err := s.open(ctx, held, shm.OpActOpenReq, func(p *shm.Slot) {
			request(p, held)
			p.ReqFamily, p.ReqRemoteAddr, p.ReqRemotePort = 6, to.Addr().As16(), to.Port()
			if to.Addr().Is4() {
				p.ReqFamily = 4
			}
			p.ReqLocalAddr, p.ReqLocalPort = [16]byte{}, local.Port()
			if !local.Addr().IsUnspecified() {
				p.ReqLocalAddr = local.Addr().As16()
			}
		}, 0)
		if err == nil {
			sock.requestLater(held)
			return newConn(sock), nil
		}
		if ours && errors.Is(err, errInUse) {
			if local, err = otherPort(held); err == nil {
				continue
			}
		}
		unix.Close(held)
		if errors.Is(err, errInUse) {
			err = os.NewSyscallError("connect", unix.EADDRNOTAVAIL)
		}
		return nil, err
	}
	unix.Close(held)
	return nil, os.NewSyscallError("connect", unix.EADDRNOTAVAIL)
}

// bindLocal makes a kernel socket own a port and returns where it is bound; ours: we had it choose.
func bindLocal(fd int) (local netip.AddrPort, ours bool, err error) {
	local, err = boundTo(fd)
	if err != nil || local.Port() != 0 {
		return local, false, err
	}
	if !local.Addr().IsUnspecified() {
		return local, false, ErrDeclined // the kernel picks the port when it connects
	}
	if err = bindAny(fd); err == nil {
		local, err = boundTo(fd)
	}
	return local, true, err
}

// otherPort has the kernel choose again: a port that it chose it lets go of when the socket leaves LISTEN.
func otherPort(fd int) (netip.AddrPort, error) {
	err := unix.Listen(fd, 0)
	if err == nil {
		err = unix.Shutdown(fd, unix.SHUT_RDWR)
	}
	if err == nil {
		err = bindAny(fd)
	}
	if err != nil {
		return netip.AddrPort{}, err
	}
	return boundTo(fd)
}

func bindAny(fd int) error {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return err
	}
	if domain == unix.AF_INET {
		return unix.Bind(fd, &unix.SockaddrInet4{})
	}
	return unix.Bind(fd, &unix.SockaddrInet6{})
}

func boundTo(fd int) (netip.AddrPort, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}, err
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)), nil
	case *unix.SockaddrInet6:
		if sa.ZoneId != 0 {
			return netip.AddrPort{}, ErrDeclined
		}
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port)), nil
	}
	return netip.AddrPort{}, unix.EAFNOSUPPORT
}

// Established waits until the handshake of an [Client.Offer] is over, and returns its error.
func (c *Conn) Established(ctx context.Context) error {
	err := c.s.established(ctx)
	if err == nil {
		c.locate() // the local address may have been toed's choice
	}
	return err
}

// OfferListener offers toed the kernel socket fd, which listens with that backlog. The Listener has a
// duplicate of fd, accepts what the TOE accepts and nothing else, and is brought to the next toed as others are.
func (c *Client) OfferListener(fd, backlog int) (*Listener, error) {
	local, err := boundTo(fd)
	if err != nil || local.Addr().IsLoopback() {
		return nil, ErrDeclined
	}
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return nil, os.NewSyscallError("getsockopt", err)
	}
	held, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("dup", err)
	}
	l := &Listener{
		c: c, kernel: heldListener{held, net.TCPAddrFromAddrPort(local)}, network: "tcp", backlog: uint32(max(backlog, 0)),
		held: held, is4: domain == unix.AF_INET, closed: make(chan struct{}), moved: make(chan struct{}),
	}
	c.mu.Lock()
	select {
	case <-c.closed:
		c.mu.Unlock()
		unix.Close(held)
		return nil, net.ErrClosed
	default:
	}
	c.listeners[l] = struct{}{}
	c.mu.Unlock()
	l.Inherit()
	l.bring(c.cur.Load())
	if s, _ := l.half(); s == nil {
		_ = l.Close()
		return nil, ErrDeclined
	}
	return l, nil
}

// Backlog changes how many connections may wait.
func (l *Listener) Backlog(n int) { l.mu.Lock(); l.backlog = uint32(max(n, 0)); l.mu.Unlock() }

// Defer has connections wait for their first octets, so many seconds at most, before they are accepted (TCP_DEFER_ACCEPT).
func (l *Listener) Defer(seconds int) {
	if s, _ := l.half(); s != nil {
		_ = s.option(shm.OptDeferAccept, uint64(max(seconds, 0))) // who accepts hears of its end
	}
}

// heldListener is the kernel's half of a listener whose kernel socket somebody else has made, and accepts from.
type heldListener struct {
	fd int
	at *net.TCPAddr
}

func (h heldListener) Addr() net.Addr                           { return h.at }
func (h heldListener) Close() error                             { return unix.Close(h.fd) }
func (h heldListener) SyscallConn() (syscall.RawConn, error)    { return h, nil }
func (h heldListener) Control(f func(fd uintptr)) error         { f(uintptr(h.fd)); return nil }
func (h heldListener) Read(func(fd uintptr) (done bool)) error  { return errors.ErrUnsupported }
func (h heldListener) Write(func(fd uintptr) (done bool)) error { return errors.ErrUnsupported }
func (h heldListener) Accept() (net.Conn, error)                { return nil, errors.ErrUnsupported }

// WasReset reports whether the peer, or toed, has reset the connection.
func (c *Conn) WasReset() bool {
	return c.s.c.lost() || atomic.LoadUint32(&c.s.p.RxFlags)&shm.RxReset != 0
}

// Socket returns a duplicate of the kernel socket beneath.
func (c *Conn) Socket() (int, error) {
	fd, err := unix.FcntlInt(uintptr(c.s.placeholder), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("dup", err)
	}
	return fd, nil
}

// AwaitEnd waits, after the end of the peer's stream, until the whole connection is over, and returns its error, nil if it ended in
// order; net.ErrClosed if it was closed. Nobody else may read meanwhile.
func (c *Conn) AwaitEnd() error {
	for !c.WasReset() && atomic.LoadUint32(&c.s.p.State) != shm.SlotClosed {
		select {
		case <-c.s.readable:
		case <-c.s.closed:
			return net.ErrClosed
		}
	}
	return c.s.fault()
}

// Room returns how many octets Write takes without waiting, as far as one can tell.
func (c *Conn) Room() int {
	c.s.writeMu.Lock()
	defer c.s.writeMu.Unlock()
	return int(c.s.room())
}

// Unacknowledged returns how many octets were written that the peer has not acknowledged.
func (c *Conn) Unacknowledged() uint64 {
	return atomic.LoadUint64(&c.s.p.TxProd) - atomic.LoadUint64(&c.s.p.TxCons)
}
