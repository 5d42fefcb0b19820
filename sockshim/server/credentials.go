package server

import (
	"cmp"
	"errors"
	"os"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/sys/unix"

	"opentoe/toe"
)

// Who a client is, the kernel says: at its connect, for the process that connected.

// readCred fills in who c is and what its user may do.
func (c *client) readCred() error {
	raw, err := c.conn.SyscallConn()
	if err != nil {
		return err
	}
	var cred *unix.Ucred
	var ns uint64
	ctlErr := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		ns, _ = unix.GetsockoptUint64(int(fd), unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	})
	if err = errors.Join(ctlErr, err); err != nil {
		return err
	}
	c.cred = *cred
	c.pidfd.Store(-1)
	c.trusted = c.srv.trusts(cred.Uid, ns)
	return nil
}

// trusts reports whether the word of a user's program counts that connected from a network namespace. Root
// and toed's own user could do worse. Root of another user namespace is here whom that maps it to; and root of
// another network namespace has no say about the ports of this one.
func (s *Server) trusts(uid uint32, netns uint64) bool {
	return (uid == 0 || uid == uint32(os.Geteuid())) && netns == s.netns
}

// takeProcess has c hold its process, so that a signal cannot reach another with the number. Kernels before
// Linux 6.5 do not say which it is: then there are no signals.
func (c *client) takeProcess() {
	raw, err := c.conn.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		if pidfd, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PEERPIDFD); err == nil {
			c.holdProcess(pidfd)
		}
	})
}

// holdProcess has c hold the process that pidfd names, if it lives.
func (c *client) holdProcess(pidfd int) {
	dir, err := unix.Open("/proc/"+strconv.Itoa(int(c.cred.Pid)), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		unix.Close(pidfd)
		return
	}
	// It lives yet: so its number was not another's when the directory was opened.
	if err := unix.PidfdSendSignal(pidfd, 0, nil, 0); err != nil {
		unix.Close(pidfd)
		unix.Close(dir)
		return
	}
	c.procfd = dir
	c.pidfd.Store(int32(pidfd))
}

// dropProcess lets c's process go. Precondition: no worker uses it any more; pidfd is what c.pidfd was.
func (c *client) dropProcess(pidfd int32) {
	if pidfd >= 0 {
		unix.Close(int(pidfd))
		unix.Close(c.procfd)
	}
}

// mayBeSignalled reports whether c's process is its user's still: one that has gone on to a program that
// runs as somebody else is not for the user to signal, as kill(2) has it. Precondition: c holds its process.
func (c *client) mayBeSignalled(scratch *unix.Stat_t) bool {
	return c.cred.Uid == 0 || unix.Fstat(c.procfd, scratch) == nil && scratch.Uid == c.cred.Uid
}

// identify fills in what rules of the policy may ask about c, at its HELLO: a process that goes on to
// another program says HELLO again. A name that the client gives itself is for people only, and need not be
// given.
func (c *client) identify(said string) {
	c.who, c.program = toe.Client{UID: c.cred.Uid, GID: c.cred.Gid}, cmp.Or(printable(said), "unknown")
	dir := "/proc/" + strconv.Itoa(int(c.cred.Pid))
	var st unix.Stat_t
	if c.cred.Pid <= 0 || unix.Stat(dir, &st) != nil || st.Uid != c.cred.Uid {
		return
	}
	if exe, err := os.Readlink(dir + "/exe"); err == nil {
		c.who.Program = strings.TrimSuffix(exe, " (deleted)")
	}
	if text, err := os.ReadFile(dir + "/cgroup"); err == nil {
		c.who.Cgroup = unifiedGroup(string(text))
	}
	if comm, err := os.ReadFile(dir + "/comm"); err == nil && said == "" {
		c.program = printable(strings.TrimSpace(string(comm)))
	}
}

// printable returns a name that does nothing to an operator's terminal.
func printable(name string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, name)
}

// unifiedGroup returns the path of the version-2 control group in /proc/PID/cgroup, "" if there is none.
func unifiedGroup(text string) string {
	for line := range strings.Lines(text) {
		if group, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			return group
		}
	}
	return ""
}

// firstOpenPort returns the lowest port that anybody may take, as the kernel has it.
func firstOpenPort() uint16 {
	const usual = 1024
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
	if err != nil {
		return usual
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 16)
	if err != nil {
		return usual
	}
	return uint16(n)
}

// processAlive reports whether the process exists and is not on its way out: a control connection
// that ends then ends because the process went on to another program.
func processAlive(pid int32) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(int(pid)) + "/stat")
	if err != nil {
		return false
	}
	// The command in parentheses may hold anything; fields count from behind it: state is the
	// first, flags the seventh.
	i := strings.LastIndexByte(string(b), ')')
	f := strings.Fields(string(b[i+1:]))
	if len(f) < 7 {
		return false
	}
	flags, err := strconv.ParseUint(f[6], 10, 64)
	const exiting = 0x4 // PF_EXITING of linux/sched.h
	return err == nil && flags&exiting == 0
}
