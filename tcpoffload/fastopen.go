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
)

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
	// fastOpenCookieLen is the length of our cookies, octets.
	fastOpenCookieLen = 8
)

// fastOpenFlags are what one connection has to do with Fast Open.
type fastOpenFlags uint8

const (
	fastWanted  fastOpenFlags = 1 << iota // active open: the program asks for it
	fastAsked                             // our SYN had the option
	fastData                              // our SYN had data: SND.NXT includes them until it is answered
	fastPending                           // passive: the owner has the connection, the handshake is not complete
	fastGrant                             // passive: the SYN-ACK tells a new cookie
	fastDone                              // data on a SYN were acknowledged
)

// FastOpenPeer is what a client remembers of one server: an entry of the cookie cache (§4.1.3).
type FastOpenPeer struct {
	addr      wire.Addr
	cookie    [wire.MaxFastOpenCookie]byte
	mss       uint16 // that it announced, octets
	cookieLen uint8  // 0: no cookie
	losses    uint8  // SYNs with the option lost in a row
	_         uint32
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

// putFastOpenCookie adds to o our cookie for f.Remote.
func (e *Engine) putFastOpenCookie(f *wire.Flow, o *wire.Options) {
	c := fastOpenCookie(e.root.fastOpenKey[0], f)
	o.Set |= wire.OptFastOpen
	o.CookieLen = uint8(copy(o.Cookie[:], c[:]))
}

// fastOpenServes reports whether SYN seg asks listener l for Fast Open, and may.
func (e *Engine) fastOpenServes(l *Listener, seg *Segment) bool {
	return l.opt.FastOpen != 0 && seg.Opt.Set&wire.OptFastOpen != 0 && e.tun.FastOpen&FastOpenServer != 0
}

// fastOpenArrives makes a connection of SYN seg to listener i if its cookie is good and the listener's
// limit allows it (§4.2.2), and reports whether it did. If not, the handshake goes its usual way.
func (e *Engine) fastOpenArrives(i uint32, now vtime.Time, seg *Segment, out *Output) bool {
	l, m, o := &e.lsts[i], &e.root.mib, &seg.Opt
	if o.CookieLen == 0 {
		m.FastOpenCookieReqd++
		return false
	}
	key := 0
	for ; key < len(e.root.fastOpenKey); key++ {
		if c := fastOpenCookie(e.root.fastOpenKey[key], &seg.Flow); o.CookieLen == fastOpenCookieLen &&
			c == [fastOpenCookieLen]byte(o.Cookie[:fastOpenCookieLen]) {
			break
		}
	}
	if key == len(e.root.fastOpenKey) {
		m.FastOpenPassiveFail++
		return false
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

// fastOpenSyn adds to the first SYN of t a cookie and data, or asks for a cookie (§4.2.1).
func (e *Engine) fastOpenSyn(t *TCB, now vtime.Time, s *TxSegment) {
	if e.tun.FastOpen&FastOpenClient == 0 {
		return
	}
	p := e.fastOpenPeer(t.flow.Remote)
	if p != nil && p.paused(now) {
		e.root.mib.FastOpenPaused++
		return
	}
	t.fastOpen |= fastAsked
	s.Opt.Set |= wire.OptFastOpen
	if p == nil || p.cookieLen == 0 {
		return
	}
	p.used = max(now, 1)
	s.Opt.CookieLen, s.Opt.Cookie = p.cookieLen, p.cookie
	room := uint32(min(p.mss, t.rcv.maxSeg)) - uint32(s.Opt.Len())
	if most, _ := e.toBorder(t, min(t.snd.end, uint64(room))); most > 0 {
		n := uint32(most)
		t.fastOpen |= fastData
		s.Len = n
		t.snd.nxt = t.snd.nxt.Add(n)
		e.root.mib.OutOctets += uint64(n)
	}
}

// fastOpenAnswered learns from the SYN-ACK seg, which answers a SYN of t that had the option (§4.1.3).
func (e *Engine) fastOpenAnswered(t *TCB, now vtime.Time, seg *Segment) {
	o := &seg.Opt
	taken := t.fastOpen&fastData != 0 && seg.Ack.GT(t.snd.iss.Add(1))
	if t.retries > 0 && !taken && o.Set&wire.OptFastOpen == 0 {
		// The SYN without it got through: perhaps the one with it never can.
		p := e.fastOpenRemember(t.flow.Remote, now)
		p.lostAt, p.losses = now, min(p.losses+1, fastOpenPauses+1)
		return
	}
	if o.Set&wire.OptFastOpen != 0 && o.CookieLen != 0 {
		p := e.fastOpenRemember(t.flow.Remote, now)
		p.cookieLen, p.cookie, p.losses = o.CookieLen, o.Cookie, 0
		p.mss = peerMSS(&t.flow, o)
	} else if p := e.fastOpenPeer(t.flow.Remote); p != nil {
		p.losses = 0
		if t.fastOpen&fastData != 0 && !taken {
			p.cookieLen = 0 // it is good no more
		}
	}
}

// synDataAcked takes the ACK seg of our SYN that had data: what it does not acknowledge is not on its
// way any more, and will be sent as if never sent.
func (e *Engine) synDataAcked(t *TCB, seg *Segment, out *Output) {
	s := &t.snd
	n := uint32(seg.Ack - s.una)
	s.una, s.nxt = seg.Ack, seg.Ack
	s.una64 += uint64(n)
	t.fastOpen &^= fastData
	if n == 0 {
		e.root.mib.FastOpenActiveFail++
		return
	}
	e.root.mib.FastOpenActive++
	t.fastOpen |= fastDone
	out.act(t, ActAcked).Pos = s.una64 - 1
}
