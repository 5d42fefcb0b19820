package client

import (
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"opentoe/sockshim/shm"
)

// sock is an offloaded socket: what Conn and Listener have in common.
type sock struct {
	c           *session
	slot        uint32
	p           *shm.Slot
	gen         uint32
	placeholder int       // the kernel socket
	beneath     io.Closer // closed with the socket, unless nil: a listener's own descriptor of the placeholder

	readMu, writeMu sync.Mutex
	readable        chan struct{} // one token: the slot has changed
	writable        chan struct{}
	readDL, writeDL deadline
	closed          chan struct{}
	closeOnce       sync.Once

	rxCons, rxTold uint64 // read so far; told to toed. Under readMu
	txShut         bool   // CloseWrite was called. Under writeMu

	optMu    sync.Mutex
	optSent  bool   // a setting was posted
	optPlace uint32 // its place in the command queue
}

// ackEvery is how many octets a reader takes before it tells toed, unless it has read everything.
const ackEvery = 32 << 10

func newSock(c *session, slot uint32, placeholder int) *sock {
	p := &c.region.Slots[slot]
	return &sock{
		c: c, slot: slot, p: p, gen: atomic.LoadUint32(&p.Gen), placeholder: placeholder,
		readable: make(chan struct{}, 1), writable: make(chan struct{}, 1),
		readDL: newDeadline(), writeDL: newDeadline(), closed: make(chan struct{}),
	}
}

// setCookie writes the placeholder's cookie into the slot.
func (s *sock) setCookie() error {
	cookie, err := unix.GetsockoptUint64(s.placeholder, unix.SOL_SOCKET, unix.SO_COOKIE)
	if err != nil {
		return os.NewSyscallError("getsockopt", err)
	}
	atomic.StoreUint32(&s.p.CookieLo, uint32(cookie))
	atomic.StoreUint32(&s.p.CookieHi, uint32(cookie>>32))
	return nil
}

