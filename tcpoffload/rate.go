package tcpoffload

// Delivery-rate samples (draft-ietf-ccwg-bbr §4.1, after draft-cheng-iccrg-delivery-rate-estimation): how
// fast octets were delivered between the sending of one and its ACK.

import (
	"opentoe/tcpoffload/cc"
	"opentoe/tcpoffload/seq"
	"opentoe/tcpoffload/vtime"
)

// rateVars are the connection's side of the samples.
type rateVars struct {
	delivered   uint64     // C.delivered: octets known to have arrived
	deliveredAt vtime.Time // C.delivered_time
	firstSent   vtime.Time // C.first_sent_time
	appLimited  uint64     // C.app_limited: until delivered passes it samples are app-limited; 0 they are not
	lost        uint64     // C.lost: octets found lost
}

// lastRate is the last sample, for reports.
type lastRate struct {
	octets uint32 // delivered, but for the lowest bit: the program limited the rate
	span   uint32 // in this time, in units of 2^rateUnit ns; 0: there was no sample
}

// rateUnit is the exponent of the unit of lastRate.span.
const rateUnit = 10

// keep stores s.
func (l *lastRate) keep(s *cc.Sample) {
	l.octets = s.RateDelivered &^ 1
	if s.AppLimited {
		l.octets |= 1
	}
	l.span = uint32(min(max(s.Interval>>rateUnit, 1), 1<<32-1))
}

// perSecond returns the rate in octets per second, and whether the program limited it.
func (l *lastRate) perSecond() (rate uint64, limited bool) {
	if l.span == 0 {
		return 0, false
	}
	return uint64(l.octets&^1) * uint64(vtime.Second>>rateUnit) / uint64(l.span), l.octets&1 != 0
}

// tooLong is Flight.sendElapsed when the time does not fit.
const tooLong = 1<<32 - 1

// snapshot keeps in f, sent now, what its sample will need. Precondition: f is not counted in pipe yet.
func (t *TCB) snapshot(f *Flight, now vtime.Time) {
	c := &t.rate
	if t.pipe() == 0 || c.deliveredAt == 0 {
		c.firstSent, c.deliveredAt = now, now
	}
	f.deliveredAt, f.delivered, f.lost = c.deliveredAt, uint32(c.delivered), uint32(c.lost)
	f.sendElapsed = uint32(min(max(now.Sub(c.firstSent), 0), tooLong))
	if c.appLimited != 0 {
		f.flags |= flightAppLimited
	}
}

// arrived notes in ev that n octets of f, which end at end, are newly known to have arrived. It must not be
// called for what is SACKed.
func (t *TCB) arrived(ev *ackEvent, f *Flight, end seq.Num, n uint32) {
	ev.delivered += n
	// The sample is of the segment sent last (rs of the draft); of equals, the last in sequence.
	if !ev.sampled || f.sentAt >= ev.sentAt {
		ev.sampled = true
		ev.sentAt = f.sentAt
		ev.priorAt, ev.priorDelivered, ev.priorLost = f.deliveredAt, f.delivered, f.lost
		ev.sendElapsed, ev.txInFlight = f.sendElapsed, f.inFlight
		ev.appLimited = f.flags&flightAppLimited != 0
	}
	if f.flags&flightRxt == 0 {
		if end.LEQ(t.rec.point) {
			ev.original = true
		}
		// Karn's rule: what was sent twice is no measure of the round trip.
		rtt := ev.now.Sub(f.firstSent())
		if !ev.timed {
			ev.timed, ev.oldestRTT = true, rtt
			ev.oldestEnd = end
		}
		if f.span == 0 && (ev.rtt == 0 || rtt < ev.rtt) {
			ev.rtt = max(rtt, 1)
		}
	}
	if t.flags&flagSACK != 0 {
		t.rackArrived(ev, f, end, n)
	}
}

// congest tells congestion control what this ACK delivered.
func (e *Engine) congest(t *TCB, ev *ackEvent) {
	if ev.delivered == 0 {
		return
	}
	c := &t.rate
	c.delivered += uint64(ev.delivered)
	c.deliveredAt = ev.now
	if c.appLimited != 0 && c.delivered > c.appLimited {
		c.appLimited = 0
	}
	var s cc.Sample // field by field: a literal would be built elsewhere and copied
	s.Now, s.MSS, s.RTT, s.SRTT = ev.now, t.effMSS(), ev.rtt, t.rtt.srtt
	s.Acked, s.Delivered, s.Lost, s.Prior, s.InFlight = t.growth(ev), ev.delivered, ev.lost, ev.prior, t.pipe()
	s.TotalDelivered, s.TotalLost = c.delivered, c.lost
	s.CwndLimited = t.cwndLimited()
	s.Recovery, s.Loss = t.ca >= caRecovery, t.ca == caLoss
	s.Marked = t.ecnMarked(ev.seg, ev.delivered)
	if ev.ended && !s.CwndLimited {
		s.Acked = 0 // the window is the threshold
	}
	if ev.sampled {
		c.firstSent = ev.sentAt
		if ev.sendElapsed != tooLong {
			interval := max(vtime.Duration(ev.sendElapsed), ev.now.Sub(ev.priorAt))
			// Faster than the path can be: ACKs were compressed on their way.
			if interval >= t.rtt.min {
				s.Interval = interval
				s.RateDelivered = uint32(c.delivered) - ev.priorDelivered
				s.RateLost = uint32(c.lost) - ev.priorLost
				s.TxInFlight = ev.txInFlight
				s.PriorDelivered = c.delivered - uint64(s.RateDelivered)
				s.AppLimited = ev.appLimited
				t.lastRate.keep(&s)
			}
		}
	}
	e.control(t).OnAck(&s)
}

// growth returns for how many octets of an ACK a window may grow: as in Linux those acknowledged cumulatively that
// no SACK block and no duplicate ACK told of before. Where much is reordered, most is told of by SACK first,
// and counts then; what arrives during a recovery counts when it ends.
func (t *TCB) growth(ev *ackEvent) uint32 {
	switch {
	case ev.ended:
		return ev.acked
	case t.rack.reordered > dupThresh && t.ca < caRecovery:
		return ev.delivered
	}
	return min(ev.acked, ev.delivered)
}

// cwndLimited reports whether the congestion window was what limited us: a window that is not used proves
// nothing about the path (RFC 7661 §3). After ECE it does not grow.
func (t *TCB) cwndLimited() bool {
	return t.rcv.ecn&ecnReduced == 0 && (t.flags&flagCwndFull != 0 || t.ca == caLoss)
}

// markAppLimited notes that the program, not the network, is what limits the rate from here on, if so.
func (t *TCB) markAppLimited() {
	if pipe := t.pipe(); pipe < t.cc.Cwnd && t.fl.lost == 0 {
		t.rate.appLimited = max(t.rate.delivered+uint64(pipe), 1)
	}
}
