package packetdrill

import (
	"fmt"
	"net/netip"

	"opentoe/tcpoffload"
	"opentoe/tcpoffload/sim/socket"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// Environment of a script. Addresses and ports are packetdrill's.
const (
	bindPort    = 8080 // where bind(…, ..., ...) and connect(…, ..., ...) go
	firstRemote = 40001
	mtuGap      = 20 // by which IPv6 packets are larger for the same MSS
	// anyLimit is how long * and the end of a blocking call are waited for.
	anyLimit = 60 * vtime.Minute
)

func addresses(v6 bool) (local, remote netip.Addr) {
	if v6 {
		return netip.MustParseAddr("fd3d:fa7b:d17d::1"), netip.MustParseAddr("2001:db8::1")
	}
	return netip.MustParseAddr("192.168.0.1"), netip.MustParseAddr("192.0.2.1")
}

// remoteISN is added to the sequence numbers of inbound packets, so that every script crosses the wrap.
const remoteISN = 0xffff_f000

// conn is how the numbers of a script relate to those of a live connection: live = script + offset.
type conn struct {
	flow   wire.Flow
	local  uint32 // offset of our sequence numbers, valid with known
	known  bool
	ts     map[uint32]uint32 // our timestamps, script to live
	tsBase bool
	tsLive uint32 // the first of them
	tsText uint32 // and what the script calls it
}

// sentPacket is a packet that left.
type sentPacket struct {
	at vtime.Time
	k  *packet
	f  wire.Flow
}

// pendingCall is a blocking call under way.
type pendingCall struct {
	e     *event
	c     socket.Call
	check func(socket.Result) error
	end   vtime.Duration
	until vtime.Time
}

// runner carries out a script.
type runner struct {
	s       *Script
	h       *socket.Host
	v6      bool
	start   vtime.Time
	now     vtime.Time
	last    vtime.Duration // when the event before was to happen, or did
	conns   []*conn
	cur     *conn
	fds     map[int64]int     // descriptors, script to live
	infoFD  int               // of which assertions speak
	cookies map[string][]byte // Fast Open cookies that we gave, by what the script calls them
	bound   uint16            // port of the last bind
	next    uint16            // remote port of the next connection
	sent    []sentPacket
	pend    *pendingCall
	trace   func(string)
}

// Run carries out s over IPv4 or IPv6. trace, if not nil, is told of every event. The error is an *Error.
func (s *Script) Run(v6 bool, trace func(string)) error {
	local, _ := addresses(v6)
	mtu := s.Options.MTU
	if v6 {
		mtu += mtuGap
	}
	h, err := socket.New(socket.Config{
		Engine: tcpoffload.Config{Tunables: tcpoffload.DefaultTunables(), ISNKey: [16]byte{1}, Seed: 1, MTU: mtu},
		Addrs:  []wire.Addr{wire.AddrFrom(local)},
	})
	if err != nil {
		return &Error{s.File, Pos{1, 1}, err.Error()}
	}
	if trace == nil {
		trace = func(string) {}
	}
	r := &runner{
		s: s, h: h, v6: v6, start: vtime.Time(1000 * vtime.Second), fds: make(map[int64]int),
		infoFD: -1, cookies: make(map[string][]byte), bound: bindPort, next: firstRemote, trace: trace,
	}
	r.now = r.start
	for i := range s.events {
		if err := r.event(&s.events[i]); err != nil {
			return r.fail(s.events[i].pos, err)
		}
	}
	return r.finish()
}

func (r *runner) fail(pos Pos, err error) error {
	if e, ok := err.(*Error); ok {
		return e
	}
	return &Error{r.s.File, pos, err.Error()}
}

func (r *runner) log(what string) {
	r.trace(fmt.Sprintf("%12.6f %s", float64(r.now.Sub(r.start))/float64(vtime.Second), what))
}

// seconds writes a time as scripts do.
func seconds(d vtime.Duration) string {
	return fmt.Sprintf("%.6f", float64(d)/float64(vtime.Second))
}

// finish demands that nothing is left over.
func (r *runner) finish() error {
	end := r.s.events[len(r.s.events)-1].pos
	if p := r.pend; p != nil {
		if err := r.await(); err != nil {
			return r.fail(p.e.pos, err)
		}
	}
	if len(r.sent) > 0 {
		p := r.sent[0]
		return r.fail(end, fmt.Errorf("after the last event: a packet left at %s that the script does not expect: %s",
			seconds(p.at.Sub(r.start)), r.view(p, nil)))
	}
	return nil
}

// event carries out one event at its time.
func (r *runner) event(e *event) error {
	at, until := e.at, e.until
	if e.kind == timeRelative {
		at += r.last
		until += r.last
	}
	if e.packet != nil && e.packet.outbound {
		return r.outbound(e, at, until)
	}
	if r.start.Add(at).Add(r.s.Options.Tolerance) < r.now {
		return fmt.Errorf("its time %s is over: it is %s", seconds(at), seconds(r.now.Sub(r.start)))
	}
	if err := r.advance(r.start.Add(at)); err != nil {
		return err
	}
	base := r.last
	r.last = at
	switch {
	case e.packet != nil:
		return r.inbound(e.packet)
	case e.settings != nil:
		return r.settings(e)
	case e.code != nil:
		return r.assert(e)
	}
	end := e.call.end
	if e.kind == timeRelative {
		end += base
	}
	return r.do(e, end)
}

// advance lets time pass up to t.
func (r *runner) advance(t vtime.Time) error {
	for {
		next := r.h.NextDeadline()
		if r.pend != nil {
			next = min(next, r.pend.until)
		}
		if next > t {
			break
		}
		r.now = max(r.now, next)
		r.h.Poll(r.now)
		if err := r.settle(); err != nil {
			return err
		}
	}
	r.now = max(r.now, t)
	return nil
}

// settle takes what left and lets a blocking call go on.
func (r *runner) settle() error {
	for {
		p, ok := r.h.Output()
		if !ok {
			break
		}
		k, f, err := decode(p.Data)
		if err != nil {
			return err
		}
		r.sent = append(r.sent, sentPacket{p.At, k, f})
	}
	if r.pend == nil {
		return nil
	}
	p := r.pend
	res := r.h.Do(r.now, p.c)
	if res.Blocked {
		p.until = res.Until
		return nil
	}
	r.pend = nil
	if err := r.returned(p.e, p.end, res, p.check); err != nil {
		return r.fail(p.e.pos, err)
	}
	return r.settle()
}

// await waits for the end of a blocking call.
func (r *runner) await() error {
	p := r.pend
	limit := r.start.Add(p.end).Add(r.s.Options.Tolerance)
	if err := r.advance(max(limit, r.now)); err != nil {
		return err
	}
	if r.pend != nil {
		return fmt.Errorf("%s has not returned by %s", p.e.call.name, seconds(p.end))
	}
	return nil
}

// do makes a system call.
func (r *runner) do(e *event, end vtime.Duration) error {
	if r.pend != nil {
		if err := r.await(); err != nil {
			return r.fail(r.pend.e.pos, err)
		}
	}
	c, check, err := calls[e.call.name](r, e.call)
	if err != nil {
		return err
	}
	r.log(e.call.name + "(...)")
	res := r.h.Do(r.now, c)
	if res.Blocked {
		if !e.call.blocks {
			return fmt.Errorf("%s blocks: expected it to return at once", e.call.name)
		}
		r.pend = &pendingCall{e, c, check, end, res.Until}
		return r.settle()
	}
	if e.call.blocks {
		err = r.returned(e, end, res, check)
	} else {
		err = r.result(e, res, check)
	}
	if err != nil {
		return err
	}
	return r.settle()
}

// returned checks when a blocking call returned, and what.
func (r *runner) returned(e *event, end vtime.Duration, res socket.Result, check func(socket.Result) error) error {
	if d := r.now.Sub(r.start) - end; d > r.s.Options.Tolerance || -d > r.s.Options.Tolerance {
		return fmt.Errorf("%s returned at %s: expected %s", e.call.name, seconds(r.now.Sub(r.start)), seconds(end))
	}
	return r.result(e, res, check)
}

// result compares what a call returned with what the script says.
func (r *runner) result(e *event, res socket.Result, check func(socket.Result) error) error {
	c := e.call
	r.log(fmt.Sprintf("%s = %d %s", c.name, res.Ret, errnoName(res.Errno)))
	want := errnos[c.errno]
	if res.Errno != want {
		return fmt.Errorf("%s returned %d (%s): expected %d (%s)", c.name, res.Ret, errnoName(res.Errno), c.result.num, errnoName(want))
	}
	if res.Errno != 0 {
		if c.result.kind == valInt && c.result.num != -1 {
			return fmt.Errorf("%s returned -1: expected %d", c.name, c.result.num)
		}
		return nil
	}
	if check != nil {
		if err := check(res); err != nil {
			return err
		}
	}
	if makesFD[c.name] {
		if c.result.kind != valInt {
			return fmt.Errorf("%s returns a descriptor: expected a number for it", c.name)
		}
		r.fds[c.result.num] = res.Ret
		return nil
	}
	if c.result.kind == valInt && c.result.num != int64(res.Ret) {
		return fmt.Errorf("%s returned %d: expected %d", c.name, res.Ret, c.result.num)
	}
	return nil
}

// find returns the connection that a script's packet belongs to, nil if there is none.
func (r *runner) find(k *packet) *conn {
	if k.src == 0 {
		return r.cur
	}
	local, remote := k.src, k.dst
	if !k.outbound {
		local, remote = k.dst, k.src
	}
	for _, c := range r.conns {
		if c.flow.LocalPort == local && c.flow.RemotePort == remote {
			return c
		}
	}
	return nil
}

// open makes a new connection known.
func (r *runner) open(f wire.Flow, current bool) *conn {
	c := &conn{flow: f, ts: make(map[uint32]uint32)}
	r.conns = append(r.conns, c)
	if current || r.cur == nil {
		r.cur = c
	}
	return c
}

// inbound lets a packet of the peer arrive.
func (r *runner) inbound(k *packet) error {
	c := r.find(k)
	if c == nil {
		local, remote := addresses(r.v6)
		f := wire.Flow{
			Local: wire.AddrFrom(local), Remote: wire.AddrFrom(remote), LocalPort: r.bound, RemotePort: r.next,
		}
		if k.src != 0 {
			f.LocalPort, f.RemotePort = k.dst, k.src
		} else {
			r.next++
		}
		c = r.open(f, k.src == 0)
	}
	r.log(k.text)
	if k.icmp != nil {
		r.h.Input(r.now, k.icmp.encode(&c.flow, k.icmp.seq+c.local))
		return r.settle()
	}
	if k.flags&(wire.SYN|wire.ACK) == wire.SYN {
		c.known = false // the answer tells our new initial sequence number
	}
	live := *k
	live.seq += remoteISN
	if k.flags.Has(wire.ACK) {
		live.ack += c.local
	}
	live.options = nil
	for _, o := range k.options {
		switch o.kind {
		case optSACK:
			blocks := make([][2]uint32, len(o.blocks))
			for i, b := range o.blocks {
				blocks[i] = [2]uint32{b[0] + c.local, b[1] + c.local}
			}
			o.blocks = blocks
		case optTimestamps:
			if ts, ok := c.ts[o.ecr]; ok {
				o.ecr = ts
			} else if c.tsBase && o.ecr != 0 {
				o.ecr += c.tsLive - c.tsText
			}
		}
		if ck, ok := r.cookies[string(o.cookie)]; ok && o.kind == optFastOpen {
			o.cookie = ck
		}
		live.options = append(live.options, o)
	}
	r.h.Input(r.now, live.encode(&c.flow, 0))
	return r.settle()
}

// outbound demands that a packet leaves in its time.
func (r *runner) outbound(e *event, at, until vtime.Duration) error {
	want := e.packet
	tol := r.s.Options.Tolerance
	from, to := r.start.Add(at-tol), r.start.Add(at+tol)
	switch {
	case e.kind == timeAny:
		from, to = r.start, r.now.Add(anyLimit)
	case e.ranged:
		to = r.start.Add(until + tol)
	}
	p, ok, err := r.nextSent(to)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("no packet left by %s: expected %s", seconds(to.Sub(r.start)), want)
	}
	for p.k.len < want.len && len(p.k.options) == len(want.options) || want.anyOpts && p.k.len < want.len {
		// The script may show several segments as one.
		q, ok, err := r.nextSent(to)
		if err != nil {
			return err
		}
		if !ok || q.f != p.f || q.k.seq != p.k.seq+uint32(p.k.len) || q.k.len == 0 {
			if ok {
				r.sent = append([]sentPacket{q}, r.sent...)
			}
			break
		}
		k := *p.k
		k.len += q.k.len
		k.flags |= q.k.flags
		p.k = &k
	}
	c := r.find(want)
	if c == nil || c.flow != p.f {
		c = r.known(p, want)
	}
	if c == nil {
		return fmt.Errorf("a packet of another connection left: %s: expected %s", r.view(p, nil), want)
	}
	if p.k.flags.Has(wire.SYN) && !c.known {
		c.local, c.known, c.tsBase = p.k.seq-want.seq, true, false
	}
	r.log(r.view(p, c))
	if err := r.compare(want, p, c); err != nil {
		return fmt.Errorf("%w\n\texpected %s\n\tleft     %s", err, want, r.view(p, c))
	}
	if p.at < from {
		return fmt.Errorf("it left at %s, too early: expected %s", seconds(p.at.Sub(r.start)), seconds(at))
	}
	r.last = at
	if e.ranged || e.kind == timeAny {
		r.last = p.at.Sub(r.start)
	}
	return nil
}

