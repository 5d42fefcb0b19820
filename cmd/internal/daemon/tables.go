package daemon

import (
	"net/netip"

	"opentoe/cmd/internal/ctl"
	"opentoe/ports"
	"opentoe/ports/rtnl"
	"opentoe/tcpoffload/wire"
)

// Neighbours lists the next hops that the ports know. It implements [ctl.Daemon].
func (d *Daemon) Neighbours() ([]ctl.Neighbour, error) {
	list := []ctl.Neighbour{} // in JSON an empty list, not null
	if d.hw.soft == nil {
		return list, nil
	}
	snap, err := d.hw.soft.Snapshot(0)
	if err != nil {
		return nil, err
	}
	for _, n := range d.hw.nics {
		for _, e := range n.port.Neighbours(snap.Now) {
			row := ctl.Neighbour{Port: n.port.Name(), Address: e.Addr.Netip().String(), State: e.State.String()}
			if e.MAC != (wire.MAC{}) && e.State != ports.StateIncomplete && e.State != ports.StateFailed {
				row.MAC = e.MAC.String()
			}
			list = append(list, row)
		}
	}
	return list, nil
}

// routeKinds are the kinds as toectl names them.
var routeKinds = map[ports.RouteKind]string{
	ports.RouteOut: "port", ports.RouteElsewhere: "elsewhere", ports.RouteRefused: "refused", ports.RouteAsk: "kernel",
}

// Routes lists how packets leave by the ports. It implements [ctl.Daemon].
func (d *Daemon) Routes() ([]ctl.Route, error) {
	list := []ctl.Route{} // in JSON an empty list, not null
	if d.hw.soft == nil {
		return list, nil
	}
	for _, n := range d.hw.nics {
		v := n.port.View()
		if !v.Complete {
			list = append(list, ctl.Route{Port: n.port.Name(), Destination: "all", Kind: routeKinds[ports.RouteAsk]})
		}
		for _, r := range v.Routes {
			list = append(list, ctl.Route{
				Port: n.port.Name(), Destination: r.Dst.String(), Via: optional(r.Via), Source: optional(r.Src), MTU: r.MTU, Kind: routeKinds[r.Kind],
			})
		}
	}
	return list, nil
}

// optional writes an address that may be absent.
func optional(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// controlCounters is what was counted about the kernel's tables.
func (h *hardware) controlCounters() counters {
	c := counters{}
	if h.kernel == nil {
		return c
	}
	for i, v := range h.kernel.Counters() {
		c[rtnl.Counter(i).String()] = v
	}
	return c
}
