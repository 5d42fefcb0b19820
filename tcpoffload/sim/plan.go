package sim

import (
	"fmt"
	"math/rand/v2"

	"opentoe/tcpoffload"
	"opentoe/tcpoffload/cc"
	"opentoe/tcpoffload/vtime"
)

var kindNames = [...]string{"bulk", "talk", "serve", "echo"}

func (k kind) String() string { return kindNames[k] }

// kind is what a program does with its connection.
type kind uint8

const (
	bulk  kind = iota // send all, close; read what comes
	talk              // client: requests of size octets, one after the other, then close
	serve             // server: a reply of size octets for every request
	echo              // server: send back what comes
)

// role is the program of one end of a connection.
type role struct {
	kind       kind
	total      uint64 // bulk: octets to send
	chunk      uint64 // bulk: at most in one call
	gap        vtime.Duration
	ask, reply uint64 // talk, serve: octets of a request and of its reply
	rounds     int    // talk
	early      bool   // send before the connection is established
	more       bool   // hold partial segments back until the close
	urgent     bool
	flips      bool // change options as it goes
	readSize   uint64
	readGap    vtime.Duration // 0: read at once
	readFrom   vtime.Duration // read nothing for so long
	abortAfter vtime.Duration // 0: never
	detach     bool           // nobody reads after the close
}

// plan is a connection that a scenario opens, again when it is over if it repeats.
type plan struct {
	sc             *Scenario
	from, to       *Host
	local, remote  uint16
	client, server *Sock
	request        role
	answer         role
	opt            tcpoffload.SocketOptions
	r              *rand.Rand
	both           bool // both ends open actively
	fragile        bool // it may fail
	spoiled        bool // a faulty client makes calls on it
	repeat         int
	opened, over   bool
}

func (p *plan) String() string {
	s := fmt.Sprintf("%v:%d > %v:%d (%s), client (%s), server (%s)",
		p.from.Addr, p.local, p.to.Addr, p.remote, brief(p.opt), brief(p.request), brief(p.answer))
	if p.both {
		s += ", both open actively"
	}
	if p.fragile {
		s += ", may fail"
	}
	if p.repeat > 0 {
		s += fmt.Sprintf(", %d times more", p.repeat)
	}
	return s
}