// known returns the connection of a packet that left, a new one for a SYN that no connection is known
// for.
func (r *runner) known(p sentPacket, want *packet) *conn {
	for _, c := range r.conns {
		if c.flow == p.f {
			if want.src == 0 {
				r.cur = c
			}
			return c
		}
	}
	if p.k.flags&(wire.SYN|wire.ACK) == wire.SYN && (want.dst == 0 || want.dst == p.f.RemotePort) {
		return r.open(p.f, want.src == 0)
	}
	return nil
}

// nextSent returns the next packet that leaves not after limit.
func (r *runner) nextSent(limit vtime.Time) (sentPacket, bool, error) {
	for len(r.sent) == 0 {
		next := r.h.NextDeadline()
		if r.pend != nil {
			next = min(next, r.pend.until)
		}
		if next > limit {
			return sentPacket{}, false, nil
		}
		if err := r.advance(next); err != nil {
			return sentPacket{}, false, err
		}
	}
	p := r.sent[0]
	if p.at > limit {
		return p, false, nil
	}
	r.sent = r.sent[1:]
	return p, true, nil
}

// script returns p's numbers as the script of c would write them.
func (c *conn) script(k *packet) *packet {
	s := *k
	s.seq -= c.local
	if s.flags.Has(wire.ACK) {
		s.ack -= remoteISN
	}
	s.options = nil
	for _, o := range k.options {
		switch o.kind {
		case optSACK:
			blocks := make([][2]uint32, len(o.blocks))
			for i, b := range o.blocks {
				blocks[i] = [2]uint32{b[0] - remoteISN, b[1] - remoteISN}
			}
			o.blocks = blocks
		case optTimestamps:
			if c.tsBase {
				o.val += c.tsText - c.tsLive
			}
		}
		s.options = append(s.options, o)
	}
	return &s
}

