package pmd

import "strings"

// Offloads are things a device can do for us.
type Offloads struct {
	RxChecksum bool // verify IPv4 header and TCP checksums
	TxChecksum bool // fill them in
	TSO        bool // cut large segments (frame.TxSegment)
	RSS        bool // spread connections over receive queues
}

// offload bits, as in pmd_port.h
const (
	bitRxChecksum = 1 << iota
	bitTxChecksum
	bitTSO
	bitRSS
)

// And returns what is in both.
func (o Offloads) And(p Offloads) Offloads { return offloadsOf(o.bits() & p.bits()) }

// String lists them, "none" if there are none.
func (o Offloads) String() string {
	var s []string
	for _, x := range []struct {
		on   bool
		name string
	}{{o.RxChecksum, "rx-checksum"}, {o.TxChecksum, "tx-checksum"}, {o.TSO, "tso"}, {o.RSS, "rss"}} {
		if x.on {
			s = append(s, x.name)
		}
	}
	if len(s) == 0 {
		return "none"
	}
	return strings.Join(s, " ")
}

func (o Offloads) bits() (b uint32) {
	if o.RxChecksum {
		b |= bitRxChecksum
	}
	if o.TxChecksum {
		b |= bitTxChecksum
	}
	if o.TSO {
		b |= bitTSO
	}
	if o.RSS {
		b |= bitRSS
	}
	return b
}

func offloadsOf(b uint32) Offloads {
	return Offloads{
		RxChecksum: b&bitRxChecksum != 0,
		TxChecksum: b&bitTxChecksum != 0,
		TSO:        b&bitTSO != 0,
		RSS:        b&bitRSS != 0,
	}
}
