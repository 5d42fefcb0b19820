package server

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"opentoe/sockshim/shm"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
	"opentoe/toe"
)

// client is one control connection: a process. Fields without a comment belong to the goroutine
// that serves it, or are constant after HELLO.
type client struct {
	srv     *Server
	conn    *net.UnixConn
	cred    unix.Ucred
	trusted bool // its word is good for what its sockets are
	shown   shownSockets
	account *account
	who     toe.Client
	program string // what people know it by
	l       *layer
	own     *region
	wakefds []int        // one per worker; the client writes them
	pidfd   atomic.Int32 // names the process, for signals; -1 none
	procfd  int          // its directory in /proc; valid only with pidfd

	attached []*region // own included; under Server.mu
	bye      atomic.Bool
	ended    atomic.Bool
}

// serveClient answers a client's messages until it hangs up, then cleans up after it.
func (s *Server) serveClient(conn *net.UnixConn) {
	defer conn.Close()
	c := &client{srv: s, conn: conn}
	if err := c.readCred(); err != nil {
		s.warnings.warn(s.cfg.Log, "client without credentials", "error", err)
		return
	}
	if !s.admit(c) {
		return // the client sees the end of the connection and stays on the kernel
	}
	defer s.clientGone(c)
	_ = conn.SetReadDeadline(time.Now().Add(s.hello))
	buf, oob := make([]byte, shm.SizeofMsg+1), make([]byte, unix.CmsgSpace(4*shm.MaxMsgFDs))
	for !c.bye.Load() {
		if err := c.serveMessage(buf, oob); err != nil {
			if !hungUp(err) {
				s.warnings.warn(s.cfg.Log, "client dropped", "program", c.program, "pid", c.cred.Pid, "error", err)
			}
			return
		}
	}
}

// hungUp reports whether a control connection has ended because one side has gone, also with a question open.
func hungUp(err error) bool {
	for _, e := range []error{io.EOF, net.ErrClosed, unix.EPIPE, unix.ECONNRESET} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// admit counts c in, if there is a place for another client and for another one of its user. When
// places are short, those of clients that have left connections behind are given up for it.
func (s *Server) admit(c *client) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.closed {
		all, user := s.places(c.cred.Uid)
		full := all >= s.cfg.Clients
		if !full && (c.cred.Uid == 0 || user < s.cfg.UserClients) {
			s.clients[c] = struct{}{}
			return true
		}
		if !s.sacrifice(c.cred.Uid, full) {
			break
		}
	}
	s.stats.Turned++
	s.turned.Add(1)
	return false
}

// serveMessage answers one message. Descriptors that came with it are closed whatever else becomes
// of it, unless the answer keeps them. An error ends the client.
func (c *client) serveMessage(buf, oob []byte) error {
	n, nc, _, _, err := c.conn.ReadMsgUnix(buf, oob)
	fds := receivedFDs(oob[:nc])
	defer closeAll(fds)
	if err != nil {
		return err
	}
	var m shm.Msg
	if err := m.Decode(buf[:n]); err != nil {
		return err
	}
	return c.answer(&m, fds)
}

// closeAll closes descriptors and forgets them.
func closeAll(fds []int) {
	for i, fd := range fds {
		if fd >= 0 {
			unix.Close(fd)
		}
		fds[i] = -1
	}
}

// receivedFDs returns the descriptors that came with a message.
func receivedFDs(oob []byte) []int {
	var fds []int
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for i := range msgs {
		if list, err := unix.ParseUnixRights(&msgs[i]); err == nil {
			fds = append(fds, list...)
		}
	}
	return fds
}

// answer carries out a request and sends the answer. An error ends the client. It may keep
// descriptors of fds by setting them to -1.
func (c *client) answer(m *shm.Msg, fds []int) error {
	if m.Type == shm.MsgBye {
		c.bye.Store(true)
		return nil
	}
	var out []int
	errno := unix.EPROTO
	switch {
	case m.Type == shm.MsgHello:
		out, errno = c.hello(m)
	case c.own == nil: // nothing else before HELLO
	case m.Type == shm.MsgAttach:
		errno = c.attach(m)
	case m.Type == shm.MsgEQAlloc:
		errno = c.eqAlloc(m, fds)
	case m.Type == shm.MsgEQFree:
		errno = c.eqFree(m)
	case m.Type == shm.MsgProbe:
		out, errno = c.probe(m, fds)
	case m.Type == shm.MsgInfo:
		errno = c.connInfo(m)
	case m.Type == shm.MsgNoSlot:
		errno = c.noSlot(m, fds)
	case m.Type == shm.MsgDetach:
		errno = c.detach(m)
	}
	m.Error = int32(errno)
	b, err := m.Append(make([]byte, 0, shm.SizeofMsg))
	if err != nil {
		return err
	}
	var oob []byte
	if len(out) > 0 {
		oob = unix.UnixRights(out...)
	}
	// With the answer the client may close its own descriptor, and bind the port again.
	closeAll(fds)
	_ = c.conn.SetWriteDeadline(time.Now().Add(c.srv.unread))
	if _, _, err = c.conn.WriteMsgUnix(b, oob, nil); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	return nil
}

