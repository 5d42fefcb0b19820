package netfilter

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// attributes are netlink attributes one behind the other, each aligned to 4 octets.
type attributes []byte

// add appends an attribute with the value v.
func (a attributes) add(kind uint16, v []byte) attributes {
	a = binary.NativeEndian.AppendUint16(a, uint16(unix.NLA_HDRLEN+len(v)))
	a = binary.NativeEndian.AppendUint16(a, kind)
	a = append(a, v...)
	return append(a, make([]byte, -len(v)&3)...)
}

func (a attributes) text(kind uint16, s string) attributes { return a.add(kind, append([]byte(s), 0)) }

// u16 and u32 append numbers in network order, as netfilter has them.
func (a attributes) u16(kind, v uint16) attributes {
	return a.add(kind, binary.BigEndian.AppendUint16(nil, v))
}

func (a attributes) u32(kind uint16, v uint32) attributes {
	return a.add(kind, binary.BigEndian.AppendUint32(nil, v))
}

// nest appends an attribute whose value is attributes.
func (a attributes) nest(kind uint16, inner attributes) attributes {
	return a.add(kind|unix.NLA_F_NESTED, inner)
}

// flags are the bits of a type that say nothing of it.
const flags = unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER

// each calls f with every attribute of b until the first that is not whole.
func each(b []byte, f func(kind uint16, v []byte)) {
	for len(b) >= unix.NLA_HDRLEN {
		n := int(binary.NativeEndian.Uint16(b))
		if n < unix.NLA_HDRLEN || n > len(b) {
			return
		}
		f(binary.NativeEndian.Uint16(b[2:])&^flags, b[unix.NLA_HDRLEN:n])
		b = b[min(len(b), (n+3)&^3):]
	}
}
