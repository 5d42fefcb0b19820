package tcpoffload

// The user timeout (RFC 5482): how long sent octets may stay unacknowledged. The program sets it
// (TCP_USER_TIMEOUT); with Tunables.UTO the ends also tell each other.

import (
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// utoMinutes is the granularity bit of the option: the value is in minutes, otherwise in seconds (§3).
const utoMinutes = 1 << 15

// setUserTimeout is the program's choice; zero takes it back. The peer's wishes no longer count (§3.1,
// CHANGEABLE).
func (e *Engine) setUserTimeout(t *TCB, d vtime.Duration) {
	t.userTimeout = millisFrom(d)
	t.snd.mode &^= sendUTO | sendUTOFixed
	if d != 0 {
		t.snd.mode |= sendUTOFixed
		if e.tun.UTO {
			t.snd.mode |= sendUTO
		}
	}
}

// utoField returns the option's value for d, rounded up.
func utoField(d vtime.Duration) uint16 {
	if s := (d + vtime.Second - 1) / vtime.Second; s < utoMinutes {
		return uint16(s)
	}
	return uint16(min((d+vtime.Minute-1)/vtime.Minute, utoMinutes-1)) | utoMinutes
}

// utoDuration returns what the option's value v asks for.
func utoDuration(v uint16) vtime.Duration {
	if v&utoMinutes != 0 {
		return vtime.Duration(v&^utoMinutes) * vtime.Minute
	}
	return vtime.Duration(v) * vtime.Second
}

// advertiseUTO puts the option on segment s, if there is room, and so is done with it (§3: it is not
// negotiated, and repeated only when it changes).
func (t *TCB) advertiseUTO(s *TxSegment) {
	if s.Opt.Set&wire.OptSACK != 0 || s.Len+utoOptLen > t.effMSS() {
		return
	}
	s.Opt.Set |= wire.OptUserTimeout
	s.Opt.UserTimeout = utoField(t.userTimeout.duration())
	t.snd.mode &^= sendUTO
}

// offerUTO puts the option on our SYN, if there is room beside the others. It may be lost on the way, or be
// unwelcome on a SYN, so the first segment after the handshake has it once more (§3).
func (t *TCB) offerUTO(o *wire.Options) {
	if o.Len()+utoOptLen <= wire.MaxOptionsLen {
		o.Set |= wire.OptUserTimeout
		o.UserTimeout = utoField(t.userTimeout.duration())
	}
}

// adoptUTO takes the peer's option: within our bounds its wish becomes our timeout, unless the program
// has one (§3.1). Zero is not a timeout.
func (e *Engine) adoptUTO(t *TCB, o *wire.Options) {
	d := utoDuration(o.UserTimeout)
	if !e.tun.UTO || d == 0 || t.snd.mode&sendUTOFixed != 0 {
		return
	}
	t.userTimeout = millisFrom(min(e.tun.UTOMax, max(d, e.tun.UTOMin)))
}

// longTime is more than any timeout.
const longTime = vtime.Duration(1) << 60

// userTimeLeft returns how much is left of the user timeout, longTime if there is none; 0 or less: it is over. It
// counts from when the peer was last heard, but not from before something was asked of it, which was asked ago.
// The timer that looks at it is not started for longer than that, so that the end comes in time, as in Linux.
func (t *TCB) userTimeLeft(now vtime.Time, asked vtime.Duration) vtime.Duration {
	limit := t.userTimeout.duration()
	if limit == 0 {
		return longTime
	}
	return limit - min(asked, now.Sub(t.rcv.last))
}

// asked returns for how long the timer that has just expired has been running at least, with all its repetitions.
// first and most are its first and longest interval.
func (t *TCB) asked(first, most vtime.Duration) (d vtime.Duration) {
	if t.backoff == maxBackoff {
		return longTime // its repetitions are no longer counted
	}
	for n := range t.backoff + 1 {
		d += backedOff(min(first, most), n, most)
	}
	return d
}
