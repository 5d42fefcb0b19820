package notify

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Sizes of socket addresses.
const (
	sizeInet4 = unix.SizeofSockaddrInet4
	sizeInet6 = unix.SizeofSockaddrInet6
	sizeMax   = 128 // struct sockaddr_storage: the kernel takes no more
)

// parseAddress reads a socket address of the internet's; scope tells of an IPv6 scope, which is the kernel's
// business. ok is false for other families and for what is too short.
func parseAddress(b []byte) (at netip.AddrPort, scope bool, ok bool) {
	if len(b) < 2 {
		return at, false, false
	}
	switch family := binary.NativeEndian.Uint16(b); {
	case family == unix.AF_INET && len(b) >= sizeInet4:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), binary.BigEndian.Uint16(b[2:])), false, true
	case family == unix.AF_INET6 && len(b) >= 24:
		scope = len(b) >= sizeInet6 && binary.NativeEndian.Uint32(b[24:]) != 0
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[8:24])), binary.BigEndian.Uint16(b[2:])), scope, true
	}
	return at, false, false
}

// address returns an address as a socket of the domain says it.
func address(domain int, at netip.AddrPort) []byte {
	if domain == unix.AF_INET {
		b := make([]byte, sizeInet4)
		binary.NativeEndian.PutUint16(b, unix.AF_INET)
		binary.BigEndian.PutUint16(b[2:], at.Port())
		if a := at.Addr().Unmap(); a.Is4() {
			a4 := a.As4()
			copy(b[4:], a4[:])
		}
		return b
	}
	b := make([]byte, sizeInet6)
	binary.NativeEndian.PutUint16(b, unix.AF_INET6)
	binary.BigEndian.PutUint16(b[2:], at.Port())
	a16 := at.Addr().As16()
	copy(b[8:], a16[:])
	return b
}

// answerAddress writes an address where a caller wants it, cut to his room, and its whole length.
func answerAddress(tid uint32, addr, lenAddr uint64, b []byte) error {
	var l [4]byte
	if err := peek(tid, lenAddr, l[:]); err != nil {
		return errFault
	}
	room := int32(binary.NativeEndian.Uint32(l[:]))
	if room < 0 {
		return unix.EINVAL
	}
	if err := poke(tid, addr, b[:min(len(b), int(room))]); err != nil {
		return errFault
	}
	binary.NativeEndian.PutUint32(l[:], uint32(len(b)))
	if err := poke(tid, lenAddr, l[:]); err != nil {
		return errFault
	}
	return nil
}
