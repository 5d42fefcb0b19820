package notify

import (
	"fmt"
	"runtime"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Offsets in struct seccomp_data; of an argument the low half, on machines of this byte order.
const (
	offNumber = 0
	offArch   = 4
	offArg1   = 16 + 8
	offArg2   = 16 + 16
)

// x32 is the bit of calls of the x32 ABI, which stay the kernel's.
const x32 = 0x40000000

// asked are the calls that the supervisor is asked about.
var asked = [...]uint32{
	unix.SYS_CONNECT, unix.SYS_LISTEN, unix.SYS_ACCEPT, unix.SYS_ACCEPT4, unix.SYS_BIND, unix.SYS_SHUTDOWN,
	unix.SYS_GETSOCKNAME, unix.SYS_GETPEERNAME, unix.SYS_GETSOCKOPT, unix.SYS_SETSOCKOPT,
}

// auditArch returns the architecture as seccomp names it; 0 for those that the package does not serve.
func auditArch() uint32 {
	switch runtime.GOARCH {
	case "amd64":
		return unix.AUDIT_ARCH_X86_64
	case "arm64":
		return unix.AUDIT_ARCH_AARCH64
	}
	return 0
}

// siocOutqNSD is SIOCOUTQNSD.
const siocOutqNSD = 0x894b

// program returns the filter: the calls of asked, epoll_ctl that adds a descriptor, and how much is unsent, are asked about;
// io_uring and MPTCP do not exist, so that programs go without; everything else runs.
func program() ([]bpf.RawInstruction, error) {
	arch := auditArch()
	if arch == 0 {
		return nil, fmt.Errorf("system calls of %s are not known: %w", runtime.GOARCH, unix.ENOTSUP)
	}
	var (
		allow  = bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW}
		ask    = bpf.RetConstant{Val: unix.SECCOMP_RET_USER_NOTIF}
		refuse = func(e unix.Errno) bpf.RetConstant { return bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(e)} }
		unless = func(v uint32, skip uint8) bpf.JumpIf { return bpf.JumpIf{Cond: bpf.JumpEqual, Val: v, SkipFalse: skip} }
	)
	list := []bpf.Instruction{
		bpf.LoadAbsolute{Off: offArch, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: arch, SkipTrue: 1}, allow,
		bpf.LoadAbsolute{Off: offNumber, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpLessThan, Val: x32, SkipTrue: 1}, allow,
	}
	for _, nr := range asked {
		list = append(list, unless(nr, 1), ask)
	}
	list = append(list,
		unless(unix.SYS_IO_URING_SETUP, 1), refuse(unix.ENOSYS),
		unless(unix.SYS_EPOLL_CTL, 4),
		bpf.LoadAbsolute{Off: offArg1, Size: 4}, unless(unix.EPOLL_CTL_ADD, 1), ask, allow,
		unless(unix.SYS_IOCTL, 5),
		bpf.LoadAbsolute{Off: offArg1, Size: 4}, unless(unix.SIOCOUTQ, 1), ask, unless(siocOutqNSD, 1), ask,
		unless(unix.SYS_SOCKET, 3),
		bpf.LoadAbsolute{Off: offArg2, Size: 4}, unless(unix.IPPROTO_MPTCP, 1), refuse(unix.EPROTONOSUPPORT),
		allow)
	return bpf.Assemble(list)
}

// Filter stops the calling thread's socket calls from now on, in whatever it becomes and starts, and returns the descriptor on
// which a supervisor serves them. The caller has locked its thread. Without the right to filter, the
// thread and what it becomes can gain no privileges any more (PR_SET_NO_NEW_PRIVS).
func Filter() (fd int, err error) {
	prog, err := program()
	if err != nil {
		return -1, err
	}
	fd, err = install(prog)
	if err == unix.EACCES {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return -1, fmt.Errorf("no_new_privs: %w", err)
		}
		fd, err = install(prog)
	}
	switch err {
	case nil:
		return fd, nil
	case unix.EBUSY:
		return -1, fmt.Errorf("another one is asked about its calls already: %w", err)
	}
	return -1, fmt.Errorf("seccomp: %w", err)
}
