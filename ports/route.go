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
	hi, lo uint64    // the prefix
	via    wire.Addr // the gateway; unspecified (zero) for on-link prefixes
	src    wire.Addr // our address towards the next hop
	mtu    uint16    // octets of IP packet; 0: the port's
	bits   uint8     // length of the prefix, mapped IPv4 counted as IPv6
	kind   RouteKind
}

// hop returns the neighbour by which r leads to remote.
func (r *route) hop(remote wire.Addr) wire.Addr {
	if r.via != (wire.Addr{}) {
		return r.via
	}
	return remote
}

// routeGroup is the routes of one family and prefix length, ordered by prefix.
type routeGroup struct {
	four           bool // of IPv4: the default route of IPv6 is none for it
	maskHi, maskLo uint64
	routes         []route
}

// routeTable is the groups by falling prefix length, so the first match is the longest.
type routeTable []routeGroup

// newRouteTable builds the table of a list; source chooses our address for routes without one.
func newRouteTable(list []Route, source func(hop netip.Addr) wire.Addr) (t routeTable) {
	for _, l := range list {
		r := route{mtu: uint16(min(l.MTU, maxMTU)), kind: l.Kind}
		hop := l.Dst.Masked().Addr()
		if l.Via.IsValid() {
			hop = l.Via
			r.via = wire.AddrFrom(l.Via)
		}
		if l.Src.IsValid() {
			r.src = wire.AddrFrom(l.Src)
		} else {
			r.src = source(hop)
		}
		t.add(l.Dst, r)
	}
	slices.SortFunc(t, func(a, b routeGroup) int { return b.length() - a.length() })
	for i := range t {
		slices.SortStableFunc(t[i].routes, func(a, b route) int { return a.compare(b.hi, b.lo) })
		t[i].routes = slices.CompactFunc(t[i].routes, func(a, b route) bool { return a.compare(b.hi, b.lo) == 0 })
	}
	return t
}

// add puts r, for the destinations in p, into the group of its length.
func (t *routeTable) add(p netip.Prefix, r route) {
	n := p.Bits()
	if p.Addr().Is4() {
		n += 96
	}
	g := routeGroup{four: p.Addr().Is4()}
	g.maskHi = ^uint64(0) << max(0, 64-n) // a shift by 64 gives 0
	g.maskLo = ^uint64(0) << min(64, 128-n)
	hi, lo := halves(wire.AddrFrom(p.Addr()))
	r.hi, r.lo, r.bits = hi&g.maskHi, lo&g.maskLo, uint8(n)
	i := slices.IndexFunc(*t, func(o routeGroup) bool { return o.four == g.four && o.length() == n })
	if i < 0 {
		i = len(*t)
		*t = append(*t, g)
	}
	(*t)[i].routes = append((*t)[i].routes, r)
}

func (g *routeGroup) length() int { return bits.OnesCount64(g.maskHi) + bits.OnesCount64(g.maskLo) }

// compare orders prefixes.
func (r *route) compare(hi, lo uint64) int {
	switch {
	case r.hi < hi || r.hi == hi && r.lo < lo:
		return -1
	case r.hi == hi && r.lo == lo:
		return 0
	}
	return 1
}

// find returns the longest match for a, or nil.
func (t routeTable) find(a wire.Addr) *route {
	hi, lo := halves(a)
	four := a.Is4()
	for i := range t {
		if t[i].four != four {
			continue
		}
		if r := t[i].find(hi, lo); r != nil {
			return r
		}
	}
	return nil
}

// find returns the route of g for an address, or nil.
func (g *routeGroup) find(hi, lo uint64) *route {
	hi, lo = hi&g.maskHi, lo&g.maskLo
	from, to := 0, len(g.routes)
	for from < to {
		mid := (from + to) / 2
		r := &g.routes[mid]
		switch c := r.compare(hi, lo); {
		case c == 0:
			return r
		case c < 0:
			from = mid + 1
		default:
			to = mid
		}
	}
	return nil
}

// onLink reports whether a is a neighbour.
func (t routeTable) onLink(a wire.Addr) bool {
	r := t.find(a)
	return r != nil && r.kind == RouteOut && r.via == wire.Addr{}
}

func halves(a wire.Addr) (hi, lo uint64) {
	return binary.BigEndian.Uint64(a[0:8]), binary.BigEndian.Uint64(a[8:16])
}

func unhalve(hi, lo uint64) (a wire.Addr) {
	binary.BigEndian.PutUint64(a[0:8], hi)
	binary.BigEndian.PutUint64(a[8:16], lo)
	return a
}
