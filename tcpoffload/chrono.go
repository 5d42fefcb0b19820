package tcpoffload

// What a sender waits for (tcpi_busy_time and its relatives): the time during which it had octets to
// send or unacknowledged, and how much of it the peer's window or the send buffer was the limit.

import "opentoe/tcpoffload/vtime"

// chronoKind says what time is booked as.
type chronoKind uint8

const (
	chronoIdle   chronoKind = iota // nothing to send, nothing in flight
	chronoBusy                     // the network is the limit
	chronoRwnd                     // the peer's window is
	chronoSndBuf                   // the send buffer is full of octets in flight
	numChronos
)

// chronoVars are the clocks of one connection; TCB.waits says which one runs.
type chronoVars struct {
	since vtime.Time // when it began to
	spent [numChronos - 1]vtime.Duration
}

// book ends what has been going on, and begins kind.
func (t *TCB) book(kind chronoKind, now vtime.Time) {
	c := &t.chrono
	if t.waits != chronoIdle {
		c.spent[t.waits-1] += now.Sub(c.since)
	}
	t.waits, c.since = kind, now
}

// spent returns the time spent on kind until now.
func (t *TCB) spent(kind chronoKind, now vtime.Time) vtime.Duration {
	d := t.chrono.spent[kind-1]
	if t.waits == kind {
		d += now.Sub(t.chrono.since)
	}
	return d
}
