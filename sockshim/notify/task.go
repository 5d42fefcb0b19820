package notify

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// pidfdThread is PIDFD_THREAD (Linux 6.9).
const pidfdThread = unix.O_EXCL

// process returns a pidfd by which the descriptors of a thread's process can be had.
func process(tid uint32) (int, error) {
	fd, err := unix.PidfdOpen(int(tid), pidfdThread)
	if err == nil {
		return fd, nil
	}
	if fd, err = unix.PidfdOpen(int(tid), 0); err == nil {
		return fd, nil // it is the process' first thread
	}
	leader, lerr := leaderOf(tid)
	if lerr != nil {
		return -1, err
	}
	return unix.PidfdOpen(leader, 0)
}

func leaderOf(tid uint32) (int, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", tid))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if v, ok := strings.CutPrefix(s.Text(), "Tgid:"); ok {
			return strconv.Atoi(strings.TrimSpace(v))
		}
	}
	return 0, unix.ESRCH
}

// descriptor returns a duplicate of a thread's descriptor.
func descriptor(tid uint32, fd int) (int, error) {
	p, err := process(tid)
	if err != nil {
		return -1, err
	}
	defer unix.Close(p)
	return unix.PidfdGetfd(p, fd, 0)
}

// closesOnExec reports whether a thread's descriptor has FD_CLOEXEC.
func closesOnExec(tid uint32, fd int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", tid, fd))
	if err != nil {
		return false // the descriptor has gone: nobody will mind
	}
	for line := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(line, "flags:"); ok {
			flags, _ := strconv.ParseUint(strings.TrimSpace(v), 8, 64)
			return flags&unix.O_CLOEXEC != 0
		}
	}
	return false
}

// Errors of the program's memory.
var errFault = unix.EFAULT

// peek reads from a thread's memory into b.
func peek(tid uint32, addr uint64, b []byte) error { return move(unix.ProcessVMReadv, tid, addr, b) }

// poke writes b into a thread's memory.
func poke(tid uint32, addr uint64, b []byte) error { return move(unix.ProcessVMWritev, tid, addr, b) }

func move(f func(int, []unix.Iovec, []unix.RemoteIovec, uint) (int, error), tid uint32, addr uint64, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	local := []unix.Iovec{{Base: &b[0]}}
	local[0].SetLen(len(b))
	n, err := f(int(tid), local, []unix.RemoteIovec{{Base: uintptr(addr), Len: len(b)}}, 0)
	if err == nil && n < len(b) {
		err = errFault
	}
	return err
}

// Reachable returns nil if this process may look into the process pid as a supervisor has to: at the descriptor fd, and at
// len(mark) octets at addr, which are to be mark.
func Reachable(pid, fd int, addr uint64, mark []byte) error {
	d, err := descriptor(uint32(pid), fd)
	if err != nil {
		return fmt.Errorf("its descriptors: %w", err)
	}
	unix.Close(d)
	b := make([]byte, len(mark))
	if err := peek(uint32(pid), addr, b); err != nil {
		return fmt.Errorf("its memory: %w", err)
	}
	if string(b) != string(mark) {
		return errors.New("its memory: another process has its number")
	}
	return nil
}

// holder finds a descriptor of the socket with that inode in any process, and returns a duplicate.
func holder(inode uint64) (int, error) {
	link := fmt.Sprintf("socket:[%d]", inode)
	list, err := os.ReadDir("/proc")
	if err != nil {
		return -1, err
	}
	self := os.Getpid()
	for _, d := range list {
		pid, err := strconv.Atoi(d.Name())
		if err != nil || pid == self {
			continue
		}
		fds, _ := os.ReadDir("/proc/" + d.Name() + "/fd") // it has ended, or is none of ours
		for _, f := range fds {
			if to, _ := os.Readlink("/proc/" + d.Name() + "/fd/" + f.Name()); to != link {
				continue
			}
			n, _ := strconv.Atoi(f.Name())
			if fd, err := descriptor(uint32(pid), n); err == nil {
				return fd, nil
			}
		}
	}
	return -1, unix.ESRCH
}
