package tcpoffload

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// TestCookieTellsOptions: a connection from a cookie has what the peer offered, as far as there was
// room to remember it.
func TestCookieTellsOptions(t *testing.T) {
	for _, set := range []wire.OptionSet{0, wire.OptMSS, wire.OptMSS | wire.OptSACKPermitted | wire.OptWindowScale, allOptions} {
		for mssIn, want := range map[uint16]uint32{50: 64, 64: 64, 535: 64, 536: 536, 1400: 1400, 1459: 1440, 1460: 1460, 8960: 1460} {
			if set&wire.OptMSS == 0 {
				want = 536
			}
			s := newScript(t, func(c *Config) { c.Tunables.SynCookies = SynCookiesAlways })
			s.listen(8, SocketOptions{})
			s.ts = set&wire.OptTimestamps != 0
			syn := s.seg(wire.SYN|wire.ECE|wire.CWR, 0, 0, 0)
			syn.Opt = wire.Options{Set: set, MSS: mssIn, WScale: 9, TSVal: s.peerTS()}
			require.Equal(t, DropNone, s.inject(syn))
			require.Zero(t, s.e.HalfOpens(), "nothing is kept")
			require.Equal(t, vtime.Never, s.e.NextDeadline())
			g := s.segs[0]
			s.iss = g.Seq
			s.skip()
			all := set == allOptions
			require.Equal(t, all, g.Opt.Set&wire.OptSACKPermitted != 0)
			require.Equal(t, all, g.Opt.Set&wire.OptWindowScale != 0)
			require.Equal(t, all, g.Flags.Has(wire.ECE))

			s.now = s.now.Add(30 * ms)
			ack := s.seg(wire.ACK, 1, 0, 1)
			ack.Opt.TSEcr = g.Opt.TSVal
			require.Equal(t, DropNone, s.inject(ack))
			s.h = s.action(ActPassEstablished).Handle
			i := s.info()
			if all {
				want -= tsOptLen
				require.Equal(t, uint8(9), i.SndWscale)
				require.Equal(t, g.Opt.WScale, i.RcvWscale)
			}
			require.Equal(t, [4]any{want, all, all, all}, [4]any{i.SndMSS, i.SACK, i.Timestamps, i.ECN})
			m := s.e.MIB()
			require.Equal(t, [3]uint64{1, 1, 0}, [3]uint64{m.SyncookiesSent, m.SyncookiesRecv, m.SyncookiesFailed})
			require.Equal(t, uint64(1), m.PassiveOpens)
		}
	}
}

// cookieFor lets a SYN arrive and returns the connection's first number.
func (s *script) cookieFor() {
	require.Equal(s.t, DropNone, s.in(wire.SYN, 0, 0, 0))
	s.iss = s.segs[0].Seq
	s.skip()
}

func TestCookieRunsOut(t *testing.T) {
	for _, c := range []struct {
		wait vtime.Duration
		good bool
	}{{0, true}, {59 * sec, true}, {119 * sec, false}, {121 * sec, false}, {256 * 60 * sec, false}} {
		s := newScript(t, func(c *Config) { c.Tunables.SynCookies = SynCookiesAlways })
		s.listen(8, SocketOptions{})
		s.now = vtime.Time(100 * cookiePeriod).Add(2 * sec)
		s.cookieFor()
		s.now = s.now.Add(c.wait)
		d := s.in(wire.ACK, 1, 0, 1)
		if c.good {
			require.Equal(t, DropNone, d, c.wait)
			s.action(ActPassEstablished)
			continue
		}
		require.Equal(t, DropListenAck, d, c.wait)
		s.expect(wire.RST, 1, 0, 0)
		require.Zero(t, s.e.Conns())
	}
}

// Only a listener that sent cookies lately takes one.
func TestCookieNeedsAListenerThatSentSome(t *testing.T) {
	s := newScript(t, func(c *Config) { c.Tunables.SynCookies = SynCookiesAlways })
	l := s.listen(8, SocketOptions{})
	s.cookieFor()
	s.ok(s.call(Call{Kind: CallUnlisten, Listener: l}))
	s.listen(8, SocketOptions{})
	require.Equal(t, DropListenAck, s.in(wire.ACK, 1, 0, 1))
	require.Zero(t, s.e.MIB().SyncookiesFailed, "it did not even look")
}

// Guesses do not get in: neither other numbers, nor a cookie of another flow or another SYN.
func TestForgedCookies(t *testing.T) {
	s := newScript(t, func(c *Config) { c.Tunables.SynCookies = SynCookiesAlways })
	s.listen(8, SocketOptions{})
	s.cookieFor()
	good := s.seg(wire.ACK, 1, 0, 1)
	tries := uint64(0)
	try := func(g Segment) {
		tries++
		require.Equal(t, DropListenAck, s.inject(g))
	}
	for bit := range 32 {
		g := good
		g.Ack ^= 1 << bit
		if bit > 2 {
			try(g) // the lowest bits choose another MSS
		}
	}
	g := good
	g.Flow.RemotePort++
	try(g)
	g = good
	g.Seq++
	try(g)
	for i := range uint32(100_000) {
		g.Ack = good.Ack.Add(1<<20 + i*40961)
		try(g)
	}
	require.Equal(t, tries, s.e.MIB().SyncookiesFailed)
	require.Zero(t, s.e.Conns())
	g = good
	g.Flags |= wire.SYN
	require.Equal(t, DropListenAck, s.inject(g))
	require.Equal(t, DropNone, s.inject(good))
}