// view writes a packet that left.
func (r *runner) view(p sentPacket, c *conn) string {
	for _, o := range r.conns {
		if c == nil && o.flow == p.f {
			c = o
		}
	}
	if c == nil {
		return p.k.String()
	}
	k := c.script(p.k)
	if k.tos <= 3 {
		k.ecn = ecnExact
		if k.tos == 0 {
			k.ecn = ecnIgnore
		}
	}
	return k.String()
}

// compare compares a packet that left with what the script says.
func (r *runner) compare(want *packet, p sentPacket, c *conn) error {
	if !want.anyOpts {
		c.learnTimestamp(want, p.k)
	}
	got := c.script(p.k)
	r.learnCookie(want, got)
	switch {
	case got.flags != want.flags:
		return fmt.Errorf("other flags")
	case got.seq != want.seq:
		return fmt.Errorf("another sequence number")
	case got.len != want.len:
		return fmt.Errorf("another payload length")
	case want.flags.Has(wire.ACK) && got.ack != want.ack:
		return fmt.Errorf("another acknowledgment number")
	case want.win >= 0 && got.win != want.win:
		return fmt.Errorf("another window")
	case got.urg != want.urg:
		return fmt.Errorf("another urgent pointer")
	case want.ecn == ecnExact && got.tos&3 != want.tos:
		return fmt.Errorf("another ECN codepoint")
	case want.ecn == ecnAnyECT && got.tos&3 != 1 && got.tos&3 != 2:
		return fmt.Errorf("another ECN codepoint")
	case want.ecn == ecnTOS && got.tos != want.tos:
		return fmt.Errorf("another tos")
	case !want.anyOpts && !r.sameOptions(want.options, got.options):
		return fmt.Errorf("other options")
	}
	return nil
}

