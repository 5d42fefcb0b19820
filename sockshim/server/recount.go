package server

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// When the kernel's word that a socket is gone may be missing, toed looks for itself: a socket whose
// descriptor no process has is gone. That is asking every process, so it is done rarely, and only
// while there is a socket that nobody but the kernel can tell the end of.

// recountEvery is how often that is looked for. A socket has to be missing twice in a row before it
// is taken for gone: its descriptor might have been on its way from process to process. When a client has left
// sockets behind, the first look is after recountSoon, and each further one after twice that.
const (
	recountEvery = 30 * time.Second
	recountSoon  = time.Second
)

// aloneEvery is how often that is where the kernel says nothing at all: so much later, or twice that, does
// the peer of a socket that several processes had hear of its end.
const aloneEvery = 500 * time.Millisecond

// countAlone has us find out by ourselves which sockets are gone, where the kernel does not tell, if we can.
// Otherwise sockets that several processes have end with the one that opened them.
func (s *Server) countAlone(why error) bool {
	if _, err := heldSockets(); err != nil {
		s.cfg.Log.Warn("the kernel does not tell which sockets are gone, and we may not look: shared sockets end with their client",
			"error", why, "look", err)
		return false
	}
	s.cfg.Log.Warn("the kernel does not tell which sockets are gone: toed looks through all processes instead", "error", why)
	s.mu.Lock()
	s.destroys = true
	s.mu.Unlock()
	return true
}

// keepRecounting recounts until stop is closed; alone says that the kernel never tells.
func (s *Server) keepRecounting(alone bool, stop <-chan struct{}) {
	last := recountEvery
	if alone {
		last = aloneEvery
	}
	pause := last
	timer := time.NewTimer(pause)
	defer timer.Stop()
	missing, warned := map[uint64]bool{}, false
	for {
		select {
		case <-timer.C:
		case <-s.leftBehind:
			if pause == recountEvery {
				pause = recountSoon
				timer.Reset(pause)
			}
			continue
		case <-stop:
			return
		}
		pause = min(2*pause, last)
		timer.Reset(pause)
		list, waiting := s.claimed(alone)
		if !s.recountDue.Swap(false) && !waiting && len(missing) == 0 {
			continue
		}
		held, err := heldSockets()
		if err != nil {
			if !warned {
				s.cfg.Log.Warn("cannot look which sockets are gone", "error", err)
			}
			warned = true
			continue
		}
		missing = s.recount(list, held, missing)
	}
}

// recount ends those sockets of list that no descriptor is held of and that were missing before, and
// returns those that are missing now.
func (s *Server) recount(list []uint64, held, before map[uint64]bool) map[uint64]bool {
	missing := map[uint64]bool{}
	for _, cookie := range list {
		switch {
		case held[cookie]:
		case before[cookie]:
			s.socketGone(cookie)
		default:
			missing[cookie] = true
		}
	}
	return missing
}

// claimed returns the cookies of all sockets that a client holds, and whether there is one whose
// client has gone, or with shared set one that several have: only the kernel can tell its end. Clients
// whose process we cannot see, because it is in another process namespace, are left out: there we cannot
// look.
func (s *Server) claimed(shared bool) (list []uint64, waiting bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.regions {
		r.l.eachSocket(r, func(sh *share, n uint32) {
			k := sh.sock(n)
			if !k.held || k.cookie == 0 || k.owner.owner.cred.Pid == 0 {
				return
			}
			list = append(list, k.cookie)
			waiting = waiting || k.owner.owner.ended.Load() || shared && atomic.LoadUint32(&sh.slot(n).Shared) != 0
		})
	}
	return list, waiting
}

// heldSockets returns the cookies of all sockets that some process has a descriptor of. It fails when
// it may not ask a process.
func heldSockets() (map[uint64]bool, error) {
	dir, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	held, inodes := map[uint64]bool{}, map[string]bool{}
	for _, e := range dir {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if err := socketsOf(pid, held, inodes); err != nil && !gone(err) {
			return nil, fmt.Errorf("process %d: %w", pid, err)
		}
	}
	return held, nil
}

// gone reports whether a process or descriptor has ended while we looked.
func gone(err error) bool {
	return errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EBADF)
}

// socketsOf adds the cookies of the sockets of a process to held; inodes are those seen before.
func socketsOf(pid int, held map[uint64]bool, inodes map[string]bool) error {
	path := "/proc/" + strconv.Itoa(pid) + "/fd/"
	list, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	pidfd := -1
	defer func() { unix.Close(pidfd) }()
	for _, e := range list {
		inode, err := os.Readlink(path + e.Name())
		if err != nil || !strings.HasPrefix(inode, "socket:") || inodes[inode] {
			continue
		}
		inodes[inode] = true
		if pidfd < 0 {
			if pidfd, err = unix.PidfdOpen(pid, 0); err != nil {
				return err
			}
		}
		n, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		fd, err := unix.PidfdGetfd(pidfd, n, 0)
		if err != nil {
			if !gone(err) {
				return err
			}
			delete(inodes, inode) // another process may still have it
			continue
		}
		if cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE); err == nil {
			held[cookie] = true
		}
		unix.Close(fd)
	}
	return nil
}
