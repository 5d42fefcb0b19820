package notify

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"opentoe/sockshim/client"
)

// conn is a connection of the TOE whose descriptor is a unix socket.
type conn struct {
	s      *Supervisor
	toe    *client.Conn
	domain int
	key    uint64 // cookie of the program's end
	inode  uint64 // of the program's end
	tid    uint32 // a thread that had the program's end, as descriptor fd
	fd     int
	filled int // octets that keep the program's end from being writable

	file   *os.File        // our end
	raw    syscall.RawConn // of file
	kernel int             // the kernel's socket beneath. Under mu; -1 when it is over
	up     chan struct{}   // closed when the handshake is over
	over   chan struct{}   // closed when the connection has ended
	shown  chan struct{}   // closed when the program's end shows that
	lost   atomic.Bool     // octets of the peer's were thrown away
	shut   atomic.Bool     // the program's stream has ended
	ended  atomic.Bool     // the peer's has
	eof    bool            // the peer's stream had ended before the connection failed: the program sees that. Of toProgram

	once sync.Once  // of failing and finishing
	inMu sync.Mutex // no octet is taken off our end after failed
	mu   sync.Mutex

	failed  bool       // under inMu
	pending unix.Errno // SO_ERROR
	told    bool       // connect has told how it ended
}

// newConn makes the connection's pair and returns the program's end, which is the caller's. kernel becomes
// the connection's. A connection whose handshake is under way cannot be written.
func (s *Supervisor) newConn(toe *client.Conn, kernel, domain int, connecting, blocks bool) (c *conn, theirs int, err error) {
	ours, theirs, err := pair(blocks)
	if err != nil {
		return nil, -1, err
	}
	c = &conn{
		s: s, toe: toe, domain: domain, kernel: kernel, inode: inodeOf(theirs),
		up: make(chan struct{}), over: make(chan struct{}), shown: make(chan struct{}), told: !connecting,
	}
	c.file = os.NewFile(uintptr(ours), "pair")
	if c.key, err = cookie(theirs); err == nil {
		c.raw, err = c.file.SyscallConn()
	}
	if err != nil {
		c.file.Close()
		unix.Close(theirs)
		return nil, -1, err
	}
	_ = unix.SetsockoptInt(ours, unix.SOL_SOCKET, unix.SO_OOBINLINE, 1) // an urgent octet is not to be lost
	if connecting {
		c.filled = fill(theirs)
	} else {
		close(c.up)
	}
	for _, name := range ofTheFile { // what acts on the descriptor
		var b [16]byte
		if n, err := getOption(kernel, unix.SOL_SOCKET, name, b[:]); err == nil {
			_ = setOption(theirs, unix.SOL_SOCKET, name, b[:n]) // as the kernel's socket had it
		}
	}
	return c, theirs, nil
}

// discard undoes newConn.
func (c *conn) discard() {
	c.file.Close()
	unix.Close(c.kernel)
}

// start has octets flow.
func (c *conn) start() {
	c.s.live.Add(2)
	ctx, cancel := context.WithCancel(c.s.ctx)
	go func() {
		defer c.s.live.Done()
		c.fromProgram(cancel)
	}()
	go func() {
		defer c.s.live.Done()
		defer cancel()
		c.toProgram(ctx)
	}()
}

// await waits until our end reports events, or its deadline passes.
func (c *conn) await(what int16) error {
	return c.raw.Read(func(fd uintptr) bool { return events(int(fd))&what != 0 })
}

// handshake waits for its end, and makes the program's end writable.
func (c *conn) handshake(ctx context.Context) error {
	if err := c.toe.Established(ctx); err != nil {
		return err
	}
	if err := c.drain(); err != nil {
		return err
	}
	if err := c.file.SetReadDeadline(time.Unix(1, 0)); err != nil { // wakes fromProgram
		return err
	}
	close(c.up)
	return nil
}

// drain takes what fill has sent. It is all there; fromProgram meanwhile waits in Read for something else.
func (c *conn) drain() (err error) {
	buf := make([]byte, len(filler))
	cerr := c.raw.Control(func(fd uintptr) {
		for left := c.filled; left > 0 && err == nil; {
			n := 0
			n, err = unix.Read(int(fd), buf[:min(left, len(buf))])
			left -= max(n, 0)
		}
	})
	return errors.Join(cerr, err)
}

