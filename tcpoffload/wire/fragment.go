package wire

import "encoding/binary"

// FragmentFlow fills f with the flow of the TCP segment that the fragment in frame b is of, and reports
// whether b tells it: only a first fragment holds the ports. Local is the destination. The fragment's
// checksums are not looked at.
func FragmentFlow(b []byte, f *Flow) bool {
	eth, ok := AsEthernet(b)
	if !ok {
		return false
	}
	var ports []byte
	switch t, off := eth.Network(); t {
	case TypeIPv4:
		ip, ok := AsIPv4(b[off:])
		if !ok || ip.Protocol() != ProtoTCP || binary.BigEndian.Uint16(ip[6:8])&0x3fff != moreFragments4 {
			return false
		}
		f.Remote, f.Local, ports = ip.Src(), ip.Dst(), ip.Payload()
	case TypeIPv6:
		ip, ok := AsIPv6(b[off:])
		if !ok {
			return false
		}
		proto, start, fragment, ok := ip.Upper()
		if !ok || !fragment || proto != ProtoTCP || binary.BigEndian.Uint16(ip[start-6:start-4])&0xfff8 != 0 {
			return false
		}
		f.Remote, f.Local, ports = ip.Src(), ip.Dst(), ip[start:]
	}
	if len(ports) < 4 {
		return false
	}
	f.RemotePort, f.LocalPort = binary.BigEndian.Uint16(ports[0:2]), binary.BigEndian.Uint16(ports[2:4])
	return true
}

// moreFragments4 is the flag of an IPv4 fragment that is not the last, with an offset of zero the first.
const moreFragments4 = 0x2000
