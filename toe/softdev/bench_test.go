package softdev

import (
	"testing"

	"opentoe/tcpoffload/vtime"
)

// benchPair is an open connection from end 0 to end 1 over which the ends send the given totals.
func benchPair(b *testing.B, toServer, toClient uint64) (*pair, *fakeSock, *fakeSock) {
	p := newPair(b, true)
	for _, u := range p.up {
		u.noCheck = true
		u.rcvbuf, u.sndbuf = 1<<20, 1<<20
	}
	p.listen(1)
	p.up[0].noCheck = false // open looks at the events
	client, server := p.open(0, 0)
	p.up[0].noCheck = true
	client.total, server.total = toServer, toClient
	return p, client, server
}

// BenchmarkBulk moves a stream from one device to the other, both on this thread: sender and
// receiver work, checksums, header building and both payload copies included; a driver's cost not.
func BenchmarkBulk(b *testing.B) {
	p, _, server := benchPair(b, 1<<60, 0)
	for range 2000 {
		p.step()
	}
	start := server.read
	b.SetBytes(1448)
	b.ReportAllocs()
	b.ResetTimer()
	for server.read-start < uint64(b.N)*1448 {
		p.step()
	}
	b.StopTimer()
	octets := float64(server.read - start)
	b.ReportMetric(octets*8/float64(b.Elapsed().Nanoseconds()), "Gb/s")
	if p.w[0].eng.MIB().RetransSegs > 0 {
		b.Fatal("retransmissions over a perfect wire")
	}
}

// BenchmarkEcho is one request of 64 octets and its answer, both ends on this thread.
func BenchmarkEcho(b *testing.B) {
	p, client, server := benchPair(b, 0, 0)
	b.ReportAllocs()
	for b.Loop() {
		client.total += 64
		for server.read < client.total {
			p.step()
		}
		server.total += 64
		for client.read < server.total {
			p.step()
		}
	}
}

// BenchmarkIteration is one iteration without work.
func BenchmarkIteration(b *testing.B) {
	p, _, _ := benchPair(b, 0, 0)
	for range 100 {
		p.step()
	}
	now, err := monotonic()
	if err != nil {
		b.Fatal(err)
	}
	w := p.w[0]
	w.now = 0
	w.clock = func() vtime.Time { return now() % 1000 }
	for b.Loop() {
		w.tick()
		w.iterate()
	}
}
