package client

import (
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"opentoe/sockshim/shm"
)

// Conn is an offloaded TCP connection.
type Conn struct {
	s             *sock
	local, remote atomic.Pointer[net.TCPAddr] // toed may choose them while the handshake is under way
}

var _ net.Conn = (*Conn)(nil)

func newConn(s *sock) *Conn {
	c := &Conn{s: s}
	c.locate()
	return c
}

// locate takes the connection's addresses from its slot.
func (c *Conn) locate() {
	c.local.Store(tcpAddr(c.s.p.LocalAddr, c.s.p.LocalPort))
	c.remote.Store(tcpAddr(c.s.p.RemoteAddr, c.s.p.RemotePort))
}

func tcpAddr(addr [16]byte, port uint16) *net.TCPAddr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.AddrFrom16(addr).Unmap(), port))
}

func (c *Conn) wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.local.Load(), Addr: c.remote.Load(), Err: err}
}

// wrapSet is wrap for settings, whose errors in package net have one address.
func (c *Conn) wrapSet(err error) error {
	if err == nil {
		return nil
	}
	return &net.OpError{Op: "set", Net: "tcp", Addr: c.local.Load(), Err: err}
}

// Read reads what has arrived into b; io.EOF after the peer's FIN.
func (c *Conn) Read(b []byte) (int, error) {
	n, err := c.s.read(b)
	if err == nil || err == io.EOF {
		return n, err
	}
	return n, c.wrap("read", err)
}

// Write puts all of b into the send stream, or as much as it could before it failed.
func (c *Conn) Write(b []byte) (int, error) {
	n, err := c.s.write(b)
	return n, c.wrap("write", err)
}

// Close ends the connection: what was written is delivered; unread octets turn it into a reset.
func (c *Conn) Close() error { return c.wrap("close", c.s.close()) }

// CloseWrite sends FIN after what was written.
func (c *Conn) CloseWrite() error { return c.wrap("close", c.s.shutdown(shm.ShutWR)) }

// CloseRead says that nothing more is read.
func (c *Conn) CloseRead() error { return c.wrap("close", c.s.shutdown(shm.ShutRD)) }

// Abort resets the connection.
func (c *Conn) Abort() error { return c.wrap("close", c.s.end(shm.OpAbortReq)) }

// SetNoDelay switches Nagle's algorithm off or on.
func (c *Conn) SetNoDelay(on bool) error {
	v := uint64(0)
	if on {
		v = 1
	}
	return c.wrap("set", c.s.option(shm.OptNoDelay, v))
}

// LocalAddr returns our address.
func (c *Conn) LocalAddr() net.Addr { return c.local.Load() }

// RemoteAddr returns the peer's.
func (c *Conn) RemoteAddr() net.Addr { return c.remote.Load() }

// SetDeadline limits reads and writes.
func (c *Conn) SetDeadline(t time.Time) error { return c.wrapSet(c.s.setDeadline(true, true, t)) }

// SetReadDeadline limits reads.
func (c *Conn) SetReadDeadline(t time.Time) error {
	return c.wrapSet(c.s.setDeadline(true, false, t))
}

// SetWriteDeadline limits writes.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	return c.wrapSet(c.s.setDeadline(false, true, t))
}

// Cookie returns the SO_COOKIE of the kernel socket beneath, by which toed names the connection.
func (c *Conn) Cookie() (uint64, error) {
	return unix.GetsockoptUint64(c.s.placeholder, unix.SOL_SOCKET, unix.SO_COOKIE)
}
