package tcpoffload

// Choice of ephemeral ports (RFC 6056), for owners whose port space is the engine's alone. A device that
// shares its addresses with a kernel takes the kernel's choice.

import "opentoe/tcpoffload/wire"

const (
	// ephemeralFirst and ephemeralLast bound the ports chosen: Linux' default range.
	ephemeralFirst, ephemeralLast = 32768, 60999
	// portCounters is the number of counters, TABLE_LENGTH of RFC 6056 §3.3.4: destinations that share
	// one skip each other's ports, which costs nothing.
	portCounters = 64
	// portTries is how many ports are looked at. More: CallTableFull.
	portTries = 4096
)

// choosePort fills in f.LocalPort by the double-hash algorithm (RFC 6056 §3.3.4): the ports towards one
// destination follow each other, so that an old connection's is used again as late as can be, from a
// place that only the key tells, and what other destinations see tells nothing of it. It reports
// whether it found one that is free.
func (e *Engine) choosePort(f *wire.Flow) bool {
	const span = ephemeralLast - ephemeralFirst + 1
	f.LocalPort = 0
	h := flowHash(e.root.isnKey, f, flowPorts(f), 'p')
	count := &e.root.portCount[h>>32%portCounters]
	for range portTries {
		f.LocalPort = uint16(ephemeralFirst + (uint64(uint32(h))+uint64(*count))%span)
		*count++
		if e.lookupAny(f) == 0 && e.findListener(f) == 0 {
			return true
		}
	}
	f.LocalPort = 0
	return false
}
