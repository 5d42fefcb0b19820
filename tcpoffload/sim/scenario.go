package sim

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"opentoe/tcpoffload"
	"opentoe/tcpoffload/cc"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// Feature is one thing that a scenario may have. Each draws from a generator of its own, so that a
// scenario without it is otherwise the same: that is how failures are shrunk.
type Feature uint32

// The features.
const (
	FeatLoss Feature = 1 << iota
	FeatBurst
	FeatReorder
	FeatDuplicate
	FeatCorrupt
	FeatQueue
	FeatECN
	FeatMTU
	FeatBlackout
	FeatGhost
	FeatStall
	FeatWire
	FeatMerge
	FeatTSO
	FeatTunables
	FeatOptions
	FeatSmallTable
	FeatAbort
	FeatSlowReader
	FeatChurn
	FeatMischief
	FeatInject
	FeatRefPeer
	FeatHostile
	FeatSimultaneous
	FeatListeners
	FeatFastOpen
	FeatAlgorithms
	numFeatures = iota
	AllFeatures = 1<<numFeatures - 1
)

var featureNames = [numFeatures]string{
	"loss", "burst", "reorder", "duplicate", "corrupt", "queue", "ecn", "mtu", "blackout", "ghost", "stall", "wire",
	"merge", "tso", "tunables", "options", "smalltable", "abort", "slowreader", "churn", "mischief", "inject", "refpeer",
	"hostile", "simultaneous", "listeners", "fastopen", "algorithms",
}

// String returns the names in f, joined by commas, or none.
func (f Feature) String() string {
	if f == 0 {
		return "none"
	}
	var n []string
	for i, name := range featureNames {
		if f>>i&1 != 0 {
			n = append(n, name)
		}
	}
	return strings.Join(n, ",")
}

// ParseFeatures is the inverse of [Feature.String]; the empty string means all.
func ParseFeatures(s string) (f Feature, err error) {
	switch s {
	case "":
		return AllFeatures, nil
	case "none":
		return 0, nil
	}
next:
	for n := range strings.SplitSeq(s, ",") {
		for i, name := range featureNames {
			if n == name {
				f |= 1 << i
				continue next
			}
		}
		return 0, fmt.Errorf("no feature %q", n)
	}
	return f, nil
}

// Scenario is a world drawn from a seed: hosts, links, connections with their programs, and what goes wrong.
type Scenario struct {
	World *World
	Has   Feature // what the seed drew, of what was allowed

	seed     uint64
	allowed  Feature
	words    []string
	star     *Switch
	hosts    []*Host
	ups      []*Link
	plans    []*plan
	ref      *RefPeer
	refSocks []*Sock // of hosts, to the reference peer
	expected int     // connections of the reference peer
	hostile  *Hostile
	until    vtime.Time // when connections to the hostile peer are given up
	trouble  bool       // honest connections may fail: tables are small
	msl      vtime.Duration
	rtoMax   vtime.Duration
	v6       bool
	ending   bool // everything is over but the tables
	ears     []ear
}

// ear is an open listener of host h.
type ear struct {
	h    *Host
	port uint16
	id   tcpoffload.ListenerID
	gone bool
}

// Limits of what a seed draws. A seed is to run for a few milliseconds.
const (
	mostOctets = 150_000           // of one stream
	mostHosts  = 4                 // with engines
	mostPlans  = 5                 // connections
	patience   = 30 * vtime.Minute // virtual time within which every connection has to end
)

// rng returns the generator of feature f; 0 is that of what every scenario has.
func (sc *Scenario) rng(f Feature) *rand.Rand {
	return rand.New(rand.NewPCG(sc.seed, uint64(f)<<20|0x51))
}

// draw decides whether the scenario has f, one time in n.
func (sc *Scenario) draw(f Feature, n int) (*rand.Rand, bool) {
	r := sc.rng(f)
	if r.IntN(n) != 0 || sc.allowed&f == 0 {
		return r, false
	}
	sc.Has |= f
	return r, true
}

func (sc *Scenario) say(format string, args ...any) {
	sc.words = append(sc.words, fmt.Sprintf(format, args...))
}

