package packetdrill

import (
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// Script is a parsed packet script.
type Script struct {
	File    string
	Options Options
	events  []event
}

// Options are the settings at the top of a script.
type Options struct {
	Tolerance vtime.Duration // by how much times may be missed
	MTU       int            // octets, as seen by IPv4; IPv6 runs have 20 more, so that the MSS is the same
	IPVersion int            // 4 or 6: run only over it; 0: both
	defines   map[string]string
}

// timeKind says how an event's time is meant.
type timeKind uint8

const (
	timeAbsolute timeKind = iota
	timeRelative          // to the event before
	timeAny               // outbound packets only
)

// event is one line of a script. Exactly one of packet, call, settings, code is set.
type event struct {
	pos    Pos
	kind   timeKind
	at     vtime.Duration
	until  vtime.Duration // end of a range, valid with ranged
	ranged bool

	packet   *packet
	call     *call
	settings []setting // not nil for a command
	code     []statement
}

// ecnCheck says what is demanded of, or put into, the IP header.
type ecnCheck uint8

const (
	ecnIgnore ecnCheck = iota
	ecnExact           // the codepoint
	ecnAnyECT          // ECT(0) or ECT(1)
	ecnTOS             // the whole octet
)

// packet is a TCP segment, or an ICMP error, of a script. Sequence numbers are the script's own.
type packet struct {
	outbound bool
	ecn      ecnCheck
	tos      uint8 // valid with ecnTOS; with ecnExact the codepoint

	src, dst uint16 // ports, 0: those of the connection

	flags   wire.Flags
	seq     uint32
	len     int
	ack     uint32 // valid with wire.ACK
	win     int    // -1: not said
	urg     uint16
	options []tcpOption
	anyOpts bool // <...>

	icmp *icmpError
	text string // as written, white space made single
}

// tcpOption is one option, in the order of the wire.
type tcpOption struct {
	kind     uint8
	val, ecr uint32 // mss and wscale: val
	blocks   [][2]uint32
	cookie   []byte
	exp      bool // Fast Open in its experimental form
}

// icmpError is an inbound ICMP error that quotes a segment of ours.
type icmpError struct {
	what string // one of icmpTypes
	mtu  int
	seq  uint32
	len  int
}

// call is a system call.
type call struct {
	name   string
	args   []value
	result value
	errno  string
	end    vtime.Duration // of a blocking call
	blocks bool
}

// value is an argument or result.
type value struct {
	pos    Pos
	kind   valueKind
	num    int64
	text   string
	list   []value // elements of an array, fields of a struct, arguments of a function
	names  []string
	sizeOf []int64 // struct: n of name(n), −1 without
}

type valueKind uint8

const (
	valAny    valueKind = iota // ...
	valInt                     // number, or symbols joined by |
	valString                  // "..."
	valArray                   // [ , ]
	valStruct                  // { name = , }
	valFunc                    // name( , )
)
