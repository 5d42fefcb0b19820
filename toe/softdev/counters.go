package softdev

import (
	"opentoe/tcpoffload"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// Drop says why the device itself discarded a frame or segment. What the parser and the engine
// discard is counted under wire.Verdict and tcpoffload.DropReason.
type Drop uint8

// The reasons.
const (
	DropDeviceChecksum  Drop = iota // received: the port found a checksum wrong
	DropNotOurMAC                   // received: TCP in a frame for another station, or a broadcast
	DropNotOurAddress               // received: TCP for an address that its port does not have
	DropUnknownProtocol             // received: neither TCP nor anything the responder answers
	DropNoRoute                     // received: the sender is not reached through the port that brought it
	DropNoSocket                    // received: payload for a connection without a socket: half-open, or done
	DropNoSpace                     // received: no room for the payload; the peer sends it again
	DropNoFrame                     // to send: the driver had no buffer
	DropFetch                       // to send: the program's octets could not be had
	DropICMPLimited                 // received: an ICMP error beyond what is believed in a second
	DropICMPUnknown                 // received: an ICMP error that quotes nothing that is under way
	DropOversize                    // to send: the segment does not fit in the driver's buffer
	DropSynFlood                    // received: a SYN beyond what is taken in a crowd; not parsed
	DropJudged                      // received: a SYN for which there was no room or no listener any more when the packet filter had let it through
	NumDrops
)

// String returns the name under which the reason is counted.
func (r Drop) String() string {
	switch r {
	case DropDeviceChecksum:
		return "device-checksum"
	case DropNotOurMAC:
		return "not-our-mac"
	case DropNotOurAddress:
		return "not-our-address"
	case DropUnknownProtocol:
		return "unknown-protocol"
	case DropNoRoute:
		return "no-route"
	case DropNoSocket:
		return "no-socket"
	case DropNoSpace:
		return "no-space"
	case DropNoFrame:
		return "no-frame"
	case DropFetch:
		return "fetch"
	case DropICMPLimited:
		return "icmp-limited"
	case DropICMPUnknown:
		return "icmp-unknown"
	case DropOversize:
		return "oversize"
	case DropSynFlood:
		return "syn-flood"
	case DropJudged:
		return "judged"
	}
	return "unknown"
}

// Counters are one worker's figures since it was made. They only grow.
type Counters struct {
	Iterations         uint64
	Busy, Idle, Asleep vtime.Duration // sums to the time since Attach
	Sleeps             uint64         // times blocked
	Wakes              uint64         // times a descriptor ended it, not the timeout

	TxStalls        uint64 // iterations that could not send for want of frames
	Merged          uint64 // segments that reached the engine as part of an earlier one
	BadOptions      uint64 // segments with a malformed option list
	ICMPErrors      uint64 // ICMP errors that reached a connection
	Rerouted        uint64 // connections that got another next hop when routes changed
	PassEstablished uint64 // connections given to the socket layer
	PassRefused     uint64 // connections that it refused
	LeftTableFull   uint64 // SYNs for listeners not taken because the connection table was full
	LeftNoRoom      uint64 // SYNs for listeners not taken because the socket layer had no room

	Verdicts [wire.NumVerdicts]uint64 // received frames by what the parser made of them
	Drops    [NumDrops]uint64
}

// PortCounters are what one worker moved over one port since it was made.
type PortCounters struct {
	RxFrames, RxOctets uint64
	TxFrames, TxOctets uint64
	TxRefused          uint64 // of TxFrames, those that the port did not take
}

// drop counts one discarded frame or segment.
func (w *worker) drop(r Drop) { w.count.Drops[r]++ }

// Snapshot is everything one worker counts, taken at one instant between two iterations.
type Snapshot struct {
	Now vtime.Time
	Counters
	Ports       []PortCounters // in the order of Config.Ports
	MIB         tcpoffload.MIB
	EngineDrops [tcpoffload.NumDropReasons]uint64
}
