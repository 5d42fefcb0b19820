package notify

import (
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// What linux/seccomp.h says.
const (
	ioctlRecv     = 0xc0502100
	ioctlSend     = 0xc0182101
	ioctlIDValid  = 0x40082102
	ioctlAddFD    = 0x40182103
	ioctlSetFlags = 0x40082104

	respContinue = 1
)

// notification is struct seccomp_notif.
type notification struct {
	id    uint64
	pid   uint32 // of the thread
	flags uint32
	nr    int32
	arch  uint32
	ip    uint64
	args  [6]uint64

	// Ours: a duplicate of the caller's descriptor; 0: none. It is closed before the answer, after which the caller's own is to
	// be the only one.
	shown int
}

// look keeps a duplicate of the caller's descriptor until the call is answered.
func (n *notification) look(fd int) { n.shown = fd }

// release closes the duplicate of the caller's descriptor.
func (n *notification) release() {
	if n.shown > 0 {
		unix.Close(n.shown)
	}
	n.shown = 0
}

// response is struct seccomp_notif_resp.
type response struct {
	id    uint64
	val   int64
	errno int32
	flags uint32
}

// addFD is struct seccomp_notif_addfd.
type addFD struct {
	id         uint64
	flags      uint32
	src        uint32
	new        uint32
	descriptor uint32 // O_CLOEXEC or 0
}

// install puts prog before every system call of this thread and of what it becomes and starts, and returns the
// descriptor of its notifications.
//
// Safety: the kernel copies prog during the call; both live until then.
func install(prog []bpf.RawInstruction) (fd int, err error) {
	p := unix.SockFprog{Len: uint16(len(prog)), Filter: (*unix.SockFilter)(unsafe.Pointer(&prog[0]))}
	r, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER,
		uintptr(unsafe.Pointer(&p)))
	return int(r), errnoOf(e)
}

// receive waits for a notification.
//
// Safety: n is larger than the number of the call says, and zero as the kernel wants it.
func receive(fd int, n *notification) error {
	*n = notification{}
	_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), ioctlRecv, uintptr(unsafe.Pointer(n)))
	return errnoOf(e)
}

// send answers a notification.
//
// Safety: r is as large as the number of the call says. The call does not block.
func send(fd int, r *response) error {
	_, _, e := unix.RawSyscall(unix.SYS_IOCTL, uintptr(fd), ioctlSend, uintptr(unsafe.Pointer(r)))
	return errnoOf(e)
}

// idValid returns nil while the caller of a notification still waits.
//
// Safety: the kernel reads a live local. The call does not block.
func idValid(fd int, id uint64) error {
	_, _, e := unix.RawSyscall(unix.SYS_IOCTL, uintptr(fd), ioctlIDValid, uintptr(unsafe.Pointer(&id)))
	return errnoOf(e)
}

// inject gives the caller of a notification a descriptor, and returns its number.
//
// Safety: a is as large as the number of the call says.
func inject(fd int, a *addFD) (int, error) {
	r, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), ioctlAddFD, uintptr(unsafe.Pointer(a)))
	return int(r), errnoOf(e)
}

// setFlags sets SECCOMP_USER_NOTIF_FD_* flags (Linux 6.6). They stand in the argument itself.
func setFlags(fd int, flags uintptr) error {
	_, _, e := unix.RawSyscall(unix.SYS_IOCTL, uintptr(fd), ioctlSetFlags, flags)
	return errnoOf(e)
}

// getOption is getsockopt of any option; it returns the length that the kernel says.
//
// Safety: the kernel writes no more than n octets, which b has.
func getOption(fd, level, name int, b []byte) (n uint32, err error) {
	n = uint32(len(b))
	_, _, e := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(name),
		uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(unsafe.Pointer(&n)), 0)
	return n, errnoOf(e)
}

// setOption is setsockopt of any option.
//
// Safety: the kernel reads no more than len(b) octets.
func setOption(fd, level, name int, b []byte) error {
	_, _, e := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(fd), uintptr(level), uintptr(name),
		uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), 0)
	return errnoOf(e)
}

// AddressOf returns where b is, for another process that reads it by process_vm_readv. b lives while that goes on.
//
// Safety: nothing is done with the address here.
func AddressOf(b []byte) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) }

func errnoOf(e unix.Errno) error {
	if e == 0 {
		return nil
	}
	return e
}
