package ports

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"opentoe/pmd/frame"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
	"opentoe/toe"
)

// KernelCounter names what an exception path counts.
type KernelCounter uint8

// The counters, each of the frames of all workers.
const (
	KernelUp           KernelCounter = iota // received frames that the kernel took
	KernelUpOctets                          // of those
	KernelUpLimited                         // received frames lost: beyond the rate
	KernelUpFull                            // received frames lost: the ring was full
	KernelUpRefused                         // received frames lost: the interface is down or gone
	KernelDown                              // frames that the kernel sent
	KernelDownOctets                        // of those
	KernelDownPaused                        // times the kernel had to wait: beyond the rate
	KernelDownOversize                      // frames that the kernel sent, lost: larger than the port's
	NumKernelCounters
)

var kernelCounterNames = [NumKernelCounters]string{
	"kernel-up", "kernel-up-octets", "kernel-up-limited", "kernel-up-full", "kernel-up-refused",
	"kernel-down", "kernel-down-octets", "kernel-down-paused", "kernel-down-oversize",
}

// String returns the counter's name.
func (c KernelCounter) String() string {
	if c < NumKernelCounters {
		return kernelCounterNames[c]
	}
	return "unknown"
}

// KernelCounters is one value for each [KernelCounter].
type KernelCounters [NumKernelCounters]uint64

// exception is one worker's end of an exception path, as [KernelEnd], and its other side: rings of
// copied frames to and from two goroutines that do the system calls.
//
// Waking follows the rule of every sleeper here: who is about to block declares it and looks once more;
// who has something for him leaves it first and then looks at the declaration.
type exception struct {
	up, down *ring

	// The worker's.
	limit meter
	lost  struct{ limited, oversize atomic.Uint64 }
	_     [64]byte

	asleep  atomic.Bool   // the worker is about to block or blocked
	wakeFD  int           // eventfd for the worker; edge-triggered, never read
	feeding atomic.Bool   // the goroutine that feeds the kernel waits on fed
	fed     chan struct{} // capacity 1
	crowded atomic.Bool   // the goroutine that reads from the kernel waits on roomy
	roomy   chan struct{} // capacity 1
	_       [64]byte
	in      struct{ frames, octets, refused atomic.Uint64 } // written by who feeds the kernel
	_       [64]byte
	out     struct{ frames, octets, paused atomic.Uint64 } // written by who reads from the kernel
	pace    meter                                          // of who reads from the kernel
	unshown int                                            // frames put and not published; of the same
	quit    chan struct{}                                  // closed to end both
	longest int                                            // octets of a frame that may come down
	clock   func() vtime.Time
}

// newException returns an end whose rate is limited each way. Frames that come down are at most longest
// octets.
func newException(limit Rate, longest int, clock func() vtime.Time) (*exception, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	return &exception{
		up: newRing(exceptionRing), down: newRing(exceptionRing),
		limit: newMeter(limit), pace: newMeter(limit),
		wakeFD: fd, fed: make(chan struct{}, 1), roomy: make(chan struct{}, 1), quit: make(chan struct{}),
		longest: longest, clock: clock,
	}, nil
}

// Up implements [KernelEnd].
func (e *exception) Up(now vtime.Time, f *frame.Frame) {
	if !e.limit.pass(now, len(f.Data), urgent(f.Data)) {
		e.lost.limited.Add(1)
		return
	}
	e.up.put(now, 0, toe.Receive, f.Data, maxSnapLen)
	e.up.publish()
	if e.feeding.Load() {
		signal(e.fed)
	}
}

// urgent reports whether a frame is what a link needs to work at all: ARP, or ICMPv6 without extension
// headers.
func urgent(b []byte) bool {
	eth, ok := wire.AsEthernet(b)
	if !ok {
		return false
	}
	switch t, off := eth.Network(); t {
	case wire.TypeARP:
		return true
	case wire.TypeIPv6:
		ip, ok := wire.AsIPv6(b[off:])
		return ok && ip.NextHeader() == wire.ProtoICMPv6
	}
	return false
}

