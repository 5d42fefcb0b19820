package ports

import (
	"maps"

	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// Redirects: a router's word that another neighbour is the better way to one destination (RFC 1122 §3.2.2.2,
// RFC 4861 §8). The kernel takes them for its own sockets only, so a port keeps those for offloaded
// connections, whether or not the kernel has its routes.

// RedirectRules are what is to be believed of redirects of one family. The zero value is RFC 1122's: those
// to gateways on the link.
type RedirectRules struct {
	Refuse  bool // none
	OffLink bool // also that an IPv4 destination is a neighbour, though no prefix says so
	Listed  bool // only to gateways that the port's routes name
}

// redirect sends the packets for one destination, which would go by router, by gateway.
type redirect struct {
	router, gateway wire.Addr
	until           vtime.Time
}

// redirected returns the neighbour by which packets to remote leave that routes send by via.
func (v *seen) redirected(now vtime.Time, remote, via wire.Addr) wire.Addr {
	m := v.redirects.Load()
	if m == nil {
		return via
	}
	if r, ok := (*m)[remote]; ok && r.router == via && now.Before(r.until) {
		return r.gateway
	}
	return via
}

// Redirect takes in that from says that gateway is a better way to remote than the neighbour idx, by which
// a connection of ours is going, and reports whether it is believed. Then Exit and Towards say so, until
// anything changes about the port, the gateway does not answer, or redirectLife is over.
func (h *Host) Redirect(now vtime.Time, idx uint32, from, remote, gateway wire.Addr) bool {
	h.now = now
	e, _ := h.port.l2.at(idx)
	v := h.port.view.Load()
	switch {
	case e == nil || e.addr() != from:
		h.count(CountRedirectForged)
	case !h.redirects.allow(now):
		h.count(CountRedirectLimited)
	case !h.port.believes(now, v, from, remote, gateway):
		h.count(CountRedirectRefused)
	default:
		router := from
		if m := v.redirects.Load(); m != nil {
			if r, ok := (*m)[remote]; ok && r.gateway == from {
				router = r.router // the gateway of a redirect redirects: the routes still say the first one
			}
		}
		h.port.redirect(now, v, remote, redirect{router, gateway, now.Add(redirectLife)})
		h.count(CountRedirected)
		return true
	}
	return false
}

// believes reports whether gateway can be the way to remote that router says.
func (p *Port) believes(now vtime.Time, v *seen, router, remote, gateway wire.Addr) bool {
	if gateway == router || gateway.Is4() != remote.Is4() || !usable(gateway.Netip()) || v.owns(gateway) {
		return false
	}
	var rules RedirectRules
	if p.cfg.Redirects != nil {
		rules = p.cfg.Redirects(remote.Is4())
	}
	if rules.Refuse || rules.Listed && !v.lists(gateway) {
		return false
	}
	near := v.onLink(gateway)
	if gateway == remote {
		near = near || rules.OffLink || !remote.Is4() // RFC 4861 §8: the destination is a neighbour
	}
	if !near {
		return false
	}
	if idx, ok := p.l2.find(gateway); ok {
		e, w := p.l2.at(idx)
		return e == nil || w.state() != StateFailed || e.since(now) > redirectShun
	}
	return true
}

// lists reports whether a route names gateway.
func (v *seen) lists(gateway wire.Addr) bool {
	for i := range v.Routes {
		if r := &v.Routes[i]; r.Kind == RouteOut && r.Via.IsValid() && wire.AddrFrom(r.Via) == gateway {
			return true
		}
	}
	return false
}

// redirect keeps r, which holds as long as v does. When there are too many, the oldest goes.
func (p *Port) redirect(now vtime.Time, v *seen, remote wire.Addr, r redirect) {
	p.redirecting.Lock()
	defer p.redirecting.Unlock()
	next := map[wire.Addr]redirect{remote: r}
	if m := v.redirects.Load(); m != nil {
		for a, old := range *m {
			if a != remote && now.Before(old.until) {
				next[a] = old
			}
		}
	}
	if len(next) > maxRedirects {
		oldest := remote
		for a, old := range next {
			if old.until < next[oldest].until {
				oldest = a
			}
		}
		delete(next, oldest)
	}
	v.redirects.Store(&next)
}

// Unredirect forgets what was redirected to the neighbour idx, which does not answer, and reports whether
// anything was.
func (h *Host) Unredirect(idx uint32) bool {
	v := h.port.view.Load()
	e, _ := h.port.l2.at(idx)
	if e == nil || v.redirects.Load() == nil {
		return false
	}
	h.port.redirecting.Lock()
	defer h.port.redirecting.Unlock()
	m := *v.redirects.Load()
	next, gateway := maps.Clone(m), e.addr()
	maps.DeleteFunc(next, func(_ wire.Addr, r redirect) bool { return r.gateway == gateway })
	if len(next) == len(m) {
		return false
	}
	v.redirects.Store(&next)
	return true
}
