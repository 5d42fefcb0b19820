package xdp

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/wire"
)

// BenchmarkSteer is what the program costs a frame of each verdict, of which the kernel counts some more.
func BenchmarkSteer(b *testing.B) {
	kernel, err := net.Listen("tcp", at(local4, 0).String())
	require.NoError(b, err)
	defer kernel.Close()
	client, err := net.Dial("tcp", kernel.Addr().String())
	require.NoError(b, err)
	defer client.Close()
	server, remote := addrOf(kernel.Addr()), addrOf(client.LocalAddr())

	arp := segment(remote, server, wire.ACK)
	arp[12], arp[13] = 0x08, 0x06
	for _, c := range []struct {
		verdict Verdict
		frame   []byte
	}{
		{PassOther, arp},
		{PassPort, segment(remote, at(local4, otherPort), wire.ACK)},
		{PassSocket, segment(remote, server, wire.ACK)},
		{ToTOE, segment(remote, at(local4, aPort), wire.ACK)},
	} {
		b.Run(c.verdict.String(), func(b *testing.B) {
			p := newBench(b)
			p.claims.Worker(0)[aPort] = 1
			p.claims.Worker(0)[server.Port()] = 1
			require.Equal(b, c.verdict, p.judge(c.frame, 0))
			b.ResetTimer()
			_, d, err := p.objects.Steer.Benchmark(c.frame, b.N, nil)
			require.NoError(b, err)
			b.ReportMetric(float64(d.Nanoseconds()), "ns/frame")
		})
	}
}
