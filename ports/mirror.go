package ports

import (
	"fmt"
	"io"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"opentoe/pmd/frame"
	"opentoe/tcpoffload/vtime"
	"opentoe/toe"
)

// MirrorConfig describes a mirror.
type MirrorConfig struct {
	Ports   []string // names of the device's ports, as sniffers show them; at least 1
	Workers int      // of the device, at least 1
	// Ring is the room between a worker and the mirror in octets, rounded up to a power of two; 0
	// is 8 MiB. It is allocated when the first sink comes.
	Ring int
	// Epoch is the Unix time in nanoseconds of the workers' instant zero. 0: the workers' clock is
	// CLOCK_MONOTONIC, and its epoch is taken when sniffing starts.
	Epoch int64
	// Install puts the tap on the device and takes it off, from the mirror's goroutine: without
	// sinks no worker does anything for the mirror.
	Install func(on bool)
}

// Mirror is the mirror port: a toe.Tap that copies frames for sniffers. Each worker writes to a
// ring of its own; one goroutine merges the rings by time and hands every frame to the sinks, each
// of which has its own writer, so a slow sniffer delays neither the data path nor other sniffers.
type Mirror struct {
	cfg   MirrorConfig
	rings atomic.Pointer[[]*ring] // nil until the first sink
	snap  atomic.Int64            // octets to keep of a frame: the most that any sink needs

	asleep atomic.Bool   // the goroutine waits on wake
	wake   chan struct{} // capacity 1
	ops    chan func()   // run by the goroutine between frames
	quit   chan struct{} // closed to end the goroutine
	done   chan struct{} // closed when the goroutine has ended
	stop   sync.Once

	now <-chan time.Time // always ready

	sinks []*Sink // the goroutine's, anybody's after done
	epoch int64   // the goroutine's; as MirrorConfig.Epoch
}

var _ toe.Tap = (*Mirror)(nil)

// NewMirror starts a mirror without sinks.
func NewMirror(cfg MirrorConfig) (*Mirror, error) {
	if cfg.Ring == 0 {
		cfg.Ring = defaultRing
	}
	switch {
	case len(cfg.Ports) < 1 || len(cfg.Ports) > maxMirrored:
		return nil, fmt.Errorf("ports: mirror: %d ports are outside 1-%d: %w", len(cfg.Ports),
			maxMirrored, ErrInvalid)
	case cfg.Workers < 1:
		return nil, fmt.Errorf("ports: mirror: workers %d: at least 1 is needed: %w", cfg.Workers,
			ErrInvalid)
	case cfg.Ring < minRing || cfg.Ring > maxRing:
		return nil, fmt.Errorf("ports: mirror: ring of %d octets is outside %d-%d: %w", cfg.Ring,
			minRing, maxRing, ErrInvalid)
	}
	cfg.Ring = 1 << bits.Len(uint(cfg.Ring-1))
	if cfg.Install == nil {
		cfg.Install = func(bool) {}
	}
	m := &Mirror{
		cfg:  cfg,
		wake: make(chan struct{}, 1),
		ops:  make(chan func()),
		quit: make(chan struct{}),
		done: make(chan struct{}),
	}
	ready := make(chan time.Time)
	close(ready)
	m.now = ready
	go m.run()
	return m, nil
}

// Tap copies frames into worker w's ring. It implements [toe.Tap].
func (m *Mirror) Tap(w, port int, dir toe.Direction, now vtime.Time, frames []frame.Frame) {
	rings := m.rings.Load()
	if rings == nil {
		return
	}
	r, snap := (*rings)[w], int(m.snap.Load())
	if snap == 0 {
		return // the last sink has just gone
	}
	seen := &r.seen[port]
	seen.Store(seen.Load() + uint64(len(frames)))
	for i := range frames {
		r.put(now, port, dir, frames[i].Data, snap)
	}
	r.publish()
	if m.asleep.Load() {
		select {
		case m.wake <- struct{}{}:
		default:
		}
	}
}

// MirrorStats counts frames since the mirror was made.
type MirrorStats struct {
	Seen uint64 // offered by the workers while there were sinks
	Lost uint64 // of those, lost because a ring was full
}

// Stats returns the sum over the workers and ports.
func (m *Mirror) Stats() (s MirrorStats) {
	for port := range m.cfg.Ports {
		p := m.portStats(port)
		s.Seen += p.Seen
		s.Lost += p.Lost
	}
	return s
}

// portStats returns the sum over the workers for one port.
func (m *Mirror) portStats(port int) (s MirrorStats) {
	if rings := m.rings.Load(); rings != nil {
		for _, r := range *rings {
			s.Seen += r.seen[port].Load()
			s.Lost += r.lost[port].Load()
		}
	}
	return s
}

// AddSink streams pcapng to w from now on, until the sink is closed or w fails. The sink writes
// from a goroutine of its own, in pieces of any size; it never closes w. A Write that blocks for
// ever blocks Close too: whoever owns w ends it first.
func (m *Mirror) AddSink(w io.Writer, o SinkOptions) (*Sink, error) {
	return m.add(o, func(s *Sink) output { return newPcapng(w, m.cfg.Ports, s) })
}