// hello makes the client's region. Answers EPROTO for another ABI, ENODEV while no device is
// attached, ENOMEM when there is no memory.
func (c *client) hello(m *shm.Msg) ([]int, unix.Errno) {
	if c.own != nil || m.Magic != shm.Magic || m.Abi != shm.ABI {
		return nil, unix.EPROTO
	}
	c.identify(m.Program())
	s := c.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.layer
	if l == nil {
		return nil, unix.ENODEV
	}
	id := s.freeRegionID()
	if id == 0 {
		return nil, unix.ENOMEM
	}
	c.account = s.accountOf(c.cred.Uid)
	r, err := s.newRegion(l, id, c)
	if err != nil {
		s.warnings.warn(s.cfg.Log, "no region for client", "program", c.program, "pid", c.cred.Pid, "error", err)
		return nil, unix.ENOMEM
	}
	s.regions[id] = r
	c.l, c.own = l, r
	c.takeProcess()
	c.join(r)
	if err := c.openWakeFDs(); err != nil {
		s.warnings.warn(s.cfg.Log, "no wake descriptors for client", "program", c.program, "pid", c.cred.Pid, "error", err)
		return nil, unix.ENOMEM
	}
	s.stats.Clients++
	_ = c.conn.SetReadDeadline(time.Time{})
	m.RegionId, m.Magic, m.Abi = id, shm.Magic, shm.ABI
	if err := m.SetAddrs(addrList(l)); err != nil {
		return nil, unix.EPROTO
	}
	return append([]int{r.fd, l.status.FD()}, c.wakefds...), 0
}

// freeRegionID returns a number that no region has, used longest ago; 0 when all are taken.
// Precondition: mu is held.
func (s *Server) freeRegionID() uint32 {
	for range maxRegions {
		s.lastID = s.lastID%maxRegions + 1
		if s.regions[s.lastID] == nil {
			return s.lastID
		}
	}
	return 0
}

// addrList returns the device's addresses that the kernel does not have: a program may bind to them all
// the same. Those that it has come and go, and its own bind knows.
func addrList(l *layer) []shm.AddrPrefix {
	var list []shm.AddrPrefix
	for _, port := range l.dev.Info().Ports {
		if port.Kernel {
			continue
		}
		for _, p := range port.Prefixes {
			bits := p.Bits()
			if p.Addr().Is4() {
				bits += 96
			}
			list = append(list, shm.AddrPrefix{
				Addr: wire.AddrFrom(p.Addr()), Prefix: uint32(bits), Mtu: uint32(port.MTU),
			})
		}
	}
	return list
}

// openWakeFDs makes an eventfd for each worker, which the client writes to end the worker's sleep.
// Each client has its own, so that none can take another's wake-up away.
func (c *client) openWakeFDs() error {
	for _, w := range c.l.workers {
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
		if err != nil {
			return err
		}
		c.wakefds = append(c.wakefds, fd)
		if err := c.l.dev.AddWakeFD(w.id, fd); err != nil {
			return err
		}
	}
	return nil
}

// join attaches c to r. Precondition: Server.mu is held.
func (c *client) join(r *region) {
	if slices.Contains(c.attached, r) {
		return
	}
	c.attached = append(c.attached, r)
	r.clients[c] = struct{}{}
	r.orphan.Store(false)
	if r == c.own {
		return
	}
	for _, w := range c.l.workers {
		_ = c.l.dev.Do(w.id, func(vtime.Time) {
			from, to := w.share(c.own), w.share(r)
			if to != nil {
				to.silent = false
			}
			if from != nil && to != nil {
				from.names = append(from.names, to)
			}
		})
	}
}

// attach lets the client name the slots of a region whose token it knows: one that it inherited.
func (c *client) attach(m *shm.Msg) unix.Errno {
	s := c.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.regions {
		if subtle.ConstantTimeCompare(r.token[:], m.Token[:]) == 1 {
			c.join(r)
			m.RegionId = r.id
			return 0
		}
	}
	return unix.ENOENT
}

// detach takes the client out of a region, not its own, of which it has no socket any more.
func (c *client) detach(m *shm.Msg) unix.Errno {
	s := c.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	r := c.region(m.RegionId)
	if r == nil || r == c.own {
		return unix.ENOENT
	}
	for _, w := range c.l.workers {
		_ = c.l.dev.Do(w.id, func(vtime.Time) {
			from, to := w.share(c.own), w.share(r)
			if from == nil || to == nil {
				return
			}
			from.drainPosted(shm.CmdEntries) // what it has said about the region's sockets
			from.names = slices.DeleteFunc(from.names, func(sh *share) bool { return sh == to })
		})
	}
	c.attached = slices.DeleteFunc(c.attached, func(a *region) bool { return a == r })
	s.leave(c, r, true)
	return 0
}