// String describes the scenario in words.
func (sc *Scenario) String() string { return strings.Join(sc.words, "\n") }

// upTo returns a duration of 0 to d.
func upTo(r *rand.Rand, d vtime.Duration) vtime.Duration {
	return vtime.Duration(r.Int64N(int64(d) + 1))
}

// oneOf returns one of v.
func oneOf[T any](r *rand.Rand, v ...T) T { return v[r.IntN(len(v))] }

// Draw makes the scenario of a seed, with none but the features allowed.
func Draw(seed uint64, allowed Feature) (*Scenario, error) {
	sc := &Scenario{World: New(seed), seed: seed, allowed: allowed}
	w, r := sc.World, sc.rng(0)
	sc.v6 = r.IntN(3) == 0
	_, w.Wire = sc.draw(FeatWire, 3)
	if w.Wire {
		sc.say("every packet goes through its frame")
	}
	if err := sc.drawHosts(r); err != nil {
		return nil, err
	}
	sc.drawLinks(r)
	sc.drawFaults()
	sc.drawListeners()
	n := 1 + r.IntN(mostPlans)
	for i := range n {
		sc.drawPlan(r, i)
	}
	sc.drawPeers()
	if sc.hostile == nil {
		w.Silence = vtime.Minute + 4*sc.rtoMax
	}
	return sc, nil
}

// addr returns the address of node n.
func (sc *Scenario) addr(n int) wire.Addr {
	if sc.v6 {
		return wire.Addr{0: 0xfd, 15: byte(n + 1)}
	}
	return wire.AddrFrom4([4]byte{10, 0, 0, byte(n + 1)})
}

// drawHosts makes the hosts with engines.
func (sc *Scenario) drawHosts(r *rand.Rand) error {
	n := 2
	if r.IntN(3) == 0 {
		n += r.IntN(mostHosts - 1)
	}
	rt, tunables := sc.draw(FeatTunables, 2)
	ra, algorithms := sc.draw(FeatAlgorithms, 2)
	rs, small := sc.draw(FeatSmallTable, 8)
	re, ecn := sc.draw(FeatECN, 3)
	ro, tso := sc.draw(FeatTSO, 3)
	sc.trouble = sc.trouble || small
	for i := range n {
		c := tcpoffload.Config{
			Tunables: tcpoffload.DefaultTunables(), Seed: r.Uint64(), ISNKey: [16]byte{byte(i + 1), byte(sc.seed)},
			MTU: oneOf(r, 1500, 1500, 576, 9000, 1280), Memory: tcpoffload.NewMemory(32, 4),
		}
		t := &c.Tunables
		t.MSL = 500 * vtime.Millisecond
		t.RTOMax = 10 * vtime.Second
		t.PersMax = 5 * vtime.Second
		if tunables {
			drawTunables(rt, t)
		}
		if algorithms {
			t.CC = cc.Algorithm(ra.IntN(cc.NumAlgorithms))
		}
		if ecn {
			t.ECN = oneOf(re, tcpoffload.ECNOff, tcpoffload.ECNPassive, tcpoffload.ECNOn, tcpoffload.ECNOn)
		}
		if tso {
			c.DeviceSegments = ro.IntN(3) > 0
			c.MaxSegSize = oneOf[uint32](ro, 0, 0, 9000, 20_000)
		}
		if small {
			c.Memory = tcpoffload.NewMemory(1+rs.IntN(3), 2)
		}
		sc.msl = max(sc.msl, t.MSL)
		sc.rtoMax = max(sc.rtoMax, t.RTOMax, t.PersMax)
		h, err := sc.World.Host(sc.addr(i), c)
		if err != nil {
			return err
		}
		sc.hosts = append(sc.hosts, h)
		sc.say("host %v: MTU %d, %v, ECN %d, TSO %v, table of %d, MSL %v, RTO %v to %v, delayed ACK %v or %d, IW %d, window %d to %d",
			h.Addr, c.MTU, t.CC, t.ECN, c.DeviceSegments, len(c.Memory.Conns)-1, t.MSL, t.RTOMin, t.RTOMax, t.DelAck, t.DelAckSegs,
			t.InitCwnd, t.DefaultRcvBuf, t.MaxRcvBuf)
	}
	return nil
}

