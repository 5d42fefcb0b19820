package tcpoffload

// The tables that the engine works on.

import (
	"math/bits"

	"opentoe/tcpoffload/seq"
	"opentoe/tcpoffload/wire"
)

// Memory is all state of one engine: slices without pointers, allocated once. The caller may take
// it from the heap by NewMemory, or lay out slices of the same lengths in memory of its own. A
// zeroed Memory is formatted by New; one that another engine used is adopted as it is, so that the
// connections go on.
//
// Entry 0 of Conns, Listeners and Ranges is never used: index 0 means none.
type Memory struct {
	Root      []Root // one
	Conns     []TCB
	Listeners []Listener
	Buckets   []uint32 // of the flow table; a power of two
	Ports     []uint32 // of the listener table; a power of two
	Ranges    []Range
	Wheel     []uint32 // wheelLevels × wheelSlots list heads
}

// Root is the engine's own state beside the tables.
type Root struct {
	format   uint32 // memoryFormat once formatted
	freeConn uint32 // head of the free list of Conns
	// freshConn is the lowest entry of Conns never used: entries are not touched before their
	// first use, so a large table costs memory only as it fills.
	freshConn   uint32
	freeRange   uint32
	freshRange  uint32
	freedRanges uint32 // in the free list
	freeListen  uint32 // and of Listeners
	freshListen uint32
	liveConns   uint32
	txHead      uint32
	txTail      uint32
	twHead      uint32 // TIME-WAIT queue, oldest first
	twTail      uint32
	hashKey     [2]uint64
	isnKey      [2]uint64
	wheelTick   uint64              // ticks before it have expired
	wheelBusy   [wheelLevels]uint64 // bit per slot that is not empty
	mib         MIB
	drops       [NumDropReasons]uint64
}

// memoryFormat changes with the layout of any table.
const memoryFormat = 0x544f4504

// Listener is one passive open.
type Listener struct {
	addr     wire.Addr // zero: any
	port     uint16
	v6only   bool
	used     bool
	gen      uint32
	next     uint32 // next listener in the port's bucket, or in the free list
	halfOpen uint32 // connections in SYN-RECEIVED
	ready    uint32 // connections given and not yet taken off by CallAccepted
	backlog  uint32
	list     uint32 // half-open connections
	cookie   uint64
	opt      SocketOptions
}

// Range is the octets [left, right), one element of a list sorted by left.
type Range struct {
	left, right seq.Num
	next        uint32 // in the list, or in the free list
	stamp       uint32 // when it last grew: larger is later
}

// NewMemory returns zeroed tables for conns connections and listeners listeners. It panics if
// either is not in 1 to the limit of limits.go.
func NewMemory(conns, listeners int) *Memory {
	if conns < 1 || conns > maxConns || listeners < 1 || listeners > maxListeners {
		panic("tcpoffload: NewMemory: table size out of range")
	}
	return &Memory{
		Root:      make([]Root, 1),
		Conns:     make([]TCB, conns+1),
		Listeners: make([]Listener, listeners+1),
		Buckets:   make([]uint32, 1<<bits.Len(uint(2*conns-1))),
		Ports:     make([]uint32, portBuckets),
		Ranges:    make([]Range, 1+max((conns+1)*rangesPerConn, (conns+1)*2+minShared)),
		Wheel:     make([]uint32, wheelLevels*wheelSlots),
	}
}
