package tcpoffload

// User calls (RFC 9293 §3.9.1, §3.10.1 to §3.10.6).

import (
	"opentoe/tcpoffload/cc"
	"opentoe/tcpoffload/seq"
	"opentoe/tcpoffload/vtime"
)

// callConn carries out one of the rarer calls on an existing connection.
func (e *Engine) callConn(t *TCB, now vtime.Time, c *Call, out *Output) CallResult {
	switch c.Kind {
	case CallClose:
		return e.closeSend(t, out)
	case CallAbort:
		e.abort(t, now, out)
		return CallOK
	case CallDetach:
		return e.detach(t, now)
	case CallSetOption:
		return e.setOption(t, now, c)
	case CallNextHop:
		return e.reroute(t, now, c)
	case CallPathMTU:
		return e.pathMTU(t, now, c.Value)
	}
	return CallInvalid
}

// callHalfOpen carries out a call on an entry of the SYN cache: there is nothing to do but abort it.
func (e *Engine) callHalfOpen(c *Call, out *Output) CallResult {
	h := e.findHalfOpen(c.Handle)
	if h == nil || c.Kind != CallAbort {
		return CallNoConnection
	}
	if out.room(1, 0) {
		e.appendHalfOpenReset(h, out)
	}
	e.halfOpenDrop(c.Handle.Index())
	return CallOK
}

// open is the active OPEN of §3.10.1.
func (e *Engine) open(now vtime.Time, c *Call) CallResult {
	f := &c.Flow
	if f.RemotePort == 0 || f.Remote.IsUnspecified() || f.Local.IsUnspecified() ||
		f.Local.Is4() != f.Remote.Is4() || !validOptions(&c.Opt) {
		return CallInvalid
	}
	if f.LocalPort == 0 {
		if e.Conns() == len(e.conns)-1 || !e.choosePort(f) {
			return CallTableFull
		}
	}
	var end seq.Num // of the old incarnation
	i := e.lookupAny(f)
	if i != 0 && (i < e.twBase || !e.mayReopen(&e.tws[i-e.twBase], &c.Opt)) {
		return CallInUse
	}
	t := e.allocConn(f)
	if t == nil {
		return CallTableFull
	}
	if i != 0 {
		// Sequence numbers and timestamps go on beyond those of the old incarnation (RFC 6191).
		end = e.tws[i-e.twBase].sndNxt
		e.timeWaitFree(i)
	}
	t.cookie = c.Cookie
	e.initConn(t, now, c.NextHop, c.MTU, &c.Opt)
	if i != 0 {
		t.beginBeyond(end)
	}
	c.Value = int64(e.fastOpenBegin(t, now, &c.Opt))
	e.setState(t, StateSynSent)
	e.root.mib.ActiveOpens++
	if t.fastOpen&fastHeld == 0 {
		e.txAdd(t, pendSyn)
	}
	c.Handle = e.handle(t.self)
	return CallOK
}

// accepted is CallAccepted: the backlog has room again.
func (e *Engine) accepted(c *Call) CallResult {
	l := e.findListenerID(c.Listener)
	if l == nil {
		return CallNoConnection
	}
	if c.Value < 0 || c.Value > int64(l.ready) {
		return CallInvalid
	}
	l.ready -= uint32(c.Value)
	return CallOK
}

// closeSend is the CLOSE of §3.10.4. In SYN-SENT there is nothing to close: the connection ends.
func (e *Engine) closeSend(t *TCB, out *Output) CallResult {
	if t.flags&flagFinWanted != 0 {
		return CallInvalid
	}
	switch t.state {
	case StateSynSent:
		e.finish(t, ReasonNone, out)
		return CallOK
	case StateSynReceived: // FIN-WAIT-1 when the handshake is complete
	case StateEstablished:
		e.setState(t, StateFinWait1)
	case StateCloseWait:
		e.setState(t, StateLastAck)
	default:
		return CallInvalid
	}
	t.flags |= flagFinWanted
	e.txAdd(t, pendData)
	return CallOK
}

// abort is the ABORT of §3.10.5: a reset while the peer may still wait for something.
func (e *Engine) abort(t *TCB, now vtime.Time, out *Output) {
	if t.flags&flagOffered != 0 {
		// The owner refused what a listener offered.
		if l := e.offeredBy(t); l != nil && l.ready > 0 {
			l.ready--
		}
	}
	switch t.state {
	case StateEstablished, StateCloseWait:
		e.root.mib.EstabResets++
		fallthrough
	case StateSynReceived, StateFinWait1, StateFinWait2:
		if !out.room(1, 0) {
			e.close(t)
			e.txAdd(t, pendReset)
			return
		}
		e.appendReset(t, now, out)
	}
	e.free(t)
}

// detach notes that nobody will read any more.
func (e *Engine) detach(t *TCB, now vtime.Time) CallResult {
	t.flags |= flagDetached
	if t.state == StateFinWait2 {
		e.enterFinWait2(t, now)
	}
	return CallOK
}

