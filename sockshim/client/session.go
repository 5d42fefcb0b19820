package client

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"opentoe/sockshim/shm"
)

// session is a control connection to one toed, with its region.
type session struct {
	conn   *net.UnixConn
	region *shm.Region
	status *shm.Status
	wake   []int // eventfd of each worker
	addrs  []netip.Prefix

	eq       *shm.EQ
	eqBit    uint64
	eqShared bool     // the bit is not ours alone
	events   *os.File // signalled by toed when the event queue has news and we sleep

	callMu  sync.Mutex // one request at a time
	answers chan shm.Msg
	gone    chan struct{} // closed when the control connection has ended
	dead    atomic.Bool   // gone is closed
	done    sync.WaitGroup

	show atomic.Bool // toed wants to see placeholders before it opens their sockets

	patientAt atomic.Int64 // when an open may wait for a slot again, nanoseconds of the wall clock

	mu     sync.Mutex
	socks  map[uint32]*sock // by slot
	closed bool
}

// attach connects to toed.
func attach(cfg Config) (*session, error) {
	conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: cfg.Socket, Net: "unixpacket"})
	if err != nil {
		return nil, fmt.Errorf("client: toed: %w", err)
	}
	c := &session{
		conn: conn, answers: make(chan shm.Msg, 1), gone: make(chan struct{}),
		socks: map[uint32]*sock{},
	}
	if err := c.hello(cfg.Program); err != nil {
		c.release()
		return nil, fmt.Errorf("client: %w", err)
	}
	c.done.Go(c.listenControl)
	if err := c.openEvents(); err != nil {
		_ = conn.Close()
		c.done.Wait()
		c.release()
		return nil, fmt.Errorf("client: %w", err)
	}
	c.done.Go(c.poll)
	return c, nil
}

// hello introduces the client and maps what toed answers with.
func (c *session) hello(program string) error {
	m := shm.Msg{Type: shm.MsgHello, Magic: shm.Magic, Abi: shm.ABI}
	m.SetProgram(program)
	if err := c.send(&m, nil); err != nil {
		return err
	}
	fds, err := c.receive(&m)
	defer func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}()
	if err != nil {
		return err
	}
	if m.Error != 0 {
		return fmt.Errorf("%w: hello: %w", ErrRefused, unix.Errno(m.Error))
	}
	if len(fds) < 3 {
		return fmt.Errorf("hello: %d descriptors: %w", len(fds), shm.ErrLayout)
	}
	if c.region, err = shm.Open(fds[0]); err != nil {
		return err
	}
	if c.status, err = shm.OpenStatus(fds[1]); err != nil {
		return err
	}
	if len(fds) != 2+c.region.Workers {
		return fmt.Errorf("hello: %d descriptors for %d workers: %w", len(fds), c.region.Workers, shm.ErrLayout)
	}
	c.wake, fds = fds[2:], fds[:2]
	list, err := m.Addrs()
	for _, a := range list {
		c.addrs = append(c.addrs, prefixOf(a))
	}
	return err
}

func prefixOf(a shm.AddrPrefix) netip.Prefix {
	addr, bits := netip.AddrFrom16(a.Addr), int(a.Prefix)
	if addr.Is4In6() {
		return netip.PrefixFrom(addr.Unmap(), bits-96)
	}
	return netip.PrefixFrom(addr, bits)
}

// openEvents makes the event queue.
func (c *session) openEvents() error {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return fmt.Errorf("eventfd: %w", err)
	}
	m := shm.Msg{Type: shm.MsgEQAlloc, RegionId: c.region.Header.RegionId}
	if err := c.call(&m, fd); err != nil {
		unix.Close(fd)
		return fmt.Errorf("event queue: %w", err)
	}
	c.events = os.NewFile(uintptr(fd), "opentoe-events")
	c.eq, c.eqBit, c.eqShared = &c.region.EQs[m.Eq%shm.MaxEQs], shm.EQBit(m.Eq), m.Eq >= shm.EQOwn
	return nil
}

