package pmd

/*
#include "pmd_port.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"net"
	"syscall"
)

// MAC returns the port's Ethernet address, zero if the driver has none.
func (p *Port) MAC() [6]byte {
	var c [6]C.uint8_t
	var mac [6]byte
	if C.pmd_port_mac(p.id, &c[0]) == 0 {
		for i := range mac {
			mac[i] = byte(c[i])
		}
	}
	return mac
}

// MTU returns the largest IP packet in octets.
func (p *Port) MTU() int {
	var mtu C.uint16_t
	if C.pmd_port_mtu(p.id, &mtu) != 0 {
		return 0
	}
	return int(mtu)
}

// SetMTU changes the MTU while the port runs, up to what the buffers were made for, the MTU at
// OpenPort or a little more. Some drivers refuse any change.
func (p *Port) SetMTU(mtu int) error {
	p.eal.control.Lock()
	defer p.eal.control.Unlock()
	if most := p.room - etherRoom - xdpRoom; mtu < minMTU || mtu > most {
		return fmt.Errorf("set MTU of %s: %d is not possible, %d to %d are: open the port with a larger one",
			p.device, mtu, minMTU, most)
	}
	return captured(func() error {
		return check(C.pmd_port_set_mtu(p.id, C.uint16_t(mtu)), "set MTU of", p.device)
	})
}

// applyMTU makes the device itself use the MTU it was configured with. Devices without any, such
// as rings, have nothing to set.
func (p *Port) applyMTU(mtu int) error {
	if p.driver == "net_af_packet" && mtu > defaultMTU {
		// DPDK believes that this driver takes 1518 octets. It takes what its frames hold, and the
		// interface has to be ready for it.
		switch ifi, err := net.InterfaceByName(p.iface); {
		case err != nil:
			return fmt.Errorf("set MTU of %s: %w", p.device, err)
		case ifi.MTU < mtu:
			return fmt.Errorf("set MTU of %s: %d is above the interface's %d: ip link set %s mtu %d", p.device, mtu, ifi.MTU, p.iface, mtu)
		}
		return nil
	}
	err := check(C.pmd_port_set_mtu(p.id, C.uint16_t(mtu)), "set MTU of", p.device)
	if errors.Is(err, syscall.ENOTSUP) {
		return nil
	}
	return err
}

// Link returns the link state. Drivers over a kernel interface say "up" whenever they run, so
// there the interface is asked.
func (p *Port) Link() Link {
	var l C.struct_pmd_link
	if C.pmd_port_link(p.id, &l) != 0 {
		return Link{}
	}
	link := Link{Up: l.up != 0, SpeedMbps: int(l.mbps), FullDuplex: l.full_duplex != 0}
	if p.iface != "" {
		ifi, err := net.InterfaceByName(p.iface)
		link.Up = err == nil && ifi.Flags&net.FlagRunning != 0
	}
	return link
}

// Stats returns the driver's counters.
func (p *Port) Stats() Stats {
	var s C.struct_pmd_stats
	if C.pmd_port_stats(p.id, &s) != 0 {
		return Stats{}
	}
	return Stats{
		RxFrames: uint64(s.rx_frames),
		RxBytes:  uint64(s.rx_bytes),
		RxMissed: uint64(s.rx_missed),
		RxErrors: uint64(s.rx_errors),
		RxNoMbuf: uint64(s.rx_nombuf),
		TxFrames: uint64(s.tx_frames),
		TxBytes:  uint64(s.tx_bytes),
		TxErrors: uint64(s.tx_errors),
	}
}

// XStats returns the driver's own counters.
func (p *Port) XStats() []XStat {
	n := C.pmd_port_xstats(p.id, nil, nil, 0)
	if n <= 0 {
		return nil
	}
	names := make([]C.char, n*C.PMD_NAME_SIZE)
	values := make([]C.uint64_t, n)
	n = min(C.pmd_port_xstats(p.id, &names[0], &values[0], n), n)
	var out []XStat
	for i := range max(n, 0) {
		out = append(out, XStat{
			Name:  C.GoString(&names[i*C.PMD_NAME_SIZE]),
			Value: uint64(values[i]),
		})
	}
	return out
}

// RSS describes how a device spreads packets over receive queues: Table[Toeplitz(Key, tuple) mod
// len(Table)] is the queue.
type RSS struct {
	Key   [C.PMD_RSS_KEY_SIZE]byte
	Table []uint16
}

// RSS returns the device's hash key and table; ok false if receive-side scaling is off.
func (p *Port) RSS() (r RSS, ok bool) {
	var c C.struct_pmd_rss
	if !p.enabled.RSS || C.pmd_port_rss(p.id, &c) != 0 {
		return RSS{}, false
	}
	for i := range r.Key {
		r.Key[i] = byte(c.key[i])
	}
	for _, q := range c.table[:c.table_len] {
		r.Table = append(r.Table, uint16(q))
	}
	return r, true
}