// add makes a sink with the output that open gives.
func (m *Mirror) add(o SinkOptions, open func(*Sink) output) (*Sink, error) {
	s, err := newSink(m, o)
	if err != nil {
		return nil, fmt.Errorf("ports: mirror: %w", err)
	}
	full := false
	if !m.do(func() {
		if full = len(m.sinks) == maxSinks; !full {
			m.begin(s, open)
		}
	}) {
		return nil, fmt.Errorf("ports: mirror: %w", ErrClosed)
	}
	if full {
		return nil, fmt.Errorf("ports: mirror: more than %d: %w", maxSinks, ErrTooManySinks)
	}
	return s, nil
}

// Close ends every sink, with what was tapped before, and the mirror.
func (m *Mirror) Close() {
	m.stop.Do(func() { close(m.quit) })
	<-m.done
	for _, s := range m.sinks {
		<-s.done
	}
}

// do runs f on the goroutine, between frames, with everything delivered that was tapped before. It
// returns false when the mirror is closed.
func (m *Mirror) do(f func()) bool {
	ran := make(chan struct{})
	select {
	case <-m.done:
		return false
	case m.ops <- func() { f(); close(ran) }:
		<-ran
		return true
	}
}

// begin and the functions below run on the mirror's goroutine.
func (m *Mirror) begin(s *Sink, open func(*Sink) output) {
	first := len(m.sinks) == 0
	if first {
		m.epoch = m.cfg.Epoch
		if m.epoch == 0 {
			m.epoch = monotonicEpoch()
		}
		if m.rings.Load() == nil {
			rings := make([]*ring, m.cfg.Workers)
			for i := range rings {
				rings[i] = newRing(m.cfg.Ring)
			}
			m.rings.Store(&rings)
		}
	}
	s.start(open)
	m.sinks = append(m.sinks, s)
	m.fitSnap()
	if first {
		m.cfg.Install(true)
	}
}

// end takes s off the list. What comes after is not for it.
func (m *Mirror) end(s *Sink) {
	i := slices.Index(m.sinks, s)
	if i < 0 {
		return
	}
	m.sinks = slices.Delete(m.sinks, i, i+1)
	s.detach()
	m.fitSnap()
	if len(m.sinks) == 0 {
		m.cfg.Install(false)
	}
}

// fitSnap tells the workers how much of a frame the sinks need.
func (m *Mirror) fitSnap() {
	snap := 0
	for _, s := range m.sinks {
		snap = max(snap, s.needs())
	}
	m.snap.Store(int64(snap))
}

// A mirror with nothing to do looks again after pollInterval, and after idleRounds of that waits
// for a worker to wake it. So a busy worker seldom pays for a wake-up.
const (
	pollInterval = time.Millisecond
	idleRounds   = 20
)

func (m *Mirror) run() {
	defer close(m.done)
	for idle := 0; ; idle++ {
		if m.drain() {
			idle = 0
		}
		var wake <-chan struct{}
		var pause <-chan time.Time
		switch {
		case idle == 0:
			pause = m.now
		case idle < idleRounds && len(m.sinks) > 0:
			pause = time.After(pollInterval)
		default:
			wake = m.wake
			m.asleep.Store(true)
			if m.pending() { // a worker may have published before it could see the flag
				pause = m.now
			}
		}
		select {
		case <-m.quit:
			m.drain()
			m.endAll()
			return
		case op := <-m.ops:
			m.drain()
			op()
		case <-wake:
			idle = 0
		case <-pause:
		}
		m.asleep.Store(false)
	}
}

// endAll closes the sinks with the mirror.
func (m *Mirror) endAll() {
	for _, s := range m.sinks {
		s.detach()
		s.finish()
	}
	if len(m.sinks) > 0 {
		m.cfg.Install(false)
	}
}

// drain delivers what is published, the oldest frame of all rings first, and reports whether there
// was something. It stops after as much as all rings hold, so that operations are not starved.
func (m *Mirror) drain() (some bool) {
	rings := m.rings.Load()
	if rings == nil {
		return false
	}
	var oldest, rec record
	for budget := m.cfg.Ring * m.cfg.Workers; budget > 0; budget -= len(oldest.data) + recordHead {
		from := -1
		for i, r := range *rings {
			if r.peek(&rec) && (from < 0 || rec.now < oldest.now) {
				oldest, from = rec, i
			}
		}
		if from < 0 {
			break
		}
		for _, s := range m.sinks {
			s.deliver(&oldest, m.epoch)
		}
		(*rings)[from].advance(&oldest)
		some = true
	}
	return some
}

func (m *Mirror) pending() bool {
	rings := m.rings.Load()
	return rings != nil && slices.ContainsFunc(*rings, func(r *ring) bool { return !r.empty() })
}

// monotonicEpoch returns the Unix time in nanoseconds at which CLOCK_MONOTONIC was zero.
func monotonicEpoch() int64 {
	var mono unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &mono); err != nil {
		return 0 // cannot happen: the clock always exists
	}
	return time.Now().UnixNano() - mono.Nano()
}
