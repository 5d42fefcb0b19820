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
	ReasonLinkLocal          // an IPv6 address of link-local scope, which says nothing without its interface
	ReasonNetfilter          // the packet filter would not let the SYN out as it is
	ReasonNamespace          // the socket is of another network namespace than the device's
	ReasonQuota              // the user has as many sockets as he may, or opens too many
	ReasonTurnedAway         // who would accept is not on the TOE: too many programs are
	ReasonSteering           // what steers SYNs to the device has no place for the listener's address
	NumReasons
)

var reasonNames = [NumReasons]string{
	"offloaded", "no-device", "no-route", "local-addr", "loopback", "table-full", "in-use",
	"no-memory", "policy", "unsupported", "draining", "invalid", "link-local", "netfilter",
	"namespace", "quota", "turned-away", "steering-full",
}

// String returns the name under which the reason is counted.
func (r Reason) String() string {
	if r < NumReasons {
		return reasonNames[r]
	}
	return "unknown"
}

var reasonMeanings = [NumReasons]string{
	"it is on the TOE",
	"toed drives no device",
	"no port of the TOE leads to the peer",
	"the socket is bound to an address that no port of the TOE has",
	"the peer is this host itself, by a loopback address or its own",
	"as many connections are offloaded as fit: tcp.max_connections",
	"the TOE still has a connection or listener with these addresses and ports",
	"the program has used up its sockets or memory on the TOE: clients.slots, clients.memory",
	"a rule of the policy says so",
	"a setting of the socket is one that the TOE does not have",
	"the TOE is being drained: toectl drain",
	"the program asked for something that makes no sense",
	"an address, own or the peer's, is of IPv6's link-local scope, where connections stay with the kernel",
	"the packet filter would drop, reject or rewrite the connection's first segment",
	"the socket is of another network namespace than toed's: clients.namespaces",
	"the user has as many sockets on the TOE as he may, or opens too many a second: clients.user_sockets, clients.user_opens",
	"no process that is on the TOE accepts the listener's connections, for as many are as may be: clients.max",
	"the XDP program has no place for the listener's address: listeners on addresses that are gone keep theirs",
}

// Meaning says in plain words why the socket is where it is.
func (r Reason) Meaning() string {
	if r < NumReasons {
		return reasonMeanings[r]
	}
	return "unknown"
}
