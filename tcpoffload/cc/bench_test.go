package cc

import (
	"testing"

	"opentoe/tcpoffload/vtime"
)

// BenchmarkOnAck is what an ACK for two segments costs in steady state.
func BenchmarkOnAck(b *testing.B) {
	for a := range Algorithm(NumAlgorithms) {
		b.Run(a.String(), func(b *testing.B) {
			p := newPath(100*mbps, 20*vtime.Millisecond, 1)
			f := p.add(a, 1448)
			p.run(5 * vtime.Second)
			s := Sample{
				Now: p.now, MSS: f.mss, RTT: p.rtt, SRTT: p.rtt, Acked: 2 * f.mss, Delivered: 2 * f.mss,
				Prior: f.Cwnd, InFlight: f.Cwnd, Interval: p.rtt, RateDelivered: uint32(p.bdp()),
				TxInFlight: f.Cwnd, CwndLimited: true,
			}
			b.ReportAllocs()
			for b.Loop() {
				s.Now += vtime.Time(230 * vtime.Microsecond)
				f.delivered += uint64(s.Delivered)
				s.TotalDelivered, s.PriorDelivered = f.delivered, f.delivered-p.bdp()
				f.OnAck(&s)
			}
		})
	}
}
