package tcpoffload

// Answers to unacceptable segments: ACKs (RFC 9293 §3.10.7.4) and challenge ACKs (RFC 5961), limited
// per connection. A limit shared by connections would tell an attacker about other connections.

import "opentoe/tcpoffload/vtime"

// challengePeriod is the interval in which Tunables.ChallengeAcks may be sent.
const challengePeriod = vtime.Second

// challengeAck sends an ACK in answer to a segment that may be forged.
func (e *Engine) challengeAck(t *TCB, now vtime.Time, out *Output) {
	if !e.allowChallenge(t, now) {
		e.root.mib.ChallengeLimited++
		return
	}
	e.root.mib.ChallengeAcks++
	e.replyAck(t, now, out)
}

// allowChallenge counts one answer against the limit.
func (e *Engine) allowChallenge(t *TCB, now vtime.Time) bool {
	if tick := tickOf(now); t.challenged == 0 || tick-t.challenged >= uint32(challengePeriod>>20) {
		t.challenged, t.challenges = tick, 0
	}
	if t.challenges >= e.tun.ChallengeAcks {
		return false
	}
	t.challenges++
	return true
}

// replyAck appends an ACK now, or leaves it to Transmit if there is no room.
func (e *Engine) replyAck(t *TCB, now vtime.Time, out *Output) {
	if !out.room(1, 0) {
		e.txAdd(t, pendAck)
		return
	}
	e.appendAck(t, now, out)
}
