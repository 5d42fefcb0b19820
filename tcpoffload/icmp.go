package tcpoffload

// What ICMP errors mean to a connection (RFC 9293 §3.9.2.2, RFC 5461, RFC 5927).

import "opentoe/tcpoffload/vtime"

// icmp is CallICMP. An error counts only if it quotes a segment that is in flight: whoever did not see
// our segments can hardly forge one (RFC 5927 §4.1).
func (e *Engine) icmp(now vtime.Time, c *Call, out *Output) CallResult {
	i := e.lookupAny(&c.Flow)
	if i >= e.synBase && i < e.twBase {
		return e.icmpHalfOpen(i, c)
	}
	if i == 0 || i >= e.twBase {
		return CallNoConnection
	}
	t := &e.conns[i]
	if c.Seq.LT(t.snd.una) || c.Seq.GEQ(t.snd.nxt) {
		e.root.mib.ICMPIgnored++
		return CallInvalid
	}
	r := CallOK
	switch c.ICMP {
	case ICMPTooBig:
		if !e.tooBig(t, now, c.Value) {
			e.root.mib.ICMPIgnored++
			return CallInvalid
		}
	case ICMPHard:
		if isOpening.has(t.state) {
			e.finish(t, ReasonUnreachable, out)
			return CallOK
		}
		// A connection that stood once is not given up on anybody's word (RFC 5927 §5.2).
		fallthrough
	case ICMPSoft:
		t.softAt = max(now, 1)
	default:
		return CallInvalid
	}
	e.root.mib.ICMPErrors++
	e.check(t)
	return r
}

// icmpHalfOpen is icmp for entry i of the SYN cache: a hard error says that nobody waits for our SYN-ACK.
func (e *Engine) icmpHalfOpen(i uint32, c *Call) CallResult {
	if c.Seq != e.syns[i-e.synBase].iss || c.ICMP != ICMPHard {
		e.root.mib.ICMPIgnored++
		return CallInvalid
	}
	e.root.mib.ICMPErrors++
	e.halfOpenDrop(i)
	return CallOK
}

// timeoutReason returns why a connection that is given up for silence ended: what ICMP said since the
// peer was last heard is the better explanation (RFC 1122 §4.2.3.9).
func (t *TCB) timeoutReason() EndReason {
	if t.softAt != 0 && !t.softAt.Before(t.rcv.last) {
		return ReasonUnreachable
	}
	return ReasonTimedOut
}
