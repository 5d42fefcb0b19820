package tcpoffload

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/wire"
)

func TestActiveCloseAndTimeWait(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{})
	s.send(10)
	s.close()
	s.expect(wire.ACK|wire.PSH, 1, 10, 1)
	s.expect(wire.ACK|wire.FIN, 11, 0, 1)
	s.state(StateFinWait1)
	require.Equal(t, CallInvalid, s.call(Call{Kind: CallClose}))
	require.Equal(t, CallInvalid, s.call(Call{Kind: CallSend, Pos: 20}))
	s.in(wire.ACK, 1, 0, 12)
	require.Equal(t, uint64(10), s.action(ActAcked).Pos, "the FIN is not an octet")
	s.state(StateFinWait2)
	s.in(wire.ACK, 1, 500, 12) // half closed: data still comes
	require.Equal(t, uint64(500), s.action(ActReadable).Pos)
	s.skip()
	s.in(wire.ACK|wire.FIN, 501, 0, 12)
	s.expect(wire.ACK, 12, 0, 502)
	require.Equal(t, uint64(500), s.action(ActPeerClose).Pos)
	require.Equal(t, ReasonNone, s.action(ActFinished).Reason)
	s.state(StateTimeWait)
	s.acts = s.acts[:0]

	s.wait(59 * sec)
	require.Equal(t, DropTimeWait, s.in(wire.ACK|wire.FIN, 501, 0, 12)) // our ACK was lost
	s.expect(wire.ACK, 12, 0, 502)
	require.Equal(t, DropTimeWaitReset, s.in(wire.RST, 502, 0, 0))
	s.wait(59 * sec)
	s.state(StateTimeWait)
	s.wait(2 * sec)
	s.state(StateClosed)
	require.Zero(t, s.e.TimeWaits())
	require.Empty(t, s.acts)
}

func TestPassiveClose(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{})
	s.in(wire.ACK|wire.FIN, 1, 100, 1)
	require.Equal(t, uint64(100), s.action(ActReadable).Pos)
	require.Equal(t, uint64(100), s.action(ActPeerClose).Pos)
	s.expect(wire.ACK, 1, 0, 102)
	s.state(StateCloseWait)
	require.Equal(t, uint64(1), s.e.MIB().CurrEstab)
	s.read(100)
	s.send(5)
	s.expect(wire.ACK|wire.PSH, 1, 5, 102)
	require.Equal(t, DropAfterFIN, s.in(wire.ACK, 102, 10, 1))
	s.skip()
	s.close()
	s.expect(wire.ACK|wire.FIN, 6, 0, 102)
	s.state(StateLastAck)
	s.in(wire.ACK, 102, 0, 7)
	require.Equal(t, ReasonNone, s.action(ActFinished).Reason)
	require.Zero(t, s.e.Conns())
}

func TestSimultaneousClose(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{})
	s.close()
	s.expect(wire.ACK|wire.FIN, 1, 0, 1)
	s.in(wire.ACK|wire.FIN, 1, 0, 1)
	s.expect(wire.ACK, 2, 0, 2)
	s.state(StateClosing)
	s.in(wire.ACK, 2, 0, 2)
	s.state(StateTimeWait)
	s.action(ActFinished)
}

func TestFinAckInOne(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{})
	s.close()
	s.expect(wire.ACK|wire.FIN, 1, 0, 1)
	s.in(wire.ACK|wire.FIN, 1, 0, 2)
	s.expect(wire.ACK, 2, 0, 2)
	s.state(StateTimeWait)
}

func TestFinBeyondHole(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{})
	s.in(wire.ACK|wire.FIN, 101, 100, 1)
	s.noAction(ActPeerClose)
	s.expect(wire.ACK, 1, 0, 1)
	s.in(wire.ACK, 1, 100, 1)
	require.Equal(t, uint64(200), s.action(ActReadable).Pos)
	require.Equal(t, uint64(200), s.action(ActPeerClose).Pos)
	s.expect(wire.ACK, 1, 0, 202)
	s.state(StateCloseWait)
}

func TestFinIsRepeated(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{})
	s.send(10)
	s.close()
	require.Equal(t, 2, s.skip())
	s.in(wire.ACK, 1, 0, 11)
	s.wait(300 * ms)
	s.expect(wire.ACK|wire.FIN, 11, 0, 1)
	s.in(wire.ACK, 1, 0, 12)
	s.state(StateFinWait2)
}

