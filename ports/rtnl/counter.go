package rtnl

// Counter names what a [Kernel] counts.
type Counter uint8

// The counters.
const (
	CountEvents         Counter = iota // notifications that concern a followed port
	CountOverruns                      // times that the kernel dropped notifications
	CountReadings                      // times that tables were read
	CountReadErrors                    // readings that failed; they are repeated
	CountLookups                       // routes asked for
	CountLookupHits                    // of those, answered without the kernel
	CountLookupRefusals                // of those, without a route
	CountResolves                      // neighbours asked for
	CountResolveErrors                 // of those, refused by the kernel
	CountConfirms                      // neighbours said to work
	CountConfirmErrors                 // of those, refused by the kernel: the neighbour is gone
	CountRequestsLost                  // neighbours not asked for because too many were
	CountUntaken                       // addresses of an interface beyond what a port has room for
	NumCounters
)

var counterNames = [NumCounters]string{
	"kernel-events", "kernel-overruns", "kernel-readings", "kernel-read-errors", "route-lookups",
	"route-lookup-hits", "route-lookup-refusals", "neighbour-resolves", "neighbour-resolve-errors",
	"neighbour-confirms", "neighbour-confirm-errors", "neighbour-requests-lost", "addresses-untaken",
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

// Counters returns what has been counted.
func (k *Kernel) Counters() (c Counters) {
	for i := range k.counts {
		c[i] = k.counts[i].Load()
	}
	return c
}

func (k *Kernel) count(c Counter) { k.counts[c].Add(1) }
