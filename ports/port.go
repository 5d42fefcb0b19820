package ports

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// Port is one Ethernet interface of the TOE. Its methods may be called from any goroutine, and see
// what the port is at the moment of the call ([Port.Apply]).
type Port struct {
	cfg   Config
	view  atomic.Pointer[seen]
	l2    *l2Table
	hosts []*Host

	watching sync.Mutex // serialises Apply and Watch
	watchers []func(View)

	redirecting sync.Mutex // serialises changes of redirects
}

// New returns the port that cfg describes, with its static neighbours in place.
func New(cfg Config) (*Port, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if cfg.MaxNeighbours == 0 {
		cfg.MaxNeighbours = defaultNeighbours
	}
	cfg.MaxNeighbours = max(cfg.MaxNeighbours, len(cfg.Neighbours))
	p := &Port{cfg: cfg, l2: newL2Table(cfg.MaxNeighbours)}
	p.view.Store(prepare(cfg.view()))
	for _, n := range cfg.Neighbours {
		if err := p.SetNeighbour(0, wire.AddrFrom(n.Addr), n.MAC, true); err != nil {
			return nil, err
		}
	}
	for range cfg.Workers {
		p.hosts = append(p.hosts, newHost(p))
	}
	return p, nil
}

// Name returns the port's name.
func (p *Port) Name() string { return p.cfg.Name }

// MAC returns the port's hardware address.
func (p *Port) MAC() wire.MAC { return p.view.Load().MAC }

// MTU returns the largest IP packet in octets.
func (p *Port) MTU() int { return p.view.Load().MTU }

// Prefixes returns the port's addresses with their on-link prefixes.
func (p *Port) Prefixes() []netip.Prefix { return slices.Clone(p.view.Load().Addresses) }

// Owns reports whether a is one of the port's own addresses.
func (p *Port) Owns(a wire.Addr) bool { return p.view.Load().owns(a) }

// SourceFor returns our address for packets to remote: that of the route's prefix, and for a link-local
// neighbour the first of its family. ok is false without a route.
func (p *Port) SourceFor(remote wire.Addr) (src wire.Addr, ok bool) {
	v := p.view.Load()
	if remote.IsLinkLocal() {
		src = v.source(remote.Netip())
		return src, src != wire.Addr{}
	}
	r := v.routes.find(remote)
	if r == nil || r.kind != RouteOut {
		return wire.Addr{}, false
	}
	return r.src, true
}

// Gateway returns the neighbour by which the port reaches somebody else at remote, and our address for
// that; ok is false without a route.
func (p *Port) Gateway(remote wire.Addr) (via, src wire.Addr, ok bool) {
	r := p.view.Load().out(remote)
	if r == nil {
		return via, src, false
	}
	return r.hop(remote), r.src, true
}

// Routed reports whether remote is somebody else's address that the port has a route to.
func (p *Port) Routed(remote wire.Addr) bool {
	_, ok := p.Route(remote)
	return ok
}

// Route returns the length of the longest prefix, mapped IPv4 counted as IPv6 (96 to 128), by which
// the port reaches somebody else at remote; ok is false when it has no route there.
func (p *Port) Route(remote wire.Addr) (bits int, ok bool) {
	r := p.view.Load().out(remote)
	if r == nil {
		return 0, false
	}
	return int(r.bits), true
}

// OnLink reports whether a is reached without a gateway.
func (p *Port) OnLink(a wire.Addr) bool { return p.view.Load().onLink(a) }

// Host returns worker w's host. Precondition: 0 <= w < Config.Workers.
func (p *Port) Host(w int) *Host { return p.hosts[w] }

// SetNeighbour enters a neighbour from outside the port's own resolution: permanent, or (permanent
// false) as just confirmed.
func (p *Port) SetNeighbour(now vtime.Time, a wire.Addr, mac wire.MAC, permanent bool) error {
	if v := p.view.Load(); !v.onLink(a) || v.owns(a) {
		return fmt.Errorf("ports: port %q: neighbour %v: %w", p.cfg.Name, a, ErrNotOnLink)
	}
	if mac.IsMulticast() || mac == (wire.MAC{}) {
		return fmt.Errorf("ports: port %q: neighbour %v: mac %v is not a unicast address: %w",
			p.cfg.Name, a, mac, ErrInvalid)
	}
	state := StateReachable
	if permanent {
		state = StatePermanent
	}
	for {
		idx, ok := p.l2.insert(now, now, a, mac, state)
		if !ok {
			return fmt.Errorf("ports: port %q: neighbour %v: %w", p.cfg.Name, a, ErrTableFull)
		}
		if p.l2.update(now, idx, mac, state) {
			return nil
		}
		// A permanent entry is not lowered; a vanished one is made anew.
		if e, w := p.l2.at(idx); e != nil && w.state() == StatePermanent {
			return nil
		}
	}
}

// ForgetNeighbour takes back what is known of a, also a permanent entry: the next frame to it asks
// again.
func (p *Port) ForgetNeighbour(a wire.Addr) {
	idx, ok := p.l2.find(a)
	if !ok {
		return
	}
	for {
		e, w := p.l2.at(idx)
		if e == nil {
			return
		}
		// As one that failed long ago it may be asked for at once and be given up.
		e.changed.Store(longAgo)
		if e.cas(w, w.with(StateFailed)) {
			break
		}
	}
	p.l2.mu.Lock()
	defer p.l2.mu.Unlock()
	if e, _ := p.l2.at(idx); e != nil {
		p.l2.giveUp(0, e)
	}
}

// NeighbourInfo is a snapshot of one neighbour.
type NeighbourInfo struct {
	Addr  wire.Addr
	MAC   wire.MAC // valid unless State is INCOMPLETE or FAILED
	State State
}

// Neighbours returns the neighbours as of now. A REACHABLE one whose confirmation is too old is
// shown as STALE, which is how it will be treated.
func (p *Port) Neighbours(now vtime.Time) []NeighbourInfo {
	var list []NeighbourInfo
	for i := range p.l2.entries {
		e := &p.l2.entries[i]
		w := e.load()
		n := NeighbourInfo{Addr: e.addr(), MAC: w.mac(), State: w.state()}
		if e.load().gen() != w.gen() || n.State == StateNone {
			continue
		}
		if n.State == StateReachable && e.since(now) > reachableTime && p.cfg.Control == nil {
			n.State = StateStale
		}
		list = append(list, n)
	}
	return list
}

// Counters returns the sum over the port's hosts.
func (p *Port) Counters() (sum Counters) {
	for _, h := range p.hosts {
		for i, v := range h.Counters() {
			sum[i] += v
		}
	}
	return sum
}
