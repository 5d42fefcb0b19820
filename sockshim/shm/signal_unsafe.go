package shm

import (
	"math"
	"unsafe"

	"golang.org/x/sys/unix"
)

// FutexWake wakes everybody who waits on word.
//
// Safety: the kernel only uses the address to find the waiters; word is a live pointer. The raw
// call is right because FUTEX_WAKE does not block.
func FutexWake(word *uint32) {
	const wake = 1 // FUTEX_WAKE without FUTEX_PRIVATE_FLAG: the waiters are other processes
	unix.RawSyscall(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), wake, math.MaxInt32)
}

// SignalEventFD adds one to the eventfd, and reports whether that was possible.
//
// Safety: the kernel reads eight octets of a live local. The call is not a raw one: the other side
// may have made its eventfd blocking, and the runtime must be able to go on without this thread.
func SignalEventFD(fd int) bool {
	one := uint64(1)
	n, _, _ := unix.Syscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&one)), 8)
	return n == 8
}
