package wire

import (
	"encoding/binary"

	"opentoe/tcpoffload/seq"
)

// MinFastOpenCookie and MaxFastOpenCookie bound the length of a Fast Open cookie, octets
// (RFC 7413 §4.1.1).
const (
	MinFastOpenCookie = 4
	MaxFastOpenCookie = 16
)

// MaxSACKBlocks is how many blocks fit in the option space without other options (RFC 2018 §3).
const MaxSACKBlocks = 4

// SACKBlock is the received range [Left, Right) (RFC 2018 §3).
type SACKBlock struct{ Left, Right seq.Num }

// OptionSet says which fields of [Options] are valid.
type OptionSet uint8

// The options that the engine knows.
const (
	OptMSS           OptionSet = 1 << iota // MSS (RFC 9293 §3.7.1)
	OptWindowScale                         // WScale (RFC 7323 §2)
	OptSACKPermitted                       // no field (RFC 2018 §2)
	OptTimestamps                          // TSVal, TSEcr (RFC 7323 §3)
	OptSACK                                // SACK[:NumSACK] (RFC 2018 §3)
	OptFastOpen                            // Cookie[:CookieLen] (RFC 7413 §4.1.1)
	OptUserTimeout                         // UserTimeout (RFC 5482 §3)
	OptFastOpenExp                         // with OptFastOpen: in the form of kind 254, from before RFC 7413
)

// Options is the parsed form of a TCP option list, in host order. A field is valid only if its
// bit is in Set.
type Options struct {
	Set          OptionSet
	WScale       uint8  // shift as sent, 0-255; the engine clamps to 14 (RFC 7323 §2.3)
	NumSACK      uint8  // 0-MaxSACKBlocks
	CookieLen    uint8  // 0: a request; else even, MinFastOpenCookie-MaxFastOpenCookie
	MSS          uint16 // octets
	UserTimeout  uint16 // as on the wire: seconds, or with the top bit minutes
	TSVal, TSEcr uint32 // ticks of the sender's and our timestamp clock
	SACK         [MaxSACKBlocks]SACKBlock
	Cookie       [MaxFastOpenCookie]byte
}

// Option kinds (RFC 9293 §3.2, RFC 7323, RFC 2018).
const (
	kindEnd           = 0
	kindNOP           = 1
	kindMSS           = 2
	kindWindowScale   = 3
	kindSACKPermitted = 4
	kindSACK          = 5
	kindTimestamps    = 8
	kindFastOpen      = 34
	kindUserTimeout   = 28
	kindExperiment    = 254 // RFC 6994: the value begins with an identifier
)

// fastOpenExpID is the identifier of Fast Open among the experiments.
const fastOpenExpID = 0xf989

// nopTimestamps opens the 12-octet form NOP NOP timestamps, by far the most common list.
const nopTimestamps = kindNOP<<24 | kindNOP<<16 | kindTimestamps<<8 | 10

// ParseOptions fills o from an option list b. A length that does not fit ends the list, a known
// option of a wrong length is passed over; both make ok false, with what was understood in o. Of
// an option that stands twice the last one counts. Any b is safe.
func ParseOptions(b []byte, o *Options) (ok bool) {
	o.Set, o.NumSACK, o.CookieLen = 0, 0, 0
	if len(b) == 12 && binary.BigEndian.Uint32(b) == nopTimestamps {
		o.Set = OptTimestamps
		o.TSVal = binary.BigEndian.Uint32(b[4:8])
		o.TSEcr = binary.BigEndian.Uint32(b[8:12])
		return true
	}
	ok = true
	for len(b) > 0 && b[0] != kindEnd {
		if b[0] == kindNOP {
			b = b[1:]
			continue
		}
		if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
			return false
		}
		n := int(b[1])
		ok = o.parseOne(b[0], b[2:n]) && ok
		b = b[n:]
	}
	return ok
}

// parseOne takes in one option with its value v; ok is false if v's length is wrong.
func (o *Options) parseOne(kind uint8, v []byte) (ok bool) {
	switch kind {
	case kindMSS:
		if len(v) != 2 {
			return false
		}
		o.Set |= OptMSS
		o.MSS = binary.BigEndian.Uint16(v)
	case kindWindowScale:
		if len(v) != 1 {
			return false
		}
		o.Set |= OptWindowScale
		o.WScale = v[0]
	case kindSACKPermitted:
		if len(v) != 0 {
			return false
		}
		o.Set |= OptSACKPermitted
	case kindTimestamps:
		if len(v) != 8 {
			return false
		}
		o.Set |= OptTimestamps
		o.TSVal = binary.BigEndian.Uint32(v)
		o.TSEcr = binary.BigEndian.Uint32(v[4:])
	case kindUserTimeout:
		if len(v) != 2 {
			return false
		}
		o.Set |= OptUserTimeout
		o.UserTimeout = binary.BigEndian.Uint16(v)
	case kindSACK:
		if len(v) == 0 || len(v)%8 != 0 || len(v)/8 > MaxSACKBlocks {
			return false
		}
		o.Set |= OptSACK
		o.NumSACK = uint8(len(v) / 8)
		for i := range o.NumSACK {
			o.SACK[i].Left = seq.Num(binary.BigEndian.Uint32(v[8*i:]))
			o.SACK[i].Right = seq.Num(binary.BigEndian.Uint32(v[8*i+4:]))
		}
	case kindFastOpen:
		o.Set &^= OptFastOpenExp
		return o.parseCookie(v)
	case kindExperiment:
		if len(v) < 2 || binary.BigEndian.Uint16(v) != fastOpenExpID {
			return true
		}
		o.Set |= OptFastOpenExp
		return o.parseCookie(v[2:])
	}
	return true // unknown kinds are passed over (RFC 9293 MUST-6)
}