// setListenerOption changes what connections of a listener start with.
func (e *Engine) setListenerOption(c *Call) CallResult {
	l := e.findListenerID(c.Listener)
	if l == nil {
		return CallNoConnection
	}
	o := l.opt
	switch c.Option {
	case OptionNoDelay:
		o.NoDelay = c.Value != 0
	case OptionKeepalive:
		o.Keepalive = c.Value != 0
	case OptionCC:
		if c.Value < DefaultCC || c.Value >= cc.NumAlgorithms {
			return CallInvalid
		}
		o.CC = SocketOptions{}.CC
		if c.Value != DefaultCC {
			o.CC = cc.Choose(cc.Algorithm(c.Value))
		}
	case OptionMaxPacingRate:
		if c.Value < 0 {
			return CallInvalid
		}
		o.MaxPacingRate = uint64(c.Value)
	case OptionRcvBuf:
		if c.Value < 0 || c.Value > maxRcvBuf {
			return CallInvalid
		}
		o.RcvBuf = uint32(c.Value)
	case OptionRcvClamp:
		if c.Value < 0 {
			return CallInvalid
		}
		o.RcvClamp = uint32(min(c.Value, maxRcvBuf))
	case OptionMaxSeg:
		if c.Value != 0 && c.Value < minMSS || c.Value > 65535 {
			return CallInvalid
		}
		o.MSS = uint16(c.Value)
	case OptionTOS, OptionTTL:
		if c.Value < 0 || c.Value > 255 {
			return CallInvalid
		}
		if c.Option == OptionTOS {
			o.TOS = uint8(c.Value)
		} else {
			o.TTL = uint8(c.Value)
		}
	case OptionFastOpen:
		if c.Value < 0 || c.Value > MaxConns {
			return CallInvalid
		}
		o.FastOpen = uint32(c.Value)
	case OptionFastOpenBare:
		o.FastOpenBare = c.Value != 0
	case OptionSndBuf:
		if c.Value < 0 || c.Value > maxSndAhead {
			return CallInvalid
		}
		o.SndBuf = uint32(c.Value)
	case OptionNotSentLowat:
		if c.Value < 0 || c.Value > 1<<32-1 {
			return CallInvalid
		}
		o.NotSentLowat = uint32(c.Value)
	case OptionECN:
		if c.Value < 0 || c.Value > int64(ECNOn) {
			return CallInvalid
		}
		o.ECN = ECNMode(c.Value)
	case OptionNoSACK:
		o.NoSACK = c.Value != 0
	case OptionNoTimestamp:
		o.NoTimestamp = c.Value != 0
	case OptionPause:
		l.paused = c.Value != 0
	default:
		return CallInvalid
	}
	l.opt = o
	return CallOK
}

// setOption changes a setting of t.
func (e *Engine) setOption(t *TCB, now vtime.Time, c *Call) CallResult {
	v := c.Value
	if v < 0 {
		return CallInvalid
	}
	switch c.Option {
	case OptionNoDelay:
		e.setFlag(t, flagNoDelay, v != 0)
		if v != 0 && e.unsent(t) > 0 {
			t.flags |= flagOverride // as Linux: what waits goes, even corked
		}
		e.wakeSend(t)
	case OptionCork:
		e.setFlag(t, flagCork, v != 0)
		if v == 0 {
			t.flags &^= flagMore
		}
		e.wakeSend(t)
	case OptionKeepalive:
		e.setFlag(t, flagKeep, v != 0)
		e.startKeepalive(t)
	case OptionKeepIdle:
		t.keepIdle = millisFrom(vtime.Duration(v))
		e.startKeepalive(t)
	case OptionKeepIntvl:
		t.keepIntvl = millisFrom(vtime.Duration(v))
	case OptionKeepCnt:
		if v > 127 {
			return CallInvalid
		}
		t.rcv.keepCnt = uint8(v)
	case OptionRcvBuf:
		if v > maxRcvBuf {
			return CallInvalid
		}
		t.rcv.limit = t.clamped(max(uint32(v), t.smallestLimit()))
		t.flags |= flagFixedRcv
		if canReceive.has(t.state) && t.windowGrew() {
			e.root.mib.WindowUpdates++
			e.txAdd(t, pendAck)
		}
	case OptionRcvClamp:
		t.setClamp(uint32(min(v, maxRcvBuf)))
	case OptionSndBuf:
		if v > maxSndAhead {
			return CallInvalid
		}
		e.setSndBuf(t, uint32(v))
	case OptionNotSentLowat:
		t.lowat = uint32(min(v, 1<<32-1))
		e.watchSent(t)
		if t.snd.mode&sendLowat != 0 {
			e.txAdd(t, pendData)
		}
	case OptionECN:
		if t.state != StateSynSent || t.snd.nxt != t.snd.iss || v > int64(ECNOn) {
			return CallInvalid // the SYN has said it
		}
		t.rcv.ecn = e.ecnPolicy(&SocketOptions{ECN: ECNMode(v), CC: cc.Choose(t.cc.Algorithm())})
	case OptionQuickAck:
		e.setQuickAck(t, v != 0)
	case OptionUserTimeout:
		e.setUserTimeout(t, vtime.Duration(v))
	case OptionMaxSeg:
		if v < minMSS || v > 65535 {
			return CallInvalid
		}
		t.maxSeg = uint16(v)
		if !isOpening.has(t.state) {
			t.pmtu.peerMSS = min(t.pmtu.peerMSS, uint16(v))
			e.usePath(t, t.pmtu.mtu)
		}
	case OptionCC:
		return e.setCC(t, now, v)
	case OptionMaxPacingRate:
		return e.setMaxPacingRate(t, v)
	case OptionTOS:
		if v > 255 {
			return CallInvalid
		}
		t.setIP(ipVars{uint8(v), t.ip.ttl})
	case OptionTTL:
		if v > 255 {
			return CallInvalid
		}
		t.setIP(ipVars{t.ip.tos, uint8(v)})
	case OptionLinger2:
		t.linger2 = millisFrom(vtime.Duration(v))
	case OptionSynRetries:
		if v > 127 {
			return CallInvalid
		}
		t.pmtu.synRetries = uint8(v)
	case OptionPMTUDiscover:
		e.setDiscovery(t, v != 0)
	default:
		return CallInvalid
	}
	return CallOK
}

// setFlag sets or clears f.
func (e *Engine) setFlag(t *TCB, f connFlags, on bool) {
	if on {
		t.flags |= f
	} else {
		t.flags &^= f
	}
}
