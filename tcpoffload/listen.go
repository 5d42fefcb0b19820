package tcpoffload

// Listeners (RFC 9293 §3.10.1, passive OPEN): table, backlog, and groups that share an address.

import (
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// Listening reports whether a listener answers for local:port.
func (e *Engine) Listening(local wire.Addr, port uint16) bool {
	return e.findListener(&wire.Flow{Local: local, LocalPort: port}) != 0
}

// portBucket returns the head of the list of listeners on port.
func (e *Engine) portBucket(port uint16) *uint32 {
	return &e.ports[int(port)&(len(e.ports)-1)]
}

// findListener returns the listener that answers for flow f, or 0: one bound to the address goes before one
// for any address of the family, and that before one for any address. Of those that share the address, the
// flow's hash chooses. One that is paused does not answer.
func (e *Engine) findListener(f *wire.Flow) uint32 {
	var best, rank uint32
	var hash, weight uint64 // of f; of best for f, 0 not known
	for i := *e.portBucket(f.LocalPort); i != 0; i = e.lsts[i].next {
		l := &e.lsts[i]
		if l.port != f.LocalPort || l.paused {
			continue
		}
		k := l.rank(f.Local)
		switch {
		case k > rank:
			best, rank, weight = i, k, 0
		case k == rank && k != 0:
			if hash == 0 {
				hash = flowHash(e.root.isnKey, f, flowPorts(f), 'g')
			}
			if weight == 0 {
				weight = shareOf(hash, best)
			}
			if w := shareOf(hash, i); w > weight {
				best, weight = i, w
			}
		}
	}
	return best
}

// shareOf is the weight of listener i for a flow with the hash; the heaviest of a group has the flow. Who
// joins takes flows from all alike, who leaves gives its own to all alike, and no other flow changes hands.
func shareOf(hash uint64, i uint32) uint64 {
	x := hash + uint64(i)*0x9e3779b97f4a7c15 // the mixing of splitmix64, which spreads consecutive numbers
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// rank says how exactly l is bound to the address; 0: not at all.
func (l *Listener) rank(local wire.Addr) uint32 {
	switch {
	case l.addr == local:
		return 3
	case l.addr == wire.AddrFrom4([4]byte{}) && local.Is4(), l.addr == wire.Addr{} && l.v6only && !local.Is4():
		return 2
	case l.addr == wire.Addr{} && !l.v6only:
		return 1
	}
	return 0
}

// beside reports whether l listens on exactly this.
func (l *Listener) beside(port uint16, addr wire.Addr, v6only bool) bool {
	return l.port == port && l.addr == addr && l.v6only == v6only
}

// mayListen reports whether c may listen beside those that have its address and port, and until when SYN
// cookies of theirs are good: its flows may have been theirs.
func (e *Engine) mayListen(c *Call) (cookies vtime.Time, r CallResult) {
	members := 0
	for i := *e.portBucket(c.Flow.LocalPort); i != 0; i = e.lsts[i].next {
		l := &e.lsts[i]
		if !l.beside(c.Flow.LocalPort, c.Flow.Local, c.V6Only) {
			continue
		}
		if c.Group == 0 || c.Group != l.group {
			return 0, CallInUse
		}
		cookies = max(cookies, l.cookieUntil)
		members++
	}
	if members >= MaxListenerGroup {
		return 0, CallTableFull
	}
	return cookies, CallOK
}

// listen is CallListen.
func (e *Engine) listen(c *Call) CallResult {
	if c.Flow.LocalPort == 0 || c.Value < 1 || !validOptions(&c.Opt) {
		return CallInvalid
	}
	c.V6Only = c.V6Only && c.Flow.Local == wire.Addr{} // an address says its family
	cookies, result := e.mayListen(c)
	if result != CallOK {
		return result
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
		cookie: c.Cookie, opt: c.Opt, group: c.Group, cookieUntil: cookies,
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
	for k := *e.portBucket(l.port); k != 0; k = e.lsts[k].next {
		if o := &e.lsts[k]; o.beside(l.port, l.addr, l.v6only) {
			o.cookieUntil = max(o.cookieUntil, l.cookieUntil) // what l asked its peers to remember, others will be shown
		}
	}
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
