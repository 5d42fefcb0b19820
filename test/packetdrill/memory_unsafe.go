package main

/*
#include "plugin.h"
*/
import "C"

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"opentoe/test/packetdrill/stack"
)

// The views of what a call points at.
//
// Safety, for all of them: packetdrill's buffers are as long as it says, and stay until the call has
// returned; none of the views is kept longer.

func octets(c *C.struct_toe_call) []byte { return view[byte](c.buf, int64(c.len)) }

func ints(c *C.struct_toe_call) []int32 { return view[int32](c.buf, int64(c.len)) }

func pollfds(c *C.struct_toe_call) []unix.PollFd { return view[unix.PollFd](c.buf, int64(c.len)) }

func events(c *C.struct_toe_call) []unix.EpollEvent {
	return view[unix.EpollEvent](c.buf, int64(c.len))
}

func control(c *C.struct_toe_call) []byte { return view[byte](c.control, int64(c.controllen)) }

func sockaddr(c *C.struct_toe_call) []byte {
	return view[byte](unsafe.Pointer(c.addr), int64(c.addrlen))
}

// vectors returns the parts of the message.
func vectors(c *C.struct_toe_call) (p stack.Parts) {
	for _, v := range view[C.struct_iovec](unsafe.Pointer(c.iov), int64(c.iovcnt)) {
		p.Data = append(p.Data, view[byte](v.iov_base, int64(v.iov_len)))
		p.Len += int(v.iov_len)
	}
	return p
}

// view returns n elements at p, or nil.
func view[T any](p unsafe.Pointer, n int64) []T {
	if p == nil || n <= 0 {
		return nil
	}
	return unsafe.Slice((*T)(p), n)
}
