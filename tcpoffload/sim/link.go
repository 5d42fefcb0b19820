package sim

import (
	"opentoe/tcpoffload"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// PPM is a probability in parts per million.
type PPM uint32

// LinkConfig describes one direction of a link. The zero value is a perfect wire.
type LinkConfig struct {
	RateBps   int64          // bits per second; 0 infinite
	Queue     int            // octets that may wait for the wire, 0 unlimited; more are lost
	Delay     vtime.Duration // one way
	Jitter    vtime.Duration // a reordered segment is late by up to this much
	Loss      PPM            // includes segments that a checksum would catch
	Duplicate PPM
	Reorder   PPM
}

// Link is one direction of a link in a World.
type Link struct {
	LinkConfig
	Sent, Lost, Late, Doubled uint64 // segments
	// Drop, if set, decides about a segment before the probabilities do: true loses it.
	Drop func(s *tcpoffload.TxSegment) bool

	w      *World
	to     *Host
	freeAt vtime.Time // when the wire has sent what waits
}

// headerOctets is what a segment takes on the wire besides its payload.
const headerOctets = 66

// send takes one segment, cut as a device would cut it.
func (l *Link) send(s *tcpoffload.TxSegment) {
	if s.SegSize == 0 || s.Len <= uint32(s.SegSize) {
		l.sendOne(s)
		return
	}
	for off := uint32(0); off < s.Len; {
		c := *s
		c.Len = min(uint32(s.SegSize), s.Len-off)
		c.Pos += uint64(off)
		c.Seq = c.Seq.Add(off)
		if off += c.Len; off < s.Len {
			c.Flags &^= wire.FIN | wire.PSH
		}
		l.sendOne(&c)
	}
}

func (l *Link) sendOne(s *tcpoffload.TxSegment) {
	l.Sent++
	if l.Drop != nil && l.Drop(s) || l.w.chance(l.Loss) {
		l.Lost++
		return
	}
	at := l.w.now
	if l.RateBps > 0 {
		octets := int64(s.Len) + headerOctets
		start := max(at, l.freeAt)
		if l.Queue > 0 && int64(start.Sub(at))*l.RateBps/8/int64(vtime.Second) > int64(l.Queue) {
			l.Lost++
			return
		}
		at = start.Add(vtime.Duration(octets * 8 * int64(vtime.Second) / l.RateBps))
		l.freeAt = at
	}
	at = at.Add(l.Delay)
	n := 1
	if l.w.chance(l.Duplicate) {
		l.Doubled++
		n = 2
	}
	for range n {
		when := at
		if l.Jitter > 0 && l.w.chance(l.Reorder) {
			l.Late++
			when = when.Add(vtime.Duration(l.w.rng.Int64N(int64(l.Jitter)) + 1))
		}
		l.w.schedule(when, l.to, s)
	}
}
