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

// chronoVars are the clocks of one connection.
type chronoVars struct {
	since vtime.Time // when kind began
	spent [numChronos - 1]vtime.Duration
	kind  chronoKind
	_     [7]byte
}

// book ends what has been going on, and begins kind.
func (c *chronoVars) book(kind chronoKind, now vtime.Time) {
	if c.kind != chronoIdle {
		c.spent[c.kind-1] += now.Sub(c.since)
	}
	c.kind, c.since = kind, now
}

// read returns the time spent on kind until now.
func (c *chronoVars) read(kind chronoKind, now vtime.Time) vtime.Duration {
	d := c.spent[kind-1]
	if c.kind == kind {
		d += now.Sub(c.since)
	}
	return d
}

// limit returns what limits t now that it has sent what it could.
func (e *Engine) limit(t *TCB) chronoKind {
	flight, unsent := t.flight(), e.unsent(t)
	switch {
	case unsent > 0 && t.sendRoom() < t.effMSS() && t.flags&flagCwndFull == 0:
		return chronoRwnd
	case unsent == 0 && flight > 0 && flight+t.effMSS() > t.sndBuf && t.pipe()+t.effMSS() <= t.cc.Cwnd:
		return chronoSndBuf
	case unsent > 0 || flight > 0:
		return chronoBusy
	}
	return chronoIdle
}

// bookAck notes that SND.UNA has moved: there may be nothing left to wait for, and the send buffer has room.
func (e *Engine) bookAck(t *TCB, now vtime.Time) {
	switch {
	case t.snd.una == t.snd.nxt && e.unsent(t) == 0:
		t.chrono.book(chronoIdle, now)
	case t.chrono.kind == chronoSndBuf:
		if k := e.limit(t); k != chronoSndBuf {
			t.chrono.book(k, now)
		}
	}
}
