package softdev

import (
	"opentoe/pmd/frame"
	"opentoe/ports"
	"opentoe/tcpoffload"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
	"opentoe/toe"
)

// icmpLimiter bounds the ICMP errors that a worker believes in a second.
type icmpLimiter struct {
	since vtime.Time
	n     int
}

func (l *icmpLimiter) allow(now vtime.Time) bool {
	if now.Sub(l.since) >= vtime.Second {
		l.since, l.n = now, 0
	}
	l.n++
	return l.n <= icmpPerSecond
}

// icmpError gives an ICMP error or a redirect that quotes a segment of ours to the worker that sent it, and reports
// whether f is such an error, believed or not (RFC 9293 §3.9.2.2, RFC 5927).
func (w *worker) icmpError(l *lane, f *frame.Frame) bool {
	var e wire.ICMPError
	if !wire.ParseICMPError(f.Data, f.Flags&frame.RxIPCsumGood != 0, &e) || e.DstMAC != l.port.MAC() ||
		!l.port.Owns(e.Dst) || !l.port.Owns(e.Flow.Local) {
		return false
	}
	if !concerns(&e) {
		return false
	}
	if !w.icmp.allow(w.now) {
		w.drop(DropICMPLimited)
		return true
	}
	shared := l.kernel != nil
	// The error comes by the queue that its sender's address chose, the flow lives elsewhere.
	owner := w
	if len(w.dev.workers) > 1 {
		owner = w.dev.workers[w.dev.SteerConnect(&e.Flow)]
	}
	if owner == w {
		w.tellICMP(&e, shared)
		return true
	}
	told := e
	if w.dev.Post(owner.id, func(vtime.Time) { owner.tellICMP(&told, shared) }) != nil {
		w.drop(DropICMPLimited)
	}
	return true
}

// tellICMP acts on what e says about a segment of this worker's. On a port that is shared with the kernel,
// the segment may have been the kernel's.
func (w *worker) tellICMP(e *wire.ICMPError, shared bool) {
	h, known := w.eng.Lookup(&e.Flow)
	if shared && !known {
		return
	}
	if e.Redirects() {
		w.redirect(h, e)
		return
	}
	c, _ := icmpCall(e)
	if !known || w.call(&c) != tcpoffload.CallOK {
		w.drop(DropICMPUnknown)
		return
	}
	w.count.ICMPErrors++
	w.settle()
}

// redirect follows a redirect about connection h: its destination is reached by another next hop, for this
// and all other connections.
func (w *worker) redirect(h tcpoffload.Handle, e *wire.ICMPError) {
	hop, ok := w.eng.NextHop(h)
	// Whoever did not see our segments can hardly quote one (RFC 5927 §4.1). An acknowledgement without text
	// has the number of what comes next.
	if !ok || !w.eng.Info(h, w.now, &w.info) || e.Seq.LT(w.info.SndUna) || e.Seq.GT(w.info.SndNxt) {
		w.drop(DropICMPUnknown)
		return
	}
	l := &w.lanes[hop>>ports.HopBits]
	if !l.host.Redirect(w.now, hop&hopMask, e.Src, e.Flow.Remote, e.Gateway) {
		return
	}
	// A full mailbox: the router says it again to those that did not hear.
	_ = w.dev.eachTo(e.Flow.Remote, (*worker).reroute)
}

// concerns reports whether e says anything about a connection.
func concerns(e *wire.ICMPError) bool {
	if e.Redirects() {
		return true
	}
	_, ok := icmpCall(e)
	return ok
}

// icmpCall translates an ICMP error; ok is false for those that say nothing about a connection.
func icmpCall(e *wire.ICMPError) (c tcpoffload.Call, ok bool) {
	kind := icmpKind4
	if !e.Flow.Is4() {
		kind = icmpKind6
	}
	c = tcpoffload.Call{Kind: tcpoffload.CallICMP, Flow: e.Flow, Seq: e.Seq, ICMP: kind(e.Type, e.Code)}
	if c.ICMP == tcpoffload.ICMPTooBig {
		c.Value = int64(e.MTU)
	}
	return c, c.ICMP != 0
}

// icmpKind4 classes the errors of RFC 792 and RFC 1122 §3.2.2 as Linux does.
func icmpKind4(icmpType, code uint8) tcpoffload.ICMPKind {
	switch icmpType {
	case wire.ICMPTimeExceeded:
		return tcpoffload.ICMPSoft
	case wire.ICMPParamProblem:
		return tcpoffload.ICMPHard
	case wire.ICMPUnreachable:
		switch code {
		case wire.ICMPCodeFragNeeded:
			return tcpoffload.ICMPTooBig
		case 0, 1, 5, 11, 12: // network, host, source route; network and host for this type of service
			return tcpoffload.ICMPSoft
		}
		if code <= 15 { // protocol, port, and the kinds of prohibition
			return tcpoffload.ICMPHard
		}
	}
	return 0
}

// icmpKind6 classes the errors of RFC 4443 §3.
func icmpKind6(icmpType, code uint8) tcpoffload.ICMPKind {
	switch icmpType {
	case wire.ICMPv6PacketTooBig:
		return tcpoffload.ICMPTooBig
	case wire.ICMPv6TimeExceeded:
		return tcpoffload.ICMPSoft
	case wire.ICMPv6ParamProblem:
		return tcpoffload.ICMPHard
	case wire.ICMPv6Unreachable:
		switch code {
		case 0, 2, 3: // no route, beyond scope, address
			return tcpoffload.ICMPSoft
		case 1, 4, 5, 6: // prohibited, port, policy, reject route
			return tcpoffload.ICMPHard
		}
	}
	return 0
}

// PMTUUpdate tells the connections to dst that the path takes IP packets of mtu octets.
func (d *Device) PMTUUpdate(dst wire.Addr, mtu int) error {
	if mtu < minPathMTU || mtu > 1<<16-1 {
		return toe.ErrInvalid
	}
	return d.eachTo(dst, func(_ *worker, h tcpoffload.Handle) tcpoffload.Call {
		return tcpoffload.Call{Kind: tcpoffload.CallPathMTU, Handle: h, Value: int64(mtu)}
	})
}

// RouteRedirect sends what the connections to dst have to say by way of gateway, which has to be on
// the link of their port. Connections opened later go by the port's routes.
func (d *Device) RouteRedirect(dst, gateway wire.Addr) error {
	return d.eachTo(dst, func(w *worker, h tcpoffload.Handle) (c tcpoffload.Call) {
		port, ok := d.home(w.info.Flow.Local)
		if !ok || !d.cfg.Ports[port].Port.OnLink(gateway) {
			return c
		}
		l := &w.lanes[port]
		if hop, ok := l.host.Neighbour(gateway); ok {
			c = tcpoffload.Call{Kind: tcpoffload.CallNextHop, Handle: h, NextHop: l.engineHop(hop)}
		}
		return c
	})
}
