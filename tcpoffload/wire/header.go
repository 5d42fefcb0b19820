package wire

import (
	"encoding/binary"
	"math/bits"

	"opentoe/tcpoffload/seq"
)

// ChecksumMode says who computes the checksums of a frame to send.
type ChecksumMode uint8

// The modes.
const (
	// ChecksumSoftware: Put does, all of them.
	ChecksumSoftware ChecksumMode = iota
	// ChecksumOffload: the device does. The IPv4 field is zero, the TCP field holds the sum of the
	// pseudo-header (frame.TxIPCsum and frame.TxTCPCsum).
	ChecksumOffload
	// ChecksumSegment: as ChecksumOffload, for a device that cuts the payload into segments: the
	// pseudo-header is summed with a length of zero (frame.TxSegment).
	ChecksumSegment
)

// Header is everything in front of the payload of a segment to send, in host order. Flow.Local is
// the source.
type Header struct {
	SrcMAC, DstMAC MAC
	Flags          Flags
	TTL            uint8 // hop limit in IPv6
	TOS            uint8 // DSCP in the upper six bits; the lower two are ignored
	ECN            ECN   // (RFC 3168 §5)
	DF             bool  // don't fragment; IPv4
	IPID           uint16
	Flow           Flow
	Seq, Ack       seq.Num
	Wnd            uint16 // as on the wire
	Urg            uint16
	Opt            Options
}

// Len returns the length of the Ethernet, IP and TCP headers with options, in octets.
func (h *Header) Len() int { return EthernetLen + h.L3Len() + h.L4Len() }

// L3Len returns the length of the IP header in octets.
func (h *Header) L3Len() int {
	if h.Flow.Is4() {
		return IPv4Len
	}
	return IPv6Len
}

// L4Len returns the length of the TCP header with options, in octets.
func (h *Header) L4Len() int { return TCPLen + h.Opt.Len() }

// Put writes every octet of b[:Len()] for a payload of payload octets that stands behind it.
// payloadSum is the payload's [Sum], used only by ChecksumSoftware.
// Precondition: len(b) >= Len(); the IP packet is at most 65535 octets.
func (h *Header) Put(b []byte, payload int, payloadSum uint32, mode ChecksumMode) {
	tos := h.TOS&^ecnMask | uint8(h.ECN)&ecnMask
	tcpLen := h.L4Len()
	var l3 int
	if h.Flow.Is4() {
		PutEthernet(b, h.DstMAC, h.SrcMAC, TypeIPv4)
		putIPv4(b[EthernetLen:], &h.Flow.Local, &h.Flow.Remote, ProtoTCP, h.TTL, tos, h.IPID, h.DF,
			tcpLen+payload, mode == ChecksumSoftware)
		l3 = IPv4Len
	} else {
		PutEthernet(b, h.DstMAC, h.SrcMAC, TypeIPv6)
		putIPv6(b[EthernetLen:], &h.Flow.Local, &h.Flow.Remote, ProtoTCP, h.TTL, tos,
			tcpLen+payload)
		l3 = IPv6Len
	}
	h.putTCP(b[EthernetLen+l3:][:tcpLen], payload, payloadSum, mode)
}

// putTCP writes the TCP header to b, whose length is L4Len. Like putIPv4 it sums what is still in
// registers; only rarer option lists are summed from memory.
func (h *Header) putTCP(b []byte, payload int, payloadSum uint32, mode ChecksumMode) {
	w0 := uint64(h.Flow.LocalPort)<<48 | uint64(h.Flow.RemotePort)<<32 | uint64(h.Seq)
	w1 := uint64(h.Ack)<<32 | uint64(len(b)/4)<<28 | uint64(h.Flags)<<16 | uint64(h.Wnd)
	w2 := uint32(h.Urg)
	length := uint32(len(b) + payload)
	if mode == ChecksumSegment {
		length = 0
	}
	sum := PseudoSum(&h.Flow.Local, &h.Flow.Remote, ProtoTCP, length)
	if len(b) > TCPLen {
		h.Opt.Put(b[TCPLen:])
	}
	if mode == ChecksumSoftware {
		s, c := bits.Add64(w0, w1, 0)
		s, c = bits.Add64(s, uint64(w2), c)
		s, c = bits.Add64(s, uint64(sum)+uint64(payloadSum), c)
		if h.Opt.Set == OptTimestamps {
			s, c = bits.Add64(s, nopTimestamps<<32|uint64(h.Opt.TSVal), c)
			s, c = bits.Add64(s, uint64(h.Opt.TSEcr), c)
		} else {
			s, c = bits.Add64(s, uint64(Sum(b[TCPLen:], 0)), c)
		}
		sum = uint32(^uint16(fold16(s, c)))
	}
	w2 |= sum << 16
	binary.BigEndian.PutUint64(b[0:8], w0)
	binary.BigEndian.PutUint64(b[8:16], w1)
	binary.BigEndian.PutUint32(b[16:20], w2)
}