// learnTimestamp notes how a timestamp of ours is called in the script.
func (c *conn) learnTimestamp(want, got *packet) {
	for _, w := range want.options {
		for _, g := range got.options {
			if w.kind != optTimestamps || g.kind != optTimestamps {
				continue
			}
			if !c.tsBase {
				c.tsBase, c.tsText, c.tsLive = true, w.val, g.val
			}
			c.ts[w.val] = g.val
		}
	}
}

// learnCookie notes how a Fast Open cookie that we give to the peer is called in the script, and writes it
// so in got.
func (r *runner) learnCookie(want, got *packet) {
	if !got.flags.Has(wire.SYN | wire.ACK) {
		return
	}
	for _, w := range want.options {
		for i, g := range got.options {
			if w.kind != optFastOpen || g.kind != optFastOpen || len(w.cookie) != len(g.cookie) || len(w.cookie) == 0 {
				continue
			}
			name := string(w.cookie)
			if r.cookies[name] == nil {
				r.cookies[name] = g.cookie
			}
			if string(r.cookies[name]) == string(g.cookie) {
				got.options[i].cookie = w.cookie
			}
		}
	}
}

// sameOptions compares option lists. Our timestamps may be off by the tolerance.
func (r *runner) sameOptions(want, got []tcpOption) bool {
	if len(want) != len(got) {
		return false
	}
	slack := int32(r.s.Options.Tolerance/vtime.Millisecond) + 1
	w, g := make([]tcpOption, len(want)), make([]tcpOption, len(got))
	copy(w, want)
	copy(g, got)
	for i := range w {
		if w[i].kind == optTimestamps && g[i].kind == optTimestamps {
			if d := int32(g[i].val - w[i].val); d >= -slack && d <= slack {
				g[i].val = w[i].val
			}
		}
	}
	return optionsText(w) == optionsText(g)
}

