package ports

import "opentoe/pmd/frame"

// Queue is one receive and transmit queue pair, used by one worker. pmd.Queue implements it.
type Queue interface {
	// Receive replaces b's content with what has arrived and returns how many frames that is. The
	// frames are the caller's.
	Receive(b *frame.Burst) int
	// Alloc appends up to n empty frames to b and returns how many. Data has length 0 and capacity
	// for the largest frame of the port.
	Alloc(b *frame.Burst, n int) int
	// Transmit sends and empties b, and returns how many frames the device took; the others are
	// freed and counted.
	Transmit(b *frame.Burst) int
	// Free gives the frames back and empties b.
	Free(b *frame.Burst)
}
