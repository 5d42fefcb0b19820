package tcpoffload

// Delivery-rate samples (draft-ietf-ccwg-bbr §4.1, after draft-cheng-iccrg-delivery-rate-estimation): how
// fast octets were delivered between the sending of one and its ACK.

import (
	"opentoe/tcpoffload/cc"
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