// toProgram carries what the peer sends.
func (c *conn) toProgram(ctx context.Context) {
	select {
	case <-c.up:
	default:
		if err := c.handshake(ctx); err != nil {
			if ctx.Err() != nil {
				c.finish(true) // the program has closed
			} else {
				c.fail(err)
			}
			return
		}
	}
	buf := buffers.Get().(*buffer)
	defer buffers.Put(buf)
	deaf := false
	for {
		n, err := c.toe.Read(buf[:])
		if n > 0 && !deaf {
			if _, werr := c.file.Write(buf[:n]); werr != nil {
				deaf = true
				c.lost.Store(true)
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, net.ErrClosed):
			return
		case err == io.EOF && c.toe.WasReset():
			c.fail(unix.ECONNRESET)
			return
		case err == io.EOF:
			c.ended.Store(true)
			_ = c.raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_WR) })
			// What the program still sends may be answered by a reset.
			err = c.toe.AwaitEnd()
			if err == nil && !c.shut.Load() {
				err = unix.EPIPE
			}
			if err != nil && !errors.Is(err, net.ErrClosed) {
				c.eof = true
				c.fail(err)
			}
			return
		default:
			c.fail(err)
			return
		}
	}
}

// fromProgram carries what the program sends, and sees when it closes.
func (c *conn) fromProgram(cancel context.CancelFunc) {
	select {
	case <-c.up:
	default:
		if c.await(unix.POLLHUP) == nil {
			cancel()
		}
		select {
		case <-c.up:
		case <-c.over:
			return
		}
	}
	if c.file.SetReadDeadline(time.Time{}) != nil {
		return
	}
	buf := buffers.Get().(*buffer)
	defer buffers.Put(buf)
	for {
		n, err := c.take(buf[:])
		if n > 0 {
			switch err := c.send(buf[:n]); {
			case err == errAborted:
				c.finish(true)
				return
			case err != nil && !errors.Is(err, unix.EPIPE):
				c.fail(err)
				return
			}
			continue
		}
		if err != nil {
			c.finish(err == unix.ECONNRESET)
			return
		}
		break
	}
	if !c.hung() {
		c.shut.Store(true)
		_ = c.toe.CloseWrite() // fails if the connection is over, which toProgram sees
		if c.await(unix.POLLHUP) != nil {
			return
		}
	}
	c.finish(false)
}

// errAborted is what send returns when the program has ended the connection by a reset.
var errAborted = errors.New("aborted by the program")

// stall is how long toed may have no room before send looks after the program.
const stall = 100 * time.Millisecond

// send passes octets on to toed. A reset does not wait until there is room for them.
func (c *conn) send(b []byte) error {
	if len(b) <= c.toe.Room() {
		_, err := c.toe.Write(b)
		return err
	}
	defer c.toe.SetWriteDeadline(time.Time{}) // fails when it is over, which the next call tells
	for {
		_ = c.toe.SetWriteDeadline(time.Now().Add(stall))
		n, err := c.toe.Write(b)
		b = b[n:]
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		if c.hung() && c.resets() {
			return errAborted
		}
	}
}

// resets reports whether the program, which has closed its end, did so by a reset: with unread octets, or without lingering.
func (c *conn) resets() bool {
	unread := 0
	_ = c.raw.Control(func(fd uintptr) { unread, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR) })
	c.mu.Lock()
	defer c.mu.Unlock()
	l, err := unix.GetsockoptLinger(c.kernel, unix.SOL_SOCKET, unix.SO_LINGER)
	return unread != 0 || err == nil && l.Onoff != 0 && l.Linger == 0
}

func (c *conn) hung() (yes bool) {
	_ = c.raw.Control(func(fd uintptr) { yes = hung(int(fd)) }) // it is closed when it fails
	return yes
}

// take reads from our end; 0, nil is the end of the stream.
func (c *conn) take(b []byte) (n int, err error) {
	rerr := c.raw.Read(func(fd uintptr) bool {
		c.inMu.Lock()
		defer c.inMu.Unlock()
		if c.failed {
			err = net.ErrClosed
			return true
		}
		for {
			if n, err = unix.Read(int(fd), b); err != unix.EINTR {
				break
			}
		}
		return err != unix.EAGAIN
	})
	if rerr != nil {
		return 0, rerr
	}
	return max(n, 0), err
}

// fail ends a connection that toed has ended: the program sees a reset, or, if the handshake was under way, a
// connection that was refused.
func (c *conn) fail(cause error) {
	c.once.Do(func() {
		c.inMu.Lock()
		c.failed = true
		c.inMu.Unlock()
		c.mu.Lock()
		c.pending = errnoIn(cause)
		c.mu.Unlock()
		close(c.over)
		if !c.eof { // else our caller is toProgram
			c.poison()
		}
		c.close(false)
		close(c.shown)
		c.s.bury(c.key)
	})
}

