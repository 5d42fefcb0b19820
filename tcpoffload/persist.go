package tcpoffload

// The persist timer: zero-window probes (RFC 9293 §3.8.6.1) and the override of sender SWS avoidance
// (§3.8.6.2.1).

import "opentoe/tcpoffload/vtime"

// holdLimit is how long a partial segment is held back at most when nothing is in flight: the override
// timeout of §3.8.6.2.1, 0.1 to 1 s, and the ceiling of corked data in Linux (tcp(7), TCP_CORK).
const holdLimit = 200 * vtime.Millisecond

// armPersist starts the timer because octets wait, nothing is in flight whose ACK would wake us, and
// either the window is shut or a partial segment is held back.
func (e *Engine) armPersist(t *TCB, now vtime.Time) {
	if t.deadline[TimerPersist] == vtime.Never {
		t.backoff = 0
		d := e.persistInterval(t)
		if t.sendRoom() > 0 {
			d = holdLimit
		}
		e.setTimer(t, TimerPersist, now.Add(d))
	}
}

func (e *Engine) persistInterval(t *TCB) vtime.Duration {
	return backedOff(min(max(t.rtt.rto, e.tun.PersMin), e.tun.PersMax), t.backoff, e.tun.PersMax)
}

// persistExpired probes a shut window, or lets a held partial segment go.
func (e *Engine) persistExpired(t *TCB, now vtime.Time, out *Output) {
	if !canTransmit.has(t.state) || t.snd.una != t.snd.nxt || !e.hasUnsent(t) {
		return
	}
	if t.sendRoom() > 0 {
		t.flags |= flagOverride
		t.snd.mode &^= sendNoPush
		e.txAdd(t, pendData)
		return
	}
	// The connection stays as long as the peer answers probes (§3.8.6.1) and a program holds it.
	orphan := t.flags&flagDetached != 0 && t.backoff >= orphanProbes
	left := t.userTimeLeft(now, t.asked(max(t.rtt.rto, e.tun.PersMin), e.tun.PersMax))
	if t.rcv.probes >= e.tun.Retries2 || orphan || left <= 0 {
		e.root.mib.TimeoutDrops++
		e.appendReset(t, now, out)
		e.finish(t, t.timeoutReason(), out)
		return
	}
	e.root.mib.ZeroWindowProbes++
	t.rcv.probes++
	t.backoff = min(t.backoff+1, maxBackoff)
	e.txAdd(t, pendProbe)
	e.setTimer(t, TimerPersist, now.Add(min(e.persistInterval(t), left)))
}
