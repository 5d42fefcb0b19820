package tcpoffload

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/cc"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// paced returns a connection of which only the pacing rate limits what leaves.
func paced(t *testing.T, edit func(*Config), opt SocketOptions) (*script, *TCB) {
	s := newScript(t, edit)
	s.passive(0, opt)
	tcb := &s.e.conns[s.h.Index()]
	tcb.snd.wnd, tcb.cc.Cwnd = 1<<28, 1<<28
	return s, tcb
}

// leaves returns how many octets of payload leave during d, and how many at most at one instant.
func (s *script) leaves(d vtime.Duration) (octets, burst uint32) {
	for end := s.now.Add(d); s.now < end; {
		n := uint32(0)
		for _, g := range s.segs {
			n += g.Len
		}
		s.segs = s.segs[:0]
		octets, burst = octets+n, max(burst, n)
		s.wait(min(max(s.e.NextDeadline().Sub(s.now), 1), end.Sub(s.now)))
	}
	return octets, burst
}

// TestMaxPacingRate holds connections to the rate that the program set, from the slowest to one at
// which several quanta are due at every tick.
func TestMaxPacingRate(t *testing.T) {
	for _, rate := range []uint64{50_000, 1_000_000, 11_800_000, 100_000_000, 1_000_000_000} {
		for _, tso := range []bool{false, true} {
			s, tcb := paced(t, func(c *Config) { c.DeviceSegments = tso }, SocketOptions{MaxPacingRate: rate})
			require.Equal(t, rate, tcb.cc.PacingRate())
			s.send(1 << 28)
			s.leaves(10 * vtime.Millisecond) // the first quantum comes for nothing
			d := vtime.Duration(100 * vtime.Millisecond)
			n, burst := s.leaves(d)
			want := rate / 10
			require.InDelta(t, want, n, float64(want)/50+4*mss, "rate %d, device segments %v", rate, tso)
			tick := uint32(rate * (2 << tickShift) / uint64(vtime.Second))
			require.LessOrEqual(t, burst, tick+tcb.cc.SendQuantum(mss)+mss, "rate %d", rate)
		}
	}
}

func TestMaxPacingRateLive(t *testing.T) {
	s, tcb := paced(t, nil, SocketOptions{})
	require.Zero(t, tcb.cc.PacingRate())
	s.option(OptionMaxPacingRate, 1_000_000)
	s.send(1 << 26)
	n, _ := s.leaves(200 * vtime.Millisecond)
	require.InDelta(t, 200_000, n, 6_000)
	s.option(OptionMaxPacingRate, 0)
	require.Zero(t, tcb.cc.PacingRate())
	n, _ = s.leaves(vtime.Millisecond)
	require.Greater(t, n, uint32(40*mss), "without a bound all that Transmit has room for leaves")
	require.Equal(t, CallInvalid, s.call(Call{Kind: CallSetOption, Option: OptionMaxPacingRate, Value: -1}))
}

// TestPacedSenderThatPausesDoesNotBurst: time without data gives no right to send faster later.
func TestPacedSenderThatPausesDoesNotBurst(t *testing.T) {
	s, tcb := paced(t, nil, SocketOptions{MaxPacingRate: 10_000_000})
	s.send(100 * mss)
	s.leaves(vtime.Second)
	sent := tcb.flight()
	s.send(1000 * mss)
	n, burst := s.leaves(10 * vtime.Millisecond)
	require.Equal(t, uint32(100*mss), sent)
	require.LessOrEqual(t, n, uint32(100_000+2*10_000))
	require.LessOrEqual(t, burst, uint32(2*10_000+2*mss))
}

// TestTimeoutIsNotPaced: the segment that a timeout sends again leaves at once, however slow the rate.
func TestTimeoutIsNotPaced(t *testing.T) {
	s, tcb := paced(t, nil, SocketOptions{MaxPacingRate: 1000})
	s.send(10 * mss)
	s.segs = s.segs[:0]
	due := tcb.deadline[TimerRexmt]
	require.Less(t, due, tcb.pace.next)
	s.wait(due.Sub(s.now) + 70*vtime.Microsecond)
	require.NotEmpty(t, s.segs)
	require.Less(t, s.now, tcb.pace.next)
}