// drawPlan draws connection number i.
func (sc *Scenario) drawPlan(r *rand.Rand, i int) {
	a := r.IntN(len(sc.hosts))
	b := (a + 1 + r.IntN(len(sc.hosts)-1)) % len(sc.hosts)
	p := &plan{
		sc: sc, from: sc.hosts[a], to: sc.hosts[b], local: uint16(1000 + i), remote: port, fragile: sc.trouble,
		r: rand.New(rand.NewPCG(sc.seed, uint64(i)<<8|0xa)),
	}
	p.drawRoles(r)
	on := func(f Feature, n int) (*rand.Rand, bool) {
		g := rand.New(rand.NewPCG(sc.seed, uint64(f)<<20|uint64(i)))
		ok := g.IntN(n) == 0 && sc.allowed&f != 0
		if ok {
			sc.Has |= f
		}
		return g, ok
	}
	if g, ok := on(FeatOptions, 2); ok {
		p.opt = tcpoffload.SocketOptions{
			NoSACK: g.IntN(4) == 0, NoTimestamp: g.IntN(4) == 0, NoDelay: g.IntN(2) == 0, Keepalive: g.IntN(4) == 0,
			RcvBuf: oneOf[uint32](g, 0, 0, 2048, 5000, 100_000), MSS: oneOf[uint16](g, 0, 0, 0, 64, 536, 1000),
			NotSentLowat: oneOf[uint32](g, 0, 0, 1, 10_000),
		}
		p.request.flips, p.answer.flips = g.IntN(3) == 0, g.IntN(3) == 0
	}
	if g, ok := on(FeatAlgorithms, 2); ok {
		p.opt.CC = cc.Choose(cc.Algorithm(g.IntN(cc.NumAlgorithms)))
		p.opt.MaxPacingRate = oneOf[uint64](g, 0, 0, 0, 1_000_000)
	}
	if _, ok := on(FeatFastOpen, 2); ok {
		p.opt.FastOpenConn = true
		p.request.early = true
	}
	if g, ok := on(FeatSlowReader, 3); ok {
		for _, o := range []*role{&p.request, &p.answer} {
			switch g.IntN(3) {
			case 0:
				o.readSize, o.readGap = uint64(1+g.IntN(20_000)), vtime.Millisecond+upTo(g, 50*vtime.Millisecond)
			case 1:
				o.readFrom = upTo(g, 8*vtime.Second)
			}
		}
	}
	if g, ok := on(FeatAbort, 5); ok {
		o := oneOf(g, &p.request, &p.answer)
		if g.IntN(3) == 0 {
			o.detach = true
		} else {
			o.abortAfter = 1 + upTo(g, 2*vtime.Second)
		}
		p.fragile = true
	}
	if _, ok := on(FeatSimultaneous, 8); ok {
		p.both, p.fragile = true, true
		p.remote = uint16(2000 + i)
	} else if _, ok := on(FeatListeners, 4); ok {
		p.remote, p.fragile = flappy, true
	}
	if g, ok := on(FeatChurn, 4); ok {
		p.repeat = 1 + g.IntN(4)
	}
	at := sc.World.now.Add(upTo(r, 2*vtime.Second))
	sc.World.At(at, p.open)
	if g, ok := on(FeatMischief, 6); ok {
		p.fragile, p.spoiled = true, true
		for range 1 + g.IntN(30) {
			sc.World.At(at.Add(upTo(g, vtime.Second)), func() { p.mischief(g) })
		}
	}
	if g, ok := on(FeatInject, 5); ok {
		for range 1 + g.IntN(20) {
			sc.World.At(at.Add(upTo(g, vtime.Second)), func() { p.inject(g) })
		}
	}
	for _, o := range []*role{&p.request, &p.answer} {
		if p.fragile && o.abortAfter == 0 {
			o.abortAfter = 20 * vtime.Second // a reset may be lost, and nobody asks again
		}
	}
	sc.plans = append(sc.plans, p)
	sc.say("at %.6f %v", seconds(at), p)
}

// drawRoles draws what the programs do.
func (p *plan) drawRoles(r *rand.Rand) {
	sender := func() role {
		o := role{total: uint64(r.IntN(oneOf(r, 10, 5000, mostOctets, mostOctets)))}
		o.chunk = uint64(1 + r.IntN(oneOf(r, 1000, 40_000, mostOctets)))
		if o.total < 300 && r.IntN(2) == 0 {
			o.chunk = 1
		}
		o.chunk = max(o.chunk, o.total/300)
		o.gap = upTo(r, oneOf(r, 0, 5*vtime.Millisecond, 50*vtime.Millisecond))
		o.more, o.urgent = r.IntN(6) == 0, r.IntN(6) == 0
		return o
	}
	p.request = sender()
	switch r.IntN(4) {
	case 0:
		ask, reply := uint64(1+r.IntN(3000)), uint64(1+r.IntN(20_000))
		p.request = role{kind: talk, ask: ask, reply: reply, rounds: 1 + r.IntN(20), gap: upTo(r, 30*vtime.Millisecond)}
		p.answer = role{kind: serve, ask: ask, reply: reply}
	case 1:
		p.answer = role{kind: echo}
		p.request.more = false
	case 2:
		p.answer = role{chunk: 1}
	default:
		p.answer = sender()
	}
	p.request.early = r.IntN(4) == 0
}

