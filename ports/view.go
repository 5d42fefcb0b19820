package ports

import (
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"

	"opentoe/tcpoffload/wire"
)

// View is what a port is on the network: for a port that the kernel sees, the kernel's interface and
// routing tables as last heard of; for another one, its configuration.
type View struct {
	MAC       wire.MAC       // unicast
	MTU       int            // octets of IP packet
	Up        bool           // the interface is up and has a carrier
	Index     int            // of the kernel's interface; 0: the kernel does not see the port
	Addresses []netip.Prefix // the port's own, each with its on-link prefix; at most MaxAddresses
	Routes    []Route        // the first of several with the same destination counts; at most MaxRoutes
	// Complete says that Routes have the right answer for every destination. Where they have not, as
	// with policy routing, the control plane is asked.
	Complete bool
}

// RouteKind says what becomes of packets that a route is for.
type RouteKind uint8

// The kinds.
const (
	RouteOut       RouteKind = iota // they leave by the port
	RouteElsewhere                  // they leave by another interface, or are for this host itself
	RouteRefused                    // nobody sends them: blackhole, unreachable, prohibit
	RouteAsk                        // only the kernel can tell: several next hops, encapsulation
)

// Route says how packets to Dst leave.
type Route struct {
	Dst  netip.Prefix
	Via  netip.Addr // the gateway, of Dst's family; invalid: the destinations are on the link
	Src  netip.Addr // our address towards them; invalid: chosen by the prefixes of our addresses
	MTU  int        // octets of IP packet; 0: the port's
	Kind RouteKind  // the fields above but Dst are valid only with RouteOut
}

// seen is a View prepared for searching. It does not change; a port's is replaced.
type seen struct {
	View
	own    []wire.Addr // of Addresses, in their order
	routes routeTable
	// redirects are exceptions from routes, by destination; nil: none so far. The map does not change,
	// but is replaced under Port.redirecting.
	redirects atomic.Pointer[map[wire.Addr]redirect]
}

// prepare makes s, which it keeps a copy of, ready for searching.
func prepare(s View) *seen {
	s.Addresses, s.Routes = slices.Clone(s.Addresses), slices.Clone(s.Routes)
	v := &seen{View: s}
	for _, p := range s.Addresses {
		v.own = append(v.own, wire.AddrFrom(p.Addr()))
	}
	v.routes = newRouteTable(s.Routes, v.source)
	return v
}

// owns reports whether a is one of the port's own addresses.
func (v *seen) owns(a wire.Addr) bool {
	for i := range v.own {
		if v.own[i] == a {
			return true
		}
	}
	return false
}

// onLink reports whether a is a neighbour: every link has IPv6's link-local addresses.
func (v *seen) onLink(a wire.Addr) bool { return a.IsLinkLocal() || v.routes.onLink(a) }

// source returns our address towards the neighbour hop: the one whose prefix has it, else the first of
// its family; zero without one.
func (v *seen) source(hop netip.Addr) wire.Addr {
	var first netip.Addr
	for _, p := range v.Addresses {
		if p.Contains(hop) {
			return wire.AddrFrom(p.Addr())
		}
		if !first.IsValid() && p.Addr().Is4() == hop.Is4() {
			first = p.Addr()
		}
	}
	if !first.IsValid() {
		return wire.Addr{}
	}
	return wire.AddrFrom(first)
}

// out returns the route by which the port reaches somebody else at remote, or nil.
func (v *seen) out(remote wire.Addr) *route {
	r := v.routes.find(remote)
	if r == nil || r.kind != RouteOut || v.owns(remote) {
		return nil
	}
	return r
}

// View returns what the port is at the moment. The slices are not to be changed.
func (p *Port) View() View { return p.view.Load().View }

// Apply makes the port what s says, at once for all who look. Frames under way are not held up, and
// open connections learn of it from whoever watches ([Port.Watch]).
func (p *Port) Apply(s View) error {
	switch {
	case s.MAC.IsMulticast() || s.MAC == wire.MAC{}:
		return fmt.Errorf("ports: port %q: mac %v is not a unicast address: %w", p.cfg.Name, s.MAC, ErrInvalid)
	case s.MTU < MinMTU || s.MTU > maxMTU:
		return fmt.Errorf("ports: port %q: mtu %d is outside %d-%d: %w", p.cfg.Name, s.MTU, MinMTU, maxMTU, ErrInvalid)
	case len(s.Addresses) > MaxAddresses:
		return fmt.Errorf("ports: port %q: more than %d addresses: %w", p.cfg.Name, MaxAddresses, ErrInvalid)
	case len(s.Routes) > MaxRoutes:
		return fmt.Errorf("ports: port %q: more than %d routes: %w", p.cfg.Name, MaxRoutes, ErrInvalid)
	}
	p.watching.Lock()
	defer p.watching.Unlock()
	p.view.Store(prepare(s))
	for _, f := range p.watchers {
		f(s)
	}
	return nil
}

// Watch calls f with the port's view, now and after every change, one call at a time. f must neither
// block nor call Apply or Watch.
func (p *Port) Watch(f func(View)) {
	p.watching.Lock()
	defer p.watching.Unlock()
	p.watchers = append(p.watchers, f)
	f(p.View())
}
