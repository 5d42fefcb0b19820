package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"opentoe/sockshim/shm"
	"opentoe/tcpoffload/vtime"
	"opentoe/toe"
)

// lockFile is the name of the file in Config.Dir that a running server holds locked; it has the
// process number in it.
const lockFile = "toed.lock"

// Server serves clients on the control socket. It is a toe.SocketLayer: register it with the
// registry, activate a device, and call Serve.
type Server struct {
	cfg      Config
	lock     *os.File
	ln       *net.UnixListener
	lowPorts uint16        // ports below are for root's clients, in other network namespaces
	netns    uint64        // cookie of toed's network namespace, 0 not known
	hello    time.Duration // a connection that says no HELLO for so long is closed
	unread   time.Duration // one that leaves answers unread for so long, so that no more fit, is hung up on

	mu         sync.Mutex
	layer      *layer // of the attached device, or nil
	clients    map[*client]struct{}
	regions    map[uint32]*region
	accounts   map[uint32]*account // by user; never removed
	lives      lives               // of sockets that clients have shown
	lastID     uint32
	closed     bool
	watch      func() (*os.File, error) // watchDestroys, but for tests
	destroys   bool                     // we hear when sockets are gone
	recountDue atomic.Bool              // and may have left out some
	leftBehind chan struct{}            // a client has gone whose sockets somebody may still hold
	turned     atomic.Uint64            // control connections turned away
	warnings   warnings                 // of what clients do
	stats      Counters                 // of control goroutines and past workers
	holding    sync.Mutex               // of inodes
	inodes     map[string]uint64        // SO_COOKIE by "socket:[inode]", as Holders last found them
	past       []Decline                // of clients that are gone, the earliest first, at most pastDeclines
	wg         sync.WaitGroup           // client connections
}

var _ toe.SocketLayer = (*Server)(nil)

// New takes the runtime directory and opens the control socket. It fails with ErrServed when
// another server has the directory.
func New(cfg Config) (*Server, error) {
	if err := cfg.normalize(); err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, lowPorts: firstOpenPort(), netns: ownNetns(), hello: helloWithin, unread: readWithin,
		clients: map[*client]struct{}{}, regions: map[uint32]*region{}, accounts: map[uint32]*account{}, leftBehind: make(chan struct{}, 1),
	}
	s.watch = s.watchDestroys
	if err := s.takeDir(); err != nil {
		return nil, err
	}
	path := s.SocketPath()
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.lock.Close()
		return nil, fmt.Errorf("server: stale control socket: %w", err)
	}
	ln, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err == nil {
		err = os.Chmod(path, cfg.SocketMode)
	}
	if err == nil && cfg.SocketGroup != 0 {
		err = os.Chown(path, -1, int(cfg.SocketGroup))
	}
	if err != nil {
		s.lock.Close()
		return nil, fmt.Errorf("server: control socket: %w", err)
	}
	s.ln = ln
	return s, nil
}

// SocketPath returns where the control socket is.
func (s *Server) SocketPath() string { return filepath.Join(s.cfg.Dir, ControlSocket) }

// takeDir locks the runtime directory; the lock dies with the process.
func (s *Server) takeDir() error {
	for {
		f, err := s.lockDir()
		if err != nil {
			return err
		}
		if !stands(f) {
			f.Close()
			continue
		}
		if err = f.Truncate(0); err == nil {
			_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
		}
		if err != nil {
			f.Close()
			return fmt.Errorf("server: %s: %w", f.Name(), err)
		}
		s.lock = f
		return nil
	}
}

// stands reports whether f is still the file of its name: a server that ends removes its lock file, and
// a lock on that one nobody would see.
func stands(f *os.File) bool {
	mine, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(f.Name())
	return err == nil && os.SameFile(mine, there)
}

// lockDir opens the lock file and locks it; ErrServed when somebody else has done so.
func (s *Server) lockDir() (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(s.cfg.Dir, lockFile), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("server: runtime directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("server: lock %s: %w", f.Name(), err)
		}
		b := make([]byte, 20)
		n, _ := f.ReadAt(b, 0)
		return nil, fmt.Errorf("another toed (pid %s) serves %s: stop it or choose another runtime_dir: %w",
			strings.TrimSpace(string(b[:n])), s.cfg.Dir, ErrServed)
	}
	return f, nil
}

