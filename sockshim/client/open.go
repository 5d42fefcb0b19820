package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"opentoe/sockshim/shm"
)

// What toed says to an open that it does not carry out: that the socket is the kernel's, or that the
// TOE has such a one already.
var (
	errDeclined = errors.New("not offloaded")
	errInUse    = errors.New("in use on the TOE")
)

// portTries is how many ports that are in use on the TOE a dial passes over.
const portTries = 64

// dial connects over the TOE, or over the kernel when the TOE does not take the connection.
func (c *session) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	var kernel net.Dialer
	if ctx.Err() != nil {
		return kernel.DialContext(ctx, network, addr) // which fails with the error that package net has for it
	}
	targets, err := resolve(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	var first error
	for _, t := range targets {
		conn, err := c.dialAddr(ctx, t)
		if errors.Is(err, errDeclined) {
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

// dialAddr connects to one address over the TOE; errDeclined when that is the kernel's. The kernel
// chooses the port, and may choose one that the TOE still has in use: then it chooses again.
func (c *session) dialAddr(ctx context.Context, to netip.AddrPort) (*Conn, error) {
	if c.lost() || to.Addr().IsLoopback() || to.Addr().IsUnspecified() || to.Addr().Zone() != "" {
		return nil, errDeclined
	}
	for range portTries {
		conn, err := c.dialOnce(ctx, to)
		if !errors.Is(err, errInUse) {
			return conn, err
		}
	}
	return nil, os.NewSyscallError("connect", unix.EADDRNOTAVAIL)
}

// dialOnce connects from a port that the kernel chooses; errInUse when the TOE has it in use.
func (c *session) dialOnce(ctx context.Context, to netip.AddrPort) (*Conn, error) {
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
func (c *session) open(ctx context.Context, fd int, op uint8, args func(*shm.Slot), arg uint32) (*sock, error) {
	for worker, tries := 0, 0; tries <= c.region.Workers+1; tries++ {
		if c.show.Load() {
			_ = c.call(&shm.Msg{Type: shm.MsgProbe}, fd)
		}
		slot, ok := c.takeSlot(ctx, worker)
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
		switch {
		case reason == shm.ReasonInUse:
			return nil, errInUse
		case reason == shm.ReasonNoBufs:
			return nil, os.NewSyscallError("open", unix.ENOBUFS)
		case reason == shm.ReasonShow:
			c.show.Store(true)
		case reason != shm.ReasonSteer || int(steer) >= c.region.Workers:
			return nil, errDeclined
		default:
			worker = int(steer)
		}
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
