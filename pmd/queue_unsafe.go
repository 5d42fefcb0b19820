package pmd

/*
#include "pmd_queue.h"
*/
import "C"

import "unsafe"

type window = C.struct_pmd_window

// octets returns the buffer of d as a slice of length n and capacity room.
//
// Safety: d was filled in by pmd_queue.c and names a buffer of at least room octets in C memory,
// which lives until the port is closed; the collector ignores it. Whoever keeps the slice after
// the frame was freed reads a recycled buffer, not unmapped memory.
func octets(d *C.struct_pmd_desc, n, room int) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(d.data)), room)[:n]
}

// address returns where b begins, for C to check against the buffer's bounds.
//
// Safety: b came from octets, so the address is C memory; pmd_transmit refuses any other.
func address(b []byte) *C.uint8_t {
	return (*C.uint8_t)(unsafe.Pointer(unsafe.SliceData(b)))
}

// handleOf turns q into the number that the data path passes to C: a plain integer spares each
// call cgo's pointer check.
//
// Safety: C memory does not move, and the queue lives until free.
func handleOf(q *C.struct_pmd_queue) C.uintptr_t { return C.uintptr_t(uintptr(unsafe.Pointer(q))) }
