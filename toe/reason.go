package toe

// Reason says why a socket was not offloaded. Every refusal has one; each is counted.
type Reason uint8

// The reasons. Offloaded (zero) is the absence of one.
const (
	Offloaded         Reason = iota
	ReasonNoDevice           // no active TOE device
	ReasonNoRoute            // the remote address is not reached through a TOE port
	ReasonLocalAddr          // the socket is bound to an address that no TOE port has
	ReasonLoopback           // loopback, or this host's own address
	ReasonTableFull          // the connection table is full
	ReasonInUse              // the 4-tuple or listening address is taken on the device
	ReasonNoMemory           // the client's memory file or slots are used up
	ReasonPolicy             // an offload policy rule says so
	ReasonUnsupported        // the socket has a setting that the device cannot honour
	ReasonDraining           // the device takes no new connections
	ReasonInvalid            // the request makes no sense
	NumReasons
)

var reasonNames = [NumReasons]string{
	"offloaded", "no-device", "no-route", "local-addr", "loopback", "table-full", "in-use",
	"no-memory", "policy", "unsupported", "draining", "invalid",
}

// String returns the name under which the reason is counted.
func (r Reason) String() string {
	if r < NumReasons {
		return reasonNames[r]
	}
	return "unknown"
}