// leave cleans up after a client that is not attached to r any more, and ends what only it had there.
// alive says that sockets may be in other hands all the same. Precondition: mu is held.
func (s *Server) leave(c *client, r *region, alive bool) {
	delete(r.clients, c)
	r.freeEQs(c, func(int) bool { return true })
	if len(r.clients) == 0 {
		r.left = time.Now()
		r.orphan.Store(true)
	}
	if s.endSockets(r, c, alive) {
		select {
		case s.leftBehind <- struct{}{}:
		default:
		}
	}
	if len(r.clients) == 0 {
		go s.reap(r)
	}
}

// region returns the attached region with the number, or nil when there is none or it has gone with
// its device. Precondition: Server.mu is held.
func (c *client) region(id uint32) *region {
	if r := c.srv.regions[id]; r != nil && slices.Contains(c.attached, r) {
		return r
	}
	return nil
}

// eqAlloc opens an event queue that signals the eventfd in fds.
func (c *client) eqAlloc(m *shm.Msg, fds []int) unix.Errno {
	if len(fds) != 1 || !isEventFD(fds[0]) {
		return unix.EINVAL
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return unix.EINVAL
	}
	s := c.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	r := c.region(m.RegionId)
	if r == nil {
		return unix.ENOENT
	}
	i := r.allocEQ(c, fds[0])
	if i < 0 {
		return unix.ENOSPC
	}
	fds[0] = -1
	m.Eq = uint32(i)
	return 0
}

// isEventFD reports whether fd is an eventfd: anything else could block the worker that writes it.
func isEventFD(fd int) bool {
	name, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	return err == nil && strings.HasPrefix(name, "anon_inode:[eventfd")
}

func (c *client) eqFree(m *shm.Msg) unix.Errno {
	s := c.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	r := c.region(m.RegionId)
	if r == nil || !r.freeEQs(c, func(i int) bool { return i == int(m.Eq) }) {
		return unix.ENOENT
	}
	return 0
}

// hangUp ends the client's connection; its goroutine does the rest.
func (c *client) hangUp() { _ = c.conn.Close() }

// clientGone cleans up after a client: its event queues and wake descriptors at once, its regions
// and sockets as their sharing allows.
func (s *Server) clientGone(c *client) {
	alive := !c.bye.Load() && processAlive(c.cred.Pid)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.clients, c)
	c.ended.Store(true)
	c.forgetShown()
	pidfd := c.pidfd.Swap(-1)
	if c.own == nil {
		return
	}
	if !c.bye.Load() && !alive {
		s.stats.Died++
	}
	for i, w := range c.l.workers {
		if i < len(c.wakefds) {
			_ = c.l.dev.RemoveWakeFD(w.id, c.wakefds[i])
			unix.Close(c.wakefds[i])
		}
	}
	for _, r := range c.attached {
		if s.regions[r.id] == r {
			s.leave(c, r, alive)
		} // else its device has gone, and everything with it
	}
	for _, w := range c.l.workers {
		_ = c.l.dev.Do(w.id, func(vtime.Time) {
			if sh := w.share(c.own); sh != nil {
				sh.names = nil
			}
		})
	}
	c.dropProcess(pidfd) // no worker is using it any more
}

// endSockets ends the sockets of r that c alone held. Sockets that another process may hold, and
// those of a process that went on to another program, end when the kernel says that their last
// descriptor is gone; whether there are such it returns. Precondition: mu is held.
func (s *Server) endSockets(r *region, c *client, alive bool) (left bool) {
	orderly := c.bye.Load()
	detached := r.mem.Detached()
	for _, w := range r.l.workers {
		_ = r.l.dev.Do(w.id, func(vtime.Time) {
			sh := w.share(r)
			if sh == nil {
				return
			}
			sh.drainPosted(shm.CmdEntries)  // all that was posted before
			sh.silent = len(r.clients) == 0 // not before: a close that is not heard would be a reset
			for i := range sh.seen.Load() {
				n := sh.slotBase + i
				k := sh.sock(n)
				if k.state < sockListening || !k.held || k.unaccepted() || len(r.clients) > 0 && k.owner != c.own {
					continue
				}
				k.orderly = k.orderly || orderly
				shared := k.shared || atomic.LoadUint32(&sh.slot(n).Shared) != 0
				if s.destroys && k.cookie != 0 && (shared || alive) && !detached && !sh.falsely(n) {
					left = true
					continue
				}
				sh.endOrderly(n, orderly || alive)
			}
		})
	}
	return left
}

// endOrderly closes a socket whose last holder is gone; it resets the connection if that was not
// in order.
func (sh *share) endOrderly(n uint32, orderly bool) {
	if orderly {
		sh.close(n)
	} else {
		sh.abort(n)
	}
}