func TestFinWait2OfAGoneProgramEnds(t *testing.T) {
	for _, detachFirst := range []bool{true, false} {
		s := newScript(t, nil)
		s.passive(wire.OptMSS, SocketOptions{})
		detach := func() { s.ok(s.call(Call{Kind: CallDetach})) }
		if detachFirst {
			detach()
		}
		s.close()
		s.in(wire.ACK, 1, 0, 2)
		s.state(StateFinWait2)
		if !detachFirst {
			s.wait(1000 * sec)
			s.state(StateFinWait2) // a half-closed connection of a living program stays
			detach()
		}
		s.wait(59 * sec)
		s.state(StateFinWait2)
		s.wait(2 * sec)
		s.state(StateClosed)
		s.action(ActFinished)
	}
}

func TestDataForAGoneProgramIsReset(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{})
	s.ok(s.call(Call{Kind: CallDetach}))
	s.close()
	s.expect(wire.ACK|wire.FIN, 1, 0, 1)
	s.in(wire.ACK, 1, 0, 2)
	require.Equal(t, DropAfterClose, s.in(wire.ACK, 1, 10, 2))
	s.expect(wire.RST, 2, 0, 0)
	require.Equal(t, ReasonAborted, s.action(ActFinished).Reason)
	require.Zero(t, s.e.Conns())
}

func TestAbort(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{})
	s.send(100)
	s.skip()
	s.acts = s.acts[:0]
	s.ok(s.call(Call{Kind: CallAbort}))
	s.expect(wire.RST|wire.ACK, 101, 0, 1)
	require.Empty(t, s.acts)
	require.Equal(t, CallNoConnection, s.call(Call{Kind: CallAbort}), "the handle is stale")
	s.wait(1000 * sec)
	s.quiet()
}

func TestTimeWaitIsReopenedByASyn(t *testing.T) {
	for _, opts := range []wire.OptionSet{wire.OptMSS, allOptions} {
		s := newScript(t, nil)
		s.passive(opts, SocketOptions{})
		s.close()
		s.in(wire.ACK|wire.FIN, 1, 0, 2)
		s.state(StateTimeWait)
		s.skip()
		s.acts = s.acts[:0]
		old := s.iss

		syn := s.seg(wire.SYN, 0, 0, 0)
		syn.Opt = synOptions(opts)
		syn.Opt.TSVal = s.peerTS() - 100
		syn.Seq = peerISS - 100
		require.Equal(t, DropTimeWait, s.inject(syn), "an old duplicate")
		require.Equal(t, 1, s.skip())

		s.wait(sec)
		syn.Seq = peerISS.Add(100)
		syn.Opt.TSVal = s.peerTS()
		require.Equal(t, DropNone, s.inject(syn))
		require.True(t, s.segs[0].Seq.GT(old.Add(2)), "beyond the old incarnation")
		require.Equal(t, wire.SYN|wire.ACK, s.segs[0].Flags)
		require.Equal(t, uint64(1), s.e.MIB().TimeWaitReused)
	}
}

// A connection that sent faster than the clock of initial sequence numbers runs is followed by one whose
// numbers lie beyond its own, whichever side opens it.
func TestReusedTimeWaitGoesOnBeyond(t *testing.T) {
	for _, active := range []bool{false, true} {
		s := newScript(t, nil)
		s.passive(wire.OptMSS|wire.OptTimestamps, SocketOptions{})
		s.send(1 << 20)
		for end := uint32(1); end < 1<<20; {
			end += uint32(s.skip()) * (mss - 12)
			s.in(wire.ACK, 1, 0, min(end, 1+1<<20))
		}
		s.close()
		s.in(wire.FIN|wire.ACK, 1, 0, 2+1<<20)
		s.state(StateTimeWait)
		s.skip()
		if active {
			s.ok(s.call(Call{Kind: CallOpen, Flow: s.flow}))
		} else {
			syn := s.seg(wire.SYN, 100, 0, 0)
			require.Equal(t, DropNone, s.inject(syn))
		}
		require.Len(t, s.segs, 1)
		require.Greater(t, uint32(s.segs[0].Seq-s.iss), uint32(2+1<<20), "active %v", active)
	}
}

// Without timestamps nothing but 2 MSL tells the peer's old octets from those of a new connection, whose
// numbers the peer may begin anywhere: the program has to wait, or to take another port.
func TestTimeWaitWithoutTimestampsIsNotOpenedAgain(t *testing.T) {
	for _, c := range []struct {
		name string
		set  wire.OptionSet
		opt  SocketOptions
		want CallResult
	}{
		{"none before", wire.OptMSS, SocketOptions{}, CallInUse},
		{"none now", allOptions, SocketOptions{NoTimestamp: true}, CallInUse},
		{"both", allOptions, SocketOptions{}, CallOK},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := timeWait(t, nil, c.set)
			require.Equal(t, c.want, s.call(Call{Kind: CallOpen, Flow: s.flow, Opt: c.opt}))
			s.wait(61 * sec)
			if c.want != CallOK {
				s.ok(s.call(Call{Kind: CallOpen, Flow: s.flow, Opt: c.opt}))
			}
		})
	}
}

