// Package stack is a TCP/IP host as packetdrill sees it: system calls on real descriptor numbers from
// several threads, raw IP packets in and out, and a clock.
//
// The calls are those of package tcpoffload/sim/socket, which never waits; this package adds the
// waiting (wait.go), the virtual clock that threads share (clock.go), and the settings that scripts
// change by sysctl (sysctl.go). Descriptors are those of real files, so that whoever closes or hands out
// descriptors behind the back of this package does no harm; the files themselves are not used, except
// pipes.
package stack

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"opentoe/tcpoffload"
	"opentoe/tcpoffload/sim/socket"
	"opentoe/tcpoffload/vtime"
)

// Config says how to build a Stack.
type Config struct {
	// Main is the id of packetdrill's main thread.
	Main int
	// Entered returns how many calls, of any thread, have begun and not ended, Now, Usleep and
	// Receive not counted.
	Entered func() int64
	// Sysctl is the folder of the kernel's settings, or empty.
	Sysctl string
	// Flags are what packetdrill's option --so_flags gives: see [parseFlags].
	Flags string
	// HoldPorts makes the kernel listen on the ports that sockets of the stack listen on: scripts look for
	// them in the kernel's tables. Nothing reaches those listeners.
	HoldPorts bool
}

// start is the time at first: scripts compare times of the order of seconds, and none is near zero.
const start = vtime.Time(1000 * vtime.Second)

// Stack is one host. It is safe for concurrent use.
type Stack struct {
	mu        sync.Mutex
	main      int
	entered   func() int64
	sysctl    string
	atFirst   socket.Settings
	host      *socket.Host
	now       vtime.Time
	waiters   []*waiter
	resting   int64        // calls that wait, or make time pass
	unread    map[int]bool // threads that have not told the time since their call ended
	recording bool         // one of them has, and the main thread has not slept since
	owned     map[int]bool // descriptors of sockets and epoll instances
	holdPorts bool
	held      map[int]int // descriptors of the kernel's listeners, by ours
}

// New returns a stack at rest.
func New(cfg Config) (*Stack, error) {
	s := &Stack{
		main: cfg.Main, entered: cfg.Entered, sysctl: cfg.Sysctl, now: start,
		unread: make(map[int]bool), owned: make(map[int]bool), holdPorts: cfg.HoldPorts, held: make(map[int]int),
	}
	f, err := parseFlags(cfg.Flags)
	if err != nil {
		return nil, err
	}
	h := socket.Config{
		Engine: tcpoffload.Config{
			Tunables: tcpoffload.DefaultTunables(), Seed: 1, ISNKey: [16]byte{1}, DeviceSegments: true,
			Memory: tcpoffload.NewMemory(64, 16), MTU: f.mtu,
		},
		NewFD: s.newFD, Addrs: f.local,
	}
	if s.host, err = socket.New(h); err != nil {
		return nil, fmt.Errorf("stack: %w", err)
	}
	s.atFirst = s.host.Settings()
	s.atFirst.Tunables.BurstSegs = 2
	s.atFirst.Tunables.Pacing = false // scripts replace the queueing discipline that would pace
	s.configure()
	return s, nil
}

// newFD returns the descriptor of a file that nobody uses.
func (s *Stack) newFD() int {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		panic("stack: no descriptor: " + err.Error()) // nothing can go on
	}
	s.owned[fd] = true
	return fd
}

// Owns reports whether fd is a descriptor of this stack.
func (s *Stack) Owns(fd int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.owned[fd]
}

// Input gives the stack the raw IP packet p.
func (s *Stack) Input(tid int, p []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.enter(tid)
	s.host.Input(s.now, p)
	s.retry()
}

// enter begins what thread tid does.
func (s *Stack) enter(tid int) {
	delete(s.unread, tid)
	s.configure()
}

// do carries out c for thread tid, waiting if it blocks, and returns its result.
func (s *Stack) do(tid int, c socket.Call) (int, unix.Errno) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.enter(tid)
	return s.finish(tid, c)
}

// finish is do with the lock held.
func (s *Stack) finish(tid int, c socket.Call) (int, unix.Errno) {
	r := s.host.Do(s.now, c)
	if r.Blocked {
		w := &waiter{tid: tid, call: c, until: r.Until}
		if e := s.wait(w); e != 0 {
			return 0, e
		}
		return w.result.Ret, w.result.Errno
	}
	s.retry() // the call may be what another one waits for
	return r.Ret, r.Errno
}
