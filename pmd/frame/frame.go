// Package frame holds Frame and Burst, the one packet container that crosses package borders.
//
// A frame is a view of a driver's buffer. It has one owner at a time: a received frame belongs to
// the poll iteration that received it, which frees it, transmits it or hands it to the exception
// path before it ends; after that no slice into it may be used. Whoever wants to keep bytes copies
// them.
package frame

// MaxBurst is the largest number of frames that moves in one call.
const MaxBurst = 64

// Flags says what the driver found out about a received frame, or what it is asked to do with one
// to send.
type Flags uint16

// Receive flags are set by the driver, transmit flags by the sender.
const (
	RxIPCsumGood Flags = 1 << iota // the device verified the IPv4 header checksum
	RxIPCsumBad                    // the device found it wrong
	RxL4CsumGood                   // the device verified the TCP or UDP checksum
	RxL4CsumBad                    // the device found it wrong
	RxHash                         // Hash holds the RSS hash
	TxIPCsum                       // device: fill in the IPv4 header checksum
	TxTCPCsum                      // device: finish the TCP checksum; the field holds the pseudo-header sum
	TxSegment                      // device: cut the payload into segments of SegSize octets (TSO)
)

// Frame is one packet, from the first octet of its Ethernet header. The bytes belong to the driver.
type Frame struct {
	Data   []byte  // the packet; for a frame to send, extend it up to cap(Data)
	Handle uintptr // the driver's name for the buffer (the mbuf's address in pmd); opaque
	Hash   uint32  // RSS hash, valid only with RxHash
	Flags  Flags
	// Header lengths in octets and segment size; valid only with a Tx flag.
	L2Len, L3Len, L4Len uint8
	SegSize             uint16
}

// Burst is an ordered set of up to MaxBurst frames. The zero Burst is empty. A Burst owns the
// frames in it.
type Burst struct {
	frames [MaxBurst]Frame
	n      int
}

// Len returns how many frames the burst holds.
func (b *Burst) Len() int { return b.n }

// Room returns how many more frames fit.
func (b *Burst) Room() int { return MaxBurst - b.n }

// Frames returns the frames, valid until the burst is changed.
func (b *Burst) Frames() []Frame { return b.frames[:b.n] }

// At returns frame i. Precondition: 0 <= i < Len().
func (b *Burst) At(i int) *Frame { return &b.frames[:b.n][i] }

// Push appends a zero frame and returns it for filling in. Precondition: Room() > 0.
func (b *Burst) Push() *Frame {
	f := &b.frames[b.n]
	*f = Frame{}
	b.n++
	return f
}

// Truncate keeps the first n frames and forgets the others, whose owner the caller now is.
// Precondition: 0 <= n <= Len().
func (b *Burst) Truncate(n int) { b.n = len(b.frames[:b.n:b.n][:n]) }