// The oldest entry gives way when the TIME-WAIT table is full. The connection table does not mind.
func TestTimeWaitGivesWayWhenTheTableIsFull(t *testing.T) {
	s := newScript(t, func(c *Config) { c.Memory = NewMemoryOf(Sizes{Conns: 1, Listeners: 1, TimeWaits: 2}) })
	for port := range uint16(3) {
		s.flow.RemotePort = 1000 + port
		s.flow.LocalPort = 80 + port
		s.ok(s.call(Call{Kind: CallOpen, Flow: s.flow}))
		s.iss = s.segs[0].Seq
		s.h = s.entry()
		s.in(wire.SYN|wire.ACK, 0, 0, 1)
		s.close()
		s.in(wire.ACK|wire.FIN, 1, 0, 2)
		s.state(StateTimeWait)
		s.skip()
		require.Zero(t, s.e.Conns())
	}
	require.Equal(t, 2, s.e.TimeWaits())
	require.Equal(t, uint64(1), s.e.MIB().TimeWaitRecycled)
	s.flow.RemotePort, s.flow.LocalPort = 1000, 80
	s.state(StateClosed)
	require.Equal(t, DropNoConnection, s.in(wire.ACK|wire.FIN, 1, 0, 2))
}

// everyState brings an established connection into a synchronized state and returns RCV.NXT.
var everyState = map[string]func(s *script) uint32{
	"ESTABLISHED": func(s *script) uint32 { return 1 },
	"FIN-WAIT-1":  func(s *script) uint32 { s.close(); return 1 },
	"FIN-WAIT-2":  func(s *script) uint32 { s.close(); s.in(wire.ACK, 1, 0, 2); return 1 },
	"CLOSE-WAIT":  func(s *script) uint32 { s.in(wire.ACK|wire.FIN, 1, 0, 1); return 2 },
	"CLOSING":     func(s *script) uint32 { s.close(); s.in(wire.ACK|wire.FIN, 1, 0, 1); return 2 },
	"LAST-ACK":    func(s *script) uint32 { s.in(wire.ACK|wire.FIN, 1, 0, 1); s.close(); return 2 },
}

func TestResetEndsEveryState(t *testing.T) {
	for name, prepare := range everyState {
		t.Run(name, func(t *testing.T) {
			s := newScript(t, nil)
			s.passive(wire.OptMSS, SocketOptions{})
			sq := prepare(s)
			require.Equal(t, name, s.info().State.String())
			s.in(wire.RST, sq, 0, 0)
			require.Equal(t, ReasonReset, s.action(ActFinished).Reason)
			require.Zero(t, s.e.Conns())
			require.Zero(t, s.e.MIB().CurrEstab)
		})
	}
}

// RFC 5961 §4.2, RFC 9293 §3.10.7.4 fourth step: a SYN changes nothing in any synchronized state.
func TestSynInEveryState(t *testing.T) {
	for name, prepare := range everyState {
		for _, flags := range []wire.Flags{wire.SYN, wire.SYN | wire.ACK} {
			s := newScript(t, nil)
			s.passive(wire.OptMSS, SocketOptions{})
			sq := prepare(s)
			s.skip()
			s.acts = s.acts[:0]
			for _, at := range []uint32{sq, sq + 1000} {
				require.Equal(t, DropSynInWindow, s.in(flags, at, 0, 1), name)
				require.Len(t, s.segs, 1)
				require.Equal(t, wire.ACK, s.segs[0].Flags)
				require.Equal(t, peerISS.Add(sq), s.segs[0].Ack)
				s.skip()
			}
			require.Equal(t, name, s.info().State.String())
			require.Empty(t, s.acts)
		}
	}
}

func TestKeepalive(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{Keepalive: true})
	s.option(OptionKeepIdle, int64(10*sec))
	s.option(OptionKeepIntvl, int64(2*sec))
	s.option(OptionKeepCnt, 3)
	s.wait(9 * sec)
	s.in(wire.ACK, 1, 10, 1)
	s.wait(40 * ms)
	s.skip()
	s.wait(9 * sec)
	s.quiet()
	s.wait(sec)
	s.expect(wire.ACK, 0, 0, 11)
	s.in(wire.ACK, 11, 0, 1) // it lives
	s.wait(9 * sec)
	s.quiet()
	s.wait(sec + ms)
	s.expect(wire.ACK, 0, 0, 11)
	s.wait(2 * sec)
	s.expect(wire.ACK, 0, 0, 11)
	s.wait(2 * sec)
	s.expect(wire.ACK, 0, 0, 11)
	s.wait(2 * sec)
	s.expect(wire.RST|wire.ACK, 1, 0, 11)
	require.Equal(t, ReasonKeepalive, s.action(ActFinished).Reason)
	require.Zero(t, s.e.Conns())
}