// open opens the connection.
func (p *plan) open() {
	p.opened, p.server = true, nil
	c, res := p.from.Connect(p.to, p.local, p.remote, p.opt)
	switch {
	case res == tcpoffload.CallOK:
	case res == tcpoffload.CallInUse && p.opt.NoTimestamp && p.client != nil:
		p.opened = false
		p.sc.World.After(p.sc.msl, p.open) // the last one is in TIME-WAIT
		return
	case (res == tcpoffload.CallTableFull || res == tcpoffload.CallInUse) && p.fragile:
		p.over = true
		return
	default:
		p.sc.World.violated("open answers %d", res)
		return
	}
	p.client = c
	p.begin(c, p.request)
	if p.both {
		s, res := p.to.Connect(p.from, p.remote, p.local, p.opt)
		if res == tcpoffload.CallOK {
			p.server = s
			p.begin(s, p.answer)
		}
	}
}

// done reports whether the connection is over, and has it opened again if it is to be.
func (p *plan) done() bool {
	if p.over {
		return true
	}
	if !p.opened || p.client == nil || !p.client.Finished || p.server != nil && !p.server.Finished {
		return false
	}
	if p.repeat > 0 {
		if err := p.verdict(); err != nil {
			p.sc.World.violated("%v", err)
		}
		p.repeat--
		p.opened = false
		pause := upTo(p.r, 100*vtime.Millisecond)
		if p.opt.NoTimestamp && !(p.client.orderly() && p.server.orderly()) {
			pause += 3 * p.sc.msl // a reset leaves no TIME-WAIT, and nothing else tells old segments from new ones
		}
		p.sc.World.After(pause, p.open)
		return false
	}
	p.over = true
	return true
}

// verdict checks how the connection ended.
func (p *plan) verdict() error {
	if p.fragile {
		return nil
	}
	c, s := p.client, p.server
	switch {
	case c == nil || s == nil:
		return fmt.Errorf("%v: never established; client %s, server %s", p, describe(c), describe(s))
	case !c.inOrder(s) || !s.inOrder(c):
		return fmt.Errorf("%v: not in order; client %s EOF %d, server %s EOF %d", p, describe(c), c.EOF, describe(s), s.EOF)
	}
	return nil
}

// orderly reports whether s was closed by both ends.
func (s *Sock) orderly() bool { return s != nil && s.Finished && s.Reason == tcpoffload.ReasonNone }

// replayed reports whether s was made by a Fast Open SYN of an earlier client that came back, which RFC 7413
// §2.1 does not rule out, and is over.
func (s *Sock) replayed(client *Sock) bool { return s.Finished && s.peer != 0 && s.peer != client.id }

// inOrder reports whether s sent and received everything. The last acknowledgments may all have been lost
// until the peer had left TIME-WAIT; then a reset tells s that it is over.
func (s *Sock) inOrder(peer *Sock) bool {
	if !s.PeerClosed || s.EOF != peer.Sent {
		return false
	}
	if s.Reason == tcpoffload.ReasonReset {
		return peer.Reason == tcpoffload.ReasonNone && peer.EOF == s.Sent
	}
	return s.Reason == tcpoffload.ReasonNone && s.Acked == s.Sent
}

// program drives one end of a connection.
type program struct {
	role
	w       *World
	s       *Sock
	r       *rand.Rand
	spoiled bool // others make calls on the connection
	started bool
	closing bool // close once established
	closed  bool
	round   int
}

// begin starts the program o on s.
func (p *plan) begin(s *Sock, o role) {
	g := start(p.sc.World, s, o, p.r.Uint64())
	g.spoiled = p.spoiled
	g.event()
}

func start(w *World, s *Sock, o role, seed uint64) *program {
	g := &program{role: o, w: w, s: s, r: rand.New(rand.NewPCG(seed, 1))}
	s.OnEvent = g.event
	switch {
	case o.readGap > 0:
		s.Stopped = true
		w.After(o.readGap, g.read)
	case o.readFrom > 0:
		s.Stopped = true
		w.After(o.readFrom, func() {
			s.Stopped = false
			s.ReadAll()
		})
	}
	if o.abortAfter > 0 {
		w.After(o.abortAfter, func() {
			if !s.Finished {
				s.Abort()
			}
		})
	}
	return g
}

