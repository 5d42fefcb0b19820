package tcpoffload

// Keepalive (RFC 9293 §3.8.4, RFC 1122 §4.2.3.6).

import "opentoe/tcpoffload/vtime"

func (e *Engine) keepIdle(t *TCB) vtime.Duration {
	if t.keepIdle != 0 {
		return t.keepIdle.duration()
	}
	return e.tun.KeepIdle
}

func (e *Engine) keepIntvl(t *TCB) vtime.Duration {
	if t.keepIntvl != 0 {
		return t.keepIntvl.duration()
	}
	return e.tun.KeepIntvl
}

func (e *Engine) keepCnt(t *TCB) uint8 {
	if t.rcv.keepCnt != 0 {
		return t.rcv.keepCnt
	}
	return e.tun.KeepCnt
}

// startKeepalive arms the timer if keepalive is on. Arrivals do not touch it: when it expires it
// looks how long the silence has been.
func (e *Engine) startKeepalive(t *TCB) {
	if t.flags&flagKeep == 0 || isOpening.has(t.state) || t.state == StateTimeWait {
		t.deadline[TimerKeep] = vtime.Never
		return
	}
	e.setTimer(t, TimerKeep, t.rcv.last.Add(e.keepIdle(t)))
}

// keepExpired probes a silent peer, or gives it up.
func (e *Engine) keepExpired(t *TCB, now vtime.Time, out *Output) {
	if t.flags&flagKeep == 0 {
		return
	}
	idle := t.rcv.last.Add(e.keepIdle(t))
	if t.snd.una != t.snd.nxt || e.unsent(t) > 0 {
		// Retransmission and persist timers watch over the peer.
		e.setTimer(t, TimerKeep, max(idle, now.Add(e.keepIntvl(t))))
		return
	}
	if idle.After(now) {
		e.setTimer(t, TimerKeep, idle)
		return
	}
	gone := t.rcv.probes >= e.keepCnt(t)
	if limit := t.userTimeout.duration(); limit != 0 {
		gone = t.rcv.probes > 0 && now.Sub(t.rcv.last) >= limit // takes the place of the count, as in Linux
	}
	if gone {
		e.root.mib.KeepaliveDrops++
		e.appendReset(t, now, out)
		e.finish(t, ReasonKeepalive, out)
		return
	}
	e.root.mib.KeepaliveProbes++
	t.rcv.probes++
	e.txAdd(t, pendProbe)
	e.setTimer(t, TimerKeep, now.Add(e.keepIntvl(t)))
}
