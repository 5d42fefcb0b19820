package shm

import (
	"encoding/binary"
	"fmt"
)

// Append appends m in the form in which it travels.
func (m *Msg) Append(b []byte) ([]byte, error) {
	return binary.Append(b, binary.NativeEndian, m)
}

// Decode fills m from a packet, which has to have exactly a message's size.
func (m *Msg) Decode(b []byte) error {
	if len(b) != SizeofMsg {
		return fmt.Errorf("shm: message of %d octets, want %d", len(b), SizeofMsg)
	}
	_, err := binary.Decode(b, binary.NativeEndian, m)
	return err
}

// SetAddrs puts addresses into a HELLO answer; those beyond MaxAddrs are left out.
func (m *Msg) SetAddrs(list []AddrPrefix) error {
	list = list[:min(len(list), MaxAddrs)]
	m.Naddrs = uint32(len(list))
	_, err := binary.Encode(m.U[:], binary.NativeEndian, list)
	return err
}

// Addrs returns the addresses of a HELLO answer.
func (m *Msg) Addrs() ([]AddrPrefix, error) {
	list := make([]AddrPrefix, min(m.Naddrs, MaxAddrs))
	_, err := binary.Decode(m.U[:], binary.NativeEndian, list)
	return list, err
}

// Program returns the client's program name of a HELLO.
func (m *Msg) Program() string {
	b := make([]byte, 0, len(m.Prog))
	for _, c := range m.Prog {
		if c == 0 {
			break
		}
		b = append(b, byte(c))
	}
	return string(b)
}

// SetProgram puts the client's program name into a HELLO, cut to fit.
func (m *Msg) SetProgram(name string) {
	m.Prog = [len(m.Prog)]int8{}
	for i := range min(len(name), len(m.Prog)-1) {
		m.Prog[i] = int8(name[i])
	}
}

// Bytes returns the record as it stands in a listener's receive stream.
func (a Accept) Bytes() (b [SizeofAccept]byte) {
	binary.NativeEndian.PutUint32(b[0:], a.Slot)
	binary.NativeEndian.PutUint32(b[4:], a.Gen)
	return b
}

// ParseAccept is the inverse of Bytes.
func ParseAccept(b [SizeofAccept]byte) Accept {
	return Accept{binary.NativeEndian.Uint32(b[0:]), binary.NativeEndian.Uint32(b[4:])}
}