// drawTunables draws settings that still let connections live.
func drawTunables(r *rand.Rand, t *tcpoffload.Tunables) {
	t.RTOMin = oneOf(r, 5*vtime.Millisecond, 50*vtime.Millisecond, 200*vtime.Millisecond, vtime.Second)
	t.RTOMax = oneOf(r, 2*vtime.Second, 10*vtime.Second, 60*vtime.Second)
	t.RTOInit = oneOf(r, 100*vtime.Millisecond, vtime.Second, 3*vtime.Second)
	t.MSL = oneOf(r, 10*vtime.Millisecond, 100*vtime.Millisecond, 2*vtime.Second)
	t.DelAck = oneOf(r, vtime.Millisecond, 40*vtime.Millisecond, 500*vtime.Millisecond)
	t.DelAckSegs = uint8(1 + r.IntN(8))
	t.PersMin = oneOf(r, vtime.Millisecond, 200*vtime.Millisecond)
	t.PersMax = oneOf(r, vtime.Second, 20*vtime.Second)
	t.InitCwnd = uint8(1 + r.IntN(20))
	t.DefaultRcvBuf = uint32(2048 + r.IntN(200_000))
	t.MaxRcvBuf = t.DefaultRcvBuf + uint32(r.IntN(8<<20))
	t.ChallengeAcks = uint8(1 + r.IntN(100))
	t.SynRetries, t.SynAckRetries = 10, 10
}

// drawLinks joins the hosts by a switch.
func (sc *Scenario) drawLinks(r *rand.Rand) {
	rl, loss := sc.draw(FeatLoss, 2)
	rb, burst := sc.draw(FeatBurst, 5)
	ro, reorder := sc.draw(FeatReorder, 2)
	rd, double := sc.draw(FeatDuplicate, 3)
	rc, corrupt := sc.draw(FeatCorrupt, 3)
	rq, queue := sc.draw(FeatQueue, 2)
	rg, ghost := sc.draw(FeatGhost, 6)
	_, merge := sc.draw(FeatMerge, 6)
	if merge {
		burst, reorder, double, corrupt, ghost = false, false, false, false, false
	}
	sc.star = sc.World.Star(sc.hosts, func(int) (up, down LinkConfig) {
		up.Delay = upTo(r, oneOf(r, vtime.Millisecond, 20*vtime.Millisecond, 100*vtime.Millisecond))
		if loss {
			up.Loss = PPM(rl.IntN(oneOf(rl, 1000, 50_000, 100_000)))
		}
		if burst {
			up.Burst = Gilbert{Enter: PPM(500 + rb.IntN(10_000)), Leave: PPM(100_000 + rb.IntN(400_000)), Loss: PPM(300_000 + rb.IntN(700_000))}
		}
		if reorder {
			up.Jitter = up.Delay/2 + upTo(ro, 5*vtime.Millisecond) + vtime.Microsecond
			up.Reorder = PPM(ro.IntN(oneOf(ro, 1, 50_000, 500_000)) + 1)
			up.DisplaceBy = 1 + ro.IntN(50)
			up.Displace = PPM(ro.IntN(20_000))
		}
		if double {
			up.Duplicate = PPM(rd.IntN(50_000))
		}
		if corrupt {
			up.Corrupt = PPM(rc.IntN(30_000))
		}
		if ghost {
			up.Ghost, up.GhostBy = PPM(rg.IntN(100_000)), sc.msl
		}
		up.Trains = merge
		if queue {
			down.RateBps = 200_000 + rq.Int64N(oneOf[int64](rq, 5_000_000, 1_000_000_000))
			down.Queue = 4000 + rq.IntN(200_000)
			switch rq.IntN(5) {
			case 0:
				down.MarkAt = down.Queue / 4
			case 1:
				down.RED = RED{Min: down.Queue / 4, Max: down.Queue * 3 / 4, Most: 100_000}
			case 2:
				down.CoDel = true
			case 3:
				down.Queue, down.QueuePackets = 0, 5+rq.IntN(100)
			}
		}
		sc.say("link up (%s), down (%s)", brief(up), brief(down))
		return up, down
	})
	for _, h := range sc.hosts {
		sc.ups = append(sc.ups, h.Link())
	}
}

