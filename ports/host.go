package ports

import (
	"sync/atomic"

	"opentoe/pmd/frame"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// Host is one worker's hand on a port: next hops, and the responder. Its methods are for that
// worker's thread only, except [Host.Counters].
type Host struct {
	port      *Port
	counts    [NumCounters]atomic.Uint64 // written by the worker, read by anybody
	now       vtime.Time                 // of the last call that knew it
	echo      limiter
	ipid      uint16
	jobs      []job       // neighbours being resolved or probed; capacity maxJobs
	due       vtime.Time  // of the earliest job; zero asks for another look at all
	failed    []uint32    // result of Expire; capacity maxJobs
	asks      limiter     // questions about routes that the kernel alone can answer
	redirects limiter     // redirects that are looked at
	waste     frame.Burst // for giving a frame back; else empty
}

func newHost(p *Port) *Host {
	return &Host{
		port:      p,
		echo:      limiter{interval: vtime.Second / echoPerSecond, burst: echoBurst},
		jobs:      make([]job, 0, maxJobs),
		asks:      limiter{interval: vtime.Second / asksPerSecond, burst: asksBurst},
		redirects: limiter{interval: vtime.Second / redirectsPerSecond, burst: redirectsPerSecond},
		due:       vtime.Never,
		failed:    make([]uint32, 0, maxJobs),
	}
}

// Counters returns what the host has counted. It may be called from any goroutine.
func (h *Host) Counters() (c Counters) {
	for i := range h.counts {
		c[i] = h.counts[i].Load()
	}
	return c
}

func (h *Host) count(c Counter) { h.counts[c].Add(1) }

// NextHop returns the index of the neighbour that leads to remote; ok is false without a route, or
// when no more neighbours fit. Nothing is asked for until a frame is sent. An index stays usable
// for ever.
func (h *Host) NextHop(remote wire.Addr) (idx uint32, ok bool) {
	r := h.port.view.Load().out(remote)
	if r == nil {
		h.count(CountNoRoute)
		return 0, false
	}
	return h.Neighbour(r.hop(remote))
}

// Towards returns the index of the neighbour by which packets to remote leave that routes send by via: via,
// unless that has redirected them. ok is false when no more neighbours fit.
func (h *Host) Towards(now vtime.Time, remote, via wire.Addr) (idx uint32, ok bool) {
	h.now = now
	return h.Neighbour(h.port.view.Load().redirected(now, remote, via))
}

// Neighbour returns the index of the neighbour hop; ok is false when no more fit.
func (h *Host) Neighbour(hop wire.Addr) (idx uint32, ok bool) {
	if idx, ok = h.port.l2.find(hop); ok {
		return idx, true
	}
	// A new entry starts as one that failed long ago: the first frame makes it INCOMPLETE, and
	// until then it may be given up again.
	if idx, ok = h.port.l2.insert(h.now, longAgo, hop, wire.MAC{}, StateFailed); !ok {
		h.count(CountTableFull)
	}
	return idx, ok
}

// Send takes over f, a frame to the next hop idx that is complete but for its Ethernet addresses,
// fills these in and appends it to tx. If the neighbour is not known, the host asks for it and
// keeps the frame until the answer comes; or the frame is given back to q and counted.
// Precondition: tx has room for one frame.
func (h *Host) Send(now vtime.Time, idx uint32, f *frame.Frame, q Queue, tx *frame.Burst) {
	h.now = now
	e, w := h.port.l2.at(idx)
	if e == nil {
		if idx, e, w = h.again(now, f); e == nil {
			h.discard(f, q, CountUnsent)
			return
		}
	}
	switch w.state() {
	case StateReachable:
		if h.port.cfg.Control != nil {
			break // the kernel says when it is stale
		}
		if e.since(now) > reachableTime && e.cas(w, w.with(StateDelay)) {
			h.watch(now, idx)
		}
	case StateStale:
		if e.cas(w, w.with(StateDelay)) {
			if c := h.port.cfg.Control; c != nil {
				c.Resolve(h.port, e.addr())
			} else {
				h.watch(now, idx)
			}
		}
	case StateIncomplete, StateFailed:
		h.hold(now, idx, e, w, f, q)
		return
	}
	h.address(f, w.mac())
	*tx.Push() = *f
}

// address fills in the Ethernet addresses of f.
func (h *Host) address(f *frame.Frame, dst wire.MAC) {
	eth := wire.Ethernet(f.Data[:wire.EthernetLen])
	eth.SetDst(dst)
	eth.SetSrc(h.port.MAC())
}

// again finds the next hop of f by its IP addresses, for an index whose entry was given up.
func (h *Host) again(now vtime.Time, f *frame.Frame) (uint32, *entry, word) {
	h.count(CountStaleIndex)
	var src, dst wire.Addr
	if ip, ok := wire.AsIPv4(f.Data[wire.EthernetLen:]); ok {
		src, dst = ip.Src(), ip.Dst()
	} else if ip, ok := wire.AsIPv6(f.Data[wire.EthernetLen:]); ok {
		src, dst = ip.Src(), ip.Dst()
	}
	idx, _, ok := h.Exit(now, src, dst, false)
	if !ok {
		return 0, nil, 0
	}
	e, w := h.port.l2.at(idx)
	return idx, e, w
}

// Confirm says that the neighbour idx was just shown to work: an acknowledgement of new data came
// by it (RFC 4861 §7.3.1).
func (h *Host) Confirm(now vtime.Time, idx uint32) {
	e, w := h.port.l2.at(idx)
	if e == nil {
		return
	}
	switch w.state() {
	case StateReachable:
		if h.port.cfg.Control != nil {
			if e.since(now) >= kernelConfirmGrain {
				e.changed.Store(int64(now))
				h.port.cfg.Control.Confirm(h.port, e.addr())
			}
		} else if e.since(now) >= confirmGrain {
			e.changed.Store(int64(now))
		}
	case StateStale, StateDelay, StateProbe:
		if h.port.l2.transition(now, idx, w.state(), StateReachable) && h.port.cfg.Control != nil {
			h.port.cfg.Control.Confirm(h.port, e.addr())
		}
	}
}

// Input takes in a received frame that is not TCP for us: ARP, neighbour discovery, echo requests.
// Answers are appended to tx. It returns false for a frame that it does not understand or that is
// malformed or for somebody else, which is counted, and for every frame on a port whose neighbours are
// the kernel's. The frame stays the caller's.
func (h *Host) Input(now vtime.Time, f *frame.Frame, q Queue, tx *frame.Burst) bool {
	h.now = now
	if h.port.cfg.Control != nil {
		return false // the kernel's business
	}
	eth, ok := wire.AsEthernet(f.Data)
	if !ok {
		h.count(CountUnhandled)
		return false
	}
	if dst := eth.Dst(); dst != h.port.MAC() && !dst.IsMulticast() {
		h.count(CountNotOurs)
		return false
	}
	switch t, off := eth.Network(); t {
	case wire.TypeARP:
		return h.inputARP(now, eth, off, q, tx)
	case wire.TypeIPv4:
		return h.inputIPv4(now, eth, off, f.Flags, q, tx)
	case wire.TypeIPv6:
		return h.inputIPv6(now, eth, off, q, tx)
	}
	h.count(CountUnhandled)
	return false
}

// alloc appends an empty frame for n octets to tx and returns its bytes; nil, counted, without one.
func (h *Host) alloc(q Queue, tx *frame.Burst, n int) []byte {
	if tx.Room() == 0 || q.Alloc(tx, 1) == 0 {
		h.count(CountNoBuffer)
		return nil
	}
	f := tx.At(tx.Len() - 1)
	f.Data = f.Data[:n]
	return f.Data
}

// limiter lets burst events through at once and one per interval in the long run.
type limiter struct {
	interval vtime.Duration
	burst    vtime.Duration // events
	theory   vtime.Time     // when the last event would have come at the regular pace
}

func (l *limiter) allow(now vtime.Time) bool {
	t := max(l.theory, now)
	if t.Sub(now) >= l.interval*l.burst {
		return false
	}
	l.theory = t.Add(l.interval)
	return true
}
