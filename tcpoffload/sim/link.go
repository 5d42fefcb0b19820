package sim

import (
	"math"

	"opentoe/tcpoffload"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// PPM is a probability in parts per million, PPB in parts per billion.
type (
	PPM uint32
	PPB uint32
)

// LinkConfig describes one direction of a link. The zero value is a perfect wire. It may be changed
// while the world runs.
type LinkConfig struct {
	RateBps      int64          // bits per second; 0 infinite
	Queue        int            // octets that may wait for the wire, 0 unlimited; more are lost
	QueuePackets int            // packets that may wait, 0 unlimited
	Delay        vtime.Duration // one way
	Jitter       vtime.Duration // a reordered segment is late by up to this much
	Loss         PPM            // independent losses
	FineLoss     PPB            // the same, for rare ones
	Burst        Gilbert        // losses in bursts
	Corrupt      PPM            // lost to a checksum; in a world with Wire by way of flipped bits
	Duplicate    PPM
	Reorder      PPM // of being late by Jitter
	Displace     PPM // of being overtaken by up to DisplaceBy later packets
	DisplaceBy   int
	Ghost        PPM // of arriving once more, up to GhostBy later
	GhostBy      vtime.Duration
	MarkAt       int  // octets that wait beyond which ECN-capable packets are marked CE; 0 never
	RED          RED  // mark or drop early
	CoDel        bool // mark or drop by the time that packets wait (RFC 8289)
	MTU          int  // largest IP packet, octets, 0 unlimited; others are lost
	NoICMP       bool // do not tell the sender of packets that are too big
	Down         bool // everything is lost
	// Trains keeps the segments that a device would cut in one packet, which the receiver gets merged
	// into one: what bulk transfer over a fast link needs. Losses are still drawn for each segment by
	// itself, and cut the train. Loss and FineLoss are then all that may be set of the probabilities.
	Trains bool
}

// longestBurst is how long the bad state lasts at most, however few packets pass.
const longestBurst = 200 * vtime.Millisecond

// Gilbert is the model of Gilbert and Elliott: a good state without losses and a bad one, which ends by
// itself after longestBurst.
type Gilbert struct {
	Enter, Leave PPM // probability per packet of entering and leaving the bad state
	Loss         PPM // in the bad state
}

// RED marks ECN-capable packets, and drops others, with a probability that grows from 0 at Min octets of
// average queue to Most at Max.
type RED struct {
	Min, Max int // octets; Max 0: off
	Most     PPM
}

// Link is one direction of a link in a World.
type Link struct {
	LinkConfig
	Sent, Lost, Late, Doubled, Corrupted, Marked, TooBig uint64 // packets, or segments of a train
	SentOctets                                           uint64 // on the wire
	// Drop, if set, decides about a segment of the host at the link's head before the probabilities do:
	// true loses it.
	Drop func(s *tcpoffload.TxSegment) bool
	// QueueDelay is the longest time that a packet waited; QueueSum the sum over Queued packets.
	QueueDelay, QueueSum vtime.Duration
	Queued               uint64

	w         *World
	to        node
	queue     []waiting // the first is being sent
	head      int
	octets    int // that wait, the one being sent not counted
	bad       bool
	badEnd    vtime.Time // valid with bad
	average   int        // of octets, times 256
	emptyAt   vtime.Time // when the last packet left
	codel     codelVars
	untilLoss int // segments of trains until the next one lost; valid with drawn
	drawn     PPB // the probability that untilLoss was drawn for
	held      []*packet
}

// waiting is a packet in the queue of a link.
type waiting struct {
	p  *packet
	at vtime.Time
}

// take sends p along the link.
func (l *Link) take(p *packet) {
	n := uint64(max(p.seg.Segs, 1))
	l.Sent += n
	l.SentOctets += uint64(p.octets)
	switch {
	case l.Down:
		l.lose(p, "lost")
		return
	case l.MTU > 0 && p.ipLen() > l.MTU:
		l.TooBig++
		l.tellTooBig(p)
		l.lose(p, "too big")
		return
	}
	if p.seg.Segs > 1 && l.untilLossKnown() {
		l.takeTrain(p)
		return
	}
	if l.w.chance(l.Loss) || l.FineLoss > 0 && l.w.rng.Uint32N(1e9) < uint32(l.FineLoss) || l.burstLoss() {
		l.lose(p, "lost")
		return
	}
	if l.w.chance(l.Corrupt) {
		l.Corrupted++
		p.corrupt = true
	}
	l.enqueue(p)
}

// untilLossKnown draws how many segments pass until the next loss, which is geometric, and reports
// whether there are losses at all.
func (l *Link) untilLossKnown() bool {
	p := PPB(l.Loss)*1000 + l.FineLoss
	if p != l.drawn {
		l.drawn = p
		l.drawUntilLoss()
	}
	return p > 0
}

func (l *Link) drawUntilLoss() {
	if l.drawn > 0 {
		u := 1 - l.w.rng.Float64()
		l.untilLoss = int(math.Log(u) / math.Log1p(-float64(l.drawn)/1e9))
	}
}

// takeTrain sends the train p, without the segments whose turn it is to be lost.
func (l *Link) takeTrain(p *packet) {
	for l.untilLoss < int(max(p.seg.Segs, 1)) {
		if l.untilLoss > 0 {
			l.enqueue(l.w.cut(p, l.untilLoss))
		}
		l.drawUntilLoss()
		if p.seg.Segs <= 1 {
			l.lose(p, "lost")
			return
		}
		l.lose(l.w.cut(p, 1), "lost")
	}
	l.untilLoss -= int(max(p.seg.Segs, 1))
	l.enqueue(p)
}

// burstLoss moves the model of Gilbert and Elliott on by one packet.
func (l *Link) burstLoss() bool {
	if l.Burst.Enter == 0 {
		return false
	}
	if l.bad {
		l.bad = l.w.now < l.badEnd && !l.w.chance(l.Burst.Leave)
	} else if l.bad = l.w.chance(l.Burst.Enter); l.bad {
		l.badEnd = l.w.now.Add(longestBurst)
	}
	return l.bad && l.w.chance(l.Burst.Loss)
}

func (l *Link) lose(p *packet, why string) {
	l.Lost += uint64(max(p.seg.Segs, 1))
	l.w.note(p, why)
	l.w.drop(p)
}

// tellTooBig lets the sender of p know the MTU, a round trip of this link later.
func (l *Link) tellTooBig(p *packet) {
	if l.NoICMP || p.from == nil {
		return
	}
	from, mtu := p.from, l.MTU
	c := tcpoffload.Call{
		Kind: tcpoffload.CallICMP, ICMP: tcpoffload.ICMPTooBig, Value: int64(mtu), Seq: p.seg.Seq,
		Flow: wire.Flow{
			Local: p.seg.Flow.Remote, LocalPort: p.seg.Flow.RemotePort,
			Remote: p.seg.Flow.Local, RemotePort: p.seg.Flow.LocalPort,
		},
	}
	l.w.At(l.w.now.Add(2*l.Delay), func() { from.call(&c) })
}

// enqueue lets p wait for the wire.
func (l *Link) enqueue(p *packet) {
	if l.RateBps == 0 {
		l.leave(p)
		return
	}
	busy := len(l.queue) > l.head
	if !busy {
		l.queue, l.head = l.queue[:0], 0
	}
	if busy && (l.Queue > 0 && l.octets+p.octets > l.Queue || l.QueuePackets > 0 && len(l.queue)-l.head > l.QueuePackets) {
		l.overflow(p)
		return
	}
	if !busy {
		l.rest()
	}
	if l.RED.Max > 0 && l.early() && !l.mark(p) {
		l.lose(p, "dropped early")
		return
	}
	if l.MarkAt > 0 && l.octets > l.MarkAt {
		l.mark(p)
	}
	if l.head > 1024 && l.head*2 > len(l.queue) {
		l.queue = l.queue[:copy(l.queue, l.queue[l.head:])]
		l.head = 0
	}
	l.queue = append(l.queue, waiting{p, l.w.now})
	if busy {
		l.octets += p.octets
	} else {
		l.transmit()
	}
}

// overflow loses what of p does not fit.
func (l *Link) overflow(p *packet) {
	if p.seg.Segs > 1 && l.Queue > 0 {
		one := p.octets / int(p.seg.Segs)
		if n := (l.Queue - l.octets) / one; n > 0 && n < int(p.seg.Segs) {
			l.enqueue(l.w.cut(p, n))
		}
	}
	l.lose(p, "queue full")
}

// restSteps is after how many packets' time an average counts as zero.
const restSteps = 4096

// rest lets RED's average fall for the time that the link had nothing to send: as by so many packets that
// find the queue empty as could have been sent meanwhile.
func (l *Link) rest() {
	const typical = 1000 * 8 // bits of a packet
	n := int64(l.w.now.Sub(l.emptyAt)) / int64(vtime.Millisecond) * l.RateBps / 1000 / typical
	if n >= restSteps {
		l.average = 0
	}
	for ; n > 0 && l.average > 0; n-- {
		l.average -= l.average/256 + 1
	}
}

// early decides by the average queue (weight 1/256) whether RED marks or drops.
func (l *Link) early() bool {
	l.average += l.octets - l.average/256
	q := l.average / 256
	switch {
	case q <= l.RED.Min:
		return false
	case q >= l.RED.Max:
		return true
	}
	return l.w.chance(PPM(uint64(l.RED.Most) * uint64(q-l.RED.Min) / uint64(l.RED.Max-l.RED.Min)))
}

// mark marks p CE and reports whether it is ECN-capable.
func (l *Link) mark(p *packet) bool {
	if p.seg.ECN == wire.NotECT {
		return false
	}
	p.seg.ECN = wire.CE
	l.Marked++
	return true
}

// transmit begins to send the first packet of the queue.
func (l *Link) transmit() {
	q := &l.queue[l.head]
	wait := l.w.now.Sub(q.at)
	l.QueueDelay = max(l.QueueDelay, wait)
	l.QueueSum += wait
	l.Queued++
	took := vtime.Duration(int64(q.p.octets) * 8 * int64(vtime.Second) / l.RateBps)
	l.w.push(event{at: l.w.now.Add(took), link: l})
}

// sent goes on after the first packet of the queue has been sent.
func (l *Link) sent() {
	p := l.queue[l.head].p
	l.head++
	for l.head < len(l.queue) {
		q := &l.queue[l.head]
		l.octets -= q.p.octets
		if l.CoDel && l.codel.tooLong(l.w.now, l.w.now.Sub(q.at), l.octets) && !l.mark(q.p) {
			l.lose(q.p, "codel")
			l.head++
			continue
		}
		l.transmit()
		break
	}
	l.emptyAt = l.w.now
	l.leave(p)
}

// holdTime is how long a displaced packet waits for those that should overtake it.
const holdTime = 50 * vtime.Millisecond

// leave lets p arrive at the other end, with what the path does to order.
func (l *Link) leave(p *packet) {
	if l.DisplaceBy > 0 && l.w.chance(l.Displace) {
		l.Late++
		p.later = 1 + l.w.rng.IntN(l.DisplaceBy)
		l.held = append(l.held, p)
		l.w.At(l.w.now.Add(holdTime), func() { l.release(p) })
		return
	}
	l.arrive(p)
	for i := 0; i < len(l.held); i++ {
		h := l.held[i]
		if h.later--; h.later == 0 {
			l.held = append(l.held[:i], l.held[i+1:]...)
			i--
			l.arrive(h)
		}
	}
}

// release ends the wait of p, if it still waits.
func (l *Link) release(p *packet) {
	for i, h := range l.held {
		if h == p && h.later > 0 {
			h.later = 0
			l.held = append(l.held[:i], l.held[i+1:]...)
			l.arrive(h)
			return
		}
	}
}

func (l *Link) arrive(p *packet) {
	if l.GhostBy > 0 && l.w.chance(l.Ghost) {
		l.Doubled++
		l.w.push(event{at: l.w.now.Add(vtime.Duration(l.w.rng.Int64N(int64(l.GhostBy)))), to: l.to, p: l.w.clone(p)})
	}
	n := 1
	if l.w.chance(l.Duplicate) {
		l.Doubled++
		n = 2
	}
	for i := range n {
		q := p
		if i > 0 {
			q = l.w.clone(p)
		}
		at := l.w.now.Add(l.Delay)
		if l.Jitter > 0 && l.w.chance(l.Reorder) {
			l.Late++
			at = at.Add(vtime.Duration(l.w.rng.Int64N(int64(l.Jitter)) + 1))
		}
		l.w.push(event{at: at, to: l.to, p: q})
	}
}
