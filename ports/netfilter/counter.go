package netfilter

// Counter names what a [Judge] counts.
type Counter uint8

// The counters.
const (
	CountIn         Counter = iota // SYNs received that the rules let through
	CountInLost                    // of those, what the device did not take in
	CountOverruns                  // times the kernel had more of them than fits
	CountOut                       // SYNs to be sent that the rules let through
	CountOutRefused                // SYNs to be sent that the rules dropped, rejected or changed
	CountRests                     // times SYNs were left to the kernel for want of room in the TOE
	NumCounters
)

var counterNames = [NumCounters]string{
	"netfilter-in", "netfilter-in-lost", "netfilter-in-overruns", "netfilter-out", "netfilter-out-refused", "netfilter-rests",
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

// Counters returns what was counted since New.
func (j *Judge) Counters() (c Counters) {
	for i := range c {
		c[i] = j.count[i].Load()
	}
	return c
}
