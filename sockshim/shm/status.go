package shm

import (
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// StatusPage is the status page as toed holds it.
type StatusPage struct {
	*Status
	mem []byte
	fd  int // read-only, for the clients
}

// CreateStatus makes the status page for n workers, alive. Clients can get a descriptor that
// only reads.
func CreateStatus(n int) (*StatusPage, error) {
	fd, err := CreateFile("opentoe-status", SizeofStatus)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	mem, err := unix.Mmap(fd, 0, SizeofStatus, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("shm: map status page: %w", err)
	}
	// Our mapping stays writable; nobody can make another one.
	const seals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_FUTURE_WRITE | unix.F_SEAL_SEAL
	ro := -1
	if _, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err == nil {
		ro, err = unix.Open("/proc/self/fd/"+strconv.Itoa(fd), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		_ = unix.Munmap(mem)
		return nil, fmt.Errorf("shm: status page: %w", err)
	}
	p := &StatusPage{Status: statusAt(mem), mem: mem, fd: ro}
	p.Magic, p.Abi, p.Alive, p.Nworkers = Magic, ABI, 1, uint32(n)
	return p, nil
}

// FD returns the descriptor for clients; it stays the page's.
func (p *StatusPage) FD() int { return p.fd }

// Close unmaps the page.
func (p *StatusPage) Close() error {
	unix.Close(p.fd)
	return unix.Munmap(p.mem)
}

// OpenStatus maps the status page that toed handed over as fd, which the caller keeps, for
// reading. It stays mapped for the life of the process.
func OpenStatus(fd int) (*Status, error) {
	mem, err := unix.Mmap(fd, 0, SizeofStatus, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("shm: map status page: %w", err)
	}
	s := statusAt(mem)
	if s.Magic != Magic || s.Abi != ABI {
		_ = unix.Munmap(mem)
		return nil, fmt.Errorf("shm: status page: magic %#x, abi %d: %w", s.Magic, s.Abi, ErrLayout)
	}
	return s, nil
}
