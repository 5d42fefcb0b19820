package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"

	"opentoe/tcpoffload"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// Errors of Run.
var (
	ErrStall = errors.New("nothing is left to happen, but the goal is not reached")
	ErrLimit = errors.New("the virtual time is up, but the goal is not reached")
)

// World is the clock, the generator, and what will happen.
type World struct {
	// Wire sends every packet through its frame: encoded with payload, damaged where a link says so, and
	// parsed. It is set before anything is sent.
	Wire bool
	// Silence, if not 0, bounds the time without progress of any connection, and the packets that may pass
	// in it; Run fails beyond.
	Silence vtime.Duration

	now     vtime.Time
	rng     *rand.Rand
	hosts   []*Host
	events  events
	seq     uint64
	err     error // first violation found by a checker
	spare   []*packet
	made    int    // packets, those in spare among them
	socks   uint64 // Socks made so far
	trace   func(Trace)
	hash    uint64
	hostile []wire.Addr

	progress vtime.Time // when something last went on
	onTheWay int        // packets on the way at that time
	idle     int        // packets since then
}

// New returns a world that runs as seed says.
func New(seed uint64) *World {
	w := &World{now: vtime.Time(vtime.Second), rng: rand.New(rand.NewPCG(seed, 0x746f65)), hash: hashStart}
	w.progress = w.now
	return w
}

// Now returns the virtual time.
func (w *World) Now() vtime.Time { return w.now }

// Rand returns the world's generator, for scenarios that draw their parameters from the seed.
func (w *World) Rand() *rand.Rand { return w.rng }

func (w *World) chance(p PPM) bool { return p > 0 && w.rng.Uint32N(1_000_000) < uint32(p) }

// Host adds a host with address addr and an engine built from cfg; cfg.Memory may be nil.
func (w *World) Host(addr wire.Addr, cfg tcpoffload.Config) (*Host, error) {
	if cfg.Memory == nil {
		cfg.Memory = tcpoffload.NewMemory(64, 8)
	}
	e, err := tcpoffload.New(cfg)
	if err != nil {
		return nil, err
	}
	h := &Host{
		Addr: addr, Engine: e, w: w,
		out:   tcpoffload.NewOutput(64, 64),
		socks: make(map[tcpoffload.Handle]*Sock),
		wake:  vtime.Never,
	}
	w.hosts = append(w.hosts, h)
	return h, nil
}

// At calls f when the virtual time is at.
func (w *World) At(at vtime.Time, f func()) { w.push(event{at: max(at, w.now), call: f}) }

// After calls f when d has passed.
func (w *World) After(d vtime.Duration, f func()) { w.At(w.now.Add(d), f) }

// Run lets time pass until done says so. It fails when a checker found a violation, when nothing is
// left to happen, and when limit has passed.
func (w *World) Run(limit vtime.Duration, done func() bool) error {
	end := w.now.Add(limit)
	for {
		next := vtime.Never
		for _, h := range w.hosts {
			if h.dirty || h.wake <= w.now {
				h.poll()
			}
			next = min(next, h.wake)
		}
		switch {
		case w.err != nil:
			return w.err
		case done():
			return nil
		}
		if len(w.events) > 0 {
			next = min(next, w.events[0].at)
		}
		if next == vtime.Never {
			return fmt.Errorf("at %.6f: %w", seconds(w.now), ErrStall)
		}
		if next > end {
			return fmt.Errorf("at %.6f: %w", seconds(w.now), ErrLimit)
		}
		w.now = max(w.now, next)
		if w.Silence > 0 && w.now.Sub(w.progress) > w.Silence {
			w.violated("nothing went on since %v, after %d packets", w.progress, w.idle)
		}
		for len(w.events) > 0 && w.events[0].at <= w.now {
			e := w.events.pop()
			switch {
			case e.p != nil:
				e.to.take(e.p)
			case e.link != nil:
				e.link.sent()
			default:
				e.call()
			}
		}
	}
}

// Pass lets d of time pass.
func (w *World) Pass(d vtime.Duration) error {
	end := w.now.Add(d)
	w.At(end, func() {})
	return w.Run(d, func() bool { return w.now >= end })
}

// violated records the first violation.
func (w *World) violated(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf("at %.6f: "+format, append([]any{seconds(w.now)}, args...)...)
	}
}

// stormPackets and stormRate bound how many packets may pass without progress: that many, so many a
// second, and those that were on the way, each with an answer. Two ends that answer each other's answers
// for ever exceed it.
const (
	stormPackets = 3000
	stormRate    = 100
)

// wentOn notes progress of a connection.
func (w *World) wentOn() {
	w.progress, w.idle = w.now, 0
	w.onTheWay = w.made - len(w.spare)
}

// passed notes that p reached a host. What peers without an engine send does not count: they go back to the
// first octet at every timeout.
func (w *World) passed(p *packet) {
	if p.from == nil {
		return
	}
	w.idle++
	if w.Silence > 0 && w.idle > stormPackets+2*w.onTheWay+stormRate*int(w.now.Sub(w.progress)/vtime.Second) {
		w.violated("%d packets since %v brought nothing about", w.idle, w.progress)
	}
}

func (w *World) push(e event) {
	w.seq++
	e.seq = w.seq
	w.events.push(e)
}
