package softdev

import (
	"encoding/binary"

	"opentoe/tcpoffload/wire"
)

// toeplitzKeyLen is the least key length in octets: 32 bits more than the longest input.
const toeplitzKeyLen = 40

// toeplitz returns the Toeplitz hash of data: the exclusive or, over the one-bits of data, of the
// 32 bits of key that start at the bit's position. Precondition: len(key) >= len(data)+4.
func toeplitz(key, data []byte) uint32 {
	var hash uint32
	window := binary.BigEndian.Uint32(key)
	for i, octet := range data {
		next := key[i+4]
		for bit := 7; bit >= 0; bit-- {
			if octet>>bit&1 != 0 {
				hash ^= window
			}
			window = window<<1 | uint32(next>>bit&1)
		}
	}
	return hash
}

// queueOf returns the queue on which the port delivers the frames that the remote end of f sends:
// seen from them, the remote address is the source.
func (r *RSS) queueOf(f *wire.Flow, queues int) int {
	var b [36]byte
	in := b[:0]
	if f.Is4() {
		remote, local := f.Remote.As4(), f.Local.As4()
		in = append(append(in, remote[:]...), local[:]...)
	} else {
		in = append(append(in, f.Remote[:]...), f.Local[:]...)
	}
	in = binary.BigEndian.AppendUint16(in, f.RemotePort)
	in = binary.BigEndian.AppendUint16(in, f.LocalPort)
	hash := toeplitz(r.Key, in)
	if len(r.Table) == 0 {
		return int(hash % uint32(queues))
	}
	return int(r.Table[hash%uint32(len(r.Table))]) % queues
}

// SteerConnect returns the worker that will receive the replies to an active open of f.
func (d *Device) SteerConnect(f *wire.Flow) int {
	if len(d.workers) == 1 {
		return 0
	}
	flow := *f
	port, ours := d.home(flow.Local)
	if !ours {
		x, _ := d.egress(f) // one that cannot be opened is refused by any worker
		port = x.port
		if flow.Local.IsUnspecified() {
			flow.Local = x.src
		}
	}
	return d.cfg.Ports[port].RSS.queueOf(&flow, len(d.workers))
}
