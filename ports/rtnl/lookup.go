package rtnl

import (
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"opentoe/ports"
	"opentoe/tcpoffload/wire"
)

// question is what a route was asked for.
type question struct{ dst, src wire.Addr }

// answer is what the kernel said.
type answer struct {
	hop        ports.Hop
	err        error // of the kernel: no route
	generation uint64
	asked      time.Time
}

// answers are the latest answers, bounded by maxAnswers.
type answers struct {
	handle *netlink.Handle // serialises what it is asked

	mu   sync.RWMutex
	list map[question]answer
}

// Known implements [ports.ControlPlane].
func (k *Kernel) Known(dst, src wire.Addr) (h ports.Hop, err error, ok bool) {
	k.answers.mu.RLock()
	a, ok := k.answers.list[question{dst, src}]
	k.answers.mu.RUnlock()
	if !ok || a.generation != k.generation.Load() {
		return h, nil, false
	}
	life := answerLife
	if a.err != nil {
		life = refusalLife
	}
	if time.Since(a.asked) > life {
		return h, nil, false
	}
	return a.hop, a.err, true
}

// Lookup implements [ports.ControlPlane].
func (k *Kernel) Lookup(dst, src wire.Addr) (ports.Hop, error) {
	k.count(CountLookups)
	if h, err, ok := k.Known(dst, src); ok {
		k.count(CountLookupHits)
		return h, err
	}
	a := answer{generation: k.generation.Load(), asked: time.Now()}
	a.hop, a.err = k.ask(dst, src)
	if a.err != nil {
		k.count(CountLookupRefusals)
	}
	k.answers.mu.Lock()
	defer k.answers.mu.Unlock()
	if len(k.answers.list) >= maxAnswers {
		clear(k.answers.list)
	}
	k.answers.list[question{dst, src}] = a
	return a.hop, a.err
}

// ask is Lookup by the kernel.
func (k *Kernel) ask(dst, src wire.Addr) (h ports.Hop, err error) {
	var opt netlink.RouteGetOptions
	if !src.IsUnspecified() {
		opt.SrcAddr = src.Netip().AsSlice()
	}
	list, err := k.answers.handle.RouteGetWithOptions(dst.Netip().AsSlice(), &opt)
	if err != nil {
		return h, err
	}
	if len(list) == 0 {
		return h, unix.ENETUNREACH
	}
	r := &list[0]
	switch r.Type {
	case unix.RTN_UNICAST:
	case unix.RTN_LOCAL, unix.RTN_ANYCAST:
		return ports.Hop{Via: dst, Local: true, Index: r.LinkIndex}, nil
	default:
		return h, unix.ENETUNREACH
	}
	h = ports.Hop{Via: dst, Src: wireAddress(r.Src), MTU: r.MTU, Index: r.LinkIndex}
	if via := gateway(r); via.IsValid() {
		h.Via = wire.AddrFrom(via)
	}
	if !src.IsUnspecified() {
		h.Src = src
	}
	return h, nil
}