// news wakes whoever waits on the socket.
func (s *sock) news() {
	for _, ch := range []chan struct{}{s.readable, s.writable} {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

// wait blocks until there is news, the deadline passes, or the socket is closed.
func (s *sock) wait(news <-chan struct{}, dl *deadline) error {
	select {
	case <-s.closed:
		return net.ErrClosed
	case <-dl.passed():
		return os.ErrDeadlineExceeded
	default:
	}
	select {
	case <-news:
		return nil
	case <-s.closed:
		return net.ErrClosed
	case <-dl.passed():
		return os.ErrDeadlineExceeded
	}
}

// fault returns the socket's pending error, taking it; nil when there is none.
func (s *sock) fault() error {
	if s.c.lost() {
		return os.NewSyscallError("toe", unix.ECONNRESET)
	}
	if e := atomic.SwapUint32(&s.p.Error, 0); e != 0 {
		return os.NewSyscallError("toe", unix.Errno(e))
	}
	return nil
}

// read copies what is readable into b, waiting for the first octet.
func (s *sock) read(b []byte) (int, error) {
	s.readMu.Lock()
	defer s.readMu.Unlock()
	for {
		select {
		case <-s.closed:
			return 0, net.ErrClosed
		case <-s.readDL.passed():
			return 0, os.ErrDeadlineExceeded
		default:
		}
		if len(b) == 0 {
			return 0, nil
		}
		// Whether it is over is asked before how much there is: then all octets have come.
		flags, failed := atomic.LoadUint32(&s.p.RxFlags), atomic.LoadUint32(&s.p.Error) != 0
		if n := min(uint64(len(b)), atomic.LoadUint64(&s.p.RxProd)-s.rxCons); n > 0 && !s.c.lost() {
			dir := atomic.LoadUint32(&s.p.RxDir)
			if !s.c.region.ReadStream(&s.p.RxEntry, dir, s.rxCons, b[:n]) {
				if atomic.LoadUint32(&s.p.RxDir) != dir {
					continue // it grew meanwhile
				}
				return 0, os.NewSyscallError("toe", unix.EIO)
			}
			s.consumed(n)
			return int(n), nil
		}
		if (failed && flags&shm.RxFIN == 0) || s.c.lost() { // an error after the peer's end is the writers'
			if err := s.fault(); err != nil {
				return 0, err
			}
		}
		if flags&(shm.RxEOF|shm.RxReset) != 0 {
			return 0, io.EOF
		}
		if err := s.wait(s.readable, &s.readDL); err != nil {
			return 0, err
		}
	}
}

// consumed moves rx_cons and tells toed when that matters to the window or gives memory back.
func (s *sock) consumed(n uint64) {
	s.rxCons += n
	atomic.StoreUint64(&s.p.RxCons, s.rxCons)
	if s.rxCons-s.rxTold >= ackEvery || s.rxCons == atomic.LoadUint64(&s.p.RxProd) {
		s.rxTold = s.rxCons
		s.postOnce(shm.OpRxDataAck)
	}
}

// write puts b into the send stream, waiting for room.
func (s *sock) write(b []byte) (int, error) {
	s.writeMu.Lock()
	defer s.writeMu.Unlock()
	done := 0
	for {
		select {
		case <-s.closed:
			return done, net.ErrClosed
		case <-s.writeDL.passed():
			return done, os.ErrDeadlineExceeded
		default:
		}
		if s.txShut || atomic.LoadUint32(&s.p.TxFlags)&shm.TxClosed != 0 || s.c.lost() {
			if err := s.fault(); err != nil {
				return done, err
			}
			return done, os.NewSyscallError("write", unix.EPIPE)
		}
		if done == len(b) {
			return done, nil
		}
		n, starved := s.append(b[done:])
		if n > 0 {
			done += n
			s.postOnce(shm.OpTxData)
			continue
		}
		// Say that we wait, then look once more: toed may have made room in between.
		atomic.StoreUint32(&s.p.TxNospace, 1)
		if starved {
			s.post(shm.OpTxCreditReq, 0)
		} else if s.room() > 0 {
			continue
		}
		if err := s.wait(s.writable, &s.writeDL); err != nil {
			return done, err
		}
	}
}

// room returns how many octets the limit leaves for the send stream.
func (s *sock) room() uint64 {
	ahead := s.p.TxProd - atomic.LoadUint64(&s.p.TxCons)
	return atomic.LoadUint64(&s.p.TxLimit) - min(atomic.LoadUint64(&s.p.TxLimit), ahead)
}

// shutdown ends one or both directions.
func (s *sock) shutdown(how uint32) error {
	s.writeMu.Lock()
	defer s.writeMu.Unlock()
	select {
	case <-s.closed:
		return net.ErrClosed
	default:
	}
	s.post(shm.OpShutdown, how)
	if how&shm.ShutWR != 0 {
		s.txShut = true // toed sets TxClosed, but not before the next write
	}
	return nil
}

// close ends the socket: once for all callers.
func (s *sock) close() error { return s.end(shm.OpCloseConReq) }

func (s *sock) end(op uint8) error {
	err := error(net.ErrClosed)
	s.closeOnce.Do(func() {
		err = nil
		close(s.closed)
		// Who is inside sees closed and leaves; then the slot is toed's.
		s.readMu.Lock()
		s.writeMu.Lock()
		s.optMu.Lock()
		if s.beneath == nil {
			s.c.forget(s)
			s.post(op, 0)
		} else { // a listener
			s.post(op, 0)
			s.stopped()
			s.c.forget(s)
			_ = s.beneath.Close()
		}
		unix.Close(s.placeholder)
		s.optMu.Unlock()
		s.writeMu.Unlock()
		s.readMu.Unlock()
	})
	return err
}

func (s *sock) setDeadline(read, write bool, t time.Time) error {
	select {
	case <-s.closed:
		return net.ErrClosed
	default:
	}
	if read {
		s.readDL.set(t)
	}
	if write {
		s.writeDL.set(t)
	}
	return nil
}

// option tells toed of a setting. It does not wait for a writer, which may wait for the peer.
func (s *sock) option(o uint32, value uint64) error {
	s.optMu.Lock()
	defer s.optMu.Unlock()
	select {
	case <-s.closed:
		return net.ErrClosed
	default:
	}
	// The slot has one value at a time: the one before has to be taken.
	q := &s.c.region.CmdQs[s.p.Worker]
	for s.optSent && !s.c.lost() && !q.Taken(s.optPlace) {
		runtime.Gosched()
	}
	atomic.StoreUint64(&s.p.ReqValue, value)
	s.optPlace, s.optSent = s.c.postAt(int(s.p.Worker), shm.Command{Op: shm.OpSetTCBField, Slot: s.slot, Arg: o})
	return nil
}