// Attach makes the upper layer for a device. One device at a time; a worker's number is its place
// in the status page and in every region.
func (s *Server) Attach(dev toe.Device) (toe.UpperLayer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	info := dev.Info()
	switch {
	case s.closed:
		return nil, fmt.Errorf("server: attach %s: %w", dev.Name(), net.ErrClosed)
	case s.layer != nil:
		return nil, fmt.Errorf("server: attach %s: %s is attached: %w", dev.Name(), s.layer.dev.Name(), toe.ErrBusy)
	case info.Workers < 1 || info.Workers > shm.MaxWorkers:
		return nil, fmt.Errorf("server: attach %s: %d workers, want 1 to %d: %w",
			dev.Name(), info.Workers, shm.MaxWorkers, toe.ErrInvalid)
	}
	status, err := shm.CreateStatus(info.Workers)
	if err != nil {
		return nil, err
	}
	l := &layer{srv: s, dev: dev, status: status}
	for i := range info.Workers {
		l.workers = append(l.workers, newWorker(l, i))
	}
	l.start()
	s.layer = l
	return l, nil
}

// Detach ends the clients of a device whose workers have stopped.
func (s *Server) Detach(dev toe.Device) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.layer
	if l == nil || l.dev != dev {
		return
	}
	s.layer = nil
	close(l.stop)
	atomic.StoreUint32(&l.status.Alive, 0)
	for _, w := range l.workers {
		s.stats.add(&w.stats)
	}
	for c := range s.clients {
		c.hangUp()
	}
	for id, r := range s.regions {
		delete(s.regions, id)
		atomic.StoreUint32(&r.mem.Header.Detached, 1)
		r.wakeAll()
		r.remove()
	}
	_ = l.status.Close()
}

// Serve accepts clients until ctx is done or Close is called; then it returns nil.
func (s *Server) Serve(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { s.ln.Close() })
	defer stop()
	watch, err := s.watch()
	if err == nil {
		defer watch.Close()
	}
	alone := err != nil && s.countAlone(err)
	recount := make(chan struct{})
	s.wg.Go(func() { s.keepRecounting(alone, recount) })
	defer close(recount)
	for {
		conn, err := s.ln.AcceptUnix()
		if err != nil {
			s.mu.Lock()
			ended := s.closed || ctx.Err() != nil
			s.mu.Unlock()
			if ended {
				return nil
			}
			if !passing(err) {
				return fmt.Errorf("server: accept client: %w", err)
			}
			s.cfg.Log.Warn("client has to wait", "error", err)
			select {
			case <-time.After(acceptPause):
			case <-ctx.Done():
			}
			continue
		}
		s.wg.Go(func() { s.serveClient(conn) })
	}
}

// passing reports whether accept failed for a reason that passes: a shortage, or a client that did not
// wait.
func passing(err error) bool {
	for _, e := range []error{unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM, unix.ECONNABORTED, unix.EINTR} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// Close ends every client and gives up the runtime directory. The device should be deactivated
// before, so that its connections are ended in its own way.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	for c := range s.clients {
		c.hangUp()
	}
	s.mu.Unlock()
	err := s.ln.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	s.wg.Wait()
	_ = os.Remove(s.lock.Name())
	return errors.Join(err, s.lock.Close())
}

// reap removes a region that no client is attached to once no socket of it lives.
func (s *Server) reap(r *region) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.regions[r.id] != r || len(r.clients) > 0 {
		return
	}
	busy := 0
	for _, w := range r.l.workers {
		_ = r.l.dev.Do(w.id, func(vtime.Time) {
			if sh := w.share(r); sh != nil {
				busy += sh.busy
			}
		})
	}
	if busy > 0 {
		return // the last socket to end calls again
	}
	delete(s.regions, r.id)
	r.remove()
}

// wakeAll wakes whoever waits on any socket of the region, to see that it is detached.
// Precondition: the workers have ended, or run this.
func (r *region) wakeAll() {
	for p := range r.usedSlots() {
		if atomic.LoadUint32(&p.Waiters) != 0 {
			atomic.AddUint32(&p.EventSeq, 1)
			shm.FutexWake(&p.EventSeq)
		}
	}
	for i := range r.eqs {
		atomic.StoreUint32(&r.mem.EQs[i].Overflow, 1)
		// A hostile client's eventfd may hold the write up: let that be a goroutine's affair.
		if fd := r.eqs[i].fd.Load(); fd >= 0 {
			if dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0); err == nil {
				go func() {
					shm.SignalEventFD(dup)
					unix.Close(dup)
				}()
			}
		}
	}
}