// read is one step of a slow reader.
func (g *program) read() {
	g.s.ReadSome(g.readSize)
	if !g.s.Finished && !(g.s.PeerClosed && g.s.Read == g.s.Readable) {
		g.w.After(g.readGap, g.read)
	}
}

// event acts on what changed.
func (g *program) event() {
	s := g.s
	if s.Finished {
		return
	}
	if !g.started {
		if !s.Established && !g.early {
			return
		}
		g.started = true
		g.step()
	}
	if g.closing && s.Established {
		g.close()
	}
	switch g.kind {
	case talk:
		if g.round > 0 && s.Readable == uint64(g.round)*g.reply && s.Sent == uint64(g.round)*g.ask && !g.closed {
			g.round = -g.round
			g.w.After(g.gap, g.step)
		}
	case serve:
		for s.Readable >= uint64(g.round+1)*g.ask {
			g.round++
			g.send(g.reply)
		}
		if s.PeerClosed {
			g.close()
		}
	case echo:
		if n := s.Readable - s.Sent; n > 0 && !g.closed {
			g.send(n)
		}
		if s.PeerClosed {
			g.close()
		}
	}
}

// step does the next thing that is not an answer to something.
func (g *program) step() {
	s := g.s
	if s.Finished || g.closed {
		return
	}
	if g.flips {
		g.flip()
	}
	switch g.kind {
	case bulk:
		if s.Sent >= g.total {
			g.close()
			return
		}
		g.send(min(1+g.r.Uint64N(g.chunk), g.total-s.Sent))
		g.w.After(upTo(g.r, g.gap), g.step)
	case talk:
		if g.round = -g.round; g.round == g.rounds {
			g.close()
			return
		}
		g.round++
		g.send(g.ask)
	}
}

func (g *program) send(n uint64) {
	c := tcpoffload.Call{Pos: g.s.Sent + n, Border: (g.s.Sent+n)%3 == 0, More: g.more, Urgent: g.urgent && g.r.IntN(4) == 0}
	if r := g.s.SendCall(&c); r != tcpoffload.CallOK {
		g.refused("send", r)
	}
}

// refused ends the program of a connection that somebody else has closed or spoiled; nobody else's calls
// may be refused.
func (g *program) refused(what string, r tcpoffload.CallResult) {
	g.closed = true
	if !g.spoiled {
		g.w.violated("%v: %s answers %d: %s", g.s.Flow, what, r, describe(g.s))
	}
}

func (g *program) close() {
	if g.closed || g.s.Finished {
		return
	}
	if !g.s.Established {
		g.closing = true // a close now would give the open up
		return
	}
	g.closed = true
	if r := g.s.Close(); r != tcpoffload.CallOK {
		g.refused("close", r)
	}
	if g.detach && !g.s.Finished {
		g.s.Detach()
	}
}

// flip changes an option that must not change what arrives.
func (g *program) flip() {
	r := g.r
	switch r.IntN(8) {
	case 0:
		g.s.Set(tcpoffload.OptionNoDelay, int64(r.IntN(2)))
	case 1:
		g.s.Set(tcpoffload.OptionQuickAck, int64(r.IntN(2)))
	case 2:
		g.s.Set(tcpoffload.OptionKeepalive, int64(r.IntN(2)))
		g.s.Set(tcpoffload.OptionKeepIdle, int64(upTo(r, 10*vtime.Second)))
	case 3:
		g.s.Set(tcpoffload.OptionRcvBuf, int64(r.IntN(200_000)))
	case 4:
		g.s.Set(tcpoffload.OptionMaxSeg, int64(64+r.IntN(1400)))
	case 5:
		g.s.Set(tcpoffload.OptionCC, int64(r.IntN(cc.NumAlgorithms)))
	case 6:
		g.s.Set(tcpoffload.OptionNotSentLowat, int64(r.IntN(20_000)))
	case 7:
		g.s.Set(tcpoffload.OptionMaxPacingRate, int64(100_000+r.IntN(100_000_000)))
	}
}
