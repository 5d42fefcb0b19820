package wire

import (
	"encoding/binary"

	"opentoe/tcpoffload/seq"
)

// TCPLen is the length of a TCP header without options, in octets; MaxOptionsLen that of the
// largest option list.
const (
	TCPLen        = 20
	MaxOptionsLen = 40
)

// TCP is a view of a TCP header and what follows it. It aliases the frame and dies with it.
type TCP []byte

// AsTCP returns b as a view, or ok=false if b cannot hold the header it announces. After ok no
// accessor panics until SetHeaderLen is called. RFC 9293 §3.1.
func AsTCP(b []byte) (h TCP, ok bool) {
	if len(b) < TCPLen {
		return nil, false
	}
	n := int(b[12]>>4) * 4
	return b, n >= TCPLen && n <= len(b)
}

// SrcPort returns the source port.
func (h TCP) SrcPort() uint16 { return binary.BigEndian.Uint16(h[0:2]) }

// DstPort returns the destination port.
func (h TCP) DstPort() uint16 { return binary.BigEndian.Uint16(h[2:4]) }

// Seq returns SEG.SEQ.
func (h TCP) Seq() seq.Num { return seq.Num(binary.BigEndian.Uint32(h[4:8])) }

// Ack returns SEG.ACK, meaningless without the ACK flag.
func (h TCP) Ack() seq.Num { return seq.Num(binary.BigEndian.Uint32(h[8:12])) }

// HeaderLen returns the header's length with its options, 20-60 octets.
func (h TCP) HeaderLen() int { return int(h[12]>>4) * 4 }

// Flags returns the control bits.
func (h TCP) Flags() Flags { return Flags(h[13]) }

// Window returns the window field, unscaled.
func (h TCP) Window() uint16 { return binary.BigEndian.Uint16(h[14:16]) }

// Checksum returns the checksum field.
func (h TCP) Checksum() uint16 { return binary.BigEndian.Uint16(h[16:18]) }

// Urgent returns the urgent pointer, meaningless without the URG flag.
func (h TCP) Urgent() uint16 { return binary.BigEndian.Uint16(h[18:20]) }

// Options returns the option list with its padding.
func (h TCP) Options() []byte { return h[TCPLen:h.HeaderLen()] }

// Payload returns what follows the header.
func (h TCP) Payload() []byte { return h[h.HeaderLen():] }

// ChecksumOK reports whether the checksum over h and the pseudo-header is right.
func (h TCP) ChecksumOK(src, dst *Addr) bool {
	return Fold(Sum(h, PseudoSum(src, dst, ProtoTCP, uint32(len(h))))) == 0xffff
}

// SetSrcPort sets the source port.
func (h TCP) SetSrcPort(v uint16) { binary.BigEndian.PutUint16(h[0:2], v) }

// SetDstPort sets the destination port.
func (h TCP) SetDstPort(v uint16) { binary.BigEndian.PutUint16(h[2:4], v) }

// SetSeq sets SEG.SEQ.
func (h TCP) SetSeq(v seq.Num) { binary.BigEndian.PutUint32(h[4:8], uint32(v)) }

// SetAck sets SEG.ACK.
func (h TCP) SetAck(v seq.Num) { binary.BigEndian.PutUint32(h[8:12], uint32(v)) }

// SetHeaderLen sets the header's length. Precondition: v is a multiple of 4, 20-60 octets.
func (h TCP) SetHeaderLen(v int) { h[12] = uint8(v/4) << 4 }

// SetFlags sets the control bits.
func (h TCP) SetFlags(v Flags) { h[13] = uint8(v) }

// SetWindow sets the window field.
func (h TCP) SetWindow(v uint16) { binary.BigEndian.PutUint16(h[14:16], v) }

// SetChecksum sets the checksum field.
func (h TCP) SetChecksum(v uint16) { binary.BigEndian.PutUint16(h[16:18], v) }

// SetUrgent sets the urgent pointer.
func (h TCP) SetUrgent(v uint16) { binary.BigEndian.PutUint16(h[18:20], v) }