// finish ends a connection that the program has closed, by a reset if it asked for that.
func (c *conn) finish(abort bool) {
	c.once.Do(func() {
		close(c.over)
		c.mu.Lock()
		l, err := unix.GetsockoptLinger(c.kernel, unix.SOL_SOCKET, unix.SO_LINGER)
		c.mu.Unlock()
		abort = abort || c.lost.Load() || err == nil && l.Onoff != 0 && l.Linger == 0
		c.close(abort)
		close(c.shown)
		c.s.bury(c.key) // it may only have been shut down
	})
}

func (c *conn) close(abort bool) {
	if abort {
		_ = c.toe.Abort()
	} else {
		_ = c.toe.Close()
	}
	c.file.Close()
	c.mu.Lock()
	unix.Close(c.kernel)
	c.kernel = -1
	c.mu.Unlock()
}

// poison leaves an octet on our end, so that its close is a reset and no end of file for the program. It has to come
// from the program's end, wherever that is by now.
func (c *conn) poison() {
	left := 0
	_ = c.raw.Control(func(fd uintptr) { left, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	if left > 0 {
		return
	}
	fd, err := descriptor(c.tid, c.fd)
	if err == nil && inodeOf(fd) != c.inode {
		unix.Close(fd)
		err = unix.ENOENT
	}
	if err != nil {
		if fd, err = holder(c.inode); err != nil {
			return // nobody has it: it is on its way between two processes, or closed
		}
	}
	_, _ = unix.SendmsgN(fd, filler[:1], nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	unix.Close(fd)
}

// buffer is what an octet passes on its way.
type buffer [64 << 10]byte

var buffers = sync.Pool{New: func() any { return new(buffer) }}

func (c *conn) local() netip.AddrPort { return c.toe.LocalAddr().(*net.TCPAddr).AddrPort() }

func (c *conn) remote() netip.AddrPort { return c.toe.RemoteAddr().(*net.TCPAddr).AddrPort() }

// call answers a notification about the connection.
func (c *conn) call(n *notification, fd int) {
	n.look(fd)
	defer n.release()
	select {
	case <-c.over:
		<-c.shown
	default:
	}
	switch n.nr {
	case unix.SYS_CONNECT:
		c.connectAgain(n, fd)
	case unix.SYS_LISTEN, unix.SYS_ACCEPT, unix.SYS_ACCEPT4, unix.SYS_BIND:
		c.s.reply(n, 0, unix.EINVAL)
	case unix.SYS_GETSOCKNAME:
		c.s.reply(n, 0, answerAddress(n.pid, n.args[1], n.args[2], address(c.domain, c.local())))
	case unix.SYS_GETPEERNAME:
		if !c.connected() && !c.orphan() {
			c.s.reply(n, 0, unix.ENOTCONN)
			return
		}
		c.s.reply(n, 0, answerAddress(n.pid, n.args[1], n.args[2], address(c.domain, c.remote())))
	case unix.SYS_SETSOCKOPT:
		c.s.reply(n, 0, c.setOption(n, fd))
	case unix.SYS_GETSOCKOPT:
		c.s.reply(n, 0, c.getOption(n, fd))
	case unix.SYS_SHUTDOWN:
		switch {
		case !c.gone(), n.args[1] > unix.SHUT_RDWR:
			c.s.proceed(n) // the pair's end does it, and we see it
		case c.orphan():
			c.s.reply(n, 0, nil)
		default:
			c.s.reply(n, 0, unix.ENOTCONN)
		}
	case unix.SYS_IOCTL:
		c.unsent(n)
	default:
		c.s.proceed(n)
	}
}

// unsent answers SIOCOUTQ and SIOCOUTQNSD: what the supervisor has, and what toed has, is not sent or not acknowledged.
func (c *conn) unsent(n *notification) {
	held := 0
	_ = c.raw.Control(func(fd uintptr) { held, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	select {
	case <-c.up:
	default:
		held = max(held-c.filled, 0)
	}
	total := uint64(held)
	if !c.gone() {
		total += c.toe.Unacknowledged()
	}
	if n.args[1] == siocOutqNSD {
		info, err := c.toe.Info()
		total = uint64(held) + uint64(info.Unsent)
		if err != nil {
			total = uint64(held)
		}
	}
	err := poke(n.pid, n.args[2], binary.NativeEndian.AppendUint32(nil, uint32(min(total, math.MaxInt32))))
	if err != nil {
		err = errFault
	}
	c.s.reply(n, 0, err)
}

// orphan reports whether the program has ended the connection, or has it shut down both ways, which looks the same, and the peer
// had not ended its stream.
func (c *conn) orphan() bool {
	c.inMu.Lock()
	defer c.inMu.Unlock()
	return c.gone() && !c.failed && !c.ended.Load()
}

func (c *conn) connected() bool {
	select {
	case <-c.over:
		return false
	default:
	}
	select {
	case <-c.up:
		return true
	default:
		return false
	}
}
