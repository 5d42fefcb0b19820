package notify

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"

	"opentoe/sockshim/client"
)

// Bounds of what a supervisor remembers.
const (
	maxKept  = 1 << 16 // sockets that stay with the kernel whatever comes; one more is forgotten
	maxEnded = 1 << 10 // connections that are over: programs may still hold them
)

// Config is what a supervisor is made from.
type Config struct {
	Client client.Config
	Errors func(error) // hears of what the supervisor could not do; nil: nobody does
}

// socket is a socket of the TOE that programs hold.
type socket interface {
	// call answers a notification about the socket, of which fd is the program's end; fd is the callee's.
	call(n *notification, fd int)
}

// Supervisor serves the notifications of one filter.
type Supervisor struct {
	cfg    Config
	client *client.Client
	fd     int            // of the notifications
	live   sync.WaitGroup // calls, connections and listeners that still have work to do
	ctx    context.Context

	mu     sync.Mutex
	socks  map[uint64]socket    // by the cookie of the program's end
	beside map[uint64]*listener // by the cookie of the kernel's socket, for descriptors duplicated before listen
	kept   map[uint64]struct{}  // cookies of sockets that are the kernel's
	ended  []uint64             // keys of failed connections, oldest first
}

// New connects a supervisor to toed.
func New(cfg Config) (*Supervisor, error) {
	c, err := client.Dial(cfg.Client)
	if err != nil {
		return nil, err
	}
	if cfg.Errors == nil {
		cfg.Errors = func(error) {}
	}
	return &Supervisor{
		cfg: cfg, client: c, fd: -1, ctx: context.Background(),
		socks: map[uint64]socket{}, beside: map[uint64]*listener{}, kept: map[uint64]struct{}{},
	}, nil
}

// Close ends a supervisor that serves nothing.
func (s *Supervisor) Close() error { return s.client.Close() }

// Serve answers the notifications of fd, which it closes, until every process under the filter has ended and
// everything that they sent is on its way.
func (s *Supervisor) Serve(fd int) error {
	s.fd = fd
	_ = setFlags(fd, unix.SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP) // before Linux 6.6 a call takes a little longer
	err := s.serve()
	s.mu.Lock()
	for _, l := range s.beside {
		go l.stop()
	}
	s.mu.Unlock()
	s.live.Wait()
	unix.Close(fd)
	return errors.Join(err, s.client.Close())
}

func (s *Supervisor) serve() error {
	var n notification
	for {
		p := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(p, -1); err != nil && err != unix.EINTR {
			return fmt.Errorf("notify: poll: %w", err)
		}
		if p[0].Revents&unix.POLLIN == 0 {
			if p[0].Revents&unix.POLLHUP != 0 {
				return nil
			}
			continue
		}
		switch err := receive(s.fd, &n); err {
		case nil:
			s.handle(n)
		case unix.ENOENT, unix.EINTR: // the caller has gone meanwhile
		default:
			return fmt.Errorf("notify: receive: %w", err)
		}
	}
}

// handle answers one notification, or has it answered.
func (s *Supervisor) handle(n notification) {
	arg := n.args[0]
	if n.nr == unix.SYS_EPOLL_CTL {
		arg = n.args[2]
	}
	fd, err := descriptor(n.pid, int(int32(arg)))
	if err != nil {
		s.proceed(&n)
		return
	}
	key, err := cookie(fd)
	if err != nil { // no socket
		unix.Close(fd)
		s.proceed(&n)
		return
	}
	s.mu.Lock()
	k := s.socks[key]
	aside := s.beside[key]
	_, kept := s.kept[key]
	s.mu.Unlock()
	switch {
	case k != nil:
		s.live.Go(func() { k.call(&n, fd) })
	case aside != nil:
		s.live.Go(func() { aside.rejoin(&n, fd) })
	case kept:
		unix.Close(fd)
		s.proceed(&n)
	default:
		s.other(&n, fd, key)
	}
}

