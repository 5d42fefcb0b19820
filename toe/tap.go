package toe

import (
	"opentoe/pmd/frame"
	"opentoe/tcpoffload/vtime"
)

// Direction is that of a frame, seen from the port.
type Direction uint8

// The directions.
const (
	Receive Direction = iota
	Transmit
)

// String returns "rx" or "tx".
func (d Direction) String() string {
	if d == Receive {
		return "rx"
	}
	return "tx"
}

// Tap is a sniffer: it sees every frame of a worker's queues, those of a port in wire order, on the
// worker's thread, and must copy what it keeps. It never blocks. port is a place in [Info.Ports].
type Tap interface {
	Tap(w, port int, dir Direction, now vtime.Time, frames []frame.Frame)
}
