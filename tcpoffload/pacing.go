package tcpoffload

// Pacing: what may leave is spread over time at the rate that congestion control or the program asks
// for (draft-ietf-ccwg-bbr §5.6.2, SO_MAX_PACING_RATE).
//
// Segments leave in quanta, at once, and each quantum sets the time of the next: one division for a
// quantum, none for a segment, one comparison where nothing is paced. What comes too early waits for
// TimerPace. Loss probes, FINs and the first segment after a timeout do not wait.

import (
	"opentoe/tcpoffload/cc"
	"opentoe/tcpoffload/vtime"
)

// maxPaceLate bounds how much of the time that passed since a quantum was due counts towards the ones
// after it. Timers are up to a tick late; the rate must not suffer. What is later than this comes from
// a sender that had nothing to send, or may not burst.
const maxPaceLate = 4 << tickShift * vtime.Nanosecond

// maxPaceDebt bounds how many octets that did not wait for their quantum count, that of the largest segment.
const maxPaceDebt = 1 << 16

// maxPaceGap bounds how long a quantum at the rate of congestion control keeps back the next one: its
// estimate may be wrong, and what puts it right is an ACK. The program's rate is kept, however low.
const maxPaceGap = vtime.Second

// paceVars are the pacer's.
type paceVars struct {
	next vtime.Time // when the next quantum may leave
	left uint32     // octets of this quantum that may still leave
	debt uint32     // octets of the next ones that have left: a quantum need not be whole segments
}

// paceHolds reports whether nothing may leave now. Then TimerPace runs.
func (e *Engine) paceHolds(t *TCB, now vtime.Time) bool {
	rate := t.cc.PacingRate()
	if rate == 0 || t.pace.left > 0 {
		return false
	}
	p := &t.pace
	if p.next > now {
		e.setTimer(t, TimerPace, p.next)
		return true
	}
	if now.Sub(p.next) > maxPaceLate {
		p.next, p.debt = now, 0
	}
	quantum := t.cc.SendQuantum(t.effMSS())
	paid := min(p.debt, quantum/2)
	p.left, p.debt = quantum-paid, p.debt-paid
	gap := vtime.Duration(uint64(quantum) * uint64(vtime.Second) / rate)
	if gap > maxPaceGap && rate != t.cc.MaxRate() {
		gap = maxPaceGap
	}
	p.next = p.next.Add(gap)
	return false
}

// paceSpend takes n octets off the quantum.
func (t *TCB) paceSpend(n uint32) {
	if t.cc.PacingRate() != 0 {
		spent := min(t.pace.left, n)
		t.pace.left -= spent
		t.pace.debt = min(t.pace.debt+n-spent, maxPaceDebt)
	}
}

// paceFits bounds a transmission of several segments of mss octets to what is left of the quantum.
func (t *TCB) paceFits(n, mss uint32) uint32 {
	if t.cc.PacingRate() == 0 || n <= t.pace.left {
		return n
	}
	return max(t.pace.left-t.pace.left%mss, mss)
}

// paceReset lets the next segment leave at once.
func (t *TCB) paceReset() {
	t.pace = paceVars{}
	t.deadline[TimerPace] = vtime.Never
}

// paceExpired asks Transmit to go on.
func (e *Engine) paceExpired(t *TCB) {
	e.root.mib.PacingWaits++
	if canTransmit.has(t.state) {
		e.txAdd(t, pendData)
	}
}

// setCC is OptionCC.
func (e *Engine) setCC(t *TCB, now vtime.Time, v int64) CallResult {
	if v >= cc.NumAlgorithms {
		return CallInvalid
	}
	a := cc.Algorithm(v)
	if t.cc.Cwnd == 0 { // not started
		t.cc.Prefer(a)
		return CallOK
	}
	if !e.switchCC(t, now, a) {
		return CallTableFull
	}
	t.paceReset()
	e.wakeSend(t)
	return CallOK
}

// setMaxPacingRate is OptionMaxPacingRate.
func (e *Engine) setMaxPacingRate(t *TCB, v int64) CallResult {
	e.control(t).SetMaxRate(uint64(v), t.rtt.srtt)
	t.paceReset()
	e.wakeSend(t)
	return CallOK
}
