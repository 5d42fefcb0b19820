package xdp

import "unsafe"

// words views b as 32-bit words. Precondition: b is page-aligned, and a whole number of words.
func words(b []byte) []uint32 {
	return unsafe.Slice((*uint32)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/4)
}
