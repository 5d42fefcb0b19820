package tcpoffload

// Timers (RFC 9293 §3.10.8): deadlines in the TCB, found by a hierarchical wheel.
//
// A TCB has one deadline per timer and at most one wheel entry, at or before the earliest of them.
// Stopping a timer or moving it later only stores the deadline; when the entry comes up and nothing
// is due, it is inserted again. So acknowledgments never touch the wheel.

import (
	"math/bits"

	"opentoe/tcpoffload/vtime"
)

// The wheel has wheelLevels levels of wheelSlots slots. A slot of level n spans wheelSlots^n ticks.
// An entry stands on the level of the highest digit, base wheelSlots, in which its tick differs
// from the present one; when that slot is reached its entries move down.
const (
	wheelLevels = 6
	wheelBits   = 6
	wheelSlots  = 1 << wheelBits
	tickShift   = 16 // a tick is 2^16 ns, about 66 µs
	// The last level is a circle: its slots reach topReach slots ahead, about 51 days. Later
	// entries are looked at then and inserted again.
	topLevel = wheelLevels - 1
	topShift = topLevel * wheelBits
	topReach = wheelSlots - 1
)

// setTimer makes timer k of t expire at when; vtime.Never stops it.
func (e *Engine) setTimer(t *TCB, k TimerKind, when vtime.Time) {
	t.deadline[k] = when
	if when < t.wheelAt {
		e.wheelMove(t, when)
	}
}

// wheelMove puts t where it comes up at the first tick not before when.
func (e *Engine) wheelMove(t *TCB, when vtime.Time) {
	e.wheelRemove(t)
	e.wheelInsert(t, when)
}

// stopTimers stops every timer of t.
func (t *TCB) stopTimers() {
	for k := range t.deadline {
		t.deadline[k] = vtime.Never
	}
}

// earliest returns the first deadline of t and its timer, Never and TimerNone if none runs.
func (t *TCB) earliest() (vtime.Time, TimerKind) {
	when, kind := vtime.Never, TimerKind(TimerNone)
	for k, d := range &t.deadline {
		if d < when {
			when, kind = d, TimerKind(k)
		}
	}
	return when, kind
}

// wheelInsert puts t, which is in no slot, where it comes up at the first tick not before when.
func (e *Engine) wheelInsert(t *TCB, when vtime.Time) {
	r := e.root
	tick := max((uint64(when)+1<<tickShift-1)>>tickShift, r.wheelTick)
	if last := r.wheelTick>>topShift + topReach; tick>>topShift > last {
		tick = last << topShift
	}
	level := min((63-bits.LeadingZeros64(tick^r.wheelTick|1))/wheelBits, topLevel)
	slot := tick >> (level * wheelBits) & (wheelSlots - 1)
	t.wheelAt = when
	t.wheelSlot = uint16(level<<wheelBits) | uint16(slot)
	head := &e.wheel[t.wheelSlot]
	t.wheelPrev, t.wheelNext = 0, *head
	if *head != 0 {
		e.conns[*head].wheelPrev = t.self
	}
	*head = t.self
	r.wheelBusy[level] |= 1 << slot
}

// wheelRemove takes t out of its slot, if it is in one.
func (e *Engine) wheelRemove(t *TCB) {
	if t.wheelAt == vtime.Never {
		return
	}
	t.wheelAt = vtime.Never
	if t.wheelNext != 0 {
		e.conns[t.wheelNext].wheelPrev = t.wheelPrev
	}
	if t.wheelPrev != 0 {
		e.conns[t.wheelPrev].wheelNext = t.wheelNext
		return
	}
	e.wheel[t.wheelSlot] = t.wheelNext
	if t.wheelNext == 0 {
		e.root.wheelBusy[t.wheelSlot>>wheelBits] &^= 1 << (t.wheelSlot & (wheelSlots - 1))
	}
}

// Expire fires the timers whose deadline is not after now, at most one tick (66 µs) late. It stops
// early when out has no room for one more timer; NextDeadline is then not after now. What has to be
// sent is left to Transmit, except resets and SYN-ACKs of the SYN cache. Precondition: now is not
// negative and never goes back.
func (e *Engine) Expire(now vtime.Time, out *Output) {
	r := e.root
	target := uint64(now) >> tickShift
	e.expireHalfOpens(now, maxExpireRecords, out)
	e.expireTimeWaits(now, maxExpireRecords)
	e.checkRecords()
	for {
		slot, level, tick, ok := e.nextSlot()
		if !ok || tick > target {
			break
		}
		r.wheelTick = max(r.wheelTick, tick)
		for e.wheel[slot] != 0 {
			t := &e.conns[e.wheel[slot]]
			if level > 0 {
				e.wheelMove(t, t.wheelAt)
				continue
			}
			if !out.room(maxExpireSegs, maxExpireActions) {
				return
			}
			e.wheelRemove(t)
			e.fire(t, now, out)
		}
	}
	r.wheelTick = max(r.wheelTick, target)
}

// fire runs the timers of t that are due, and puts t back in the wheel.
func (e *Engine) fire(t *TCB, now vtime.Time, out *Output) {
	for k := range t.deadline {
		if t.deadline[k] > now {
			continue
		}
		t.deadline[k] = vtime.Never
		gen := t.gen
		switch TimerKind(k) {
		case TimerRexmt:
			e.rexmtExpired(t, now, out)
		case TimerPersist:
			e.persistExpired(t, now, out)
		case TimerKeep:
			e.keepExpired(t, now, out)
		case Timer2MSL:
			e.finish(t, ReasonNone, out)
		case TimerDelack:
			e.delackExpired(t)
		case TimerReo:
			e.reoExpired(t, now)
		case TimerMTU:
			e.pathExpired(t)
		case TimerPace:
			e.paceExpired(t)
		}
		if t.gen != gen {
			return
		}
	}
	if when, _ := t.earliest(); when < t.wheelAt {
		e.wheelMove(t, when)
	}
	e.check(t)
}

// room reports whether o takes segs more segments and actions more actions.
func (o *Output) room(segs, actions int) bool {
	return cap(o.Segs)-len(o.Segs) >= segs && cap(o.Actions)-len(o.Actions) >= actions
}
