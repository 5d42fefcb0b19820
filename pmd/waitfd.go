package pmd

import (
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// packetSockets returns the process's AF_PACKET and AF_XDP sockets in ascending order. Drivers do
// not tell which descriptors they poll; those that appear while a port is set up are its own.
func packetSockets() []int {
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil
	}
	var fds []int
	for _, name := range names {
		fd, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
		if err == nil && (domain == unix.AF_PACKET || domain == unix.AF_XDP) {
			fds = append(fds, fd)
		}
	}
	slices.Sort(fds)
	return fds
}

// newSockets returns the packet sockets that before does not have.
func newSockets(before []int) []int {
	return slices.DeleteFunc(packetSockets(), func(fd int) bool {
		return slices.Contains(before, fd)
	})
}