// drawFaults schedules what happens to links and workers.
func (sc *Scenario) drawFaults() {
	w := sc.World
	within := func(r *rand.Rand) vtime.Time { return w.now.Add(upTo(r, 5*vtime.Second)) }
	if r, ok := sc.draw(FeatBlackout, 6); ok {
		for range 1 + r.IntN(3) {
			l, at, d := oneOf(r, sc.ups...), within(r), upTo(r, 3*vtime.Second)
			w.At(at, func() { l.Down = true })
			w.At(at.Add(d), func() { l.Down = false })
			sc.say("a link is down at %.6f for %v", seconds(at), d)
		}
		l, at, rate := oneOf(r, sc.ups...), within(r), 1_000_000+r.Int64N(1_000_000_000)
		w.At(at, func() { l.RateBps = rate })
		sc.say("a link has rate %d at %.6f", rate, seconds(at))
	}
	if r, ok := sc.draw(FeatStall, 5); ok {
		for range 1 + r.IntN(5) {
			h, at, d := oneOf(r, sc.hosts...), within(r), upTo(r, vtime.Second)
			w.At(at, func() { h.Stall(d) })
			sc.say("host %v stands still at %.6f for %v", h.Addr, seconds(at), d)
		}
	}
	if r, ok := sc.draw(FeatMTU, 6); ok {
		l, at, mtu := oneOf(r, sc.ups...), within(r), oneOf(r, 1400, 1280, 1006)
		if sc.v6 {
			mtu = max(mtu, 1280)
		}
		silent := r.IntN(3) == 0
		w.At(at, func() { l.MTU, l.NoICMP = mtu, silent })
		sc.say("a link takes packets of %d octets from %.6f on", mtu, seconds(at))
	}
}

// port and flappy are the ports that every host listens on; the second comes and goes.
const (
	port   = 80
	flappy = 81
)

// drawListeners opens the listeners.
func (sc *Scenario) drawListeners() {
	w := sc.World
	r, flap := sc.draw(FeatListeners, 6)
	rf, fast := sc.draw(FeatFastOpen, 4)
	for _, h := range sc.hosts {
		var o tcpoffload.SocketOptions
		if fast {
			o.FastOpen = uint32(rf.IntN(10))
		}
		h.OnAccept = sc.accept
		backlog := 16
		if sc.trouble {
			backlog = 1 // SYN cookies, which a handshake may fail with when its last ACK is overtaken
		}
		if id, res := h.Listen(port, backlog, o); res == tcpoffload.CallOK {
			sc.ears = append(sc.ears, ear{h: h, port: port, id: id})
		} else {
			w.violated("listen: %d", res)
		}
		if !flap {
			continue
		}
		at := w.now
		for range 1 + r.IntN(4) {
			at = at.Add(upTo(r, vtime.Second))
			open, d := at, upTo(r, vtime.Second)
			at = at.Add(d)
			w.At(open, func() { sc.flap(h, d) })
		}
	}
}

// flap opens the listener that comes and goes for d.
func (sc *Scenario) flap(h *Host, d vtime.Duration) {
	if sc.ending {
		return
	}
	id, res := h.Listen(flappy, 2, tcpoffload.SocketOptions{})
	if res != tcpoffload.CallOK {
		return // it stands open, or the table is full
	}
	n := len(sc.ears)
	sc.ears = append(sc.ears, ear{h: h, port: flappy, id: id})
	sc.World.After(d, func() { sc.shut(n) })
}

// shut closes listener i, if it is open.
func (sc *Scenario) shut(i int) {
	e := &sc.ears[i]
	if e.gone {
		return
	}
	e.gone = true
	if e.h.Unlisten(e.id) != tcpoffload.CallOK {
		sc.World.violated("a listener cannot be closed")
	}
}

