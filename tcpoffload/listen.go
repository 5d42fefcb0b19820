package tcpoffload

// Listeners (RFC 9293 §3.10.1, passive OPEN): table and backlog.

import "opentoe/tcpoffload/wire"

// Listening reports whether a listener answers for local:port.
func (e *Engine) Listening(local wire.Addr, port uint16) bool {
	return e.findListener(local, port) != 0
}

// portBucket returns the head of the list of listeners on port.
func (e *Engine) portBucket(port uint16) *uint32 {
	return &e.ports[int(port)&(len(e.ports)-1)]
}

// findListener returns the listener that answers for local:port, or 0: one bound to the address
// goes before one for any address of the family, and that before one for any address. One that is paused
// does not answer.
func (e *Engine) findListener(local wire.Addr, port uint16) uint32 {
	var best, rank uint32
	for i := *e.portBucket(port); i != 0; i = e.lsts[i].next {
		l := &e.lsts[i]
		if l.port != port || l.paused {
			continue
		}
		var k uint32
		switch {
		case l.addr == local:
			k = 3
		case l.addr == wire.AddrFrom4([4]byte{}) && local.Is4(), l.addr == wire.Addr{} && l.v6only && !local.Is4():
			k = 2
		case l.addr == wire.Addr{} && !l.v6only:
			k = 1
		}
		if k > rank {
			best, rank = i, k
		}
	}
	return best
}

// listen is CallListen.
func (e *Engine) listen(c *Call) CallResult {
	if c.Flow.LocalPort == 0 || c.Value < 1 || !validOptions(&c.Opt) {
		return CallInvalid
	}
	for i := *e.portBucket(c.Flow.LocalPort); i != 0; i = e.lsts[i].next {
		l := &e.lsts[i]
		if l.port == c.Flow.LocalPort && l.addr == c.Flow.Local && l.v6only == c.V6Only {
			return CallInUse
		}
	}
	r := e.root
	i := r.freeListen
	switch {
	case i != 0:
		r.freeListen = e.lsts[i].next
	case r.freshListen < uint32(len(e.lsts)):
		i = r.freshListen
		r.freshListen++
	default:
		return CallTableFull
	}
	head := e.portBucket(c.Flow.LocalPort)
	e.lsts[i] = Listener{
		addr: c.Flow.Local, port: c.Flow.LocalPort, v6only: c.V6Only, used: true,
		gen: e.lsts[i].gen + 1, next: *head, backlog: uint32(min(c.Value, MaxConns)),
		cookie: c.Cookie, opt: c.Opt,
	}
	*head = i
	c.Listener = ListenerID(e.lsts[i].gen)<<32 | ListenerID(i)
	return CallOK
}

// unlisten is CallUnlisten. The half-open connections are closed here and reset by Transmit.
func (e *Engine) unlisten(c *Call) CallResult {
	l := e.findListenerID(c.Listener)
	if l == nil {
		return CallNoConnection
	}
	i := uint32(c.Listener)
	for l.oldest != 0 {
		k := l.oldest
		h := &e.syns[k-e.synBase]
		e.root.mib.AttemptFails++
		e.halfOpenClose(h, k)
		h.next = e.root.synCache.resets
		e.root.synCache.resets = k
	}
	p := e.portBucket(l.port)
	for *p != i {
		p = &e.lsts[*p].next
	}
	*p = l.next
	l.used = false
	l.next = e.root.freeListen
	e.root.freeListen = i
	return CallOK
}

// findListenerID returns the listener that id names, or nil.
func (e *Engine) findListenerID(id ListenerID) *Listener {
	i := uint32(id)
	if i == 0 || i >= uint32(len(e.lsts)) {
		return nil
	}
	l := &e.lsts[i]
	if !l.used || l.gen != uint32(id>>32) {
		return nil
	}
	return l
}
