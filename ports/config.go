package ports

import (
	"fmt"
	"net/netip"

	"opentoe/tcpoffload/wire"
)

// Config describes a port.
type Config struct {
	Name       string
	MAC        wire.MAC       // unicast
	MTU        int            // octets of IP packet: 576-65535, at least 1280 with IPv6 addresses
	Addresses  []netip.Prefix // the port's own addresses, each with its on-link prefix
	Routes     []Route        // beyond the on-link prefixes, by gateways on them; a default route is 0.0.0.0/0 or ::/0
	Neighbours []Neighbour    // never asked for, never changed by what the network says
	Workers    int            // at least 1: hosts 0 to Workers-1
	// Control is the kernel, where it owns addresses, routes and neighbours: those of the configuration are
	// what the port starts with, [Port.Apply] and [Port.FollowNeighbour] change them, and the port resolves
	// nothing itself. Without it (nil) the configuration stands.
	Control ControlPlane
	// Redirects says what the port believes of redirects of IPv4 (four) or IPv6. It is called for each that
	// seems to be genuine, on a worker's thread. nil: the zero RedirectRules.
	Redirects func(four bool) RedirectRules
	// MaxNeighbours is the size of the L2 table, 0 for the default of 1024. It is rounded up to
	// hold the static neighbours.
	MaxNeighbours int
}

// Neighbour is a static entry of the L2 table.
type Neighbour struct {
	Addr netip.Addr
	MAC  wire.MAC
}

// check says what is wrong with cfg.
func (cfg *Config) check() error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("ports: port %q: %s: %w", cfg.Name, fmt.Sprintf(format, args...), ErrInvalid)
	}
	switch {
	case cfg.Name == "":
		return fail("a name is needed")
	case cfg.MAC.IsMulticast() || cfg.MAC == wire.MAC{}:
		return fail("mac %v is not a unicast address", cfg.MAC)
	case cfg.MTU < MinMTU || cfg.MTU > maxMTU:
		return fail("mtu %d is outside %d-%d", cfg.MTU, MinMTU, maxMTU)
	case cfg.Workers < 1:
		return fail("workers %d: at least 1 is needed", cfg.Workers)
	case cfg.MaxNeighbours < 0 || max(cfg.MaxNeighbours, len(cfg.Neighbours)) > maxNeighbours:
		return fail("more than %d neighbours", maxNeighbours)
	case len(cfg.Addresses) > MaxAddresses:
		return fail("more than %d addresses", MaxAddresses)
	case len(cfg.Routes) > maxStaticRoutes:
		return fail("more than %d routes", maxStaticRoutes)
	}
	seen := map[netip.Addr]bool{}
	for _, p := range cfg.Addresses {
		a := p.Addr()
		switch {
		case !p.IsValid() || !usable(a):
			return fail("address %v is not a unicast address with a prefix length", p)
		case a.Is6() && cfg.MTU < minMTU6:
			return fail("mtu %d is below the %d that IPv6 address %v needs", cfg.MTU, minMTU6, a)
		case seen[a]:
			return fail("address %v stands twice", a)
		}
		seen[a] = true
	}
	for _, r := range cfg.Routes {
		switch {
		case !r.Dst.IsValid() || !usable(r.Via) || r.Dst.Addr().Is4() != r.Via.Is4():
			return fail("route to %v via %v: a prefix and a unicast address of one family are needed",
				r.Dst, r.Via)
		case !cfg.onLink(r.Via) || seen[r.Via]:
			return fail("route to %v: gateway %v is not a neighbour on any of the port's prefixes",
				r.Dst, r.Via)
		}
	}
	for _, n := range cfg.Neighbours {
		switch {
		case !usable(n.Addr) || !cfg.onLink(n.Addr) || seen[n.Addr]:
			return fail("neighbour %v is not on any of the port's prefixes", n.Addr)
		case n.MAC.IsMulticast() || n.MAC == wire.MAC{}:
			return fail("neighbour %v: mac %v is not a unicast address", n.Addr, n.MAC)
		}
	}
	return nil
}

// view returns what a port of a checked configuration is at first.
func (cfg *Config) view() View {
	s := View{MAC: cfg.MAC, MTU: cfg.MTU, Up: true, Addresses: cfg.Addresses, Complete: true}
	for _, p := range cfg.Addresses {
		s.Routes = append(s.Routes, Route{Dst: p.Masked(), Src: p.Addr()})
	}
	s.Routes = append(s.Routes, cfg.Routes...)
	return s
}

// onLink reports whether a is a neighbour: every link has IPv6's link-local addresses.
func (cfg *Config) onLink(a netip.Addr) bool {
	local := a.Is6() && a.IsLinkLocalUnicast()
	for _, p := range cfg.Addresses {
		if p.Contains(a) || local && p.Addr().Is6() {
			return true
		}
	}
	return false
}

// usable reports whether a is a plain unicast address of a host.
func usable(a netip.Addr) bool {
	return a.IsValid() && !a.Is4In6() && a.Zone() == "" && !a.IsUnspecified() && !a.IsMulticast() &&
		!a.IsLoopback() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}
