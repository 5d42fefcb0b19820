package softdev

import (
	"fmt"
	"time"

	"opentoe/ports"
	"opentoe/tcpoffload"
	"opentoe/toe"
)

// PollMode says what a worker does when there is nothing to do.
type PollMode uint8

// The modes.
const (
	// Adaptive workers poll for Config.Spin after the last work and then sleep.
	Adaptive PollMode = iota
	// Busy workers never sleep: lowest latency for one core each.
	Busy
)

// String returns the mode's name in the configuration.
func (m PollMode) String() string {
	if m == Busy {
		return "busy"
	}
	return "adaptive"
}

// RSS describes how the port spreads received frames over queues.
type RSS struct {
	Key   []byte   // Toeplitz key, at least 40 octets
	Table []uint16 // redirection table: queue by hash modulo len; empty: queue = hash modulo queues
}

// Config is what a software device is made of.
type Config struct {
	Name   string        // "toe0"
	Port   *ports.Port   // addresses, next hops, responder
	Queues []ports.Queue // of the port, one a worker; each is used by its worker only

	// WaitFDs, if not empty, holds for each worker the descriptors that become readable when its
	// queue has frames. A worker without any wakes every PollInterval to look.
	WaitFDs [][]int
	// CPUs, if not empty, holds for each worker the processor to pin it to, -1 for none.
	CPUs []int
	// RSS must be set when there is more than one queue: it decides which worker owns a flow.
	RSS *RSS
	// TxChecksum: the port finishes IPv4 header and TCP checksums of frames that ask for it.
	TxChecksum bool
	// RegisterThread, if set, is called on each worker's thread before it uses its queue, and
	// UnregisterThread, if set, when it will not use it any more.
	RegisterThread   func() error
	UnregisterThread func()

	MaxConns     int // connections, all workers together, at least 1
	MaxListeners int // listening sockets, at least 1
	Tunables     tcpoffload.Tunables

	Poll         PollMode
	Spin         time.Duration // adaptive: how long to poll without work; 0 = a default
	PollInterval time.Duration // longest sleep of a worker without WaitFDs; 0 = a default
}

// check validates c and fills in defaults.
func (c *Config) check() error {
	fail := func(format string, a ...any) error {
		return fmt.Errorf("softdev: %s: %s: %w", c.Name, fmt.Sprintf(format, a...), toe.ErrInvalid)
	}
	workers := len(c.Queues)
	switch {
	case c.Name == "":
		return fail("a device needs a name")
	case c.Port == nil:
		return fail("a device needs a port")
	case workers == 0:
		return fail("a device needs a queue")
	case workers > maxWorkers:
		return fail("%d queues, at most %d", workers, maxWorkers)
	case workers > 1 && c.RSS == nil:
		return fail("%d queues need RSS to tell which worker owns a flow", workers)
	case c.RSS != nil && len(c.RSS.Key) < toeplitzKeyLen:
		return fail("an RSS key of %d octets, at least %d", len(c.RSS.Key), toeplitzKeyLen)
	case len(c.WaitFDs) != 0 && len(c.WaitFDs) != workers:
		return fail("wait descriptors for %d workers, there are %d", len(c.WaitFDs), workers)
	case len(c.CPUs) != 0 && len(c.CPUs) != workers:
		return fail("processors for %d workers, there are %d", len(c.CPUs), workers)
	case c.MaxConns < 1 || c.connsPerWorker() > maxConnsPerWorker:
		return fail("%d connections, 1 to %d a worker", c.MaxConns, maxConnsPerWorker)
	case c.MaxListeners < 1:
		return fail("%d listeners, at least 1", c.MaxListeners)
	case c.Spin < 0 || c.PollInterval < 0:
		return fail("a negative duration")
	}
	if c.Spin == 0 {
		c.Spin = defaultSpin
	}
	if c.PollInterval == 0 {
		c.PollInterval = defaultPollInterval
	}
	return nil
}

// connsPerWorker is MaxConns spread evenly, rounded up.
func (c *Config) connsPerWorker() int { return (c.MaxConns + len(c.Queues) - 1) / len(c.Queues) }
