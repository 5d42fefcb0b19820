package wire

import (
	"encoding/binary"
	"math/bits"
)

// The Internet checksum (RFC 1071): the one's complement of the one's complement sum of the 16-bit
// words. A partial sum is carried in a uint32 whose meaning is its value modulo 2^16-1; partial
// sums may be added to each other as long as that does not overflow, and folded at the end.
//
// The sum does not depend on byte order except that the result is swapped (RFC 1071 §2 (B)), and
// wide words may be added as long as carries come round again (§2 (C)). So the loops add 64-bit
// little-endian words with carry, which compile to a load-and-add each, and swap once.

// Sum adds b, taken as big-endian 16-bit words, to the partial sum acc. An odd last octet counts
// as the upper half of a word, so only the last piece of a message may be odd. The result is at
// most 0xffff.
func Sum(b []byte, acc uint32) uint32 {
	var s, c uint64
	for len(b) >= 64 {
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(b[0:8]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(b[8:16]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(b[16:24]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(b[24:32]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(b[32:40]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(b[40:48]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(b[48:56]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(b[56:64]), c)
		b = b[64:]
	}
	for len(b) >= 8 {
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(b[0:8]), c)
		b = b[8:]
	}
	s, c = bits.Add64(s, tail(b), c)
	return fold64(s, c, acc)
}

// CopySum copies src to dst and returns Sum(src, acc), reading src once: what was summed is what
// was copied, even if another process writes to src meanwhile.
// Precondition: len(dst) >= len(src).
func CopySum(dst, src []byte, acc uint32) uint32 {
	dst = dst[:len(src)]
	var s, c uint64
	for len(src) >= 64 && len(dst) >= 64 {
		w0 := binary.LittleEndian.Uint64(src[0:8])
		w1 := binary.LittleEndian.Uint64(src[8:16])
		w2 := binary.LittleEndian.Uint64(src[16:24])
		w3 := binary.LittleEndian.Uint64(src[24:32])
		w4 := binary.LittleEndian.Uint64(src[32:40])
		w5 := binary.LittleEndian.Uint64(src[40:48])
		w6 := binary.LittleEndian.Uint64(src[48:56])
		w7 := binary.LittleEndian.Uint64(src[56:64])
		binary.LittleEndian.PutUint64(dst[0:8], w0)
		binary.LittleEndian.PutUint64(dst[8:16], w1)
		binary.LittleEndian.PutUint64(dst[16:24], w2)
		binary.LittleEndian.PutUint64(dst[24:32], w3)
		binary.LittleEndian.PutUint64(dst[32:40], w4)
		binary.LittleEndian.PutUint64(dst[40:48], w5)
		binary.LittleEndian.PutUint64(dst[48:56], w6)
		binary.LittleEndian.PutUint64(dst[56:64], w7)
		s, c = bits.Add64(s, w0, c)
		s, c = bits.Add64(s, w1, c)
		s, c = bits.Add64(s, w2, c)
		s, c = bits.Add64(s, w3, c)
		s, c = bits.Add64(s, w4, c)
		s, c = bits.Add64(s, w5, c)
		s, c = bits.Add64(s, w6, c)
		s, c = bits.Add64(s, w7, c)
		src, dst = src[64:], dst[64:]
	}
	for len(src) >= 8 && len(dst) >= 8 {
		w := binary.LittleEndian.Uint64(src)
		binary.LittleEndian.PutUint64(dst, w)
		s, c = bits.Add64(s, w, c)
		src, dst = src[8:], dst[8:]
	}
	var last [8]byte
	n := copy(last[:], src)
	copy(dst, last[:n])
	s, c = bits.Add64(s, binary.LittleEndian.Uint64(last[:]), c)
	return fold64(s, c, acc)
}

// Fold reduces a partial sum to 16 bits. A message that carries its own correct checksum folds to
// 0xffff.
func Fold(acc uint32) uint16 {
	acc = acc>>16 + acc&0xffff
	return uint16(acc>>16 + acc)
}

// Checksum returns the Internet checksum of b and of what acc sums up already, as it stands in a
// header.
func Checksum(b []byte, acc uint32) uint16 { return ^Fold(Sum(b, acc)) }

// PseudoSum is the partial sum of the pseudo-header of TCP, UDP and ICMPv6 (RFC 9293 §3.1,
// RFC 8200 §8.1); length is that of the upper-layer header and data in octets. The mapped form of
// an IPv4 address adds 0xffff, which is zero in one's complement, twice over: both families share
// one formula.
func PseudoSum(src, dst *Addr, proto uint8, length uint32) uint32 {
	s, c := bits.Add64(binary.BigEndian.Uint64(src[0:8]), binary.BigEndian.Uint64(src[8:16]), 0)
	s, c = bits.Add64(s, binary.BigEndian.Uint64(dst[0:8]), c)
	s, c = bits.Add64(s, binary.BigEndian.Uint64(dst[8:16]), c)
	s, c = bits.Add64(s, uint64(proto)+uint64(length), c)
	return fold16(s, c)
}

// fold64 brings a little-endian sum with its last carry into big-endian order and adds acc.
func fold64(s, c uint64, acc uint32) uint32 {
	le := fold16(s, c)
	return uint32(Fold(uint32(bits.ReverseBytes16(uint16(le))) + acc>>16 + acc&0xffff))
}

// fold16 reduces a 64-bit sum and its last carry to at most 0xffff.
func fold16(s, c uint64) uint32 {
	s = s>>32 + s&0xffffffff + c
	s = s>>32 + s&0xffffffff
	s = s>>16 + s&0xffff
	s = s>>16 + s&0xffff
	return uint32(s>>16 + s&0xffff)
}

// tail loads the last 0-7 octets of a message as a little-endian word.
func tail(b []byte) (w uint64) {
	if len(b) >= 4 {
		w = uint64(binary.LittleEndian.Uint32(b))
		b = b[4:]
		switch len(b) {
		case 1:
			w |= uint64(b[0]) << 32
		case 2:
			w |= uint64(binary.LittleEndian.Uint16(b)) << 32
		case 3:
			w |= uint64(binary.LittleEndian.Uint16(b))<<32 | uint64(b[2])<<48
		}
		return w
	}
	switch len(b) {
	case 1:
		w = uint64(b[0])
	case 2:
		w = uint64(binary.LittleEndian.Uint16(b))
	case 3:
		w = uint64(binary.LittleEndian.Uint16(b)) | uint64(b[2])<<16
	}
	return w
}
