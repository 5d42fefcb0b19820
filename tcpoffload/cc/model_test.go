package cc

// A bottleneck in a few lines, for tests of whole algorithms: one queue of a rate and a length, a fixed
// round trip, senders that mind window and pacing rate. A lost octet is sent again as a new one.

import (
	"math/rand/v2"

	"opentoe/tcpoffload/vtime"
)

// path is the bottleneck and what happens beyond it.
type path struct {
	rate   uint64 // octets per second
	rtt    vtime.Duration
	buffer uint64 // octets
	loss   int    // parts per million
	mark   uint64 // octets of queue from which segments are marked; 0: never
	batch  vtime.Duration

	now    vtime.Time
	freeAt vtime.Time
	acks   []modelSeg
	flows  []*modelFlow
	rng    *rand.Rand

	queueSum, queueMax, samples uint64
}

// modelSeg is a segment in flight with the snapshot that its rate sample needs.
type modelSeg struct {
	flow                   *modelFlow
	num                    uint64
	at                     vtime.Time // when its ACK arrives
	sentAt, deliveredAt    vtime.Time
	firstSent              vtime.Time
	delivered, lost        uint64
	inFlight               uint32
	limited, marked, acked bool
}

type modelFlow struct {
	Control
	p                     *path
	mss                   uint32
	una, next             uint64 // segment numbers
	flight                map[uint64]*modelSeg
	inFlight              uint32
	delivered, losses     uint64
	limitedTo             uint64
	deliveredAt, firstAt  vtime.Time
	paceAt                vtime.Time
	srtt, minRTT, rto     vtime.Duration
	recoverTo, reducedTo  uint64
	reactedTo             uint64
	limited               bool // by the window
	appRate               uint64
	started               vtime.Time
	sent                  uint64
	timeouts, recoveries  int
	phases                map[bbrPhase]int
	lastPhase             bbrPhase
	silentFrom, silentFor vtime.Time // [from, for): the program is silent
}

func newPath(rateBps uint64, rtt vtime.Duration, bdps float64) *path {
	p := &path{rate: rateBps / 8, rtt: rtt, now: vtime.Time(vtime.Second), rng: rand.New(rand.NewPCG(1, 2))}
	p.buffer = uint64(bdps * float64(p.bdp()))
	p.freeAt = p.now
	return p
}

func (p *path) bdp() uint64 { return octetsIn(p.rate, p.rtt) }

func (p *path) add(a Algorithm, mss uint32) *modelFlow {
	f := &modelFlow{Control: control(), p: p, mss: mss, flight: map[uint64]*modelSeg{}, started: p.now, phases: map[bbrPhase]int{}}
	f.Init(a, 10, mss, uint64(len(p.flows))+7)
	f.Established(p.now, p.rtt, true)
	f.srtt = p.rtt
	p.flows = append(p.flows, f)
	return f
}

// run lets d pass.
func (p *path) run(d vtime.Duration) {
	end := p.now.Add(d)
	for p.now < end {
		next := end
		for _, f := range p.flows {
			next = min(next, f.send())
		}
		if len(p.acks) > 0 {
			next = min(next, p.acks[0].at)
		}
		p.now = max(next, p.now)
		for len(p.acks) > 0 && p.acks[0].at <= p.now {
			a := p.acks[0]
			p.acks = p.acks[1:]
			a.flow.ack(&a)
		}
	}
}

// queue returns the octets that wait.
func (p *path) queue() uint64 { return octetsIn(p.rate, p.freeAt.Sub(p.now)) }

// forget starts the statistics of the queue and of the flows anew.
func (p *path) forget() {
	p.queueSum, p.queueMax, p.samples = 0, 0, 0
	for _, f := range p.flows {
		f.started, f.sent, f.losses, f.recoveries, f.timeouts = p.now, 0, 0, 0, 0
	}
}

func (p *path) meanQueue() uint64 { return p.queueSum / max(p.samples, 1) }

// goodput returns the share of the bottleneck that f had since forget.
func (f *modelFlow) goodput() float64 {
	return float64(f.sent) / (float64(f.p.rate) * float64(f.p.now.Sub(f.started)) / float64(vtime.Second))
}

// send transmits what may leave and returns when it wants to be called again.
func (f *modelFlow) send() vtime.Time {
	p := f.p
	if len(f.flight) > 0 && p.now.Sub(max(f.deliveredAt, f.flight[f.oldest()].sentAt)) > f.srtt+vtime.Second {
		f.timeout()
	}
	f.limited = false
	for {
		if p.now >= f.silentFrom && p.now < f.silentFor {
			f.limitedTo = f.delivered + uint64(f.inFlight)
			return f.silentFor
		}
		if f.inFlight > 0 && f.inFlight+f.mss > f.Cwnd {
			f.limited = true
			return p.now.Add(f.srtt + vtime.Second)
		}
		if f.appRate > 0 && f.sent+uint64(f.inFlight) > octetsIn(f.appRate, p.now.Sub(f.started)) {
			f.limitedTo = max(f.delivered+uint64(f.inFlight), 1)
			return p.now.Add(vtime.Duration(uint64(f.mss) * uint64(vtime.Second) / f.appRate))
		}
		if rate := f.PacingRate(); rate != 0 {
			if f.paceAt > p.now {
				return f.paceAt
			}
			q := f.SendQuantum(f.mss)
			f.paceAt = p.now.Add(vtime.Duration(mulDiv(uint64(min(q, f.mss)), uint64(vtime.Second), rate)))
		}
		f.sendOne()
	}
}

