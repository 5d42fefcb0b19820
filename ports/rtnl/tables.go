package rtnl

import (
	"errors"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"opentoe/ports"
	"opentoe/tcpoffload/wire"
)

// routes is what was read of the routing tables, for all interfaces.
type routes struct {
	list     []tableRoute // in the order of their preference
	complete bool         // they answer for every destination
	asks     bool         // the kernel is asked for some destinations
	stale    bool         // to be read again
}

// tableRoute is one route with the interface that it leaves by.
type tableRoute struct {
	ports.Route
	index  int
	metric int
}

// read makes f's port what the kernel has now. It reports an error that may pass.
// Precondition: mu is held.
func (k *Kernel) read(f *followed) error {
	k.count(CountReadings)
	if k.routes.stale {
		r, err := k.readRoutes()
		if err != nil {
			k.count(CountReadErrors)
			return err
		}
		k.routes = r
	}
	v, err := k.readView(f)
	if err != nil {
		k.count(CountReadErrors)
		return err
	}
	if equal(&v, &f.last) {
		return nil
	}
	k.generation.Add(1)
	if err := f.port.Apply(v); err != nil {
		return err
	}
	f.last = v
	return nil
}

func equal(a, b *ports.View) bool {
	return a.MAC == b.MAC && a.MTU == b.MTU && a.Up == b.Up && a.Index == b.Index && a.Complete == b.Complete &&
		slices.Equal(a.Addresses, b.Addresses) && slices.Equal(a.Routes, b.Routes)
}

// readView reads the interface and its addresses and adds the routes as seen from there.
func (k *Kernel) readView(f *followed) (v ports.View, err error) {
	v = f.port.View()
	v.Up, v.Index, v.Addresses, v.Routes, v.Complete = false, 0, nil, nil, true
	link, err := k.tables.LinkByIndex(f.index)
	if errors.As(err, new(netlink.LinkNotFoundError)) || f.gone {
		if !f.gone {
			k.cfg.Log.Warn("the kernel's interface of the port is gone: its connections have no route any more", "port", f.port.Name(), "interface", f.name)
		}
		f.gone = true
		return v, nil
	}
	if err != nil {
		return v, err
	}
	a := link.Attrs()
	v.Index = f.index
	v.Up = a.RawFlags&unix.IFF_UP != 0 && a.RawFlags&unix.IFF_RUNNING != 0
	v.MTU = min(max(a.MTU, ports.MinMTU), f.mtu)
	if len(a.HardwareAddr) == len(v.MAC) {
		v.MAC = wire.MAC(a.HardwareAddr)
	}
	list, err := repeat(func() ([]netlink.Addr, error) { return k.tables.AddrList(link, netlink.FAMILY_ALL) })
	if err != nil {
		return v, err
	}
	for _, l := range list {
		p, ours := prefixOf(&l)
		switch {
		case !ours:
		case len(v.Addresses) == ports.MaxAddresses:
			k.count(CountUntaken)
		default:
			v.Addresses = append(v.Addresses, p)
		}
	}
	v.Complete = k.routes.complete
	for _, r := range k.routes.list {
		if r.Kind == ports.RouteOut && r.index != f.index {
			r.Route = ports.Route{Dst: r.Dst, Kind: ports.RouteElsewhere}
		}
		v.Routes = append(v.Routes, r.Route)
	}
	if len(v.Routes) > ports.MaxRoutes {
		v.Routes, v.Complete = nil, false
	}
	return v, nil
}

// prefixOf returns an address with its on-link prefix; ours is false for one that connections of the TOE
// do not use: not yet ours (RFC 4862 §5.4), a duplicate, or of link-local scope, where an address says
// nothing without its interface (RFC 4007).
func prefixOf(l *netlink.Addr) (p netip.Prefix, ours bool) {
	if l.IPNet == nil || l.Flags&unix.IFA_F_DADFAILED != 0 ||
		l.Flags&unix.IFA_F_TENTATIVE != 0 && l.Flags&unix.IFA_F_OPTIMISTIC == 0 {
		return p, false
	}
	a := address(l.IP)
	bits, _ := l.Mask.Size()
	if !a.IsValid() || a.IsLoopback() || a.IsMulticast() || a.IsUnspecified() || a.Is4In6() || a.Is6() && a.IsLinkLocalUnicast() {
		return p, false
	}
	return netip.PrefixFrom(a, bits), true
}