// TestWindowIsPaced: with the tunable on a window leaves spread over the round trip, where that is long.
func TestWindowIsPaced(t *testing.T) {
	for _, on := range []bool{false, true} {
		s := newScript(t, func(c *Config) { c.Tunables.Pacing, c.Tunables.InitCwnd = on, 40 })
		s.listen(8, SocketOptions{})
		syn := s.seg(wire.SYN, 0, 0, 0)
		syn.Opt = synOptions(wire.OptSACKPermitted)
		s.inject(syn)
		s.iss = s.segs[0].Seq
		s.segs = s.segs[:0]
		s.wait(100 * vtime.Millisecond) // the round trip
		s.in(wire.ACK, 1, 0, 1)
		s.h = s.entry()
		s.send(1 << 20)
		first := len(s.segs)
		s.wait(60 * vtime.Millisecond)
		if !on {
			require.Equal(t, 40, first)
			continue
		}
		require.Less(t, first, 5)
		require.InDelta(t, 40, len(s.segs), 1, "twice the window per round trip")
	}
}

func TestCongestionControlOfConnection(t *testing.T) {
	s, tcb := paced(t, nil, SocketOptions{CC: cc.Choose(cc.Reno)})
	require.Equal(t, cc.Reno, tcb.cc.Algorithm())
	require.Equal(t, "reno", s.info().CC)
	cwnd := tcb.cc.Cwnd
	for _, a := range []cc.Algorithm{cc.BBR, cc.DCTCP, cc.Cubic, cc.BBR} {
		s.option(OptionCC, int64(a))
		require.Equal(t, a, tcb.cc.Algorithm())
		require.Equal(t, cwnd, tcb.cc.Cwnd, "the window stays")
	}
	require.Equal(t, CallInvalid, s.call(Call{Kind: CallSetOption, Option: OptionCC, Value: cc.NumAlgorithms}))
	require.Equal(t, CallInvalid, s.call(Call{Kind: CallOpen, Flow: s.flow, Opt: SocketOptions{CC: cc.NumAlgorithms + 1}}))
}

// TestListenerHandsDownCongestionControl: what a listener is told holds for the connections after it.
func TestListenerHandsDownCongestionControl(t *testing.T) {
	s := newScript(t, nil)
	l := s.listen(8, SocketOptions{})
	for _, o := range []struct {
		option Option
		value  int64
	}{{OptionCC, int64(cc.BBR)}, {OptionMaxPacingRate, 12345}} {
		c := Call{Kind: CallSetOption, Listener: l, Option: o.option, Value: o.value}
		require.Equal(t, CallOK, s.e.Call(s.now, &c, s.out))
		c.Value = -2
		require.Equal(t, CallInvalid, s.e.Call(s.now, &c, s.out))
	}
	syn := s.seg(wire.SYN, 0, 0, 0)
	syn.Opt = synOptions(0)
	s.inject(syn)
	s.iss = s.segs[0].Seq
	s.in(wire.ACK, 1, 0, 1)
	tcb := &s.e.conns[s.entry().Index()]
	require.Equal(t, cc.BBR, tcb.cc.Algorithm())
	require.Equal(t, uint64(12345), tcb.cc.PacingRate())
}

// TestWrongRateIsOutlived: an estimate that is far too low keeps the next quantum back for a second at
// most, the program's own rate for as long as it says.
func TestWrongRateIsOutlived(t *testing.T) {
	s, tcb := paced(t, func(c *Config) { c.Tunables.Pacing = true }, SocketOptions{})
	tcb.cc.Cwnd = mss
	tcb.cc.SetPaced(true, 1000*vtime.Second)
	require.Less(t, tcb.cc.PacingRate(), uint64(10))
	tcb.cc.Cwnd = 1 << 28
	s.send(10 * mss)
	require.Equal(t, vtime.Second, tcb.pace.next.Sub(s.now))

	s, tcb = paced(t, nil, SocketOptions{MaxPacingRate: 10})
	s.send(10 * mss)
	require.Equal(t, vtime.Duration(2*tcb.effMSS())*vtime.Second/10, tcb.pace.next.Sub(s.now))
}

// The algorithm may be changed at any time: before the peer's SYN, between it and the end of the handshake,
// and later.
func TestAlgorithmIsChosenWhileOpening(t *testing.T) {
	s := newScript(t, nil)
	s.ok(s.call(Call{Kind: CallOpen, Flow: s.flow}))
	s.iss, s.h = s.segs[0].Seq, s.entry()
	s.option(OptionCC, int64(cc.Reno))
	s.skip()
	s.in(wire.SYN, 0, 0, 0) // both open
	s.state(StateSynReceived)
	s.option(OptionCC, int64(cc.BBR))
	require.Equal(t, 1, s.e.Usage().Models)
	s.skip()
	s.in(wire.ACK, 1, 0, 1)
	s.state(StateEstablished)
	require.Equal(t, "bbr", s.info().CC)
	s.option(OptionCC, int64(cc.Cubic))
	require.Zero(t, s.e.Usage().Models)
}
