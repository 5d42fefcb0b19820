package ports

import "opentoe/tcpoffload/vtime"

// Rate bounds what passes in a second. Zero is no bound.
type Rate struct{ Frames, Octets uint64 }

// share returns what each of n has of the rate, rounded up.
func (r Rate) share(n int) Rate {
	each := uint64(n)
	return Rate{Frames: (r.Frames + each - 1) / each, Octets: (r.Octets + each - 1) / each}
}

// bucket is a token bucket. Levels are in billionths of a token, so that nanoseconds times tokens a
// second need no division.
type bucket struct {
	rate  uint64 // tokens a second; 0: no bound
	size  int64
	level int64
	at    vtime.Time // when level was right
}

const tokenScale = 1e9

// newBucket returns a full bucket that holds what comes in meterBurst, and at least min tokens.
// Precondition: rate <= maxRate.
func newBucket(rate uint64, min int64) bucket {
	size := max(int64(rate)*int64(meterBurst), min*tokenScale)
	return bucket{rate: rate, size: size, level: size}
}

// fill adds what has come in since the last time.
func (b *bucket) fill(now vtime.Time) {
	if d := min(now.Sub(b.at), meterBurst); d > 0 {
		b.level = min(b.size, b.level+int64(d)*int64(b.rate))
	}
	b.at = now
}

// has reports whether n tokens are there, beyond keep.
func (b *bucket) has(n int, keep int64) bool {
	return b.rate == 0 || b.level-keep >= int64(n)*tokenScale
}

// wait returns how long it takes until n tokens are there.
func (b *bucket) wait(n int) vtime.Duration {
	short := int64(n)*tokenScale - b.level
	if b.rate == 0 || short <= 0 {
		return 0
	}
	return vtime.Duration((short-1)/int64(b.rate) + 1)
}

// meter holds frames to a rate of both frames and octets.
type meter struct{ frames, octets bucket }

func newMeter(r Rate) meter {
	return meter{newBucket(r.Frames, minBurstFrames), newBucket(r.Octets, minBurstOctets)}
}

// pass takes a frame of n octets and reports whether it is within the rate. The last eighth is kept
// for frames that are urgent.
func (m *meter) pass(now vtime.Time, n int, urgent bool) bool {
	m.frames.fill(now)
	m.octets.fill(now)
	keepFrames, keepOctets := m.frames.size/8, m.octets.size/8
	if urgent {
		keepFrames, keepOctets = 0, 0
	}
	if !m.frames.has(1, keepFrames) || !m.octets.has(n, keepOctets) {
		return false
	}
	m.take(n)
	return true
}

// delay returns how long a frame of n octets has to wait; with 0 it is taken.
func (m *meter) delay(now vtime.Time, n int) vtime.Duration {
	m.frames.fill(now)
	m.octets.fill(now)
	d := max(m.frames.wait(1), m.octets.wait(n))
	if d == 0 {
		m.take(n)
	}
	return d
}

func (m *meter) take(n int) {
	m.frames.level -= tokenScale
	m.octets.level -= int64(n) * tokenScale
}