// The user timeout is met to a tick for each repetition, whatever the interval of the timer would be then.
func TestUserTimeout(t *testing.T) {
	const limit = 5 * sec
	for name, begin := range map[string]func(s *script){
		"retransmission": func(s *script) {
			s.passive(wire.OptMSS, SocketOptions{})
			s.option(OptionUserTimeout, int64(limit))
			s.send(10)
		},
		"with a loss probe": func(s *script) {
			s.passive(sackOptions, SocketOptions{})
			s.option(OptionUserTimeout, int64(limit))
			s.send(10)
		},
		"while the program goes on writing": func(s *script) {
			s.passive(wire.OptMSS, SocketOptions{})
			s.option(OptionUserTimeout, int64(limit))
			s.send(10)
			s.e.conns[s.h.Index()].snd.lastSent = s.now.Add(sec) // as if it had
		},
		"SYN": func(s *script) {
			s.flow.LocalPort = 5000
			c := Call{Kind: CallOpen, Flow: s.flow}
			s.ok(s.call(c))
			s.h, _ = s.e.Lookup(&s.flow)
			s.option(OptionUserTimeout, int64(limit))
		},
		"probes of a shut window": func(s *script) {
			s.passive(wire.OptMSS, SocketOptions{})
			s.option(OptionUserTimeout, int64(limit))
			s.wnd = 0
			s.in(wire.ACK, 1, 0, 1)
			s.send(10)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t, nil)
			begin(s)
			s.wait(limit - ms)
			require.Greater(t, s.skip(), 2)
			s.noAction(ActFinished)
			s.wait(ms + ms/2)
			require.Equal(t, ReasonTimedOut, s.action(ActFinished).Reason)
		})
	}
}

// A peer that is heard has the whole time from then on.
func TestUserTimeoutBeginsAnew(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{})
	s.option(OptionUserTimeout, int64(5*sec))
	s.send(10)
	s.wait(4 * sec)
	s.in(wire.ACK, 1, 10, 1) // text, but no acknowledgment
	s.wait(5*sec - ms)
	s.noAction(ActFinished)
	s.wait(ms + ms/2)
	require.Equal(t, ReasonTimedOut, s.action(ActFinished).Reason)
}

// The user timeout does not count the silence before something was asked of the peer.
func TestUserTimeoutAfterSilence(t *testing.T) {
	for _, shut := range []bool{false, true} {
		s := newScript(t, nil)
		s.passive(wire.OptMSS, SocketOptions{})
		s.option(OptionUserTimeout, int64(5*sec))
		if shut {
			s.wnd = 0
			s.in(wire.ACK, 1, 0, 1)
		}
		s.wait(60 * sec)
		s.send(100)
		s.wait(3 * sec)
		s.state(StateEstablished)
		s.wait(8 * sec)
		require.Equal(t, ReasonTimedOut, s.action(ActFinished).Reason)
	}
}

// TestResetCarriesTimestamps: a RST of a connection that has timestamps carries the present one.
func TestResetCarriesTimestamps(t *testing.T) {
	s := newScript(t, nil)
	s.passive(wire.OptMSS|wire.OptTimestamps, SocketOptions{})
	s.in(wire.ACK|wire.PSH, 1, 10, 1)
	first := s.expect(wire.ACK, 1, 0, 11)
	s.wait(sec)
	s.ok(s.call(Call{Kind: CallAbort}))
	g := s.expect(wire.RST|wire.ACK, 1, 0, 11)
	require.NotZero(t, g.Opt.Set&wire.OptTimestamps)
	require.Equal(t, uint32(1000), g.Opt.TSVal-first.Opt.TSVal)
	require.Equal(t, first.Opt.TSEcr, g.Opt.TSEcr)
}

// A shut window takes no text, but RST and URG are for it as for an open one (RFC 9293 MUST-66). Text on a RST
// changes nothing (SHLD-2).
func TestResetAndUrgentPassAShutWindow(t *testing.T) {
	s := newScript(t, nil)
	s.passive(allOptions&^wire.OptTimestamps, SocketOptions{RcvBuf: minRcvBuf})
	for pos := uint32(1); pos <= minRcvBuf; pos += 1024 {
		s.in(wire.ACK, pos, 1024, 1)
	}
	require.Equal(t, uint32(0), s.info().RcvWnd)
	end := uint32(1 + minRcvBuf)
	s.acts = nil
	g := s.seg(wire.ACK|wire.URG, end, 0, 1)
	g.Urg = 5
	s.inject(g)
	require.Equal(t, uint64(minRcvBuf+5), s.action(ActUrgent).Pos)
	require.Equal(t, DropNone, s.in(wire.RST|wire.ACK, end, 10, 1))
	require.Equal(t, ReasonReset, s.action(ActFinished).Reason)
}
