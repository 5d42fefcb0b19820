package tcpoffload

// Hot code: timers, as far as what is sent and acknowledged arms them, and when the next is due. The wheel is in
// timer.go.

import (
	"math/bits"

	"opentoe/tcpoffload/vtime"
)

// armRexmt starts the retransmission timer, as a loss probe if one may be sent before the timeout. It
// excludes the persist timer.
func (e *Engine) armRexmt(t *TCB, now vtime.Time) {
	t.deadline[TimerPersist] = vtime.Never
	t.flags &^= flagTLP
	rto := min(t.rtt.rto, e.tun.RTOMax)
	if t.backoff != 0 {
		rto = backedOff(rto, t.backoff, e.tun.RTOMax)
	}
	when := now.Add(rto)
	t.rec.rtoAt = when
	if d, ok := t.probeTimeout(); ok {
		t.flags |= flagTLP
		when = min(now.Add(d), when)
	}
	e.setTimer(t, TimerRexmt, when)
}

// probeTimeout returns PTO of §7.2, and ok false when no probe may be sent: without SACK its answer would tell
// nothing, what is SACKed starts a recovery by itself, and there is one probe for a tail.
func (t *TCB) probeTimeout() (d vtime.Duration, ok bool) {
	if t.flags&(flagSACK|flagTLPSent) != flagSACK || t.ca == caLoss || t.ca == caDisorder ||
		t.retries != 0 || isOpening.has(t.state) {
		return 0, false
	}
	if t.rtt.srtt == 0 {
		return probeTimeoutUnmeasured, true
	}
	d = max(2*t.rtt.srtt, minProbeTimeout)
	if t.flight() <= t.effMSS() {
		d += probeAckDelay
	}
	return d, true
}

// NextDeadline returns when Expire has to be called next, vtime.Never if no timer runs. It may be
// earlier than any deadline: then that call only rearranges the wheel.
func (e *Engine) NextDeadline() vtime.Time {
	next := min(e.root.synCache.at, e.timeWaitDeadline())
	if _, _, tick, ok := e.nextSlot(); ok {
		next = min(next, vtime.Time(tick<<tickShift))
	}
	return next
}

// nextSlot returns the first slot that is not empty, its level and the tick at which it begins.
// All entries of a level come before those of the next, and none lies before the present tick.
func (e *Engine) nextSlot() (slot uint32, level int, tick uint64, ok bool) {
	r := e.root
	for level, busy := range &r.wheelBusy {
		if busy == 0 {
			continue
		}
		if level == topLevel {
			now := r.wheelTick >> topShift
			now += uint64(bits.TrailingZeros64(bits.RotateLeft64(busy, -int(now&(wheelSlots-1)))))
			return uint32(level<<wheelBits) | uint32(now&(wheelSlots-1)), level, now << topShift, true
		}
		s := uint64(bits.TrailingZeros64(busy))
		above := uint((level + 1) * wheelBits)
		tick = r.wheelTick>>above<<above | s<<(level*wheelBits)
		return uint32(level<<wheelBits) | uint32(s), level, tick, true
	}
	return 0, 0, 0, false
}
