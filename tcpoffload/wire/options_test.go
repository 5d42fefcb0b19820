package wire_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/wire"
)

func TestParseOptions(t *testing.T) {
	sack := func(n int) []byte {
		b := []byte{5, byte(2 + 8*n)}
		for i := range 8 * n {
			b = append(b, byte(i))
		}
		return b
	}
	for _, c := range []struct {
		name string
		b    []byte
		ok   bool
		want wire.Options
	}{
		{"none", nil, true, wire.Options{}},
		{"padding", []byte{1, 1, 1, 0}, true, wire.Options{}},
		{"rubbish after the end", []byte{0, 2, 4, 5}, true, wire.Options{}},
		{"MSS", []byte{2, 4, 5, 0xb4}, true, wire.Options{Set: wire.OptMSS, MSS: 1460}},
		{"MSS of length 3", []byte{2, 3, 5, 1}, false, wire.Options{}},
		{"MSS cut", []byte{2, 4, 5}, false, wire.Options{}},
		{"kind alone", []byte{1, 1, 1, 2}, false, wire.Options{}},
		{"length 0", []byte{2, 0, 5, 5}, false, wire.Options{}},
		{"length 1", []byte{2, 1, 5, 5}, false, wire.Options{}},
		{"window scale", []byte{1, 3, 3, 255}, true, wire.Options{Set: wire.OptWindowScale, WScale: 255}},
		{"window scale of length 4", []byte{3, 4, 1, 1}, false, wire.Options{}},
		{"SACK permitted", []byte{4, 2, 1, 1}, true, wire.Options{Set: wire.OptSACKPermitted}},
		{"SACK permitted with a value", []byte{4, 3, 1, 1}, false, wire.Options{}},
		{"timestamps, common form", []byte{1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8}, true,
			wire.Options{Set: wire.OptTimestamps, TSVal: 0x01020304, TSEcr: 0x05060708}},
		{"timestamps, other form", []byte{8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1}, true,
			wire.Options{Set: wire.OptTimestamps, TSVal: 0x01020304, TSEcr: 0x05060708}},
		{"timestamps of length 6", []byte{8, 6, 1, 2, 3, 4, 0, 0}, false, wire.Options{}},
		{"four SACK blocks", sack(4), true, wire.Options{Set: wire.OptSACK, NumSACK: 4, SACK: [4]wire.SACKBlock{
			{Left: 0x00010203, Right: 0x04050607}, {Left: 0x08090a0b, Right: 0x0c0d0e0f},
			{Left: 0x10111213, Right: 0x14151617}, {Left: 0x18191a1b, Right: 0x1c1d1e1f}}}},
		{"five SACK blocks", sack(5), false, wire.Options{}},
		{"no SACK block", []byte{5, 2, 1, 1}, false, wire.Options{}},
		{"half a SACK block", []byte{5, 6, 1, 1, 1, 1, 0, 0}, false, wire.Options{}},
		{"Fast Open, a request", []byte{34, 2, 1, 1}, true, wire.Options{Set: wire.OptFastOpen}},
		{"Fast Open, a cookie", []byte{34, 6, 1, 2, 3, 4, 0, 0}, true,
			wire.Options{Set: wire.OptFastOpen, CookieLen: 4, Cookie: [16]byte{1, 2, 3, 4}}},
		{"Fast Open, too short", []byte{34, 4, 1, 2}, false, wire.Options{}},
		{"Fast Open, odd", []byte{34, 7, 1, 2, 3, 4, 5, 0}, false, wire.Options{}},
		{"Fast Open, too long", append([]byte{34, 20}, make([]byte, 18)...), false, wire.Options{}},
		{"Fast Open, experimental, a request", []byte{254, 4, 0xf9, 0x89}, true,
			wire.Options{Set: wire.OptFastOpen | wire.OptFastOpenExp}},
		{"Fast Open, experimental, a cookie", []byte{254, 8, 0xf9, 0x89, 1, 2, 3, 4}, true,
			wire.Options{Set: wire.OptFastOpen | wire.OptFastOpenExp, CookieLen: 4, Cookie: [16]byte{1, 2, 3, 4}}},
		{"Fast Open, experimental, too short", []byte{254, 6, 0xf9, 0x89, 1, 2, 1, 1}, false, wire.Options{}},
		{"Fast Open, both forms", []byte{254, 8, 0xf9, 0x89, 1, 2, 3, 4, 34, 6, 5, 6, 7, 8, 1, 1}, true,
			wire.Options{Set: wire.OptFastOpen, CookieLen: 4, Cookie: [16]byte{5, 6, 7, 8}}},
		{"Fast Open, the last is bad", []byte{34, 6, 5, 6, 7, 8, 34, 4, 1, 2, 1, 1}, false, wire.Options{}},
		{"another experiment", []byte{254, 4, 0xf9, 0x88, 34, 2, 1, 1}, true, wire.Options{Set: wire.OptFastOpen}},
		{"an experiment without identifier", []byte{254, 3, 0xf9, 1}, true, wire.Options{}},
		{"unknown", []byte{254, 4, 1, 1, 2, 4, 1, 0}, true, wire.Options{Set: wire.OptMSS, MSS: 256}},
		{"unknown, cut", []byte{254, 9, 1, 1}, false, wire.Options{}},
		{"the rest counts", []byte{3, 4, 1, 1, 2, 4, 1, 0}, false, wire.Options{Set: wire.OptMSS, MSS: 256}},
		{"the last counts", []byte{2, 4, 1, 0, 2, 4, 2, 0}, true, wire.Options{Set: wire.OptMSS, MSS: 512}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := wire.Options{Set: 0xff, NumSACK: 99, CookieLen: 99}
			require.Equal(t, c.ok, wire.ParseOptions(c.b, &o))
			requireOptions(t, c.want, o)
			if o.Set&wire.OptSACK == 0 {
				require.Zero(t, o.NumSACK)
			}
			if o.Set&wire.OptFastOpen == 0 {
				require.Zero(t, o.CookieLen)
			}
		})
	}
}

