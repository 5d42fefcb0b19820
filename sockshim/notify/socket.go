package notify

import (
	"golang.org/x/sys/unix"
)

// stateClose is TCP_CLOSE as TCP_INFO says it.
const stateClose = 7

func cookie(fd int) (uint64, error) {
	return unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
}

// undecided reports whether fd is a TCP socket that is neither connected nor listening.
func undecided(fd int) bool {
	if p, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL); err != nil || p != unix.IPPROTO_TCP {
		return false
	}
	var state [1]byte
	_, err := getOption(fd, unix.IPPROTO_TCP, unix.TCP_INFO, state[:])
	return err == nil && state[0] == stateClose
}

func nonblocking(fd int) bool {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	return err == nil && flags&unix.O_NONBLOCK != 0
}

// pair returns the ends of a unix stream; ours does not block, theirs as said.
func pair(theirsBlocks bool) (ours, theirs int, err error) {
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, -1, err
	}
	if theirsBlocks {
		_ = unix.SetNonblock(p[1], false) // cannot fail: it is a socket of ours
	}
	return p[0], p[1], nil
}

// filler is sent into an end of a pair that is not to be writable.
var filler [32 << 10]byte

// fill sends into fd until it is not writable any more, and returns how many octets that took.
func fill(fd int) int {
	total := 0
	for events(fd)&unix.POLLOUT != 0 {
		n, err := unix.SendmsgN(fd, filler[:], nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		if err != nil {
			break
		}
		total += n
	}
	return total
}

// events returns what poll says of fd now.
func events(fd int) int16 {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN | unix.POLLOUT}}
	if _, err := unix.Poll(p, 0); err != nil {
		return 0
	}
	return p[0].Revents
}

func hung(fd int) bool { return events(fd)&unix.POLLHUP != 0 }

// inodeOf returns the inode number of a socket, by which /proc names it.
func inodeOf(fd int) uint64 {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0
	}
	return st.Ino
}
