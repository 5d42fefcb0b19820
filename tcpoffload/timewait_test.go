package tcpoffload

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/wire"
)

// timeWait is a connection in TIME-WAIT, closed by us at sequence number 1, by the peer at 1.
func timeWait(t *testing.T, edit func(*Config), set wire.OptionSet) *script {
	s := newScript(t, edit)
	s.passive(set, SocketOptions{})
	s.close()
	s.in(wire.ACK|wire.FIN, 1, 0, 2)
	s.state(StateTimeWait)
	s.skip()
	s.acts = s.acts[:0]
	require.Zero(t, s.e.Conns(), "a record, not a connection")
	return s
}

// RFC 9293 §3.10.7.4, RFC 1337, RFC 5961 in TIME-WAIT: what is answered, and what restarts the clock.
func TestArrivalsInTimeWait(t *testing.T) {
	for _, c := range []struct {
		name       string
		flags      wire.Flags
		sq, n, ack uint32
		tsOld      bool
		want       DropReason
		answered   bool
		restarts   bool
	}{
		{"the FIN again", wire.ACK | wire.FIN, 1, 0, 2, false, DropTimeWait, true, true},
		{"the FIN with text", wire.ACK | wire.FIN, 0, 1, 2, false, DropTimeWait, true, true},
		{"a FIN elsewhere", wire.ACK | wire.FIN, 500, 0, 2, false, DropTimeWait, true, false},
		{"the FIN, but old", wire.ACK | wire.FIN, 1, 0, 2, true, DropTimeWait, true, false},
		{"an ACK in order", wire.ACK, 2, 0, 2, false, DropTimeWait, false, false},
		{"an ACK out of order", wire.ACK, 900, 0, 2, false, DropTimeWait, true, false},
		{"text", wire.ACK, 2, 10, 2, false, DropTimeWait, true, false},
		{"RST at RCV.NXT", wire.RST, 2, 0, 0, false, DropTimeWaitReset, false, false},
		{"RST elsewhere", wire.RST, 700, 0, 0, false, DropTimeWaitReset, false, false},
		{"an old SYN", wire.SYN, 0, 0, 0, true, DropTimeWait, true, false},
		{"SYN and ACK", wire.SYN | wire.ACK, 5000, 0, 2, false, DropTimeWait, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := timeWait(t, nil, allOptions)
			s.now = s.now.Add(30 * sec)
			g := s.seg(c.flags, c.sq, c.n, c.ack)
			if c.tsOld {
				g.Opt.TSVal -= 40_000
			}
			require.Equal(t, c.want, s.inject(g))
			if c.answered {
				a := s.expect(wire.ACK, 2, 0, 2)
				require.Equal(t, wire.OptTimestamps, a.Opt.Set)
				require.Zero(t, a.Handle)
			}
			s.quiet()
			require.Empty(t, s.acts)
			s.wait(31 * sec)
			if c.restarts {
				s.state(StateTimeWait)
				s.wait(30 * sec)
			}
			s.state(StateClosed)
			require.Zero(t, s.e.TimeWaits())
		})
	}
}

func TestTimeWaitAnswersAreLimited(t *testing.T) {
	s := timeWait(t, nil, wire.OptMSS)
	for range 100 {
		s.in(wire.ACK, 700, 0, 2)
	}
	require.Equal(t, 10, s.skip())
	s.wait(sec)
	s.in(wire.ACK, 700, 0, 2)
	require.Equal(t, 1, s.skip())
}

func TestTimeWaitHandles(t *testing.T) {
	s := timeWait(t, nil, allOptions)
	h := s.entry()
	var info Info
	require.True(t, s.e.Info(h, s.now, &info))
	require.Equal(t, [2]any{Timer2MSL, 60 * sec}, [2]any{info.Timer, info.TimerLeft})
	require.Equal(t, [2]uint32{uint32(s.iss.Add(2)), uint32(peerISS.Add(2))}, [2]uint32{uint32(info.SndNxt), uint32(info.RcvNxt)})
	require.Equal(t, CallNoConnection, s.call(Call{Kind: CallAbort, Handle: h}))
	_, ok := s.e.Lookup(&s.flow)
	require.False(t, ok)
	s.wait(61 * sec)
	require.False(t, s.e.Info(h, s.now, &info))
}

// The queue stays in order when 2 MSL is made shorter: nothing waits longer than it was told to.
func TestTimeWaitWithAShorterMSL(t *testing.T) {
	s := timeWait(t, nil, wire.OptMSS)
	tun := s.e.Tunables()
	tun.MSL = sec
	require.NoError(t, s.e.SetTunables(tun))
	old := s.flow
	s.flow.RemotePort++
	s.in(wire.SYN, 0, 0, 0)
	s.iss = s.segs[0].Seq
	s.in(wire.ACK, 1, 0, 1)
	s.h = s.action(ActPassEstablished).Handle
	s.close()
	s.in(wire.ACK|wire.FIN, 1, 0, 2)
	require.Equal(t, 2, s.e.TimeWaits())
	s.wait(59 * sec)
	s.flow = old
	s.state(StateTimeWait)
	s.wait(2 * sec)
	require.Zero(t, s.e.TimeWaits())
}

// In TIME-WAIT two ends do not answer each other's answers for ever.
func TestTimeWaitDoesNotEcho(t *testing.T) {
	a := timeWait(t, nil, wire.OptMSS)
	require.Equal(t, DropTimeWait, a.in(wire.ACK, 1, 0, 2))
	g := a.expect(wire.ACK, 2, 0, 2)
	back := mirror(&g)
	back.Flow, back.Seq, back.Ack = a.flow, g.Ack, g.Seq // the peer is in TIME-WAIT as well
	require.Equal(t, DropTimeWait, a.inject(back))
	a.quiet()
}

// Many records that expire together do not hold up one step.
func TestTimeWaitsExpireInPortions(t *testing.T) {
	const n = maxExpireRecords + 50
	s := newScript(t, func(c *Config) { c.Memory = NewMemoryOf(Sizes{Conns: 4, Listeners: 1, TimeWaits: n}) })
	for i := range uint16(n) {
		s.flow.LocalPort, s.flow.RemotePort = 2000+i, 80
		s.ok(s.call(Call{Kind: CallOpen, Flow: s.flow}))
		s.iss, s.h = s.segs[0].Seq, s.entry()
		s.in(wire.SYN|wire.ACK, 0, 0, 1)
		s.close()
		s.in(wire.ACK|wire.FIN, 1, 0, 2)
		s.skip()
	}
	require.Equal(t, n, s.e.TimeWaits())
	s.now = s.now.Add(100 * sec)
	s.e.Expire(s.now, s.out)
	require.Equal(t, 50, s.e.TimeWaits())
	require.LessOrEqual(t, s.e.NextDeadline(), s.now)
	s.e.Expire(s.now, s.out)
	require.Zero(t, s.e.TimeWaits())
}