// readRoutes reads rules and routes of both families.
func (k *Kernel) readRoutes() (r routes, err error) {
	r.complete = true
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		rules, err := repeat(func() ([]netlink.Rule, error) { return k.tables.RuleList(family) })
		if err != nil && !errors.Is(err, unix.EAFNOSUPPORT) && !errors.Is(err, unix.EOPNOTSUPP) {
			return r, err
		}
		r.complete = r.complete && defaultRules(rules)
		filter := &netlink.Route{Table: unix.RT_TABLE_UNSPEC} // all tables
		list, err := repeat(func() ([]netlink.Route, error) {
			return k.tables.RouteListFiltered(family, filter, netlink.RT_FILTER_TABLE)
		})
		if err != nil {
			return r, err
		}
		for i := range list {
			r.add(&list[i])
		}
	}
	slices.SortStableFunc(r.list, func(a, b tableRoute) int { return a.metric - b.metric })
	if len(r.list) > ports.MaxRoutes {
		r.list, r.complete = nil, false
	}
	r.asks = !r.complete || slices.ContainsFunc(r.list, func(t tableRoute) bool { return t.Kind == ports.RouteAsk })
	return r, nil
}

// repeat reads a table until it did not change meanwhile.
func repeat[T any](read func() ([]T, error)) (list []T, err error) {
	for range readTries {
		if list, err = read(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return list, err
}

// defaultRules reports whether rules are those that a kernel starts with: local, main, default.
func defaultRules(rules []netlink.Rule) bool {
	for _, r := range rules {
		plain := r.Src == nil && r.Dst == nil && r.Mark == 0 && r.Tos == 0 && r.IifName == "" && r.OifName == "" &&
			!r.Invert && r.Dport == nil && r.Sport == nil && r.IPProto <= 0 && r.UIDRange == nil && r.Goto <= 0 &&
			r.SuppressPrefixlen <= 0 && r.SuppressIfgroup <= 0 && r.TunID == 0
		switch {
		case plain && r.Priority == 0 && r.Table == unix.RT_TABLE_LOCAL:
		case plain && r.Priority == 32766 && r.Table == unix.RT_TABLE_MAIN:
		case plain && r.Priority == 32767 && r.Table == unix.RT_TABLE_DEFAULT:
		default:
			return false
		}
	}
	return true
}

// add takes in a route that the default rules lead to.
func (r *routes) add(l *netlink.Route) {
	switch l.Table {
	case unix.RT_TABLE_LOCAL, unix.RT_TABLE_MAIN:
	case unix.RT_TABLE_DEFAULT: // comes after main, whatever the length of its prefixes
		r.complete = false
		return
	default:
		return
	}
	if l.Tos != 0 || l.Dst == nil {
		return // packets of the TOE are routed without a type of service
	}
	bits, size := l.Dst.Mask.Size()
	dst := netip.PrefixFrom(address(l.Dst.IP), bits)
	if !dst.IsValid() || dst.Addr().IsMulticast() || dst.Addr().Is6() && dst.Addr().IsLinkLocalUnicast() {
		return
	}
	if l.Table == unix.RT_TABLE_LOCAL && bits < size && !dst.Addr().IsLoopback() && l.Type == unix.RTN_LOCAL {
		r.complete = false // the local table comes before main, whatever the length of its prefixes
	}
	t := tableRoute{Route: ports.Route{Dst: dst.Masked(), Kind: kindOf(l)}, metric: l.Priority}
	if t.Kind == ports.RouteOut {
		t.index, t.MTU, t.Via, t.Src = l.LinkIndex, l.MTU, gateway(l), address(l.Src)
	}
	r.list = append(r.list, t)
}

// gateway returns l's gateway; invalid for destinations on the link.
func gateway(l *netlink.Route) netip.Addr {
	if via, ok := l.Via.(*netlink.Via); ok {
		return address(via.Addr)
	}
	return address(l.Gw)
}

// kindOf says what becomes of packets that l is for.
func kindOf(l *netlink.Route) ports.RouteKind {
	switch l.Type {
	case unix.RTN_UNICAST:
	case unix.RTN_BLACKHOLE, unix.RTN_UNREACHABLE, unix.RTN_PROHIBIT, unix.RTN_THROW:
		return ports.RouteRefused
	default: // this host's own, broadcast, anycast
		return ports.RouteElsewhere
	}
	if len(l.MultiPath) > 0 || l.LinkIndex == 0 || l.Encap != nil || l.Via != nil ||
		l.Flags&(unix.RTNH_F_LINKDOWN|unix.RTNH_F_DEAD) != 0 {
		return ports.RouteAsk
	}
	return ports.RouteOut
}
