package ports

// Counter names what a [Host] counts.
type Counter uint8

// The counters.
const (
	CountARPIn           Counter = iota // ARP packets understood
	CountARPOut                         // ARP requests and replies sent
	CountNDIn                           // neighbour solicitations and advertisements understood
	CountNDOut                          // solicitations and advertisements sent
	CountEchoReply                      // echo requests answered
	CountEchoLimited                    // echo requests beyond the rate limit
	CountEchoTooBig                     // echo requests larger than the port's MTU
	CountBadARP                         // ARP of another kind, or with an impossible sender
	CountBadIP                          // IP header wrong
	CountFragment                       // IP fragments; nobody here reassembles
	CountBadICMP                        // ICMP too short, wrong checksum, or against RFC 4861 §7.1
	CountAddressConflict                // somebody else says that it has our address
	CountNotOurs                        // addressed to somebody else
	CountUnhandled                      // sound, but nothing that the responder answers
	CountNoBuffer                       // answers and requests not sent: no transmit buffer
	CountResolved                       // neighbours resolved after a request
	CountFailed                         // neighbours given up after maxRequests
	CountHeld                           // frames that waited for a neighbour
	CountHeldSent                       // of those, sent after all
	CountHeldDropped                    // of those, dropped: neighbour failed, or newer frames came
	CountHoldRefused                    // frames dropped because too many neighbours are awaited
	CountUnsent                         // frames dropped because no next hop leads to them
	CountNegative                       // frames dropped because the neighbour failed a moment ago
	CountNoRoute                        // next hops asked for without a route
	CountTableFull                      // next hops refused because the L2 table is full
	CountStaleIndex                     // frames whose next hop was looked up again
	CountRouteAsked                     // routes that the kernel was asked for on behalf of a packet
	CountRouteLimited                   // packets whose route was not asked for: too many in a second
	CountRedirected                     // redirects followed
	CountRedirectForged                 // redirects that our router did not send, or that quote nothing of ours in flight
	CountRedirectRefused                // redirects to where nobody may redirect to, or against the kernel's settings
	CountRedirectLimited                // redirects beyond what is looked at in a second
	NumCounters
)

var counterNames = [NumCounters]string{
	"arp-in", "arp-out", "nd-in", "nd-out", "echo-reply", "echo-limited", "echo-too-big", "bad-arp",
	"bad-ip", "fragment", "bad-icmp", "address-conflict", "not-ours", "unhandled", "no-buffer",
	"resolved", "failed", "held", "held-sent", "held-dropped", "hold-refused", "unsent", "negative",
	"no-route", "table-full", "stale-index", "route-asked", "route-limited",
	"redirected", "redirect-forged", "redirect-refused", "redirect-limited",
}

// String returns the counter's name.
func (c Counter) String() string {
	if c < NumCounters {
		return counterNames[c]
	}
	return "unknown"
}

// Counters is one value for each [Counter].
type Counters [NumCounters]uint64
