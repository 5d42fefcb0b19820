package tcpoffload

// Hot code: the calls of a program that sends and receives.

import (
	"opentoe/tcpoffload/vtime"
)

// Call carries out c and fills in its results. It appends at most MaxCallActions actions and
// MaxCallSegs segments; anything but CallOK changed nothing. Precondition: out has room for them.
func (e *Engine) Call(now vtime.Time, c *Call, out *Output) CallResult {
	if !out.room(0, MaxCallActions) {
		panic("tcpoffload: Call: no room for actions")
	}
	switch c.Kind {
	case CallSend, CallReceived:
		// Most calls are these: straight to the connection.
	case CallOpen:
		return e.open(now, c)
	case CallListen:
		return e.listen(c)
	case CallUnlisten:
		return e.unlisten(c)
	case CallAccepted:
		return e.accepted(c)
	case CallSetOption:
		if c.Listener != 0 {
			return e.setListenerOption(c)
		}
	case CallICMP:
		return e.icmp(now, c, out)
	}
	t := e.find(c.Handle)
	if t == nil {
		return e.callHalfOpen(c, out)
	}
	var r CallResult
	switch c.Kind {
	case CallSend:
		r = e.queue(t, c)
	case CallReceived:
		r = e.received(t, now, c)
	default:
		r = e.callConn(t, now, c, out)
	}
	e.check(t)
	return r
}

// queue is the SEND of §3.10.2: the octets are in the owner's memory, only the end moves.
func (e *Engine) queue(t *TCB, c *Call) CallResult {
	if !canQueue.has(t.state) || t.flags&flagFinWanted != 0 || c.Pos < t.snd.end {
		return CallInvalid
	}
	if acked := max(t.snd.una64, 1) - 1; c.Pos-acked > maxSndAhead {
		return CallInvalid
	}
	grew := c.Pos > t.snd.end
	t.snd.end = c.Pos
	if c.Border && grew {
		e.addBorder(t)
	}
	if c.Urgent && c.Pos > 0 {
		e.queueUrgent(t)
	}
	if t.lowat != 0 {
		e.watchSent(t)
	}
	t.flags &^= flagMore
	t.snd.mode &^= sendNoPush
	if c.More {
		t.flags |= flagMore
		t.snd.mode |= sendNoPush
	}
	if t.mayTransmit() {
		if t.pend&pendAck != 0 && t.dataTick&1 == 0 && e.unsent(t) > 0 {
			t.rcv.ack |= ackDialogue // as where data waited for the handshake
		}
		e.txAdd(t, pendData)
	}
	if t.fastOpen&fastHeld != 0 {
		t.fastOpen &^= fastHeld
		e.txAdd(t, pendSyn)
	}
	return CallOK
}

// received is the RECEIVE of §3.10.3: the program has read up to c.Pos.
func (e *Engine) received(t *TCB, now vtime.Time, c *Call) CallResult {
	if isOpening.has(t.state) && t.fastOpen&fastPending == 0 || c.Pos < t.rcv.read || c.Pos > t.rcvPos() {
		return CallInvalid
	}
	t.rcv.read = c.Pos
	if t.flags&flagFixedRcv == 0 {
		t.tuneReceive(now, e.tun.MaxRcvBuf)
	}
	switch {
	case !canReceive.has(t.state) || t.pend&pendAck != 0:
	case t.windowGrew():
		e.root.mib.WindowUpdates++
		e.txAdd(t, pendAck)
	case t.ackAfterRead():
		e.txAdd(t, pendAck)
	}
	return CallOK
}

// windowGrew reports whether the program has read so much that the peer should hear of it without
// waiting for data to acknowledge: two segments and a quarter of the limit, or half of it, or two
// segments after the window was nearly shut.
func (t *TCB) windowGrew() bool {
	v := &t.rcv
	gain := edgeFor(v.nxt, freeSpace(v.limit, t.unread()), v.wscale).Sub(v.adv)
	if gain <= 0 {
		return false
	}
	g := uint32(gain)
	if g >= v.limit/2 {
		return true
	}
	return g >= 2*uint32(v.maxSeg) && (g >= v.limit/4 || uint32(v.adv-v.nxt) <= v.limit/8)
}
