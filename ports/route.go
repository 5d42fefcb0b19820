package ports

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"

	"opentoe/tcpoffload/wire"
)

// route is one line of the routing table. IPv4 prefixes stand in mapped form, so both families are
// searched alike. It has no pointers.
type route struct {
	four           bool   // of IPv4: the default route of IPv6 is none for it
	hi, lo         uint64 // the prefix
	maskHi, maskLo uint64
	via            wire.Addr // the gateway; unspecified (zero) for on-link prefixes
	src            wire.Addr // our address towards the next hop
}

func newRoute(p netip.Prefix, via, src wire.Addr) route {
	n := p.Bits()
	if p.Addr().Is4() {
		n += 96
	}
	r := route{four: p.Addr().Is4(), via: via, src: src}
	r.maskHi = ^uint64(0) << max(0, 64-n) // a shift by 64 gives 0
	r.maskLo = ^uint64(0) << min(64, 128-n)
	hi, lo := halves(wire.AddrFrom(p.Addr()))
	r.hi, r.lo = hi&r.maskHi, lo&r.maskLo
	return r
}

func (r *route) length() int { return bits.OnesCount64(r.maskHi) + bits.OnesCount64(r.maskLo) }

// routeTable is sorted by falling prefix length, so the first match is the longest.
type routeTable []route

// newRouteTable builds the table of a checked configuration.
func newRouteTable(cfg *Config) routeTable {
	var t routeTable
	for _, p := range cfg.Addresses {
		t = append(t, newRoute(p, wire.Addr{}, wire.AddrFrom(p.Addr())))
	}
	t.sort()
	for _, r := range cfg.Routes {
		via := wire.AddrFrom(r.Via)
		t = append(t, newRoute(r.Dst, via, t.find(via).src))
	}
	t.sort()
	return t
}

func (t routeTable) sort() {
	slices.SortStableFunc(t, func(a, b route) int { return b.length() - a.length() })
}

// find returns the longest match for a, or nil.
func (t routeTable) find(a wire.Addr) *route {
	hi, lo := halves(a)
	four := a.Is4()
	for i := range t {
		if r := &t[i]; (hi^r.hi)&r.maskHi|(lo^r.lo)&r.maskLo == 0 && r.four == four {
			return r
		}
	}
	return nil
}

// onLink reports whether a is a neighbour.
func (t routeTable) onLink(a wire.Addr) bool {
	r := t.find(a)
	return r != nil && r.via == wire.Addr{}
}

func halves(a wire.Addr) (hi, lo uint64) {
	return binary.BigEndian.Uint64(a[0:8]), binary.BigEndian.Uint64(a[8:16])
}

func unhalve(hi, lo uint64) (a wire.Addr) {
	binary.BigEndian.PutUint64(a[0:8], hi)
	binary.BigEndian.PutUint64(a[8:16], lo)
	return a
}
