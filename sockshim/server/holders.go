package server

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Holder is a descriptor through which a process holds a socket.
type Holder struct {
	PID     int32
	FD      int
	Program string
}

// maxHolderFDs is how many descriptors of a process are looked at; those beyond are not shown.
const maxHolderFDs = 1 << 16

// Holders finds the descriptors of sockets in the attached processes, by SO_COOKIE. What toed may not see,
// it leaves out. It looks through /proc: for an operator who asks, not for every connection.
func (s *Server) Holders() map[uint64][]Holder {
	s.holding.Lock()
	defer s.holding.Unlock()
	found, cookies := map[uint64][]Holder{}, map[string]uint64{}
	for _, c := range s.processes() {
		for fd, inode := range descriptorsOf(c.PID) {
			cookie, known := s.inodes[inode]
			if !known {
				cookie = cookieOf(c.PID, fd)
			}
			if cookie != 0 {
				cookies[inode] = cookie
				c.FD = fd
				found[cookie] = append(found[cookie], c)
			}
		}
	}
	s.inodes = cookies
	return found
}

// processes lists the attached processes, each once.
func (s *Server) processes() (list []Holder) {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := map[int32]bool{}
	for c := range s.clients {
		if pid := c.cred.Pid; c.own != nil && pid > 0 && !seen[pid] {
			seen[pid] = true
			list = append(list, Holder{PID: pid, Program: c.program})
		}
	}
	return list
}

// descriptorsOf returns a process's descriptors of sockets with what /proc calls them: "socket:[inode]".
func descriptorsOf(pid int32) map[int]string {
	dir := "/proc/" + strconv.Itoa(int(pid)) + "/fd"
	f, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer f.Close()
	names, _ := f.Readdirnames(maxHolderFDs) // none on failure: the process has ended
	list := map[int]string{}
	for _, name := range names {
		fd, err := strconv.Atoi(name)
		link, err2 := os.Readlink(dir + "/" + name)
		if err == nil && err2 == nil && strings.HasPrefix(link, "socket:") {
			list[fd] = link
		}
	}
	return list
}

// cookieOf returns the SO_COOKIE of another process's socket, 0 if it cannot be had. The descriptor is ours
// for a moment, too; an inode's cookie never changes, so that this is once in a socket's life.
func cookieOf(pid int32, fd int) uint64 {
	process, err := unix.PidfdOpen(int(pid), 0)
	if err != nil {
		return 0
	}
	defer unix.Close(process)
	socket, err := unix.PidfdGetfd(process, fd, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(socket)
	cookie, err := unix.GetsockoptUint64(socket, unix.SOL_SOCKET, unix.SO_COOKIE)
	if err != nil {
		return 0
	}
	return cookie
}
