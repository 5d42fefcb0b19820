package softdev

import (
	"fmt"
	"net/netip"
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

// PortQueues is one port of a device, with the queues by which the workers use it.
type PortQueues struct {
	Port   *ports.Port   // addresses, next hops, responder
	Queues []ports.Queue // one a worker; each is used by its worker only
	// WaitFDs, if not empty, holds for each worker the descriptors that become readable when its
	// queue has frames. A queue without any is looked at every PollInterval.
	WaitFDs [][]int
	// Kernel, if not empty, has each worker's end of the exception path: the kernel shares the port's
	// addresses, sees what the device does not take, and answers for what is nobody's.
	Kernel []ports.KernelEnd
	// RSS must be set when there is more than one queue: it decides which worker owns a flow.
	RSS *RSS
	// Steering, if not nil, leaves to the kernel what it is not told of. It reads Config.PortUse as well.
	Steering ports.Steering
	// Judge, if not nil, is the packet filter that decides about connections of the port, whose SYNs come back
	// by [Device.Judged]. The port has the exception path, too.
	Judge ports.Judge
	// TxChecksum: the port finishes IPv4 header and TCP checksums of frames that ask for it.
	TxChecksum bool
}

// Config is what a software device is made of.
type Config struct {
	Name  string       // "toe0"
	Ports []PortQueues // at least one; no address stands on two

	// CPUs, if not empty, holds for each worker the processor to pin it to, -1 for none.
	CPUs []int
	// RegisterThread, if set, is called on each worker's thread before it uses a queue, and
	// UnregisterThread, if set, when it will not use one any more.
	RegisterThread   func() error
	UnregisterThread func()

	// PortUse, if not empty, has for each worker the memory in which its engine counts the use of local
	// ports (tcpoffload.Config).
	PortUse [][]uint32

	MaxConns     int // connections, all workers together, at least 1
	MaxListeners int // listening sockets, at least 1
	HalfOpens    int // SYN cache of a worker, entries; 0 = a default that follows from MaxConns
	TimeWaits    int // connections in TIME-WAIT of a worker; 0 = a default that follows from MaxConns
	Flights      int // bursts in flight of a worker beside a few for each connection; 0 likewise
	Islands      int // islands received beyond holes, likewise
	Tunables     tcpoffload.Tunables

	NoMerge      bool // every received segment reaches the engine by itself
	Poll         PollMode
	Spin         time.Duration // adaptive: how long to poll without work; 0 = a default
	PollInterval time.Duration // longest sleep of a worker with a queue that has no WaitFDs; 0 = a default
}

// check validates c and fills in defaults.
func (c *Config) check() error {
	fail := func(format string, a ...any) error {
		return fmt.Errorf("softdev: %s: %s: %w", c.Name, fmt.Sprintf(format, a...), toe.ErrInvalid)
	}
	workers := c.workers()
	switch {
	case c.Name == "":
		return fail("a device needs a name")
	case len(c.Ports) == 0:
		return fail("a device needs a port")
	case len(c.Ports) > maxPorts:
		return fail("%d ports, at most %d", len(c.Ports), maxPorts)
	case workers == 0:
		return fail("a device needs a queue")
	case workers > maxWorkers:
		return fail("%d queues, at most %d", workers, maxWorkers)
	case len(c.CPUs) != 0 && len(c.CPUs) != workers:
		return fail("processors for %d workers, there are %d", len(c.CPUs), workers)
	case len(c.PortUse) != 0 && len(c.PortUse) != workers:
		return fail("counters of ports for %d workers, there are %d", len(c.PortUse), workers)
	case c.MaxConns < 1 || c.connsPerWorker() > maxConnsPerWorker:
		return fail("%d connections, 1 to %d a worker", c.MaxConns, maxConnsPerWorker)
	case c.MaxListeners < 1:
		return fail("%d listeners, at least 1", c.MaxListeners)
	case c.HalfOpens < 0 || c.HalfOpens > tcpoffload.MaxRecords:
		return fail("%d half-open connections, 0 to %d a worker", c.HalfOpens, tcpoffload.MaxRecords)
	case c.TimeWaits < 0 || c.TimeWaits > tcpoffload.MaxRecords:
		return fail("%d connections in TIME-WAIT, 0 to %d a worker", c.TimeWaits, tcpoffload.MaxRecords)
	case c.Flights < 0 || c.Flights > tcpoffload.MaxPool:
		return fail("%d bursts in flight, 0 to %d a worker", c.Flights, tcpoffload.MaxPool)
	case c.Islands < 0 || c.Islands > tcpoffload.MaxPool:
		return fail("%d islands, 0 to %d a worker", c.Islands, tcpoffload.MaxPool)
	case c.Spin < 0 || c.PollInterval < 0:
		return fail("a negative duration")
	}
	if wrong := c.checkPorts(); wrong != "" {
		return fail("%s", wrong)
	}
	if c.Spin == 0 {
		c.Spin = defaultSpin
	}
	if c.PollInterval == 0 {
		c.PollInterval = defaultPollInterval
	}
	return nil
}

// checkPorts says what is wrong with the ports, "" if nothing is.
func (c *Config) checkPorts() string {
	owners := map[netip.Addr]string{}
	for i := range c.Ports {
		p := &c.Ports[i]
		if wrong := p.check(c.workers()); wrong != "" {
			return fmt.Sprintf("port %d: %s", i, wrong)
		}
		for _, pfx := range p.Port.Prefixes() {
			if other, taken := owners[pfx.Addr()]; taken {
				return fmt.Sprintf("port %d: address %v stands on port %s already", i, pfx.Addr(), other)
			}
			owners[pfx.Addr()] = p.Port.Name()
		}
	}
	return ""
}

// check says what is wrong with p in a device of that many workers, "" if nothing is.
func (p *PortQueues) check(workers int) string {
	switch {
	case p.Port == nil:
		return "it is missing"
	case len(p.Queues) != workers:
		return fmt.Sprintf("%d queues for %d workers", len(p.Queues), workers)
	case workers > 1 && p.RSS == nil:
		return fmt.Sprintf("%d queues need RSS to tell which worker owns a flow", workers)
	case p.RSS != nil && len(p.RSS.Key) < toeplitzKeyLen:
		return fmt.Sprintf("an RSS key of %d octets, at least %d", len(p.RSS.Key), toeplitzKeyLen)
	case len(p.Kernel) != 0 && len(p.Kernel) != workers:
		return fmt.Sprintf("exception paths for %d workers, there are %d", len(p.Kernel), workers)
	case p.Judge != nil && len(p.Kernel) == 0:
		return "a packet filter to respect, and no exception path to it"
	case len(p.WaitFDs) != 0 && len(p.WaitFDs) != workers:
		return fmt.Sprintf("wait descriptors for %d workers, there are %d", len(p.WaitFDs), workers)
	}
	return ""
}

// workers is how many threads the queues are for.
func (c *Config) workers() int {
	if len(c.Ports) == 0 {
		return 0
	}
	return len(c.Ports[0].Queues)
}

// connsPerWorker is MaxConns spread evenly, rounded up.
func (c *Config) connsPerWorker() int { return (c.MaxConns + c.workers() - 1) / c.workers() }

// sizes are those of a worker's tables.
func (c *Config) sizes() tcpoffload.Sizes {
	return tcpoffload.Sizes{
		Conns: c.connsPerWorker(), Listeners: c.MaxListeners, HalfOpens: c.HalfOpens, TimeWaits: c.TimeWaits,
		Flights: c.Flights, Ranges: c.Islands,
	}
}
