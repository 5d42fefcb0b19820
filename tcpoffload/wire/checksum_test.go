package wire_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/wire"
)

// sumReference is RFC 1071 §4.1 word by word.
func sumReference(b []byte, acc uint32) uint16 {
	sum := uint64(acc)
	for ; len(b) >= 2; b = b[2:] {
		sum += uint64(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint64(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

// random returns n octets that are random, or all ones, or all zeros: the carries' extremes.
func random(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	fill := byte(r.IntN(2) * 0xff)
	plain := r.IntN(3) == 0
	for i := range b {
		if b[i] = byte(r.Uint32()); plain {
			b[i] = fill
		}
	}
	return b
}

func TestSumAgreesWithReference(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 300 {
		for range 20 {
			b, acc := random(r, n), r.Uint32()>>(r.UintN(33))
			want := sumReference(b, acc)
			require.Equal(t, want, wire.Fold(wire.Sum(b, acc)), "n=%d acc=%x", n, acc)
			dst := make([]byte, n+3)
			require.Equal(t, want, wire.Fold(wire.CopySum(dst, b, acc)), "n=%d acc=%x", n, acc)
			require.Equal(t, b, dst[:n])
			require.Equal(t, make([]byte, 3), dst[n:], "CopySum wrote beyond the source")
		}
	}
}

func TestSumOfPieces(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		b := random(r, r.IntN(3000))
		cut := r.IntN(len(b)+1) &^ 1
		require.Equal(t, sumReference(b, 0), wire.Fold(wire.Sum(b[cut:], wire.Sum(b[:cut], 0))))
		require.Equal(t, sumReference(b, 0), wire.Fold(wire.Sum(b[cut:], 0)+wire.Sum(b[:cut], 0)))
	}
}

func TestPseudoSum(t *testing.T) {
	src4, dst4 := wire.AddrFrom4([4]byte{192, 0, 2, 1}), wire.AddrFrom4([4]byte{198, 51, 100, 7})
	pseudo := []byte{192, 0, 2, 1, 198, 51, 100, 7, 0, 6, 0x05, 0xdc}
	require.Equal(t, sumReference(pseudo, 0), wire.Fold(wire.PseudoSum(&src4, &dst4, 6, 0x5dc)))

	src6, dst6 := wire.Addr{0: 0x20, 1: 1, 15: 9}, wire.Addr{0: 0xfe, 1: 0x80, 14: 0xff, 15: 0xff}
	pseudo = append(append([]byte{}, src6[:]...), dst6[:]...)
	pseudo = append(pseudo, 0, 1, 0x23, 0x45, 0, 0, 0, 58)
	require.Equal(t, sumReference(pseudo, 0), wire.Fold(wire.PseudoSum(&src6, &dst6, 58, 0x12345)))
}

func BenchmarkSum(b *testing.B) {
	for _, n := range []int{20, 64, 536, 1448, 8948, 65536} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			buf := make([]byte, n)
			b.SetBytes(int64(n))
			var acc uint32
			for b.Loop() {
				acc = wire.Sum(buf, acc)
			}
		})
	}
}

func BenchmarkCopySum(b *testing.B) {
	for _, n := range []int{1448, 8948} {
		src, dst := make([]byte, n), make([]byte, n)
		b.Run(fmt.Sprintf("onepass/%d", n), func(b *testing.B) {
			b.SetBytes(int64(n))
			for b.Loop() {
				wire.CopySum(dst, src, 0)
			}
		})
		b.Run(fmt.Sprintf("copy+sum/%d", n), func(b *testing.B) {
			b.SetBytes(int64(n))
			for b.Loop() {
				copy(dst, src)
				wire.Sum(dst, 0)
			}
		})
	}
	// A stream ring larger than the caches: the source comes from memory.
	ring := make([]byte, 256<<20)
	for i := range ring {
		ring[i] = byte(i)
	}
	dst := make([]byte, 1448)
	off := 0
	next := func() []byte {
		if off += 1448; off+1448 > len(ring) {
			off = 0
		}
		return ring[off : off+1448]
	}
	b.Run("cold/onepass", func(b *testing.B) {
		b.SetBytes(1448)
		for b.Loop() {
			wire.CopySum(dst, next(), 0)
		}
	})
	b.Run("cold/copy+sum", func(b *testing.B) {
		b.SetBytes(1448)
		for b.Loop() {
			copy(dst, next())
			wire.Sum(dst, 0)
		}
	})
}