// end ends the session and closes its sockets.
func (c *session) end() error {
	c.mu.Lock()
	c.closed = true
	socks := make([]*sock, 0, len(c.socks))
	for _, s := range c.socks {
		socks = append(socks, s)
	}
	c.mu.Unlock()
	for _, s := range socks {
		_ = s.close()
	}
	_ = c.send(&shm.Msg{Type: shm.MsgBye}, nil)
	err := c.conn.Close()
	_ = c.events.Close()
	c.done.Wait()
	// The mapping stays: a goroutine may still be on its way out of a read or write.
	for _, fd := range c.wake {
		unix.Close(fd)
	}
	return err
}

// release undoes what an attach that failed has done.
func (c *session) release() {
	_ = c.conn.Close()
	for _, fd := range c.wake {
		unix.Close(fd)
	}
	if c.region != nil {
		_ = c.region.Close()
	}
}

func (c *session) send(m *shm.Msg, fds []int) error {
	b, err := m.Append(nil)
	if err != nil {
		return err
	}
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	_, _, err = c.conn.WriteMsgUnix(b, oob, nil)
	return err
}

// receive reads a message with its descriptors, which the caller owns.
func (c *session) receive(m *shm.Msg) ([]int, error) {
	buf, oob := make([]byte, shm.SizeofMsg+1), make([]byte, unix.CmsgSpace(4*shm.MaxMsgFDs))
	n, nc, _, _, err := c.conn.ReadMsgUnix(buf, oob)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, ErrGone
	}
	var fds []int
	if msgs, err := unix.ParseSocketControlMessage(oob[:nc]); err == nil {
		for i := range msgs {
			if list, err := unix.ParseUnixRights(&msgs[i]); err == nil {
				fds = append(fds, list...)
			}
		}
	}
	return fds, m.Decode(buf[:n])
}

// listenControl hands answers to call and notices when toed goes.
func (c *session) listenControl() {
	for {
		var m shm.Msg
		fds, err := c.receive(&m)
		for _, fd := range fds {
			unix.Close(fd)
		}
		if err != nil {
			break
		}
		select {
		case c.answers <- m:
		default: // nobody asked
		}
	}
	c.dead.Store(true)
	close(c.gone)
	c.wakeAll()
}

// call sends a request with a descriptor (-1: none) and waits for the answer, which replaces m.
func (c *session) call(m *shm.Msg, fd int) error {
	c.callMu.Lock()
	defer c.callMu.Unlock()
	var fds []int
	if fd >= 0 {
		fds = []int{fd}
	}
	if err := c.send(m, fds); err != nil {
		return err
	}
	select {
	case *m = <-c.answers:
	case <-c.gone:
		return ErrGone
	}
	if m.Error != 0 {
		return fmt.Errorf("%w: %w", ErrRefused, unix.Errno(m.Error))
	}
	return nil
}

// lost reports whether toed has gone or has dropped the region: every socket is dead.
func (c *session) lost() bool { return c.dead.Load() || c.region.Detached() }

// post sends a command for a slot to its worker.
func (c *session) post(worker int, cmd shm.Command) { c.postAt(worker, cmd) }

// postAt is post, and returns the command's place in the queue, if it got one.
func (c *session) postAt(worker int, cmd shm.Command) (place uint32, ok bool) {
	if c.lost() {
		return 0, false
	}
	cmd.Region = uint16(c.region.Header.RegionId)
	place, ok = c.region.CmdQs[worker].PostAt(cmd, func() bool { c.rouse(worker); return !c.lost() })
	c.rouse(worker)
	return place, ok
}

// rouse wakes a worker that sleeps.
func (c *session) rouse(worker int) {
	if atomic.LoadUint32(&c.status.Worker[worker].Sleeping) != 0 {
		shm.SignalEventFD(c.wake[worker])
	}
}