// other answers a notification about a socket that is not the TOE's, or not yet.
func (s *Supervisor) other(n *notification, fd int, key uint64) {
	switch n.nr {
	case unix.SYS_CONNECT, unix.SYS_LISTEN:
		if undecided(fd) {
			if n.nr == unix.SYS_CONNECT {
				s.live.Go(func() { s.connect(n, fd) })
			} else {
				s.live.Go(func() { s.listen(n, fd, key) })
			}
			return
		}
	case unix.SYS_BIND:
		s.bind(n, fd)
	case unix.SYS_SETSOCKOPT:
		if kernelOnly(int(n.args[1]), int(n.args[2])) {
			s.keep(key)
		}
	case unix.SYS_EPOLL_CTL:
		// Its place in the set is this file's: the one that would replace it would not be watched.
		if undecided(fd) {
			s.keep(key)
		}
	}
	unix.Close(fd)
	s.proceed(n)
}

// keep leaves a socket to the kernel for good.
func (s *Supervisor) keep(key uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.kept) >= maxKept {
		for k := range s.kept {
			delete(s.kept, k)
			break
		}
	}
	s.kept[key] = struct{}{}
}

// bind lets a socket have an address that only the TOE has. First, listeners that were closed give up their ports.
func (s *Supervisor) bind(n *notification, fd int) {
	s.reap()
	at, ok := s.addressOf(n)
	if !ok {
		return
	}
	for _, p := range s.client.Addrs() {
		if p.Addr() == at.Addr().Unmap() {
			_ = unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_FREEBIND, 1)
			_ = unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_FREEBIND, 1) // fails for IPv4
		}
	}
}

// addressOf reads the address of a connect or bind; ok is false for what is not the TOE's business.
func (s *Supervisor) addressOf(n *notification) (at netip.AddrPort, ok bool) {
	var b [sizeMax]byte
	size := int(int32(n.args[2]))
	if size < 0 || size > len(b) || peek(n.pid, n.args[1], b[:size]) != nil || idValid(s.fd, n.id) != nil {
		return at, false
	}
	at, scope, ok := parseAddress(b[:size])
	return at, ok && !scope
}

// reap ends listeners that programs have closed and that have not ended by themselves yet.
func (s *Supervisor) reap() {
	s.mu.Lock()
	var list []*listener
	for _, l := range s.beside {
		list = append(list, l)
	}
	s.mu.Unlock()
	for _, l := range list {
		if l.abandoned() {
			l.stop()
		}
	}
}

// proceed has the kernel carry out the call.
func (s *Supervisor) proceed(n *notification) {
	s.respond(n, &response{id: n.id, flags: respContinue})
}

// reply answers the call: err nil returns value, else an errno. It reports whether the caller has the answer: he may
// have been interrupted, or have ended.
func (s *Supervisor) reply(n *notification, value int64, err error) bool {
	r := response{id: n.id, val: value}
	if err != nil {
		r.val, r.errno = 0, -int32(errnoIn(err))
	}
	return s.respond(n, &r)
}

func (s *Supervisor) respond(n *notification, r *response) bool {
	n.release()
	err := send(s.fd, r)
	if err != nil && err != unix.ENOENT { // that is a caller that has gone
		s.cfg.Errors(fmt.Errorf("notify: answer: %w", err))
	}
	return err == nil
}

// errnoIn returns the errno that err wraps; EIO if there is none.
func errnoIn(err error) unix.Errno {
	var e unix.Errno
	switch {
	case errors.As(err, &e) && e != 0:
		return e
	case errors.Is(err, context.DeadlineExceeded):
		return unix.ETIMEDOUT
	}
	return unix.EIO
}

// give puts the file of fd in place of the caller's descriptor number at.
func (s *Supervisor) give(n *notification, fd, at int) error {
	a := addFD{id: n.id, flags: unix.SECCOMP_ADDFD_FLAG_SETFD, src: uint32(fd), new: uint32(at)}
	if closesOnExec(n.pid, at) {
		a.descriptor = unix.O_CLOEXEC
	}
	_, err := inject(s.fd, &a)
	return err
}

func (s *Supervisor) add(key uint64, k socket) {
	s.mu.Lock()
	s.socks[key] = k
	s.mu.Unlock()
}

func (s *Supervisor) remove(key uint64) {
	s.mu.Lock()
	delete(s.socks, key)
	s.mu.Unlock()
}

// bury keeps a connection that is over a while, for those who ask about it.
func (s *Supervisor) bury(key uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.ended) >= maxEnded {
		delete(s.socks, s.ended[0])
		s.ended = s.ended[1:]
	}
	s.ended = append(s.ended, key)
}
