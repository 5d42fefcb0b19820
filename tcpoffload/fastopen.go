package tcpoffload

// TCP Fast Open (RFC 7413): data on the SYN, for a client that proves by a cookie that it owns its
// address.

import (
	"encoding/binary"

	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// FastOpenMode says which sides of Fast Open are allowed; sockets have to ask for it all the same.
type FastOpenMode uint8

// The sides, to be combined.
const (
	FastOpenClient FastOpenMode = 1 << iota
	FastOpenServer
	// FastOpenClientBare and FastOpenServerBare do without cookies: every client's SYN carries data, and
	// every listener with Fast Open takes them. For networks where addresses cannot be forged.
	FastOpenClientBare
	FastOpenServerBare
)

const fastOpenModes = FastOpenClient | FastOpenServer | FastOpenClientBare | FastOpenServerBare

const (
	// fastOpenHold is how long a request that the peer has reset still counts against the listener's
	// limit: a spoofed SYN is answered by a RST of the true owner of the address (§5.1).
	fastOpenHold = vtime.Minute
	// fastOpenPause is how long nothing is tried towards a server after a SYN with the option was
	// lost; each further loss doubles it, fastOpenPauses times (§4.1.3.1).
	fastOpenPause  = vtime.Minute
	fastOpenPauses = 6
	// fastOpenWays is how many entries of the cookie cache an address may be in.
	fastOpenWays = 4
	// fastOpenReserve is what a SYN with data leaves free of the server's MSS, octets: all options that a
	// header can hold, since what lies between may add some. As in Linux.
	fastOpenReserve = wire.MaxOptionsLen
	// fastOpenCookieLen is the length of our cookies, octets.
	fastOpenCookieLen = 8
)

// fastOpenFlags are what one connection has to do with Fast Open.
type fastOpenFlags uint16

const (
	fastWanted  fastOpenFlags = 1 << iota // active open: the program asks for it
	fastAsked                             // our SYN had the option
	fastData                              // our SYN had data: SND.NXT includes them until it is answered
	fastPending                           // passive: the owner has the connection, the handshake is not complete
	fastGrant                             // passive: the SYN-ACK tells a new cookie
	fastDone                              // all data on a SYN were acknowledged
	fastExp                               // passive: the option is in the experimental form
	fastBare                              // active open: without a cookie
	fastHeld                              // active open: the SYN waits for data
	fastCut                               // active open: the SYN was too large for the path, and went again without data
	fastAgain                             // active open: what the SYN took along has to be sent again
)

// fastOpenTry says in which form the next request for a cookie is made to a server that gave none.
type fastOpenTry uint8

const (
	tryFastOpen    fastOpenTry = iota // kind 34
	tryFastOpenExp                    // once in the experimental form: there are servers that know no other
	tryNoMore                         // kind 34 again, for good
)

// FastOpenPeer is what a client remembers of one server: an entry of the cookie cache (§4.1.3).
type FastOpenPeer struct {
	addr      wire.Addr
	cookie    [wire.MaxFastOpenCookie]byte
	mss       uint16 // that it announced, octets
	cookieLen uint8  // 0: no cookie
	losses    uint8  // SYNs with the option lost in a row, where they count
	exp       bool   // the cookie came in the experimental form of the option
	doubt     bool   // a SYN was lost that did not count; the next one does
	try       fastOpenTry
	_         uint8
	used      vtime.Time // 0: a free entry
	lostAt    vtime.Time // valid with losses
}

// SetFastOpenKeys replaces the keys of Fast Open cookies. Cookies are made with primary; those made with
// backup, the key before, are still good, and are replaced. Engines that serve one address need the
// same keys.
func (e *Engine) SetFastOpenKeys(primary, backup [16]byte) {
	e.root.fastOpenKey = [2][2]uint64{keyWords(primary), keyWords(backup)}
}

// keyWords returns the key b as little-endian words.
func keyWords(b [16]byte) [2]uint64 {
	return [2]uint64{binary.LittleEndian.Uint64(b[:8]), binary.LittleEndian.Uint64(b[8:])}
}

// fastOpenCookie returns the cookie of f.Remote for our address (§4.1.2). It is the one that Linux makes
// with the same key, so that both may serve one address: SipHash-2-4 of the SYN's source and destination.
func fastOpenCookie(key [2]uint64, f *wire.Flow) (c [fastOpenCookieLen]byte) {
	var words [4]uint64
	n := 0
	if f.Is4() {
		var b [8]byte
		src, dst := f.Remote.As4(), f.Local.As4()
		copy(b[:4], src[:])
		copy(b[4:], dst[:])
		words[0], n = binary.LittleEndian.Uint64(b[:]), 1
	} else {
		for _, a := range [...]*wire.Addr{&f.Remote, &f.Local} {
			words[n], words[n+1] = binary.LittleEndian.Uint64(a[:]), binary.LittleEndian.Uint64(a[8:])
			n += 2
		}
	}
	binary.LittleEndian.PutUint64(c[:], sipWords(key, words[:n]))
	return c
}

// putFastOpenCookie adds to o our cookie for f.Remote; exp: in the experimental form.
func (e *Engine) putFastOpenCookie(f *wire.Flow, o *wire.Options, exp bool) {
	c := fastOpenCookie(e.root.fastOpenKey[0], f)
	o.Set |= wire.OptFastOpen
	if exp {
		o.Set |= wire.OptFastOpenExp
	}
	o.CookieLen = uint8(copy(o.Cookie[:], c[:]))
}

// fastOpenServes reports whether SYN seg asks listener l for Fast Open, and may.
func (e *Engine) fastOpenServes(l *Listener, seg *Segment) bool {
	return l.opt.FastOpen != 0 && e.tun.FastOpen&FastOpenServer != 0 &&
		(seg.Opt.Set&wire.OptFastOpen != 0 || seg.Len > 0 && e.servesBare(l))
}

// servesBare reports whether l asks for no cookies.
func (e *Engine) servesBare(l *Listener) bool {
	return l.opt.FastOpenBare || e.tun.FastOpen&FastOpenServerBare != 0
}

// fastOpenArrives makes a connection of SYN seg to listener i if its cookie is good and the listener's
// limit allows it (§4.2.2), and reports whether it did. If not, the handshake goes its usual way.
func (e *Engine) fastOpenArrives(i uint32, now vtime.Time, seg *Segment, out *Output) bool {
	l, m, o := &e.lsts[i], &e.root.mib, &seg.Opt
	asks := o.Set&wire.OptFastOpen != 0 && o.CookieLen == 0
	if asks {
		m.FastOpenCookieReqd++
	}
	key := 0
	if !e.servesBare(l) {
		if asks {
			return false
		}
		if key = e.fastOpenKeyOf(seg); key == len(e.root.fastOpenKey) {
			m.FastOpenPassiveFail++
			return false
		}
	}
	if now >= l.resetUntil {
		l.resets = 0
	}
	if l.pending+l.resets >= l.opt.FastOpen {
		m.FastOpenListenOverflow++
		return false
	}
	t := e.allocConn(&seg.Flow)
	if t == nil {
		return false
	}
	m.FastOpenPassive++
	m.PassiveOpens++
	t.flags |= flagPassive
	t.fastOpen = fastPending
	if key != 0 {
		t.fastOpen |= fastGrant
	}
	if o.Set&wire.OptFastOpenExp != 0 {
		t.fastOpen |= fastExp
	}
	t.listener, t.listenGen = i, l.gen
	l.pending++
	e.initConn(t, now, seg.NextHop, seg.MTU, &l.opt)
	e.synArrived(t, now, seg)
	e.setState(t, StateSynReceived)
	e.offer(t, out)
	e.takeSynText(t, now, seg, out)
	e.txAdd(t, pendSyn)
	e.check(t)
	return true
}

// fastOpenGrant returns the form in which the answer to SYN seg tells a cookie, if seg asks for one.
func fastOpenGrant(seg *Segment) synFlags {
	switch seg.Opt.Set & (wire.OptFastOpen | wire.OptFastOpenExp) {
	case 0:
		return 0
	case wire.OptFastOpen:
		return synFastOpen
	}
	return synFastOpen | synFastOpenExp
}

// fastOpenKeyOf returns the number of the key that the cookie of SYN seg was made with, and one beyond the
// last if it was none of ours.
func (e *Engine) fastOpenKeyOf(seg *Segment) int {
	if seg.Opt.CookieLen == fastOpenCookieLen {
		for k, key := range e.root.fastOpenKey {
			if fastOpenCookie(key, &seg.Flow) == [fastOpenCookieLen]byte(seg.Opt.Cookie[:fastOpenCookieLen]) {
				return k
			}
		}
	}
	return len(e.root.fastOpenKey)
}

// takeSynText takes the text of SYN seg of a connection whose cookie was good, unless it is taken
// already. A SYN with text is shown twice when there was no room for it at first.
func (e *Engine) takeSynText(t *TCB, now vtime.Time, seg *Segment, out *Output) {
	n := min(seg.Len, uint32(max(t.rcv.adv.Sub(t.rcv.nxt), 0)))
	if n == 0 || t.rcv.nxt != t.rcv.irs.Add(1) || t.flags&flagDetached != 0 {
		return
	}
	t.fastOpen |= fastDone
	e.textInOrder(t, now, seg, 0, n, out)
}

// fastOpenLeave ends the time of t as a request that its listener counts; reset: by a RST.
func (e *Engine) fastOpenLeave(t *TCB, now vtime.Time, reset bool) {
	t.fastOpen &^= fastPending
	l := e.offeredBy(t)
	if l == nil {
		return
	}
	l.pending--
	if reset {
		l.resets++
		l.resetUntil = now.Add(fastOpenHold)
	}
}

// fastOpenPeer returns what is known of server a, or nil.
func (e *Engine) fastOpenPeer(a wire.Addr) *FastOpenPeer {
	set := e.fastOpenSet(a)
	for i := range set {
		if p := &set[i]; p.used != 0 && p.addr == a {
			return p
		}
	}
	return nil
}

// fastOpenRemember returns the entry of server a; the one in its place that was used longest ago gives
// way to a new one.
func (e *Engine) fastOpenRemember(a wire.Addr, now vtime.Time) *FastOpenPeer {
	p := e.fastOpenPeer(a)
	if p == nil {
		set := e.fastOpenSet(a)
		p = &set[0]
		for i := range set {
			if set[i].used < p.used {
				p = &set[i]
			}
		}
		*p = FastOpenPeer{addr: a}
	}
	p.used = max(now, 1)
	return p
}

// ForgetFastOpen forgets what is known of all servers.
func (e *Engine) ForgetFastOpen() { clear(e.fops) }

// fastOpenSet returns the entries that address a may be in.
func (e *Engine) fastOpenSet(a wire.Addr) []FastOpenPeer {
	k := &e.root.hashKey
	h := fold(binary.LittleEndian.Uint64(a[:])^k[0], binary.LittleEndian.Uint64(a[8:])^k[1])
	at := uint32(h) & uint32(len(e.fops)-1) &^ (fastOpenWays - 1)
	return e.fops[at : at+fastOpenWays]
}

// paused reports whether nothing is to be tried towards p now: what lies between drops such SYNs.
func (p *FastOpenPeer) paused(now vtime.Time) bool {
	return p.losses != 0 && now.Sub(p.lostAt) < fastOpenPause<<min(p.losses-1, fastOpenPauses)
}

// fastOpenBegin begins active open t as o asks, and returns how many octets its SYN takes along. If it
// takes any and o wants to hold it, it waits for the first octet to send.
func (e *Engine) fastOpenBegin(t *TCB, now vtime.Time, o *SocketOptions) (room uint32) {
	if !o.FastOpenConn {
		return 0
	}
	t.fastOpen = fastWanted
	if o.FastOpenBare || e.tun.FastOpen&FastOpenClientBare != 0 {
		t.fastOpen |= fastBare
	}
	_, room, _ = e.fastOpenRoom(t, now)
	if room > 0 && o.FastOpenHold {
		t.fastOpen |= fastHeld
	}
	return room
}

// fastOpenRoom returns what is known of the server of t, and how many octets a first SYN to it takes
// along now. may is false if the SYN has to be an ordinary one; then p is nil unless it pauses.
func (e *Engine) fastOpenRoom(t *TCB, now vtime.Time) (p *FastOpenPeer, room uint32, may bool) {
	if e.tun.FastOpen&FastOpenClient == 0 {
		return nil, 0, false
	}
	p = e.fastOpenPeer(t.flow.Remote)
	if p != nil && p.paused(now) {
		return p, 0, false
	}
	if t.fastOpen&fastBare == 0 && (p == nil || p.cookieLen == 0) {
		return p, 0, true
	}
	mss := t.rcv.maxSeg
	if p != nil {
		mss = min(mss, p.mss)
	}
	if i := e.findPath(&t.flow.Remote, now); i >= 0 {
		mss = min(mss, e.paths[i].mtu-uint16(headerLen(&t.flow)))
	}
	return p, uint32(max(mss, fastOpenReserve) - fastOpenReserve), true
}

// fastOpenSyn adds to the first SYN of t a cookie and data, or asks for a cookie (§4.2.1).
func (e *Engine) fastOpenSyn(t *TCB, now vtime.Time, s *TxSegment) {
	p, room, may := e.fastOpenRoom(t, now)
	if !may {
		t.fastOpen &^= fastBare
		if p != nil {
			e.root.mib.FastOpenPaused++
		}
		return
	}
	if p != nil {
		p.used = max(now, 1)
	}
	if t.fastOpen&fastBare == 0 {
		t.fastOpen |= fastAsked
		s.Opt.Set |= wire.OptFastOpen
		if p != nil {
			s.Opt.CookieLen, s.Opt.Cookie = p.cookieLen, p.cookie
			if p.cookieLen != 0 && p.exp || p.cookieLen == 0 && p.try == tryFastOpenExp {
				s.Opt.Set |= wire.OptFastOpenExp
				t.fastOpen |= fastExp
			}
		}
	}
	if most, _ := e.toBorder(t, min(t.snd.end, uint64(room))); most > 0 {
		n := uint32(most)
		t.fastOpen |= fastData
		s.Len = n
		t.snd.nxt = t.snd.nxt.Add(n)
		e.root.mib.OutOctets += uint64(n)
	}
}

// fastOpenAnswered learns from the SYN-ACK seg, which answers a SYN of t that had the option, or data
// without it (§4.1.3).
func (e *Engine) fastOpenAnswered(t *TCB, now vtime.Time, seg *Segment) {
	o := &seg.Opt
	data := t.fastOpen&fastData != 0
	taken := data && seg.Ack.GT(t.snd.iss.Add(1))
	given := t.fastOpen&fastAsked != 0 && o.Set&wire.OptFastOpen != 0 && o.CookieLen != 0
	p := e.fastOpenRemember(t.flow.Remote, now)
	p.mss = peerMSS(&t.flow, o)
	if t.retries > 0 && !taken && !given {
		// The SYN without it got through: perhaps the one with it never can. One of those that were a mere
		// request for a cookie, or had no option, may be lost like any other segment.
		if data && t.fastOpen&fastBare == 0 || p.doubt {
			p.lostAt, p.losses = now, min(p.losses+1, fastOpenPauses+1)
		}
		p.doubt = true
		return
	}
	p.losses, p.doubt = 0, false
	switch {
	case given:
		p.cookieLen, p.cookie, p.exp = o.CookieLen, o.Cookie, o.Set&wire.OptFastOpenExp != 0
	case data && !taken && t.fastOpen&fastCut == 0:
		p.cookieLen = 0 // it is good no more
	case t.fastOpen&fastAsked == 0 || data || p.cookieLen != 0:
	case t.fastOpen&fastExp != 0:
		p.try = tryNoMore
	case p.try == tryFastOpen:
		p.try = tryFastOpenExp
	}
}

// synDataAcked takes the ACK seg of our SYN that had data: what it does not acknowledge is sent again at
// once, which is no sign of congestion.
func (e *Engine) synDataAcked(t *TCB, now vtime.Time, seg *Segment, out *Output) {
	s := &t.snd
	n, end := uint32(seg.Ack-s.una), s.nxt
	s.una, s.nxt = seg.Ack, seg.Ack
	s.una64 += uint64(n)
	t.fastOpen &^= fastData
	if s.una == end {
		e.root.mib.FastOpenActive++
		t.fastOpen |= fastDone
	} else {
		e.root.mib.FastOpenActiveFail++
		if e.flightRoom(t, now) { // otherwise they are sent as if they never had been
			if _, border := e.toBorder(t, uint64(end-s.una)); border {
				e.flights[t.fl.tail].flags |= flightBorder
			}
			e.flightSent(t, end)
			s.nxt = end
			t.fastOpen |= fastAgain
			e.resendFlight(t, now)
		}
	}
	if n > 0 {
		out.act(t, ActAcked).Pos = s.una64 - 1
	}
}

// synTooLarge is called when a router says that the SYN of t, which had data, was too large: it goes again
// at once, without them, and announces what the path takes.
func (e *Engine) synTooLarge(t *TCB, mtu uint16) {
	if t.fastOpen&(fastData|fastCut) != fastData {
		return
	}
	t.fastOpen |= fastCut
	t.rcv.maxSeg = min(t.rcv.maxSeg, mtu-uint16(headerLen(&t.flow)))
	e.txAdd(t, pendSyn)
}
