package rtnl

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"opentoe/ports"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// Config describes a Kernel. The zero value is usable.
type Config struct {
	Log *slog.Logger // nil: silent
	// Changed is called after routes, addresses or an interface of a followed port have changed, on the
	// follower's goroutine.
	Changed func()
	// EventBuffer is the receive buffer of the notification socket in octets; 0: a default.
	EventBuffer int
}

// Kernel is the routing tables and neighbours of one network namespace. Its methods may be called from
// any goroutine. It implements [ports.ControlPlane].
type Kernel struct {
	cfg     Config
	counts  [NumCounters]atomic.Uint64
	events  *nl.NetlinkSocket
	running sync.WaitGroup
	closing chan struct{}

	mu       sync.Mutex // guards what follows, and serialises readings
	tables   *netlink.Handle
	followed []*followed
	routes   routes

	generation atomic.Uint64 // of routes; what was asked before it changed is void
	answers    answers
	requests   requests
}

// followed is one port with the kernel's interface that it shares its wire with.
type followed struct {
	port  *ports.Port
	index int
	name  string
	mtu   int // octets: what the device can carry, whatever the interface says
	last  ports.View
	gone  bool // the interface was deleted
}

var _ ports.ControlPlane = (*Kernel)(nil)

// groups are the notifications that routes, addresses, interfaces and neighbours come by.
var groups = []uint{
	unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
	unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE,
	unix.RTNLGRP_NEXTHOP,
}

// New subscribes to the network namespace of the calling thread and starts to listen. It needs
// CAP_NET_ADMIN to resolve neighbours.
func New(cfg Config) (*Kernel, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Changed == nil {
		cfg.Changed = func() {}
	}
	if cfg.EventBuffer == 0 {
		cfg.EventBuffer = eventBuffer
	}
	k := &Kernel{cfg: cfg, closing: make(chan struct{}), routes: routes{stale: true}}
	if err := k.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("rtnl: %w", err), k.closeSockets())
	}
	k.running.Go(k.follow)
	k.running.Go(k.resolve)
	return k, nil
}

func (k *Kernel) open() (err error) {
	if k.events, err = nl.Subscribe(unix.NETLINK_ROUTE, groups...); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	// By force it may exceed what the administrator allows by default; that needs CAP_NET_ADMIN.
	if err := k.events.SetReceiveBufferSize(k.cfg.EventBuffer, true); err != nil {
		if err := k.events.SetReceiveBufferSize(k.cfg.EventBuffer, false); err != nil {
			return err
		}
	}
	if k.tables, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return err
	}
	if k.answers.handle, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return err
	}
	k.answers.list = make(map[question]answer)
	if err := errors.Join(k.tables.SetSocketTimeout(answerTime), k.answers.handle.SetSocketTimeout(answerTime)); err != nil {
		return err
	}
	return k.requests.open()
}

// Close ends the following; ports stay what they are.
func (k *Kernel) Close() error {
	close(k.closing)
	k.events.Close() // ends the waiting for notifications; what is being read is read to its end
	k.running.Wait()
	k.events = nil
	return k.closeSockets()
}

func (k *Kernel) closeSockets() error {
	if k.events != nil {
		k.events.Close()
	}
	for _, h := range []*netlink.Handle{k.tables, k.answers.handle} {
		if h != nil {
			h.Close()
		}
	}
	k.requests.close()
	return nil
}

// Follow makes p what the interface name is now and whenever it changes. The port's MTU until now is
// what its device can carry.
func (k *Kernel) Follow(p *ports.Port, name string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	link, err := k.tables.LinkByName(name)
	if err != nil {
		return fmt.Errorf("rtnl: interface %s: %w", name, err)
	}
	f := &followed{port: p, index: link.Attrs().Index, name: name, mtu: p.MTU()}
	if err := k.read(f); err != nil {
		return fmt.Errorf("rtnl: interface %s: %w", name, err)
	}
	if err := k.readNeighbours(f); err != nil {
		return fmt.Errorf("rtnl: interface %s: %w", name, err)
	}
	k.followed = append(k.followed, f)
	return nil
}

// find returns the followed port whose interface has the index. Precondition: mu is held.
func (k *Kernel) find(index int) *followed {
	for _, f := range k.followed {
		if f.index == index {
			return f
		}
	}
	return nil
}

// monotonic is the scale of the workers' clocks.
func monotonic() vtime.Time {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0 // cannot happen: the clock and the address are good
	}
	return vtime.Time(ts.Nano())
}

// address translates an address of a message; invalid for what is none.
func address(b []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(b)
	return a.Unmap() // package net likes to write IPv4 in sixteen octets
}

// wireAddress is address for an address that has been found valid or may be absent (zero).
func wireAddress(b []byte) wire.Addr {
	if a := address(b); a.IsValid() {
		return wire.AddrFrom(a)
	}
	return wire.Addr{}
}
