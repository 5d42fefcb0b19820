package tcpoffload

// The engine: construction, entry points, queries.

import (
	"fmt"
	"math"

	"opentoe/tcpoffload/wire"
)

// Config says how to build an engine.
type Config struct {
	Memory   *Memory
	Tunables Tunables
	ISNKey   [16]byte // secret of RFC 6528; random, one per host
	Seed     uint64   // secret of the flow table's hash
	// FastOpenKey is the secret of Fast Open cookies (RFC 7413 §4.1.2), the same in all engines that
	// serve an address. Zero: one that follows from ISNKey.
	FastOpenKey [16]byte
	// MTU is the largest IP packet of the device, octets, 576 to 65535; 0 means 1500. It gives
	// the MSS to announce.
	MTU int
	// DeviceSegments: the device cuts large segments (TSO): TxSegment.Len may reach MaxSegSize,
	// with SegSize set.
	DeviceSegments bool
	MaxSegSize     uint32 // octets, valid only with DeviceSegments; 0 means 64 KiB less headers
	// PortUse, if not empty, has NumPorts counters, one for each local port: of the connections that have
	// it, half-open ones and those in TIME-WAIT included. The engine sets and keeps them for others to
	// read; one that goes from one table to another is never seen as gone. The first, of no port, is 1
	// while the connection table is full: SYNs are in vain then.
	PortUse []uint32
}

// Engine is a TCP engine for one thread. It is not safe for concurrent use, holds no clock and
// does no I/O; see the package documentation.
type Engine struct {
	root    *Root
	conns   []TCB
	syns    []HalfOpen
	tws     []TimeWait
	fops    []FastOpenPeer
	lsts    []Listener
	bucket  []uint32
	mask    uint32 // len(bucket)-1
	ports   []uint32
	portUse []uint32 // by local port, or nil
	ranges  []Range
	flights []Flight
	models  []Model
	paths   []Path
	wheel   []uint32
	tun     Tunables
	mtu     int
	tso     uint32 // largest segment to hand to the device, 0: one MSS
	last    uint32 // entry found by the last lookup, a guess for the next
	// synBase and twBase are where the indices of HalfOpens and TimeWaits begin, after those of Conns.
	synBase, twBase uint32
	slow            bool // tests: no header prediction
}

// New builds an engine over cfg.Memory. Used memory is adopted with its connections, timers and
// keys; cfg's keys are then ignored. Errors wrap ErrConfig or ErrTunable.
func New(cfg Config) (*Engine, error) {
	m := cfg.Memory
	switch {
	case m == nil || len(m.Root) != 1:
		return nil, fmt.Errorf("no memory: %w", ErrConfig)
	case len(m.Conns) < 2 || len(m.Conns) > MaxConns+1 || len(m.Listeners) < 2 ||
		len(m.HalfOpens) < 1 || len(m.HalfOpens) > MaxRecords ||
		len(m.TimeWaits) < 1 || len(m.TimeWaits) > MaxRecords || !validFastOpens(len(m.FastOpens)) ||
		len(m.Listeners) > maxListeners+1 || len(m.Ranges) < 2 || len(m.Flights) < 2 || len(m.Models) < 1 || len(m.Wheel) != wheelLevels*wheelSlots:
		return nil, fmt.Errorf("memory tables have impossible lengths: %w", ErrConfig)
	case len(m.Buckets) == 0 || len(m.Buckets)&(len(m.Buckets)-1) != 0 ||
		len(m.Ports) == 0 || len(m.Ports)&(len(m.Ports)-1) != 0, len(m.Paths)&(len(m.Paths)-1) != 0:
		return nil, fmt.Errorf("%d flow buckets, %d port buckets, %d paths: not powers of two: %w",
			len(m.Buckets), len(m.Ports), len(m.Paths), ErrConfig)
	}
	if n := len(cfg.PortUse); n != 0 && n != NumPorts {
		return nil, fmt.Errorf("%d counters of ports, not %d: %w", n, NumPorts, ErrConfig)
	}
	if cfg.MTU == 0 {
		cfg.MTU = 1500
	}
	if cfg.MTU < minMTU || cfg.MTU > maxMTU {
		return nil, fmt.Errorf("MTU %d: must be %d to %d: %w", cfg.MTU, minMTU, maxMTU, ErrConfig)
	}
	if err := cfg.Tunables.validate(); err != nil {
		return nil, err
	}
	e := &Engine{
		root: &m.Root[0], conns: m.Conns, syns: m.HalfOpens, tws: m.TimeWaits, fops: m.FastOpens, lsts: m.Listeners, bucket: m.Buckets,
		synBase: uint32(len(m.Conns)), twBase: uint32(len(m.Conns) + len(m.HalfOpens)),
		mask: uint32(len(m.Buckets) - 1), ports: m.Ports, portUse: cfg.PortUse, ranges: m.Ranges, flights: m.Flights, models: m.Models, paths: m.Paths, wheel: m.Wheel,
		tun: cfg.Tunables, mtu: cfg.MTU,
	}
	if cfg.DeviceSegments {
		const largest = 65535 - 40 - 60 // IPv6 and TCP headers with all options
		if cfg.MaxSegSize == 0 {
			cfg.MaxSegSize = largest
		}
		if cfg.MaxSegSize > largest {
			return nil, fmt.Errorf("MaxSegSize %d: at most %d: %w", cfg.MaxSegSize, largest, ErrConfig)
		}
		e.tso = cfg.MaxSegSize
	}
	switch e.root.format {
	case 0:
		e.format(&cfg)
	case memoryFormat:
	default:
		return nil, fmt.Errorf("memory has format %#x, not %#x: %w", e.root.format, memoryFormat, ErrConfig)
	}
	e.countPorts()
	return e, nil
}

