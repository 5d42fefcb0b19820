package shm

import "unsafe"

// The functions of this file view mapped memory as the structures that lie in it.
//
// Safety: each takes the slice of the mapping that starts where the structures start, checks that
// they fit, and returns a view that lives as long as the mapping: the Region that asked holds both
// and drops both in Close. The mapping is page aligned and layout places every structure on a
// multiple of 64 octets, so alignment holds. The structures are free of pointers, and any bit
// pattern is a valid value, so nothing that the other side writes can harm the runtime.

func view[T any](mem []byte, n int) []T {
	var t T
	_ = mem[:uintptr(n)*unsafe.Sizeof(t)] // panics when they do not fit
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(mem))), n)
}

func headerAt(mem []byte) *Header      { return &view[Header](mem, 1)[0] }
func statusAt(mem []byte) *Status      { return &view[Status](mem, 1)[0] }
func cmdQsAt(mem []byte, n int) []CmdQ { return view[CmdQ](mem, n) }
func eqsAt(mem []byte, n int) []EQ     { return view[EQ](mem, n) }
func loansAt(mem []byte, n int) []Loan { return view[Loan](mem, n) }
func slotsAt(mem []byte, n int) []Slot { return view[Slot](mem, n) }
func wordsAt(mem []byte) []uint32      { return view[uint32](mem, len(mem)/4) }

// words returns the entry as four 32-bit words, in which op, flags and region are one, so that
// it can be loaded and stored atomically.
//
// Safety: Cmd is 16 octets, 4-aligned, without padding or pointers (toe_shm.h asserts the size);
// the result aliases c and lives as long.
func (c *Cmd) words() *[4]uint32 { return (*[4]uint32)(unsafe.Pointer(c)) }