// Every combination of options fits, is a multiple of 4, is written whole, and is read back.
func TestOptionCombinations(t *testing.T) {
	for k := range wire.OptionSet(128) {
		set := k & 63
		if k > 63 {
			if k&wire.OptFastOpen == 0 {
				continue
			}
			set |= wire.OptFastOpenExp
		}
		for n := range uint8(6) {
			o := wire.Options{Set: set, NumSACK: n, MSS: 1, WScale: 2, TSVal: 3, TSEcr: 4}
			if set&wire.OptFastOpen != 0 {
				o.CookieLen = [...]uint8{0, 4, 6, 8, 14, 16}[n]
				o.Cookie = [16]byte{9, 8, 7, 6, 5, 4, 3, 2, 1, 9, 8, 7, 6, 5, 4, 3}
			}
			for i := range o.SACK {
				o.SACK[i] = wire.SACKBlock{Left: 5, Right: 6}
			}
			length := o.Len()
			require.LessOrEqual(t, length, wire.MaxOptionsLen)
			require.Zero(t, length%4)
			var a, b [wire.MaxOptionsLen + 1]byte
			for i := range b {
				b[i] = 0xee
			}
			o.Put(a[:length])
			o.Put(b[:length])
			require.Equal(t, a[:length], b[:length], "an octet was not written")
			require.EqualValues(t, 0xee, b[length])

			var got wire.Options
			require.True(t, wire.ParseOptions(a[:length], &got))
			want := o
			room := 40
			for bit, size := range map[wire.OptionSet]int{wire.OptMSS: 4, wire.OptWindowScale: 4} {
				if set&bit != 0 {
					room -= size
				}
			}
			if set&wire.OptTimestamps != 0 {
				room -= 12
			} else if set&wire.OptSACKPermitted != 0 {
				room -= 4
			}
			if set&wire.OptFastOpen != 0 {
				size := 2 + int(o.CookieLen)
				if set&wire.OptFastOpenExp != 0 {
					size += 2
				}
				room -= (size + 3) / 4 * 4
			}
			want.NumSACK = uint8(max(0, min(int(n), 4, (room-4)/8)))
			if want.NumSACK == 0 {
				want.Set &^= wire.OptSACK
			}
			requireOptions(t, want, got)
		}
	}
}

func FuzzOptions(f *testing.F) {
	f.Add([]byte{1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8})
	f.Add([]byte{2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7})
	f.Add([]byte{34, 10, 1, 2, 3, 4, 5, 6, 7, 8, 34, 2, 34, 3})
	f.Add([]byte{5, 10, 0, 0, 0, 1, 0, 0, 0, 2, 5, 18})
	f.Fuzz(func(t *testing.T, b []byte) {
		var o, again wire.Options
		wire.ParseOptions(b, &o)
		require.LessOrEqual(t, o.NumSACK, uint8(wire.MaxSACKBlocks))
		out := make([]byte, o.Len())
		require.LessOrEqual(t, len(out), wire.MaxOptionsLen)
		o.Put(out)
		require.True(t, wire.ParseOptions(out, &again))
		if again.Set&wire.OptSACK == 0 {
			o.Set &^= wire.OptSACK
		}
		o.NumSACK = again.NumSACK
		requireOptions(t, o, again)
	})
}