func (f *modelFlow) oldest() uint64 {
	for f.flight[f.una] == nil {
		f.una++
	}
	return f.una
}

func (f *modelFlow) sendOne() {
	p := f.p
	if f.inFlight == 0 {
		f.firstAt, f.deliveredAt = p.now, p.now
		f.OnRestart(p.now)
	}
	s := &modelSeg{
		flow: f, num: f.next, sentAt: p.now, deliveredAt: f.deliveredAt, firstSent: f.firstAt,
		delivered: f.delivered, lost: f.losses, limited: f.limitedTo != 0,
	}
	f.next++
	f.inFlight += f.mss
	s.inFlight = f.inFlight
	f.flight[s.num] = s
	q := p.queue()
	p.queueSum, p.queueMax, p.samples = p.queueSum+q, max(p.queueMax, q), p.samples+1
	if q > p.buffer || p.loss > 0 && p.rng.IntN(1_000_000) < p.loss {
		return
	}
	s.marked = p.mark > 0 && q > p.mark
	p.freeAt = max(p.freeAt, p.now).Add(vtime.Duration(mulDiv(uint64(f.mss), uint64(vtime.Second), p.rate)))
	s.at = p.freeAt.Add(p.rtt)
	if p.batch > 0 { // the link delivers at multiples of batch
		s.at = (s.at/vtime.Time(p.batch) + 1) * vtime.Time(p.batch)
	}
	p.acks = append(p.acks, *s)
}

func (f *modelFlow) ack(s *modelSeg) {
	p := f.p
	if f.flight[s.num] == nil {
		return
	}
	prior := f.inFlight
	delete(f.flight, s.num)
	f.inFlight -= f.mss
	f.delivered += uint64(f.mss)
	f.sent += uint64(f.mss)
	f.deliveredAt = p.now
	if f.limitedTo != 0 && f.delivered > f.limitedTo {
		f.limitedTo = 0
	}
	rtt := p.now.Sub(s.sentAt)
	f.srtt += (rtt - f.srtt) / 8
	lost, fresh := uint32(0), false
	for len(f.flight) > 0 && f.oldest()+3 <= s.num {
		l := f.flight[f.una]
		delete(f.flight, f.una)
		fresh = fresh || f.una >= f.reactedTo
		f.inFlight -= f.mss
		f.losses += uint64(f.mss)
		lost += f.mss
		f.OnLost(&Lost{
			Now: p.now, MSS: f.mss, Octets: f.mss, TxInFlight: l.inFlight, LostSince: uint32(f.losses - l.lost),
			AppLimited: l.limited, TotalDelivered: f.delivered,
		})
	}
	if f.recoverTo != 0 && s.num >= f.recoverTo {
		f.recoverTo = 0
		if f.episode == episodeFast {
			f.OnRecovered(f.mss)
		}
	}
	if fresh && f.recoverTo == 0 {
		f.recoveries++
		f.recoverTo, f.reactedTo = f.next, f.next
		f.OnLoss(prior, f.mss)
		if !f.OwnsRecovery() {
			f.Cwnd = f.Ssthresh
		}
	}
	a := &Sample{
		Now: p.now, MSS: f.mss, RTT: rtt, SRTT: f.srtt, Acked: f.mss, Delivered: f.mss, Lost: lost,
		Prior: prior, InFlight: f.inFlight, TxInFlight: s.inFlight,
		Interval:      max(s.sentAt.Sub(s.firstSent), p.now.Sub(s.deliveredAt)),
		RateDelivered: uint32(f.delivered - s.delivered), PriorDelivered: s.delivered,
		RateLost: uint32(f.losses - s.lost), AppLimited: s.limited,
		TotalDelivered: f.delivered, TotalLost: f.losses,
		CwndLimited: f.limited,
		Recovery:    f.recoverTo != 0, Loss: f.recoverTo != 0 && f.episode == episodeRTO,
	}
	f.firstAt = s.sentAt
	if s.marked {
		a.Marked = f.mss
	}
	f.OnAck(a)
	if s.marked && f.recoverTo == 0 && s.num >= f.reducedTo {
		f.reducedTo = f.next
		f.OnECN(prior, f.mss)
	}
	if f.algo == BBR && f.bbr.phase != f.lastPhase {
		f.lastPhase = f.bbr.phase
		f.phases[f.lastPhase]++
	}
}

func (f *modelFlow) timeout() {
	f.timeouts++
	flight := f.inFlight
	for num := range f.flight {
		delete(f.flight, num)
		f.losses += uint64(f.mss)
	}
	f.inFlight, f.una = 0, f.next
	f.deliveredAt = f.p.now
	f.OnRTO(flight, f.mss, false)
	f.recoverTo, f.reactedTo = f.next, f.next
}