// parseCookie takes in a Fast Open cookie v; ok is false if v's length is wrong: then there is none.
func (o *Options) parseCookie(v []byte) (ok bool) {
	if len(v)%2 != 0 || len(v) > MaxFastOpenCookie || len(v) != 0 && len(v) < MinFastOpenCookie {
		o.Set &^= OptFastOpen | OptFastOpenExp
		o.CookieLen = 0
		return false
	}
	o.Set |= OptFastOpen
	o.CookieLen = uint8(len(v))
	copy(o.Cookie[:], v)
	return true
}

// Len returns the length of the option list that Put writes, in octets: a multiple of 4, at most
// MaxOptionsLen. SACK blocks for which no room is left are not counted and not written.
func (o *Options) Len() int {
	if o.Set == OptTimestamps {
		return 12
	}
	n := o.fixedLen()
	if k := o.sackThatFit(n); k > 0 {
		n += 4 + 8*k
	}
	return n
}

// fixedLen is the length of everything but SACK, in octets, padded.
func (o *Options) fixedLen() int {
	n := 0
	if o.Set&OptMSS != 0 {
		n += 4
	}
	switch o.Set & (OptSACKPermitted | OptTimestamps) {
	case OptSACKPermitted:
		n += 4
	case OptTimestamps, OptSACKPermitted | OptTimestamps:
		n += 12
	}
	if o.Set&OptWindowScale != 0 {
		n += 4
	}
	if o.Set&OptFastOpen != 0 {
		n += (o.fastOpenLen() + 3) &^ 3
	}
	if o.Set&OptUserTimeout != 0 {
		n += 4
	}
	return n
}

// sackThatFit is how many SACK blocks fit behind n octets of other options.
func (o *Options) sackThatFit(n int) int {
	if o.Set&OptSACK == 0 {
		return 0
	}
	return max(0, min(int(o.NumSACK), MaxSACKBlocks, (MaxOptionsLen-n-4)/8))
}

// Put writes the option list to b[:Len()]: MSS, SACK-permitted, timestamps, window scale, Fast Open,
// user timeout, SACK, in this order, aligned by NOPs in front, those of Fast
// Open behind. SACK-permitted takes the place of the timestamps' NOPs
// when there are both. Precondition: CookieLen is valid.
func (o *Options) Put(b []byte) {
	if o.Set&OptMSS != 0 {
		binary.BigEndian.PutUint32(b, kindMSS<<24|4<<16|uint32(o.MSS))
		b = b[4:]
	}
	switch o.Set & (OptSACKPermitted | OptTimestamps) {
	case OptSACKPermitted:
		binary.BigEndian.PutUint32(b, kindNOP<<24|kindNOP<<16|kindSACKPermitted<<8|2)
		b = b[4:]
	case OptTimestamps:
		o.putTimestamps(b, nopTimestamps)
		b = b[12:]
	case OptSACKPermitted | OptTimestamps:
		o.putTimestamps(b, kindSACKPermitted<<24|2<<16|kindTimestamps<<8|10)
		b = b[12:]
	}
	if o.Set&OptWindowScale != 0 {
		binary.BigEndian.PutUint32(b, kindNOP<<24|kindWindowScale<<16|3<<8|uint32(o.WScale))
		b = b[4:]
	}
	if o.Set&OptFastOpen != 0 {
		b = o.putFastOpen(b)
	}
	if o.Set&OptUserTimeout != 0 {
		binary.BigEndian.PutUint32(b, kindUserTimeout<<24|4<<16|uint32(o.UserTimeout))
		b = b[4:]
	}
	if k := o.sackThatFit(o.fixedLen()); k > 0 {
		binary.BigEndian.PutUint32(b, kindNOP<<24|kindNOP<<16|kindSACK<<8|uint32(2+8*k))
		for i := range k {
			binary.BigEndian.PutUint32(b[4+8*i:], uint32(o.SACK[i].Left))
			binary.BigEndian.PutUint32(b[8+8*i:], uint32(o.SACK[i].Right))
		}
	}
}

// fastOpenLen returns the length of the Fast Open option, octets, without padding.
func (o *Options) fastOpenLen() int {
	if o.Set&OptFastOpenExp != 0 {
		return 4 + int(o.CookieLen)
	}
	return 2 + int(o.CookieLen)
}

// putFastOpen writes the cookie, padded behind it as Linux does, and returns what follows.
func (o *Options) putFastOpen(b []byte) []byte {
	n := o.fastOpenLen()
	b[0], b[1] = kindFastOpen, uint8(n)
	if o.Set&OptFastOpenExp != 0 {
		b[0] = kindExperiment
		binary.BigEndian.PutUint16(b[2:], fastOpenExpID)
	}
	copy(b[n-int(o.CookieLen):n], o.Cookie[:])
	for ; n%4 != 0; n++ {
		b[n] = kindNOP
	}
	return b[n:]
}

func (o *Options) putTimestamps(b []byte, head uint32) {
	binary.BigEndian.PutUint32(b[0:4], head)
	binary.BigEndian.PutUint32(b[4:8], o.TSVal)
	binary.BigEndian.PutUint32(b[8:12], o.TSEcr)
}