// Down implements [KernelEnd].
func (e *exception) Down(blank, tx *frame.Burst) (n int) {
	var rec record
	for tx.Room() > 0 && blank.Len() > 0 && e.down.peek(&rec) {
		last := blank.Len() - 1
		f := *blank.At(last)
		if len(rec.data) > cap(f.Data) {
			e.lost.oversize.Add(1)
		} else {
			f.Data = append(f.Data[:0], rec.data...)
			blank.Truncate(last)
			*tx.Push() = f
			n++
		}
		e.down.advance(&rec)
	}
	if e.crowded.Load() && e.down.used() <= exceptionRing/2 {
		signal(e.roomy)
	}
	return n
}

// Waiting implements [KernelEnd].
func (e *exception) Waiting() bool { return !e.down.empty() }

// Sleep implements [KernelEnd].
func (e *exception) Sleep() { e.asleep.Store(true) }

// Awake implements [KernelEnd].
func (e *exception) Awake() { e.asleep.Store(false) }

// WaitFD implements [KernelEnd].
func (e *exception) WaitFD() int { return e.wakeFD }

// feed gives write every frame that goes up, until quit is closed. The error of one frame does not end it.
func (e *exception) feed(write func(b []byte) error) {
	var rec record
	for {
		for e.up.peek(&rec) {
			if write(rec.data) != nil {
				e.in.refused.Add(1)
			} else {
				e.in.frames.Add(1)
				e.in.octets.Add(uint64(len(rec.data)))
			}
			e.up.advance(&rec)
		}
		e.feeding.Store(true)
		if e.up.empty() && !e.await(e.fed) {
			return
		}
		e.feeding.Store(false)
	}
}

// take puts a frame that the kernel sends into the ring when the rate allows, and shows the worker full
// batches. It returns false when quit is closed.
func (e *exception) take(b []byte) bool {
	for {
		d := e.pace.delay(e.clock(), len(b))
		if d == 0 {
			break
		}
		e.show()
		e.out.paused.Add(1)
		if !e.pause(d) {
			return false
		}
	}
	e.out.frames.Add(1)
	e.out.octets.Add(uint64(len(b)))
	e.down.put(0, 0, toe.Transmit, b, maxSnapLen)
	if e.unshown++; e.unshown == exceptionBatch {
		e.show()
	}
	return true
}

// show lets the worker see what was taken.
func (e *exception) show() {
	if e.unshown == 0 {
		return
	}
	e.unshown = 0
	e.down.publish()
	if e.asleep.Load() {
		var one [8]byte
		binary.NativeEndian.PutUint64(one[:], 1)
		unix.Write(e.wakeFD, one[:]) // cannot fail: 2^64 wake-ups would have to come first
	}
}

// room waits until a frame fits into the ring down. It returns false when quit is closed.
func (e *exception) room() bool {
	for !e.down.fits(e.longest) {
		e.show()
		e.crowded.Store(true)
		if e.down.used() > exceptionRing/2 && !e.await(e.roomy) {
			return false
		}
		e.crowded.Store(false)
	}
	return true
}

// await waits for a signal. It returns false when quit is closed.
func (e *exception) await(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	case <-e.quit:
		return false
	}
}

// pause waits for d. It returns false when quit is closed.
func (e *exception) pause(d vtime.Duration) bool {
	t := time.NewTimer(time.Duration(d))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-e.quit:
		return false
	}
}

// signal wakes who waits on c, now or next time.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// counters adds up what the end has counted.
func (e *exception) counters(c *KernelCounters) {
	c[KernelUp] += e.in.frames.Load()
	c[KernelUpOctets] += e.in.octets.Load()
	c[KernelUpLimited] += e.lost.limited.Load()
	c[KernelUpFull] += e.up.lost[0].Load()
	c[KernelUpRefused] += e.in.refused.Load()
	c[KernelDown] += e.out.frames.Load()
	c[KernelDownOctets] += e.out.octets.Load()
	c[KernelDownPaused] += e.out.paused.Load()
	c[KernelDownOversize] += e.lost.oversize.Load() + e.down.lost[0].Load() // there is room for others
}
