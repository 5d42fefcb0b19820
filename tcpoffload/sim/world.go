package sim

import (
	"container/heap"
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
	now    vtime.Time
	rng    *rand.Rand
	hosts  []*Host
	events events
	seq    uint64
	err    error // first violation found by a checker
}

// New returns a world that runs as seed says.
func New(seed uint64) *World {
	return &World{now: vtime.Time(vtime.Second), rng: rand.New(rand.NewPCG(seed, 0x746f65))}
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
	}
	w.hosts = append(w.hosts, h)
	return h, nil
}

// Join connects a and b by two links.
func (w *World) Join(a, b *Host, ab, ba LinkConfig) (toB, toA *Link) {
	a.link = &Link{LinkConfig: ab, w: w, to: b}
	b.link = &Link{LinkConfig: ba, w: w, to: a}
	return a.link, b.link
}

// At calls f when the virtual time is at.
func (w *World) At(at vtime.Time, f func()) { w.push(event{at: at, call: f}) }

// Run lets time pass until done says so. It fails when a checker found a violation, when nothing is
// left to happen, and when limit has passed.
func (w *World) Run(limit vtime.Duration, done func() bool) error {
	end := w.now.Add(limit)
	for {
		for _, h := range w.hosts {
			h.poll()
		}
		switch {
		case w.err != nil:
			return w.err
		case done():
			return nil
		}
		next := vtime.Never
		if len(w.events) > 0 {
			next = w.events[0].at
		}
		for _, h := range w.hosts {
			next = min(next, h.Engine.NextDeadline())
		}
		if next == vtime.Never {
			return fmt.Errorf("at %v: %w", w.now, ErrStall)
		}
		if next > end {
			return fmt.Errorf("at %v: %w", w.now, ErrLimit)
		}
		w.now = max(w.now, next)
		for len(w.events) > 0 && w.events[0].at <= w.now {
			e := heap.Pop(&w.events).(event)
			if e.call != nil {
				e.call()
			} else {
				e.to.arrive(&e.seg, e.pos)
			}
		}
	}
}

// violated records the first violation.
func (w *World) violated(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf("at %v: "+format, append([]any{w.now}, args...)...)
	}
}

// schedule lets the peer's view of s arrive at to.
func (w *World) schedule(at vtime.Time, to *Host, s *tcpoffload.TxSegment) {
	w.push(event{at: at, to: to, pos: s.Pos, seg: tcpoffload.Segment{
		Flow: wire.Flow{
			Local: s.Flow.Remote, LocalPort: s.Flow.RemotePort,
			Remote: s.Flow.Local, RemotePort: s.Flow.LocalPort,
		},
		Seq: s.Seq, Ack: s.Ack, Len: s.Len, Wnd: s.Wnd, Urg: s.Urg, Flags: s.Flags, Opt: s.Opt,
	}})
}

func (w *World) push(e event) {
	w.seq++
	e.seq = w.seq
	heap.Push(&w.events, e)
}

// event is a segment that arrives, or a call.
type event struct {
	at   vtime.Time
	seq  uint64 // equal times happen in the order in which they were scheduled
	to   *Host
	seg  tcpoffload.Segment
	pos  uint64 // where the payload stands in the sender's stream
	call func()
}

type events []event

func (q events) Len() int { return len(q) }
func (q events) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].seq < q[j].seq
}
func (q events) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *events) Push(x any)   { *q = append(*q, x.(event)) }
func (q *events) Pop() any {
	old := *q
	e := old[len(old)-1]
	*q = old[:len(old)-1]
	return e
}
