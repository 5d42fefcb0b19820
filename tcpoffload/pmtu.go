package tcpoffload

// The path MTU: told by ICMP (RFC 1191, RFC 8201), found by probing (RFC 4821, RFC 8899), remembered for
// later connections to the same address.

import (
	"encoding/binary"

	"opentoe/tcpoffload/seq"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// MTUProbing says when packets of real data are used to find the path MTU.
type MTUProbing uint8

// The modes, with Linux' numbers (tcp_mtu_probing).
const (
	MTUProbingOff       MTUProbing = iota
	MTUProbingBlackHole            // when segments vanish and no ICMP error explains it
	MTUProbingAlways               // from the start, upwards
)

const (
	// pathMTULife is how long a path MTU that was told or found is believed (RFC 1191 §6.3: ten minutes;
	// RFC 8899 §5.1.1, PMTU_RAISE_TIMER).
	pathMTULife = 10 * vtime.Minute
	// baseMTU4 and baseMTU6 are what nearly every path takes, octets: where the search begins
	// (RFC 4821 §7.2).
	baseMTU4, baseMTU6 = 1024 + 40, minMTU6
	// minMTU6 is what every IPv6 path takes, octets (RFC 8200 §5).
	minMTU6 = 1280
	// blackHoleTimeouts is how many timeouts in a row make a black hole (RFC 4821 §7.7, RFC 8899 §4.3).
	blackHoleTimeouts = 3
	// probeStep ends the search: less is not worth a probe, octets.
	probeStep = 8
	// probeCwnd is the congestion window, segments, below which no probe is sent: its loss has to be
	// seen by duplicate ACKs, not by a timeout.
	probeCwnd = 11
	// minPathMTU4 is the smallest MTU that an IPv4 router may have, octets (RFC 791 §3.2).
	minPathMTU4 = 68
)

// pmtuVars are a connection's idea of its path, in octets of IP packets.
type pmtuVars struct {
	hop     uint16 // towards the next hop: no search goes beyond
	mtu     uint16 // in force; 0 before the peer's SYN
	high    uint16 // largest that the search still hopes for; valid with sendSearch
	probe   uint16 // size of the probe in flight; 0: none
	peerMSS uint16 // upper bound of SND.MSS by the peer's option and by the program
	found   bool   // mtu was found by probing, not told
	// synRetries is how often a SYN is sent again, 0: the tunable. It stands where there is room.
	synRetries uint8
	end        seq.Num // of the probe in flight
}

// Path is what is remembered of the path to one address.
type Path struct {
	addr    wire.Addr
	expires vtime.Time // zero: the entry is free
	mtu     uint16
	_       [6]byte
}

// mssFor returns the payload and options that a packet of mtu octets holds.
func (t *TCB) mssFor(mtu uint16) uint32 {
	return max(uint32(mtu)-uint32(headerLen(&t.flow)), minMSS)
}

// effFor returns the effective MSS at path MTU mtu.
func (t *TCB) effFor(mtu uint16) uint32 {
	n := t.mssFor(mtu)
	if t.flags&flagTS != 0 {
		n -= tsOptLen
	}
	return n
}

// leastMTU returns the MTU below which a path of t is not believed to be.
func (e *Engine) leastMTU(t *TCB) uint16 {
	if t.flow.Is4() {
		return e.tun.MinPMTU
	}
	return minMTU6
}

func baseMTU(t *TCB) uint16 {
	if t.flow.Is4() {
		return baseMTU4
	}
	return baseMTU6
}

// startPath gives t, which has just heard the peer's MSS, its first path MTU and so its SND.MSS.
func (e *Engine) startPath(t *TCB, now vtime.Time) {
	p := &t.pmtu
	p.peerMSS = uint16(t.snd.mss)
	mtu := p.hop
	if p.mtu != 0 {
		mtu = min(mtu, p.mtu)
	}
	if i := e.findPath(&t.flow.Remote, now); i >= 0 && e.paths[i].mtu < mtu {
		mtu = e.paths[i].mtu
		e.setTimer(t, TimerMTU, e.paths[i].expires)
	} else if e.tun.MTUProbing == MTUProbingAlways && t.snd.mode&sendFrag == 0 && mtu > baseMTU(t) {
		p.found = true
		e.search(t, mtu)
		mtu = baseMTU(t)
	}
	e.usePath(t, mtu)
}

// usePath puts mtu in force for new segments.
func (e *Engine) usePath(t *TCB, mtu uint16) {
	t.pmtu.mtu = mtu
	if t.pmtu.peerMSS != 0 {
		t.snd.mss = min(t.mssFor(mtu), uint32(t.pmtu.peerMSS))
	}
}

// search begins a search for path MTUs up to high.
func (e *Engine) search(t *TCB, high uint16) {
	t.pmtu.high = uint16(min(int(high), int(t.pmtu.peerMSS)+headerLen(&t.flow)))
	t.snd.mode |= sendSearch
}

// tooBig takes an ICMP error: a router takes no packets beyond mtu octets, 0 if it does not say. It
// reports whether that was believed: it is when it is less than what is in force.
func (e *Engine) tooBig(t *TCB, now vtime.Time, mtu int64) bool {
	cur := t.pmtu.mtu
	if cur == 0 {
		cur = t.pmtu.hop
	}
	if mtu == 0 && t.flow.Is4() {
		mtu = int64(plateau(cur))
	}
	if mtu < minPathMTU4 || mtu >= int64(cur) || t.snd.mode&sendFrag != 0 {
		return false
	}
	n := uint16(mtu)
	if least := e.leastMTU(t); n < least {
		// Nobody has such a link any more: who says so wants many small packets of us. If it is true,
		// routers may cut them (IPv4 only).
		n = min(least, cur)
		if t.flow.Is4() {
			t.snd.mode |= sendFrag
		} else if n == cur {
			return false
		}
	}
	e.rememberPath(&t.flow.Remote, n, now)
	t.pmtu.found = false
	t.endSearch()
	e.lowerPath(t, now, n)
	return true
}

// plateau returns the next smaller MTU of common links (RFC 1191 §7.1), for a router that does not say.
func plateau(mtu uint16) uint16 {
	for _, p := range [...]uint16{32000, 17914, 8166, 4352, 2002, 1492, 1006, 508, 296} {
		if p < mtu {
			return p
		}
	}
	return minPathMTU4
}

// lowerPath puts a smaller MTU in force and sends again what is in flight in segments that were too
// large. The congestion window stays: a router dropped them for their size.
func (e *Engine) lowerPath(t *TCB, now vtime.Time, mtu uint16) {
	was := t.snd.mss
	e.usePath(t, mtu)
	if mtu < t.pmtu.hop {
		e.setTimer(t, TimerMTU, now.Add(pathMTULife))
	}
	if t.state == StateSynSent {
		e.synTooLarge(t, mtu)
		return
	}
	if t.snd.mss < was && !isOpening.has(t.state) && t.flight() > t.effMSS() {
		e.resendFlight(t, now)
	}
}

// pathMTU is CallPathMTU: the owner knows.
func (e *Engine) pathMTU(t *TCB, now vtime.Time, v int64) CallResult {
	if v < minPathMTU4 || v > maxMTU {
		return CallInvalid
	}
	mtu := max(uint16(v), e.leastMTU(t))
	t.pmtu.hop = mtu
	t.pmtu.found = false
	t.endSearch()
	if t.pmtu.mtu > mtu {
		e.lowerPath(t, now, mtu)
	} else {
		t.deadline[TimerMTU] = vtime.Never
		e.usePath(t, mtu)
	}
	return CallOK
}

// reroute is CallNextHop: packets leave another way from now on. What the path beyond takes is believed
// until it expires, like after any change of routes; only a first link that takes less counts at once.
func (e *Engine) reroute(t *TCB, now vtime.Time, c *Call) CallResult {
	t.nextHop = c.NextHop
	p := &t.pmtu
	switch {
	case c.MTU == 0 || c.MTU == p.hop:
		return CallOK
	case p.mtu != 0 && p.mtu < p.hop && p.mtu <= c.MTU:
		p.hop = max(c.MTU, e.leastMTU(t))
		return CallOK
	}
	return e.pathMTU(t, now, int64(c.MTU))
}

// pathExpired tries larger packets again: routes change. Where ICMP told the MTU it will tell it again;
// where probing found it, probes go first.
func (e *Engine) pathExpired(t *TCB) {
	p := &t.pmtu
	switch {
	case isOpening.has(t.state) || p.mtu >= p.hop:
	case p.found:
		if e.tun.MTUProbing != MTUProbingOff {
			e.search(t, p.hop)
		}
	default:
		e.setFrag(t, t.snd.mode&sendFragAsked != 0)
		e.usePath(t, p.hop)
	}
}

// setDiscovery lets the program choose whether the path MTU is discovered (RFC 1191 §6.1).
func (e *Engine) setDiscovery(t *TCB, on bool) {
	t.snd.mode &^= sendFragAsked
	if !on {
		t.snd.mode |= sendFragAsked
		t.endSearch()
	}
	e.setFrag(t, !on)
}

// setFrag lets routers cut our packets, or not.
func (e *Engine) setFrag(t *TCB, on bool) {
	t.snd.mode &^= sendFrag
	if on {
		t.snd.mode |= sendFrag
	}
}

// blackHole is called at a retransmission timeout: after some in a row the packets may be too large for
// the path, and the errors that would say so lost (RFC 4821 §7.7).
func (e *Engine) blackHole(t *TCB, now vtime.Time) {
	p := &t.pmtu
	p.probe = 0 // says nothing about the probe
	least := e.leastMTU(t)
	if e.tun.MTUProbing == MTUProbingOff || t.retries < blackHoleTimeouts || p.mtu <= least ||
		t.snd.mode&sendFrag != 0 || t.flight() <= t.effFor(least) {
		return
	}
	mtu := baseMTU(t)
	if p.mtu <= mtu {
		mtu = p.mtu / 2
	}
	e.root.mib.MTUBlackHoles++
	p.found = true
	e.search(t, p.mtu-1)
	e.usePath(t, max(mtu, least))
	e.setTimer(t, TimerMTU, now.Add(pathMTULife))
}

// sendProbe sends new data as a packet larger than the path MTU in force, if the search wants one and
// its loss would do no harm: enough follows it to show the loss, and windows are wide (RFC 4821 §7.4).
// It reports whether new data has to wait until the probe fits in the windows.
// Precondition: there is room for one segment.
func (e *Engine) sendProbe(t *TCB, now vtime.Time, out *Output) (wait bool) {
	p := &t.pmtu
	mss := t.effMSS()
	if p.probe != 0 || t.ca != caOpen || t.snd.sacked != 0 || t.cc.Cwnd < probeCwnd*mss {
		return false
	}
	size := uint16((uint32(p.mtu) + uint32(p.high) + 1) / 2)
	n := t.effFor(size)
	if int(p.high) < int(p.mtu)+probeStep || t.mssFor(size) > uint32(p.peerMSS) {
		t.endSearch()
		e.setTimer(t, TimerMTU, now.Add(pathMTULife))
		return false
	}
	need := n + (dupThresh+1)*mss
	if _, border := e.toBorder(t, uint64(n)); border {
		return false
	}
	if e.unsent(t) < uint64(need) || t.snd.wnd < need || t.cc.Cwnd < need {
		return false
	}
	if t.sendRoom() < need {
		return t.flight() > 0
	}
	if t.pipe()+n > t.cc.Cwnd {
		t.flags |= flagCwndFull
		return true
	}
	if !e.sendNew(t, now, n, false, e.unsent(t), out) {
		return false
	}
	s := &out.Segs[len(out.Segs)-1]
	if s.Len != n {
		return false // CWR had to stand on a small one
	}
	s.SegSize = 0
	p.probe, p.end = size, t.snd.nxt
	e.root.mib.MTUProbes++
	return false
}

// endSearch forgets the search and the probe in flight.
func (t *TCB) endSearch() {
	t.snd.mode &^= sendSearch
	t.pmtu.probe = 0
}

// probeAnswered notes that SND.UNA has moved: past the probe, the path takes its size.
func (e *Engine) probeAnswered(t *TCB) {
	p := &t.pmtu
	if p.probe != 0 && t.snd.una.GEQ(p.end) {
		e.root.mib.MTUProbesOK++
		e.usePath(t, p.probe)
		p.probe = 0
	}
}

// probeLost is called when the first segment in flight is found lost by SACK or duplicate ACKs. If that is
// the probe it was too large, nothing else: it is sent again in segments that pass, and no window is
// reduced (RFC 4821 §7.6.2). It reports whether it was.
func (e *Engine) probeLost(t *TCB, now vtime.Time) bool {
	p := &t.pmtu
	if p.probe == 0 || p.end-seq.Num(t.effFor(p.probe)) != t.snd.una {
		return false
	}
	e.root.mib.MTUProbesLost++
	p.high = p.probe - 1
	p.probe = 0
	e.resendProbe(t, now, p.end)
	return true
}

// findPath returns the index of what is remembered of the path to addr, or −1.
func (e *Engine) findPath(addr *wire.Addr, now vtime.Time) int {
	for i, n := e.pathSet(addr); n > 0; i, n = i+1, n-1 {
		if p := &e.paths[i]; p.expires.After(now) && p.addr == *addr {
			return i
		}
	}
	return -1
}

// pathSet returns the entries that may hold addr: the first and how many.
func (e *Engine) pathSet(addr *wire.Addr) (first, n int) {
	if len(e.paths) < pathWays {
		return 0, len(e.paths)
	}
	k := &e.root.hashKey
	h := fold(binary.LittleEndian.Uint64(addr[:])^k[0], binary.LittleEndian.Uint64(addr[8:])^k[1])
	return int(uint32(h)) & (len(e.paths) - 1) &^ (pathWays - 1), pathWays
}

// rememberPath notes that the path to addr takes packets of mtu octets. The entry of its set that
// expires first gives way.
func (e *Engine) rememberPath(addr *wire.Addr, mtu uint16, now vtime.Time) {
	at := e.findPath(addr, now)
	if at < 0 {
		first, n := e.pathSet(addr)
		if n == 0 {
			return
		}
		at = first
		for i := first; i < first+n; i++ {
			if e.paths[i].expires < e.paths[at].expires {
				at = i
			}
		}
	}
	e.paths[at] = Path{addr: *addr, mtu: mtu, expires: now.Add(pathMTULife)}
}

// resendFlight marks everything in flight as lost, but not for want of capacity: the window stays.
func (e *Engine) resendFlight(t *TCB, now vtime.Time) {
	t.beginResend()
	t.flags &^= flagMarking // all that it marks
	t.rec.timeoutAt = now
	e.loseFlight(t, now)
	e.armRexmt(t, now)
	e.txAdd(t, pendData)
}

// resendProbe marks the probe, which is first in flight and ends at end, as lost in the same way.
func (e *Engine) resendProbe(t *TCB, now vtime.Time, end seq.Num) {
	t.beginResend()
	e.loseBefore(t, end)
	e.armRexmt(t, now)
	e.txAdd(t, pendData)
}

// beginResend begins a recovery from a loss that says nothing of the capacity of the path.
func (t *TCB) beginResend() {
	if t.ca != caRecovery {
		t.ca = caLoss
	}
	if t.flags&flagSACK == 0 {
		t.snd.sacked, t.snd.dupAcks = 0, 0
	}
	t.rec.point, t.rec.frto = t.snd.nxt, frtoOff
	t.denyUndo()
	t.flags &^= flagTLPSent | flagProbeRxt
}
