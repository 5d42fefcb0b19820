package tcpoffload

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// flooded is a duo whose first engine gets SYNs from spoofed addresses beside its connection.
type flooded struct {
	*duo
	rng  *rand.Rand
	out0 *Output
	rate int // SYNs per microsecond of virtual time
}

// step lets both sides act once, and the flood arrive that comes in the meantime.
func (f *flooded) step() {
	conn := f.h[0]
	then := f.now
	f.duo.step()
	f.h[0] = conn
	for range int(f.now.Sub(then)/vtime.Microsecond) * f.rate {
		syn := Segment{Flags: wire.SYN, Seq: 1, Wnd: 1000, Opt: synOptions(allOptions), Flow: wire.Flow{
			Local: wire.AddrFrom4([4]byte{10, 0, 0, 1}), LocalPort: 80, RemotePort: uint16(f.rng.Uint32()) | 1,
			Remote: wire.AddrFrom4([4]byte{11, byte(f.rng.Uint32()), byte(f.rng.Uint32()), byte(f.rng.Uint32())}),
		}}
		f.e[0].Arrive(f.now, &syn, f.out0)
		f.out0.Reset()
	}
}

// transfer sends from side 1 to side 0 for that many steps and returns the octets delivered.
func (f *flooded) transfer(steps int) uint64 {
	before := f.seen[0]
	for range steps {
		if f.sent[1]-f.seen[0] < 1<<20 {
			f.send(1, 1<<20)
		}
		f.step()
		f.read(0)
	}
	return f.seen[0] - before
}

// TestSynFlood: a million SYNs a second do not slow down what is established, take no more memory than
// the tables have, and keep nobody out.
func TestSynFlood(t *testing.T) {
	for _, mode := range []SynCookieMode{SynCookiesOverflow, SynCookiesAlways} {
		edit := func(c *Config) {
			c.Memory = NewMemoryOf(Sizes{Conns: 64, Listeners: 4, HalfOpens: 32})
			c.Tunables.SynCookies = mode
		}
		calm := &flooded{duo: newDuo(t, edit), out0: NewOutput(4, 32)}
		f := &flooded{duo: newDuo(t, edit), rng: rand.New(rand.NewPCG(1, 2)), out0: NewOutput(4, 32), rate: 1}
		want := calm.transfer(2000)
		got := f.transfer(2000)
		require.GreaterOrEqual(t, got, want*9/10, "octets of an established connection")

		e, m := f.e[0], f.e[0].MIB()
		require.Greater(t, m.SyncookiesSent, uint64(30_000))
		require.LessOrEqual(t, e.HalfOpens(), 5, "the backlog of the listener")
		require.Equal(t, 1, e.Conns())
		cookies := m.SyncookiesRecv
		for port := range uint16(20) {
			c := Call{Kind: CallOpen, Cookie: 1, Flow: wire.Flow{
				Local:  wire.AddrFrom4([4]byte{10, 0, 0, 2}),
				Remote: wire.AddrFrom4([4]byte{10, 0, 0, 1}), LocalPort: 2000 + port, RemotePort: 80,
			}}
			require.Equal(t, CallOK, f.e[1].Call(f.now, &c, f.duo.out[1]))
			for range 3 {
				f.step()
			}
			h, ok := e.Lookup(&wire.Flow{
				Local: c.Flow.Remote, LocalPort: 80, Remote: c.Flow.Local, RemotePort: c.Flow.LocalPort,
			})
			require.True(t, ok, "a true client gets in")
			require.Equal(t, StateEstablished, e.conns[h.Index()].state)
			require.Equal(t, CallOK, e.Call(f.now, &Call{Kind: CallAccepted, Listener: 1<<32 | 1, Value: 1}, f.out0))
		}
		require.Equal(t, uint64(20), m.SyncookiesRecv-cookies)
		for range 120 {
			f.now = f.now.Add(vtime.Second)
			e.Expire(f.now, f.out0)
			f.out0.Reset()
		}
		require.Zero(t, e.HalfOpens(), "what is left of the flood is forgotten")
	}
}

