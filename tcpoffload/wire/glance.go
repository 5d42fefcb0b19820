package wire

// IsSyn reports whether the frame b, from its first Ethernet octet, has a TCP segment with SYN and without ACK. It looks
// at no checksum and at little else, in a tenth of the time that Parse takes: enough to choose what to drop unread.
func IsSyn(b []byte) bool {
	eth, ok := AsEthernet(b)
	if !ok {
		return false
	}
	t, off := eth.Network()
	b = b[off:]
	switch t {
	case TypeIPv4:
		if len(b) < IPv4Len || IPv4(b).Protocol() != ProtoTCP || IPv4(b).IsFragment() {
			return false
		}
		off = IPv4(b).HeaderLen()
	case TypeIPv6:
		h, ok := AsIPv6(b)
		if !ok {
			return false
		}
		proto, start, fragment, ok := h.Upper()
		if !ok || fragment || proto != ProtoTCP {
			return false
		}
		off = start
	default:
		return false
	}
	return len(b) >= off+TCPLen && TCP(b[off:]).Flags()&(SYN|ACK) == SYN
}
