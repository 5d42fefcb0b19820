package ports

import (
	"opentoe/pmd/frame"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// A port that shares its wire with the kernel has the kernel beside it in up to three roles. Each is
// absent (nil) where the kernel does not play it: a port of kernel mode "none" has none of them.

// KernelEnd is one worker's end of the exception path: the frames that the TOE does not take go up to
// the kernel, and what the kernel sends comes down. Its methods are for that worker's thread only; they
// neither block nor make a system call, but for a wake-up of whoever sleeps at the other end.
type KernelEnd interface {
	// Up hands a copy of a received frame to the kernel. A full or rate-limited path loses it, counted.
	Up(now vtime.Time, f *frame.Frame)
	// Down appends what the kernel sends to tx, in empty frames taken from the end of blank, until tx is
	// full, blank is empty or nothing waits, and returns how many frames that were.
	Down(blank, tx *frame.Burst) int
	// Waiting reports whether Down would have something.
	Waiting() bool
	// Sleep announces that the worker is about to block: from then on a frame for Down makes WaitFD
	// readable. Awake takes that back.
	Sleep()
	Awake()
	// WaitFD returns an eventfd to be waited for by edges.
	WaitFD() int
}

// Steering is told which of the port's addresses and local ports the TOE listens on, where something
// ahead of the workers (an XDP program) leaves the rest to the kernel. Its method is for the control path.
// Which local ports have connections it reads for itself: the workers' engines count them in its memory.
type Steering interface {
	// Listen says that SYNs for addr (unspecified: every address of the families that v4 and v6 name)
	// and port are the TOE's, or not any more. Calls for the same are counted. ErrTableFull: those SYNs stay
	// with the kernel, and the call did not count; to take one back never fails.
	Listen(addr wire.Addr, v4, v6 bool, port uint16, on bool) error
}

// Judge is the kernel's packet filter, where a port respects it. As a [Steering] it is told of listeners:
// received SYNs for them go to the kernel, and those that its rules let through come back.
type Judge interface {
	Steering
	// Leaves reports whether the rules let a SYN of flow f, of a program's user and group, leave by the port
	// as it is. It is for worker w's thread only, and takes some system calls.
	Leaves(w int, f *wire.Flow, uid, gid uint32) bool
	// Rest says that the device has no room for a SYN that came back: those that follow are the kernel's, for
	// a while. It does not wait.
	Rest()
}

// ControlPlane is the kernel as the owner of routes and neighbours. Its methods may be called from any
// goroutine, also a worker.
type ControlPlane interface {
	// Resolve says that frames are to go to neighbour a of port p, and asks for its address where it is
	// not known or in doubt, without waiting. The answer comes by [Port.FollowNeighbour].
	Resolve(p *Port, a wire.Addr)
	// Confirm says that the neighbour was just shown to work, without waiting (RFC 4861 §7.3.1).
	Confirm(p *Port, a wire.Addr)
	// Lookup asks the routing tables how packets from src (may be unspecified) to dst leave. It is for
	// opens, not for packets: it may take one exchange with the kernel, which answers at once.
	Lookup(dst, src wire.Addr) (Hop, error)
	// Known is Lookup for what has been asked lately; ok is false when only the kernel could tell.
	Known(dst, src wire.Addr) (h Hop, err error, ok bool)
}

// Hop is the answer of a route lookup.
type Hop struct {
	Via   wire.Addr // the neighbour: a gateway or the destination itself
	Src   wire.Addr // our address towards it
	MTU   int       // octets of IP packet that the route allows; 0: the port's
	Local bool      // the destination is this host's own
	Index int       // of the kernel's interface that packets leave by
}
