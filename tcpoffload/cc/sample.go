package cc

import (
	"math/bits"

	"opentoe/tcpoffload/vtime"
)

// Sample is what one acknowledgment told, in the terms of draft-ietf-ccwg-bbr §4.1 and of delivery
// rate estimation. Octets are of sequence space; "delivered" means acknowledged cumulatively or
// selectively, each octet once.
type Sample struct {
	Now  vtime.Time
	MSS  uint32         // payload of a full segment
	RTT  vtime.Duration // of the newest segment that this ACK delivers, never of one sent twice; 0: none
	SRTT vtime.Duration // smoothed; 0 before the first measurement

	Acked     uint32 // of Delivered, what lets a window grow
	Delivered uint32 // newly delivered
	Lost      uint32 // newly found lost
	Marked    uint32 // of Delivered, reported as marked CE (RFC 3168, RFC 8257); 0 without ECN
	Prior     uint32 // in flight before the ACK
	InFlight  uint32 // in flight after it (pipe)

	// The rate sample, of the segment sent last among those delivered. Valid only if Interval > 0.
	Interval       vtime.Duration // over which RateDelivered octets were delivered
	RateDelivered  uint32         // rs.delivered
	RateLost       uint32         // rs.lost: found lost between its sending and now
	TxInFlight     uint32         // rs.tx_in_flight: in flight just after it was sent
	PriorDelivered uint64         // rs.prior_delivered: TotalDelivered when it was sent
	AppLimited     bool           // rs.is_app_limited

	TotalDelivered uint64 // C.delivered, of the connection
	TotalLost      uint64 // C.lost
	CwndLimited    bool   // the window stopped the sender since the last ACK (RFC 7661 §3)
	Recovery       bool   // a fast recovery or the recovery from a timeout is under way
	Loss           bool   // the latter
}

// Rate returns the delivery rate of the sample in octets per second, 0 without one.
func (a *Sample) Rate() uint64 {
	if a.Interval <= 0 {
		return 0
	}
	return uint64(a.RateDelivered) * uint64(vtime.Second) / uint64(a.Interval)
}

// Lost is what the engine knows of octets, sent together, at the moment when it finds them lost.
type Lost struct {
	Now            vtime.Time
	MSS            uint32
	Octets         uint32
	TxInFlight     uint32 // in flight just after they were sent
	LostSince      uint32 // octets found lost since they were sent, they included
	AppLimited     bool   // they were sent while the program limited the rate
	TotalDelivered uint64 // as in Sample
}

// mulDiv returns a·b/c with a product of 128 bits, at most the largest uint64. Precondition: c > 0.
func mulDiv(a, b, c uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	if hi >= c {
		return 1<<64 - 1
	}
	q, _ := bits.Div64(hi, lo, c)
	return q
}

// octetsIn returns how many octets pass at rate octets per second during d.
func octetsIn(rate uint64, d vtime.Duration) uint64 {
	return mulDiv(rate, uint64(max(d, 0)), uint64(vtime.Second))
}

// per returns the rate of octets per d, in octets per second. Precondition: d > 0.
func per(octets uint32, d vtime.Duration) uint64 {
	return uint64(octets) * uint64(vtime.Second) / uint64(d)
}