// TestBlindInjection: who does not see the connection cannot end it, change it or have it answer much,
// wherever in the sequence space he tries (RFC 5961).
func TestBlindInjection(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{})
	s.send(10_000)
	s.skip()
	s.in(wire.ACK, 1, 100, 5001)
	s.skip()
	s.acts = s.acts[:0]
	rng := rand.New(rand.NewPCG(5, 6))
	nxt := peerISS.Add(101)
	answers := 0
	inject := func(g Segment) {
		require.NotEqual(t, DropNone, s.inject(g))
		for _, a := range s.segs {
			require.Equal(t, wire.ACK, a.Flags, "a challenge")
			require.Zero(t, a.Len)
		}
		answers += s.skip()
		require.Empty(t, s.acts)
	}
	for i := range uint32(30_000) {
		at := nxt.Add(1 + i*7) // through the window and beyond it
		if i%3 == 0 {
			at = nxt.Add(1 + rng.Uint32()%(1<<32-1))
		}
		inject(Segment{Flow: s.flow, Flags: wire.RST, Seq: at})
		inject(Segment{Flow: s.flow, Flags: wire.SYN, Seq: at})
		inject(Segment{Flow: s.flow, Flags: wire.SYN | wire.ACK, Seq: at, Ack: s.iss.Add(rng.Uint32())})
		// Text needs an ACK that is not too old and not of what was never sent (§5.2).
		ack := s.iss.Add(10_002 + rng.Uint32()%(1<<32-10_001-1<<17))
		inject(Segment{Flow: s.flow, Flags: wire.ACK, Seq: nxt.Add(i % 60_000), Ack: ack, Len: 0, Wnd: 0})
	}
	require.LessOrEqual(t, answers, 20, "challenges are limited")
	s.state(StateEstablished)
	s.wait(2 * sec)
	s.skip()
	s.in(wire.ACK, 101, 50, 10_001)
	require.Equal(t, uint64(150), s.action(ActReadable).Pos)
	require.Equal(t, uint64(10_000), s.action(ActAcked).Pos)
}

// TestConnectionTableExhaustion: a peer that completes handshakes and does nothing more fills the accept
// queue, not the table; established connections go on, and when the program accepts, others get in.
func TestConnectionTableExhaustion(t *testing.T) {
	s := newScript(t, func(c *Config) { c.Memory = NewMemory(64, 2) })
	s.passive(wire.OptMSS, SocketOptions{})
	good, iss := s.flow, s.iss
	opened := 0
	for port := range uint16(1000) {
		s.flow.RemotePort = 10_000 + port
		s.in(wire.SYN, 0, 0, 0)
		if s.skip() == 0 {
			continue
		}
		opened++
	}
	require.Equal(t, 1000, opened, "the SYN cache, then cookies")
	s.wait(10 * ms)
	for port := range uint16(1000) {
		s.flow.RemotePort = 30_000 + port
		if s.in(wire.SYN, 0, 0, 0); len(s.segs) > 0 {
			s.iss = s.segs[0].Seq
			s.in(wire.ACK, 1, 0, 1)
		}
		s.skip()
	}
	require.Equal(t, 8, s.e.Conns(), "the backlog")
	require.Positive(t, s.e.MIB().ListenOverflows)
	s.flow, s.iss = good, iss
	s.in(wire.ACK, 1, 100, 1)
	require.Equal(t, uint64(100), s.action(ActReadable).Pos)
	s.ok(s.call(Call{Kind: CallAccepted, Listener: 1<<32 | 1, Value: 8}))
	s.skip()
	s.flow.RemotePort = 9
	require.Equal(t, DropNone, s.in(wire.SYN, 0, 0, 0))
	s.iss = s.segs[0].Seq
	require.Equal(t, DropNone, s.in(wire.ACK, 1, 0, 1))
}
