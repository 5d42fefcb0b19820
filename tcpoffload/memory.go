package tcpoffload

// The tables that the engine works on.

import (
	"math/bits"

	"opentoe/tcpoffload/seq"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// Memory is all state of one engine: slices without pointers, allocated once. The caller may take
// it from the heap by NewMemory, or lay out slices of the same lengths in memory of its own. A
// zeroed Memory is formatted by New; one that another engine used is adopted as it is, so that the
// connections go on.
//
// Entry 0 of Conns, Listeners, Ranges, Flights and Models is never used: index 0 means none. Conns, HalfOpens and
// TimeWaits share one space of indices, in this order: each is a stage in the life of a connection,
// and the flow table leads to any of them.
type Memory struct {
	Root      []Root // one
	Conns     []TCB
	HalfOpens []HalfOpen // the SYN cache
	TimeWaits []TimeWait
	FastOpens []FastOpenPeer // Fast Open cookies of servers; a power of two
	Listeners []Listener
	Buckets   []uint32 // of the flow table; a power of two
	Ports     []uint32 // of the listener table; a power of two
	Ranges    []Range
	Paths     []Path // a power of two
	Flights   []Flight
	Models    []Model
	Wheel     []uint32 // wheelLevels × wheelSlots list heads
}

// Root is the engine's own state beside the tables.
type Root struct {
	format   uint32 // memoryFormat once formatted
	freeConn uint32 // head of the free list of Conns
	// freshConn is the lowest entry of Conns never used: entries are not touched before their
	// first use, so a large table costs memory only as it fills.
	freshConn    uint32
	freeRange    uint32
	freshRange   uint32
	freedRanges  uint32 // in the free list
	freeFlight   uint32 // and of Flights
	freshFlight  uint32
	freedFlights uint32
	freeModel    uint32 // and of Models
	freshModel   uint32
	liveModels   uint32
	freeListen   uint32 // and of Listeners
	freshListen  uint32
	liveConns    uint32
	txHead       uint32
	txTail       uint32
	synCache     synCacheVars
	timeWait     timeWaitVars
	hashKey      [2]uint64
	isnKey       [2]uint64
	cookieKey    [2][2]uint64 // of SYN cookies: for the number, and for what proves it
	portCount    [portCounters]uint32
	fastOpenKey  [2][2]uint64        // of Fast Open cookies: the present one, and the one before
	wheelTick    uint64              // ticks before it have expired
	wheelBusy    [wheelLevels]uint64 // bit per slot that is not empty
	mib          MIB
	drops        [NumDropReasons]uint64
}

// memoryFormat changes with the layout of any table.
const memoryFormat = 0x544f4508

// Listener is one passive open.
type Listener struct {
	addr       wire.Addr // zero: any
	port       uint16
	v6only     bool
	used       bool
	paused     bool // it takes no new SYN
	gen        uint32
	next       uint32 // next listener in the port's bucket, or in the free list
	halfOpen   uint32 // connections in the SYN cache, at most backlog
	ready      uint32 // connections given and not yet taken off by CallAccepted, at most backlog
	backlog    uint32
	newest     uint32 // list of the half-open connections by age
	oldest     uint32
	cookie     uint64
	opt        SocketOptions
	pending    uint32 // Fast Open connections in SYN-RECEIVED
	resets     uint32 // those that the peer reset; they count until resetUntil
	resetUntil vtime.Time
	// cookieUntil is when the last SYN cookie sent runs out; before the first one, zero.
	cookieUntil vtime.Time
	group       uint64 // those of one group may share address and port; 0: of none
}

// Range is the octets [left, right), one element of a list sorted by left. The elements are also linked
// by when they last grew.
type Range struct {
	left, right  seq.Num
	next         uint32 // in the list, or in the free list
	newer, older uint32
}

// Sizes are the lengths of the tables that are a matter of taste, entries. Zero: a default that
// follows from Conns.
type Sizes struct {
	Conns     int // connections, 1 to MaxConns
	Listeners int // 1 to 65536
	HalfOpens int // SYN cache, at most MaxRecords
	TimeWaits int // connections in TIME-WAIT, at most MaxRecords
	FastOpens int // servers whose Fast Open cookies are kept, a power of two, 4 to MaxRecords
	// Flights is how many entries of 64 octets describe what is in flight: one for each burst sent, and for
	// each piece that loss cuts it into. A window of n segments sent one by one takes n; the default is
	// not made for one connection with a window of hundreds of megabytes.
	Flights int
	// Ranges is how many islands beyond holes can be held for all receive streams, 20 octets each.
	Ranges int
	// Models is how many connections may have a congestion control that models the path (BBR). The default is
	// all: an entry takes memory, 264 octets, only when it is used first.
	Models int
}

// NewMemory returns zeroed tables for conns connections and listeners listeners, the others of
// default sizes. It panics if either is not in its range.
func NewMemory(conns, listeners int) *Memory {
	return NewMemoryOf(Sizes{Conns: conns, Listeners: listeners})
}

// NewMemoryOf returns zeroed tables of the sizes s. It panics if one is not in its range.
func NewMemoryOf(s Sizes) *Memory {
	if s.HalfOpens == 0 {
		s.HalfOpens = min(max(s.Conns/4, minRecords), defaultHalfOpens)
	}
	if s.TimeWaits == 0 {
		s.TimeWaits = min(max(s.Conns, minRecords), defaultTimeWaits)
	}
	if s.FastOpens == 0 {
		s.FastOpens = defaultFastOpens
	}
	conns := s.Conns
	if conns < 1 || conns > MaxConns || s.Listeners < 1 || s.Listeners > maxListeners ||
		s.HalfOpens < 1 || s.HalfOpens > MaxRecords || s.TimeWaits < 1 || s.TimeWaits > MaxRecords ||
		!validFastOpens(s.FastOpens) ||
		s.Models < 0 || s.Models > MaxConns || s.Flights < 0 || s.Flights > MaxPool || s.Ranges < 0 || s.Ranges > MaxPool {
		panic("tcpoffload: NewMemory: table size out of range")
	}
	shared := max(s.Conns*sharedPerConn, minShared)
	if s.Flights == 0 {
		s.Flights = shared
	}
	if s.Ranges == 0 {
		s.Ranges = shared
	}
	if s.Models == 0 {
		s.Models = s.Conns
	}
	return &Memory{
		Root:      make([]Root, 1),
		Conns:     make([]TCB, conns+1),
		HalfOpens: make([]HalfOpen, s.HalfOpens),
		TimeWaits: make([]TimeWait, s.TimeWaits),
		FastOpens: make([]FastOpenPeer, s.FastOpens),
		Listeners: make([]Listener, s.Listeners+1),
		Buckets:   make([]uint32, 1<<bits.Len(uint(max(2*conns, conns+s.HalfOpens+s.TimeWaits)-1))),
		Ports:     make([]uint32, portBuckets),
		Ranges:    make([]Range, 1+s.Ranges+(s.Conns+1)*rangesPerConn),
		Flights:   make([]Flight, 1+s.Flights+(s.Conns+1)*flightsPerConn),
		Models:    make([]Model, 1+s.Models),
		Paths:     make([]Path, pathEntries),
		Wheel:     make([]uint32, wheelLevels*wheelSlots),
	}
}

// validFastOpens reports whether the cookie cache may have n entries.
func validFastOpens(n int) bool { return n >= fastOpenWays && n <= MaxRecords && n&(n-1) == 0 }
