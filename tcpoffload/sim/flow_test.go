package sim_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload"
	"opentoe/tcpoffload/cc"
	"opentoe/tcpoffload/sim"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// bulkFlow is one stream of a measurement.
type bulkFlow struct {
	algo   cc.Algorithm
	octets uint64         // to send, 0 without end
	at     vtime.Duration // when it begins, from the start
	src    *sim.Sock
	sink   *sim.Sock
	begin  vtime.Time
	end    vtime.Time // when the last octet was read; 0: not yet
}

// bench is hosts on two sides of a bottleneck with bulk flows between them.
type bench struct {
	w      *sim.World
	there  *sim.Link
	flows  []*bulkFlow
	access []*sim.Link // of the left side
}

// mostAhead is how far a program may run ahead of what is acknowledged, octets.
const mostAhead = 1 << 30

// fastTunables lets windows grow as far as TCP can.
func fastTunables(c *tcpoffload.Config) {
	c.Tunables.MaxRcvBuf = 1 << 30
}

// newBench makes a bench with a flow from a host of its own for each of flows.
func newBench(t *testing.T, seed uint64, there, back sim.LinkConfig, access func(i int) sim.LinkConfig, flows []*bulkFlow, edit func(c *tcpoffload.Config)) *bench {
	w := sim.New(seed)
	host := func(n byte) *sim.Host {
		c := tcpoffload.Config{Tunables: tcpoffload.DefaultTunables(), Seed: w.Rand().Uint64(), ISNKey: [16]byte{n}}
		c.Tunables.MaxRcvBuf = 64 << 20
		if edit != nil {
			edit(&c)
		}
		h, err := w.Host(wire.AddrFrom4([4]byte{10, 0, 0, n}), c)
		require.NoError(t, err)
		return h
	}
	if access == nil {
		access = func(int) sim.LinkConfig { return sim.LinkConfig{Trains: there.Trains} }
	}
	right := host(100)
	var left []*sim.Host
	b := &bench{w: w, flows: flows}
	for i, f := range flows {
		h := host(byte(i + 1))
		left = append(left, h)
		w.After(f.at, func() {
			f.begin = w.Now()
			s, r := h.Connect(right, 1000, 80, options(f.algo))
			require.Equal(t, tcpoffload.CallOK, r)
			f.src = s
			more := func() {
				for s.Established && !s.Finished && s.Sent-s.Acked < mostAhead && (f.octets == 0 || s.Sent < f.octets) {
					n := mostAhead - (s.Sent - s.Acked)
					if f.octets > 0 {
						n = min(n, f.octets-s.Sent)
					}
					s.Send(n)
				}
			}
			s.OnEvent = more
		})
	}
	b.there, _ = w.Dumbbell(left, []*sim.Host{right}, there, back, access)
	for _, h := range left {
		b.access = append(b.access, h.Link())
	}
	_, r := right.Listen(80, len(flows), options(flows[0].algo))
	require.Equal(t, tcpoffload.CallOK, r)
	right.OnAccept = func(s *sim.Sock) {
		for i, f := range flows {
			if s.Flow.Remote == left[i].Addr {
				f.sink = s
				s.OnEvent = func() {
					if f.octets > 0 && s.Readable == f.octets && f.end == 0 {
						f.end = w.Now()
					}
				}
			}
		}
	}
	return b
}

// lose has drop decide about every segment that the left side sends.
func (b *bench) lose(drop func(s *tcpoffload.TxSegment) bool) {
	for _, l := range b.access {
		l.Drop = drop
	}
}

// options returns those of a socket of algorithm a. DCTCP wants both ends to use it.
func options(a cc.Algorithm) tcpoffload.SocketOptions {
	o := tcpoffload.SocketOptions{CC: cc.Choose(a)}
	if a == cc.DCTCP {
		o.ECN = tcpoffload.ECNOn
	}
	return o
}

// got returns how many octets of f have arrived.
func (f *bulkFlow) got() uint64 {
	if f.sink == nil {
		return 0
	}
	return f.sink.Readable
}

// rates lets skip pass, measures for d, and returns each flow's goodput in bits per second.
func (b *bench) rates(t *testing.T, skip, d vtime.Duration) []float64 {
	require.NoError(t, b.w.Pass(skip))
	before := make([]uint64, len(b.flows))
	for i, f := range b.flows {
		before[i] = f.got()
	}
	require.NoError(t, b.w.Pass(d))
	out := make([]float64, len(b.flows))
	for i, f := range b.flows {
		out[i] = float64(f.got()-before[i]) * 8 / (float64(d) / float64(vtime.Second))
	}
	return out
}

// jain is Jain's index of fairness: 1 when all are equal.
func jain(x []float64) float64 {
	var sum, squares float64
	for _, v := range x {
		sum += v
		squares += v * v
	}
	if squares == 0 {
		return 0
	}
	return sum * sum / float64(len(x)) / squares
}

// algorithms are those of the tables.
var algorithms = []cc.Algorithm{cc.Reno, cc.Cubic, cc.DCTCP, cc.BBR}

// goodShare is the part of a link's rate that payload can have: 1448 of the 1538 octets that a 1500-octet
// packet with timestamps takes on Ethernet, preamble and gap included.
const goodShare = 1448.0 / 1538
