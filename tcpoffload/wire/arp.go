package wire

import "encoding/binary"

// ARPLen is the length of an ARP packet for IPv4 over Ethernet, in octets.
const ARPLen = 28

// ARPOp is an ARP operation.
type ARPOp uint16

// The operations (RFC 826).
const (
	ARPRequest ARPOp = 1
	ARPReply   ARPOp = 2
)

// arpFixed is hardware Ethernet, protocol IPv4, address lengths 6 and 4.
const arpFixed = 0x0001_0800_0604

// ARP is a view of an ARP packet for IPv4 over Ethernet (RFC 826).
type ARP []byte

// AsARP returns b as a view, or ok=false if b is short or speaks of other hardware or protocols.
func AsARP(b []byte) (h ARP, ok bool) {
	return b, len(b) >= ARPLen && binary.BigEndian.Uint64(b)>>16 == arpFixed
}

// Op returns the operation.
func (h ARP) Op() ARPOp { return ARPOp(binary.BigEndian.Uint16(h[6:8])) }

// SenderMAC returns the sender's hardware address.
func (h ARP) SenderMAC() MAC { return MAC(h[8:14]) }

// SenderIP returns the sender's IPv4 address.
func (h ARP) SenderIP() Addr { return AddrFrom4([4]byte(h[14:18])) }

// TargetMAC returns the target's hardware address, meaningless in a request.
func (h ARP) TargetMAC() MAC { return MAC(h[18:24]) }

// TargetIP returns the target's IPv4 address.
func (h ARP) TargetIP() Addr { return AddrFrom4([4]byte(h[24:28])) }

// PutARP writes an ARP packet. Preconditions: len(b) >= ARPLen; the addresses are IPv4.
func PutARP(b []byte, op ARPOp, senderMAC MAC, senderIP Addr, targetMAC MAC, targetIP Addr) {
	b = b[:ARPLen]
	binary.BigEndian.PutUint64(b, arpFixed<<16|uint64(op))
	copy(b[8:14], senderMAC[:])
	copy(b[14:18], senderIP[12:])
	copy(b[18:24], targetMAC[:])
	copy(b[24:28], targetIP[12:])
}
