// Package main is a shared library that lets packetdrill run its scripts against the TCP engine of the
// TOE instead of the kernel's: packetdrill --so_filename=libpacketdrill_toe.so SCRIPT.
//
// plugin.c implements packetdrill's interface; every call crosses into Go once, as a struct toe_call,
// and is carried out by package stack. The clock is virtual. libpacketdrill_preload.so, loaded by
// LD_PRELOAD, adds the few calls that packetdrill makes past its interface.
package main

/*
#cgo CFLAGS: -std=gnu11 -Wall -Wextra -Werror -Wno-unused-parameter
#cgo LDFLAGS: -ldl
#include "plugin.h"
*/
import "C"

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"opentoe/tcpoffload/vtime"
	"opentoe/test/packetdrill/stack"
)

// machine is the stack that the C side calls: a plug-in has no other place to keep it.
var machine *stack.Stack

func main() {}

//export toe_packetdrill_start
func toe_packetdrill_start(flags *C.char) {
	var err error
	machine, err = stack.New(stack.Config{
		Main:      syscall.Gettid(),
		Entered:   func() int64 { return int64(C.toe_entered()) },
		Sysctl:    "/proc/sys/net/ipv4",
		HoldPorts: true,
		Flags:     C.GoString(flags),
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "libpacketdrill_toe.so:", err)
		os.Exit(1)
	}
}

//export toe_packetdrill_owns
func toe_packetdrill_owns(fd C.int) bool { return machine.Owns(int(fd)) }

//export toe_packetdrill_command
func toe_packetdrill_command(command *C.char) { machine.Command(C.GoString(command)) }

// toe_packetdrill_call carries out c and returns the result of the system call, or minus an errno. A
// thread that is in it stays on its goroutine: the thread's id names it.
//
//export toe_packetdrill_call
func toe_packetdrill_call(c *C.struct_toe_call) C.long {
	n, errno := dispatch(c, syscall.Gettid())
	if errno != 0 {
		return -C.long(errno)
	}
	return C.long(n)
}

func dispatch(c *C.struct_toe_call, tid int) (int, unix.Errno) {
	m, fd, fd2 := machine, int(c.fd), int(c.fd2)
	x, y := int(c.a), int(c.b)
	switch c.op {
	case C.TOE_GETTIMEOFDAY:
		c.usecs = C.int64_t(m.Now(tid))
		return 0, 0
	case C.TOE_USLEEP:
		m.Usleep(tid, vtime.Duration(x)*vtime.Microsecond)
		return 0, 0
	case C.TOE_NETDEV_RECEIVE:
		n, usecs := m.Receive(tid, octets(c))
		c.len, c.usecs = C.int64_t(n), C.int64_t(usecs)
		return 0, 0
	case C.TOE_NETDEV_SEND:
		m.Input(tid, octets(c))
		return 0, 0
	case C.TOE_SOCKET:
		return m.Socket(tid, x, y, int(c.c))
	case C.TOE_BIND:
		return m.Bind(tid, fd, sockaddr(c))
	case C.TOE_LISTEN:
		return m.Listen(tid, fd, x)
	case C.TOE_ACCEPT:
		n, peer, errno := m.Accept(tid, fd)
		if errno == 0 {
			c.addrlen = C.int64_t(copy(sockaddr(c), peer))
		}
		return n, errno
	case C.TOE_CONNECT:
		return m.Connect(tid, fd, sockaddr(c))
	case C.TOE_RECV:
		r := m.Recvmsg(tid, fd, vectors(c), control(c), x)
		c.controllen, c.msgflags = C.int64_t(r.Control), C.int32_t(r.Flags)
		return r.N, r.Errno
	case C.TOE_SEND:
		return m.Sendmsg(tid, fd, vectors(c), sockaddr(c), x)
	case C.TOE_FCNTL:
		return m.Fcntl(tid, fd, x, y)
	case C.TOE_IOCTL:
		return m.Ioctl(tid, fd, x, octets(c))
	case C.TOE_CLOSE:
		return m.Close(tid, fd)
	case C.TOE_SHUTDOWN:
		return m.Shutdown(tid, fd, x)
	case C.TOE_GETSOCKOPT:
		n, errno := m.Getsockopt(tid, fd, x, y, octets(c))
		c.len = C.int64_t(n)
		return 0, errno
	case C.TOE_SETSOCKOPT:
		return m.Setsockopt(tid, fd, x, y, octets(c))
	case C.TOE_POLL:
		return m.Poll(tid, pollfds(c), x)
	case C.TOE_EPOLL_CREATE:
		return m.EpollCreate(tid)
	case C.TOE_EPOLL_CTL:
		return m.EpollCtl(tid, fd, x, fd2, events(c))
	case C.TOE_EPOLL_WAIT:
		return m.EpollWait(tid, fd, events(c), x)
	case C.TOE_PIPE:
		return m.Pipe(ints(c))
	case C.TOE_SPLICE:
		return m.Splice(tid, fd, fd2, int(c.len))
	case C.TOE_SENDFILE:
		return m.Sendfile(tid, fd, fd2, int64(c.a), int(c.len))
	}
	return 0, unix.ENOSYS
}
