package ports

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/bpf"
)

// SinkOptions says what a sink wants. The zero value is every frame, whole.
type SinkOptions struct {
	SnapLen int                  // octets to keep of a frame; 0 is all
	Filter  []bpf.RawInstruction // see [CompileFilter]; nil takes every frame
	Comment string               // stands in the pcapng section header
}

// output is a format and a place to write it.
type output interface {
	// head, frame and tail append to b: what comes first, one frame, what comes last. dropped is
	// how many frames of its port were lost since the one before.
	head(b []byte) []byte
	frame(b []byte, r *record, epoch int64, dropped uint64) []byte
	tail(b []byte, ports []SinkStats) []byte
	// room is the most that frame appends for a frame of n octets.
	room(n int) int
	// write writes what the others have appended, any number of whole pieces.
	write(b []byte) error
}

// Sink is one sniffer at the mirror. The mirror's goroutine encodes frames into a bounded buffer,
// the sink's own goroutine writes it out.
type Sink struct {
	mirror *Mirror
	snap   int
	filter *bpf.VM // nil takes every frame
	opt    SinkOptions
	out    output
	owned  io.Closer // closed when the writer has ended; may be nil

	began    time.Time
	ports    []sinkPort
	detached atomic.Bool // what was lost is final

	mu      sync.Mutex
	pending []byte // what is to be written; its capacity is the bound
	closing bool
	wake    chan struct{} // capacity 1: pending or closing changed
	done    chan struct{} // closed when the writer has ended
	err     error         // why it ended; set before done is closed
}

// sinkPort is what a sink counts for one port.
type sinkPort struct {
	seen, accepted, dropped, kept atomic.Uint64
	gap                           uint64 // frames dropped since the last that was kept; the mirror's goroutine's
	lostBefore                    uint64 // the mirror's count when the sink came
	lost                          atomic.Uint64
}

// SinkStats counts frames since the sink was added.
type SinkStats struct {
	Seen     uint64 // taken off the rings
	Accepted uint64 // of those, passed by the filter
	Dropped  uint64 // of those, lost because the writer was too slow
	Written  uint64 // of those, handed to the writer
	Lost     uint64 // never seen, because a ring was full
}

func newSink(m *Mirror, o SinkOptions) (*Sink, error) {
	if o.SnapLen < 0 || o.SnapLen > maxSnapLen {
		return nil, fmt.Errorf("snap length %d is outside 0-%d: %w", o.SnapLen, maxSnapLen, ErrInvalid)
	}
	s := &Sink{mirror: m, opt: o, snap: o.SnapLen, wake: make(chan struct{}, 1),
		done: make(chan struct{}), pending: make([]byte, 0, sinkBuffer),
		ports: make([]sinkPort, len(m.cfg.Ports))}
	if s.snap == 0 {
		s.snap = maxSnapLen
	}
	if o.Filter != nil {
		vm, err := newFilter(o.Filter)
		if err != nil {
			return nil, err
		}
		s.filter = vm
	}
	return s, nil
}

// needs is how much of a frame the sink has to see: a filter may look anywhere.
func (s *Sink) needs() int {
	if s.filter != nil {
		return maxSnapLen
	}
	return s.snap
}

// deliver encodes r if the filter takes it and there is room. [mirror's goroutine]
func (s *Sink) deliver(r *record, epoch int64) {
	p := &s.ports[r.port]
	p.seen.Add(1)
	keep := min(len(r.data), s.snap)
	if s.filter != nil {
		n, err := s.filter.Run(r.data)
		if err != nil || n == 0 {
			return
		}
		keep = min(keep, n)
	}
	p.accepted.Add(1)
	cut := *r
	cut.data = r.data[:keep]
	s.mu.Lock()
	defer s.mu.Unlock()
	if cap(s.pending)-len(s.pending) < s.out.room(keep) {
		p.dropped.Add(1)
		p.gap++
		return
	}
	if len(s.pending) == 0 {
		s.notify() // the writer starts while the mirror goes on
	}
	s.pending = s.out.frame(s.pending, &cut, epoch, p.gap)
	p.gap = 0
	p.kept.Add(1)
}

// notify tells the writer that there may be something.
func (s *Sink) notify() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// start opens the output and starts the writer. [mirror's goroutine]
func (s *Sink) start(open func(*Sink) output) {
	s.began = time.Now()
	for i := range s.ports {
		s.ports[i].lostBefore = s.mirror.portStats(i).Lost
	}
	s.out = open(s)
	s.pending = s.out.head(s.pending)
	go s.write()
}

// detach says that no more frames will be delivered. [mirror's goroutine]
func (s *Sink) detach() {
	for i := range s.ports {
		s.ports[i].lost.Store(s.mirror.portStats(i).Lost - s.ports[i].lostBefore)
	}
	s.detached.Store(true)
}

// finish tells the writer to write what is pending and to end.
func (s *Sink) finish() {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	s.notify()
}

// write moves what is pending to the output until the sink is closed or the output fails.
func (s *Sink) write() {
	if s.err = s.writeAll(); s.owned != nil {
		s.err = errors.Join(s.err, s.owned.Close())
	}
	close(s.done)
	s.mirror.do(func() { s.mirror.end(s) }) // if it was not Close that ended the sink
}

func (s *Sink) writeAll() error {
	spare := make([]byte, 0, sinkBuffer)
	for {
		s.mu.Lock()
		batch, closing := s.pending, s.closing
		s.pending = spare[:0]
		s.mu.Unlock()
		if len(batch) > 0 {
			if err := s.out.write(batch); err != nil {
				return err
			}
		}
		spare = batch
		if closing {
			return s.out.write(s.out.tail(spare[:0], s.byPort()))
		}
		if len(batch) == 0 {
			<-s.wake
		}
	}
}

// Close writes out what was tapped until now and takes the sink off the mirror. It returns the
// error that ended the sink, if it was not Close.
func (s *Sink) Close() error {
	s.mirror.do(func() { s.mirror.end(s) })
	s.finish()
	<-s.done
	return s.err
}

// Done is closed when the sink has ended, by Close or because its writer failed.
func (s *Sink) Done() <-chan struct{} { return s.done }

// Stats returns the sink's counts, all ports together.
func (s *Sink) Stats() (sum SinkStats) {
	for _, p := range s.byPort() {
		sum.Seen += p.Seen
		sum.Accepted += p.Accepted
		sum.Dropped += p.Dropped
		sum.Written += p.Written
		sum.Lost += p.Lost
	}
	return sum
}

// byPort returns the sink's counts for each port.
func (s *Sink) byPort() []SinkStats {
	list := make([]SinkStats, len(s.ports))
	for i := range s.ports {
		p := &s.ports[i]
		lost := p.lost.Load()
		if !s.detached.Load() {
			lost = s.mirror.portStats(i).Lost - p.lostBefore
		}
		list[i] = SinkStats{
			Seen: p.seen.Load(), Accepted: p.accepted.Load(), Dropped: p.dropped.Load(),
			Written: p.kept.Load(), Lost: lost,
		}
	}
	return list
}