// MIB returns the engine's counters; the caller reads them on the engine's thread.
func (e *Engine) MIB() *MIB { return &e.root.mib }

// Drops returns the discards by reason; the caller reads them on the engine's thread.
func (e *Engine) Drops() *[NumDropReasons]uint64 { return &e.root.drops }

// Tunables returns the settings in force.
func (e *Engine) Tunables() Tunables { return e.tun }

// SetTunables replaces the settings. On error, which wraps ErrTunable, nothing changes.
func (e *Engine) SetTunables(t Tunables) error {
	if err := t.validate(); err != nil {
		return err
	}
	e.tun = t
	return nil
}

// Pending reports whether Transmit has something to do.
func (e *Engine) Pending() bool { return e.root.txHead != 0 || e.root.synCache.resets != 0 }

// Conns returns how many entries of the connection table are in use.
func (e *Engine) Conns() int { return int(e.root.liveConns) }

// HalfOpens returns how many entries of the SYN cache are in use.
func (e *Engine) HalfOpens() int { return int(e.root.synCache.live) }

// TimeWaits returns how many connections are in TIME-WAIT.
func (e *Engine) TimeWaits() int { return int(e.root.timeWait.live) }

// SetCookie gives connection h the owner's cookie, which comes back with every action and segment.
// Unknown handles are ignored.
func (e *Engine) SetCookie(h Handle, cookie uint64) {
	if t := e.find(h); t != nil {
		t.cookie = cookie
		t.flags &^= flagOffered
	}
}

// Cookie returns the cookie of h.
func (e *Engine) Cookie(h Handle) (uint64, bool) {
	if t := e.find(h); t != nil {
		return t.cookie, true
	}
	return 0, false
}

// NextHop returns where the segments of connection h go.
func (e *Engine) NextHop(h Handle) (hop uint32, ok bool) {
	if t := e.find(h); t != nil {
		return t.nextHop, true
	}
	return 0, false
}

// Next returns the first live entry at table index i or later, to walk the tables: connections, then
// those of the SYN cache, then those in TIME-WAIT. The latter two are known to Info, and a half-open
// one to CallAbort.
func (e *Engine) Next(i uint32) (Handle, bool) {
	h, _ := e.Scan(i, math.MaxInt)
	return h, h != 0
}

// Scan is Next for who has little time: it looks at n entries, used or not, at most. The Handle is zero when none of
// them lives. next is greater than i, and where to go on; zero after the last.
func (e *Engine) Scan(i uint32, n int) (h Handle, next uint32) {
	r := e.root
	for i = max(i, 1); i < r.freshConn; i++ {
		if t := &e.conns[i]; t.state != StateClosed {
			return e.handle(i), i + 1
		}
		if n--; n == 0 {
			return 0, i + 1
		}
	}
	for i = max(i, e.synBase); i < e.synBase+r.synCache.fresh; i++ {
		if h := &e.syns[i-e.synBase]; h.listener != 0 {
			return Handle(h.gen)<<32 | Handle(i), i + 1
		}
		if n--; n == 0 {
			return 0, i + 1
		}
	}
	for i = max(i, e.twBase); i < e.twBase+r.timeWait.fresh; i++ {
		if w := &e.tws[i-e.twBase]; w.expires != 0 {
			return Handle(w.gen)<<32 | Handle(i), i + 1
		}
		if n--; n == 0 {
			return 0, i + 1
		}
	}
	return 0, 0
}

// Lookup returns the connection of flow f. One that is half-open in the SYN cache, or in TIME-WAIT,
// has no owner and is not returned.
func (e *Engine) Lookup(f *wire.Flow) (Handle, bool) {
	if i := e.lookup(f); i != 0 {
		return e.handle(i), true
	}
	return 0, false
}

// Opens reports whether a segment of flow f may begin a connection or complete its handshake. The
// owner, who has no room for text before that, lets such a segment arrive without its text first.
func (e *Engine) Opens(f *wire.Flow) bool {
	i := e.lookupAny(f)
	return i >= e.synBase && i < e.twBase || (i == 0 || i >= e.twBase) && e.findListener(f) != 0
}

// find returns the TCB of h, or nil.
func (e *Engine) find(h Handle) *TCB {
	i := h.Index()
	if i == 0 || i >= uint32(len(e.conns)) {
		return nil
	}
	t := &e.conns[i]
	if t.gen != uint32(h>>32) || t.state == StateClosed {
		return nil
	}
	return t
}

// findHalfOpen returns the entry of the SYN cache that h names, or nil.
func (e *Engine) findHalfOpen(h Handle) *HalfOpen {
	i := h.Index()
	if i < e.synBase || i >= e.twBase {
		return nil
	}
	s := &e.syns[i-e.synBase]
	if s.gen != uint32(h>>32) || s.listener == 0 {
		return nil
	}
	return s
}

// findTimeWait returns the entry of TIME-WAIT that h names, or nil.
func (e *Engine) findTimeWait(h Handle) *TimeWait {
	i := h.Index()
	if i < e.twBase || i-e.twBase >= uint32(len(e.tws)) {
		return nil
	}
	w := &e.tws[i-e.twBase]
	if w.gen != uint32(h>>32) || w.expires == 0 {
		return nil
	}
	return w
}

// nextGen returns the generation after gen, never 0.
func nextGen(gen uint32) uint32 { return max(gen+1, 1) }

func (e *Engine) handle(i uint32) Handle {
	return Handle(e.conns[i].gen)<<32 | Handle(i)
}