// settings puts settings into force.
func (r *runner) settings(e *event) error {
	set := r.h.Settings()
	for i := range e.settings {
		c := &e.settings[i]
		r.log(c.name + "=" + c.value)
		if err := c.apply(&set); err != nil {
			return &Error{r.s.File, c.pos, err.Error()}
		}
	}
	return r.h.Configure(&set)
}

// assert evaluates assertions about TCP_INFO.
func (r *runner) assert(e *event) error {
	info, ok := r.h.TCPInfo(r.now, r.infoFD)
	if !ok && len(e.code) > 0 {
		return fmt.Errorf("no connection that assertions could speak of")
	}
	for _, s := range e.code {
		for _, x := range s.exprs {
			v, err := x(info.Field)
			if err != nil {
				return &Error{r.s.File, s.pos, err.Error()}
			}
			r.log(fmt.Sprintf("%s: %d", s.text, v))
			if s.assert && v == 0 {
				return &Error{r.s.File, s.pos, "does not hold: " + s.text + "\n\t" + describe(&info, s.text)}
			}
		}
	}
	return nil
}

// describe shows the members of TCP_INFO that text names.
func describe(info *socket.TCPInfo, text string) string {
	out := ""
	seen := make(map[string]bool)
	for i := 0; i < len(text); {
		n := run(text[i:], isWord)
		if n == 0 {
			i++
			continue
		}
		w := text[i : i+n]
		i += n
		if v, ok := info.Field(w); ok && !seen[w] {
			seen[w] = true
			out += fmt.Sprintf("%s = %d  ", w, v)
		}
	}
	return out
}
