package tcpoffload

// Initial sequence numbers (RFC 6528), timestamp offsets, and formatting of fresh memory.

import (
	"encoding/binary"
	"math/bits"

	"opentoe/tcpoffload/seq"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// isnTick is the unit of M in RFC 6528 §3: the clock of initial sequence numbers.
const isnTick = 4 * vtime.Microsecond

// isn returns the initial sequence number of flow f at time now: M + F(4-tuple, key).
func (e *Engine) isn(now vtime.Time, f *wire.Flow) seq.Num {
	m := uint32(int64(now) / int64(isnTick))
	return seq.Num(m + uint32(e.keyedHash(f, true)))
}

// issGap is how far the numbers of a new incarnation lie beyond those of the old one.
const issGap = 1 << 16

// beginAt sets SND.* of an opening connection to its initial sequence number.
func (t *TCB) beginAt(iss seq.Num) {
	t.snd.iss, t.snd.una, t.snd.nxt, t.snd.small = iss, iss, iss, iss
	t.rec.point = iss
}

// beginBeyond moves the initial sequence number of t, which has sent nothing, beyond end, where the old
// incarnation of the connection ended: one that sent faster than 250 kB/s has overtaken the clock of
// initial sequence numbers.
func (t *TCB) beginBeyond(end seq.Num) { t.beginAt(seq.Max(t.snd.iss, end.Add(issGap))) }

// tsOffset returns the offset of our timestamp clock towards f.Remote. It does not depend on the
// ports, so that timestamps rise from one incarnation to the next (RFC 7323 §7.1, RFC 6191).
func (e *Engine) tsOffset(f *wire.Flow) uint32 { return uint32(e.keyedHash(f, false) >> 32) }

// keyedHash is SipHash-2-4 of the addresses and, if ports, the ports.
func (e *Engine) keyedHash(f *wire.Flow, ports bool) uint64 {
	var p uint64
	if ports {
		p = flowPorts(f) | 1<<32
	}
	return flowHash(e.root.isnKey, f, p, 0)
}

// flowHash is SipHash-2-4 of the addresses of f and two words more.
func flowHash(key [2]uint64, f *wire.Flow, x, y uint64) uint64 {
	return sipHash(key, [...]uint64{
		binary.LittleEndian.Uint64(f.Local[:]), binary.LittleEndian.Uint64(f.Local[8:]),
		binary.LittleEndian.Uint64(f.Remote[:]), binary.LittleEndian.Uint64(f.Remote[8:]),
		x, y,
	})
}

// flowPorts returns the ports of f as a word.
func flowPorts(f *wire.Flow) uint64 { return uint64(f.LocalPort)<<16 | uint64(f.RemotePort) }

// sipHash is SipHash-2-4 of 48 octets given as little-endian words.
func sipHash(key [2]uint64, words [6]uint64) uint64 { return sipWords(key, words[:]) }

// sipWords is SipHash-2-4 of little-endian words.
func sipWords(key [2]uint64, words []uint64) uint64 {
	v0, v1 := key[0]^0x736f6d6570736575, key[1]^0x646f72616e646f6d
	v2, v3 := key[0]^0x6c7967656e657261, key[1]^0x7465646279746573
	round := func() {
		v0 += v1
		v1 = bits.RotateLeft64(v1, 13) ^ v0
		v0 = bits.RotateLeft64(v0, 32)
		v2 += v3
		v3 = bits.RotateLeft64(v3, 16) ^ v2
		v0 += v3
		v3 = bits.RotateLeft64(v3, 21) ^ v0
		v2 += v1
		v1 = bits.RotateLeft64(v1, 17) ^ v2
		v2 = bits.RotateLeft64(v2, 32)
	}
	for _, w := range words {
		v3 ^= w
		round()
		round()
		v0 ^= w
	}
	last := uint64(len(words)*8) << 56
	v3 ^= last
	round()
	round()
	v0 ^= last
	v2 ^= 0xff
	for range 4 {
		round()
	}
	return v0 ^ v1 ^ v2 ^ v3
}

// format prepares zeroed memory.
func (e *Engine) format(cfg *Config) {
	r := e.root
	r.format = memoryFormat
	r.freshConn, r.freshRange, r.freshFlight, r.freshModel, r.freshListen = 1, 1, 1, 1, 1
	r.isnKey = keyWords(cfg.ISNKey)
	for i := range r.cookieKey {
		for k := range r.cookieKey[i] {
			r.cookieKey[i][k] = sipHash(r.isnKey, [...]uint64{'c', uint64(i), uint64(k), 0, 0, 0})
		}
	}
	r.fastOpenKey[0] = keyWords(cfg.FastOpenKey)
	if cfg.FastOpenKey == [16]byte{} {
		for k := range r.fastOpenKey[0] {
			r.fastOpenKey[0][k] = sipHash(r.isnKey, [...]uint64{'f', uint64(k), 0, 0, 0, 0})
		}
	}
	r.fastOpenKey[1] = r.fastOpenKey[0]
	r.synCache.at = vtime.Never
	// Two words of the hash key from one seed: SplitMix64.
	for i := range r.hashKey {
		z := cfg.Seed + uint64(i+1)*0x9e3779b97f4a7c15
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		r.hashKey[i] = z ^ z>>31
	}
}