// accept gives an accepted connection the program that its port asks for.
func (sc *Scenario) accept(s *Sock) {
	for i := range sc.ears {
		if e := &sc.ears[i]; e.h == s.Host && uint64(e.port) == s.Listener && !e.gone {
			e.h.Accepted(e.id, 1)
		}
	}
	for i := len(sc.plans) - 1; i >= 0; i-- {
		p := sc.plans[i]
		if p.client != nil && p.client.Flow.LocalPort == s.Flow.RemotePort && p.from.Addr == s.Flow.Remote && p.to == s.Host && (p.server == nil || p.server.replayed(p.client)) {
			p.server = s
			p.begin(s, p.answer)
			return
		}
	}
	if sc.ref != nil && s.Flow.Remote == sc.ref.Addr {
		sc.serveRef(s)
		return
	}
	if sc.hostile != nil && s.Flow.Remote == sc.hostile.Addr {
		sc.serveHostile(s)
		return
	}
	// A connection that its client has given up, or a SYN that came back from the past.
	s.Abort()
}

// Run lets the scenario happen and checks how it ends.
func (sc *Scenario) Run() error {
	w := sc.World
	err := w.Run(patience, func() bool {
		for _, p := range sc.plans {
			if !p.done() {
				return false
			}
		}
		return sc.peersDone()
	})
	if err != nil {
		return sc.explain(err)
	}
	for _, p := range sc.plans {
		if err := p.verdict(); err != nil {
			return err
		}
	}
	if err := sc.peersVerdict(); err != nil {
		return err
	}
	return sc.leaveNothing()
}

// explain adds to err which connections are not done.
func (sc *Scenario) explain(err error) error {
	for _, p := range sc.plans {
		if !p.done() {
			return fmt.Errorf("%w; %v is not done: client %s, server %s", err, p, describe(p.client), describe(p.server))
		}
	}
	return err
}

// describe says how far s is.
func describe(s *Sock) string {
	if s == nil {
		return "none"
	}
	var i tcpoffload.Info
	state := "gone"
	if s.Host.Engine.Info(s.Handle, s.Host.w.now, &i) {
		state = fmt.Sprintf("%v una %d nxt %d wnd %d cwnd %d ca %d timer %d in %v", i.State, i.SndUna, i.SndNxt, i.SndWnd, i.Cwnd, i.CAState, i.Timer, i.TimerLeft)
	}
	return fmt.Sprintf("[%s sent %d acked %d readable %d read %d finished %v reason %d]", state, s.Sent, s.Acked, s.Readable, s.Read, s.Finished, s.Reason)
}

// leaveNothing closes the listeners and demands that every table is empty after TIME-WAIT.
func (sc *Scenario) leaveNothing() error {
	w := sc.World
	w.Silence = 0
	sc.ending = true
	for i := range sc.ears {
		sc.shut(i)
	}
	for _, h := range sc.hosts {
		for _, s := range h.all {
			if !s.Finished {
				s.Abort()
			}
		}
	}
	err := w.Run(patience, func() bool {
		for _, h := range sc.hosts {
			if h.Engine.Usage() != (tcpoffload.Usage{}) {
				return false
			}
		}
		return true
	})
	if err != nil {
		for _, h := range sc.hosts {
			err = fmt.Errorf("%w; left on %v: %s", err, h.Addr, brief(h.Engine.Usage()))
		}
		return err
	}
	for _, h := range sc.hosts {
		if err := h.checkCounters(); err != nil {
			return err
		}
	}
	return nil
}

// checkCounters demands that every segment is counted once, and every drop by one reason.
func (h *Host) checkCounters() error {
	m := h.Engine.MIB()
	var drops uint64
	for _, n := range h.Engine.Drops() {
		drops += n
	}
	switch {
	case m.InSegs != h.arrived:
		return fmt.Errorf("host %v: %d segments arrived, %d are counted", h.Addr, h.arrived, m.InSegs)
	case drops != h.lost || m.InErrs != h.lost:
		return fmt.Errorf("host %v: %d segments dropped, %d by reason, %d as errors", h.Addr, h.lost, drops, m.InErrs)
	case m.CurrEstab != 0:
		return fmt.Errorf("host %v: %d connections are counted as open, none is", h.Addr, m.CurrEstab)
	}
	return nil
}