// Numbers of cookies rise from period to period, as those of RFC 6528 do.
func TestCookieNumbersRise(t *testing.T) {
	s := newScript(t, func(c *Config) { c.Tunables.SynCookies = SynCookiesAlways })
	s.listen(8, SocketOptions{})
	s.cookieFor()
	last := s.iss
	for range 10 {
		s.now = s.now.Add(cookiePeriod)
		s.cookieFor()
		require.InDelta(t, 1<<24, uint32(s.iss-last), 1<<24)
		last = s.iss
	}
}

func TestCookieClock(t *testing.T) {
	for _, clock := range []uint32{0, 5, 63, 64, 1 << 20, 1<<32 - 1} {
		for _, h := range []HalfOpen{{}, {flags: synScale, scales: 14}, {flags: synScale | synSACK | synECN}} {
			got := h.cookieClock(clock)
			require.Less(t, clock-got, uint32(64), "not later, and hardly earlier")
			require.Equal(t, h.flags&synSACK != 0, got&clockSACK != 0)
			require.Equal(t, h.flags&synECN != 0, got&clockECN != 0)
			if h.flags&synScale != 0 {
				require.Equal(t, uint32(h.sndScale()), got&clockScale)
			} else {
				require.Equal(t, uint32(clockScale), got&clockScale)
			}
		}
	}
}

// When the SYN cache is full new connections get in by cookies, with the default settings.
func TestOverflowTurnsToCookies(t *testing.T) {
	s := newScript(t, small(4, SynCookiesOverflow))
	s.listen(100, SocketOptions{})
	for port := range uint16(10) {
		s.flow.RemotePort = port + 1
		require.Equal(t, DropNone, s.in(wire.SYN, 0, 0, 0))
	}
	require.Len(t, s.segs, 10)
	require.Equal(t, uint64(6), s.e.MIB().SyncookiesSent)
	require.Equal(t, 4, s.e.HalfOpens())
	for _, i := range []int{9, 2} {
		s.flow, s.iss = s.segs[i].Flow, s.segs[i].Seq
		require.Equal(t, DropNone, s.in(wire.ACK, 1, 0, 1))
		s.action(ActPassEstablished)
	}
}

// A connection in TIME-WAIT is reopened by a SYN to the SYN cache only: a cookie cannot begin beyond
// the numbers of the old incarnation.
func TestTimeWaitIsNotReopenedByACookie(t *testing.T) {
	s := newScript(t, func(c *Config) { small(1, SynCookiesAlways)(c) })
	s.listen(8, SocketOptions{})
	s.cookieFor()
	require.Equal(t, DropNone, s.in(wire.ACK, 1, 0, 1))
	s.h = s.action(ActPassEstablished).Handle
	s.close()
	s.in(wire.ACK|wire.FIN, 1, 0, 2)
	s.state(StateTimeWait)
	s.skip()
	require.Equal(t, DropNone, s.in(wire.SYN, 1000, 0, 0))
	require.True(t, s.segs[0].Seq.GEQ(s.iss.Add(2+issGap)))
	require.Equal(t, uint64(1), s.e.MIB().SyncookiesSent)
	require.Equal(t, 1, s.e.HalfOpens())
}

// BenchmarkSynCookie is what a SYN costs that is answered by a cookie; with the ACK that brings it back
// when it is none.
func BenchmarkSynCookie(b *testing.B) { synBench(b, SynCookiesAlways, allOptions) }

// BenchmarkSynCache is what a SYN costs that goes to the SYN cache, and the RST that takes it out.
func BenchmarkSynCache(b *testing.B) { synBench(b, SynCookiesOff, allOptions) }

func synBench(b *testing.B, mode SynCookieMode, set wire.OptionSet) {
	d := newDuo(b, func(c *Config) { c.Tunables.SynCookies = mode })
	e, out := d.e[0], d.out[0]
	syn := Segment{Flow: e.conns[d.h[0].Index()].flow, Flags: wire.SYN, Wnd: 65535, Opt: synOptions(set)}
	rst := Segment{Flow: syn.Flow, Flags: wire.RST, Seq: 1}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		syn.Flow.RemotePort = uint16(i) | 1<<15
		syn.Flow.Remote[15] = byte(i >> 15)
		if e.Arrive(d.now, &syn, out) != DropNone {
			b.Fatal("SYN dropped")
		}
		if mode == SynCookiesOff {
			rst.Flow = syn.Flow
			e.Arrive(d.now, &rst, out)
		}
		out.Reset()
	}
}
