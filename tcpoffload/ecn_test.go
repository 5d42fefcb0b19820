package tcpoffload

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/cc"
	"opentoe/tcpoffload/wire"
)

const ecnSetup = wire.SYN | wire.ECE | wire.CWR

// ecnPassive establishes a connection with ECN, opened by the peer.
func (s *script) ecnPassive(set wire.OptionSet) {
	s.t.Helper()
	s.listen(8, SocketOptions{})
	syn := s.seg(ecnSetup, 0, 0, 0)
	syn.Opt = synOptions(set)
	require.Equal(s.t, DropNone, s.inject(syn))
	s.iss = s.segs[0].Seq
	g := s.expect(wire.SYN|wire.ACK|wire.ECE, 0, 0, 1)
	require.Equal(s.t, wire.NotECT, g.ECN, "a SYN-ACK is not ECT")
	s.now = s.now.Add(10 * ms)
	require.Equal(s.t, DropNone, s.in(wire.ACK, 1, 0, 1))
	s.h = s.action(ActPassEstablished).Handle
	s.acts = s.acts[:0]
}

// active begins an open; the SYN waits in s.
func (s *script) active(opt SocketOptions) {
	s.t.Helper()
	c := Call{Kind: CallOpen, Flow: s.flow, Opt: opt}
	s.ok(s.e.Call(s.now, &c, s.out))
	s.h = c.Handle
	s.collect()
	s.iss = s.segs[0].Seq
}

// data lets a segment of the peer arrive with codepoint c.
func (s *script) data(c wire.ECN, flags wire.Flags, sq, n, ack uint32) DropReason {
	g := s.seg(flags, sq, n, ack)
	g.ECN = c
	return s.inject(g)
}

func TestECNNegotiationPassive(t *testing.T) {
	const ack = wire.SYN | wire.ACK
	for _, c := range []struct {
		name  string
		mode  ECNMode
		flags wire.Flags
		ecn   wire.ECN
		want  wire.Flags
	}{
		{"asked", ECNDefault, ecnSetup, wire.NotECT, ack | wire.ECE},
		{"not asked", ECNDefault, wire.SYN, wire.NotECT, ack},
		{"half asked", ECNDefault, wire.SYN | wire.ECE, wire.NotECT, ack},
		{"off", ECNOff, ecnSetup, wire.NotECT, ack},
		{"on", ECNOn, ecnSetup, wire.NotECT, ack | wire.ECE},
		{"mangled on the way", ECNOn, ecnSetup, wire.ECT0, ack},
	} {
		s := newScript(t, nil)
		s.listen(8, SocketOptions{ECN: c.mode})
		syn := s.seg(c.flags, 0, 0, 0)
		syn.ECN = c.ecn
		require.Equal(t, DropNone, s.inject(syn))
		s.iss = s.segs[0].Seq
		s.expect(c.want, 0, 0, 1)
		s.wait(1100 * ms)
		s.expect(c.want, 0, 0, 1) // the same when sent again
	}
}

func TestECNNegotiationActive(t *testing.T) {
	for _, c := range []struct {
		name  string
		reply wire.Flags
		ect   wire.ECN
	}{
		{"granted", wire.SYN | wire.ACK | wire.ECE, wire.ECT0},
		{"refused", wire.SYN | wire.ACK, wire.NotECT},
		{"flags echoed by a fool", wire.SYN | wire.ACK | wire.ECE | wire.CWR, wire.NotECT},
	} {
		s := newScript(t, nil)
		s.active(SocketOptions{ECN: ECNOn})
		s.expect(ecnSetup, 0, 0, 0)
		g := s.seg(c.reply, 0, 0, 1)
		s.inject(g)
		require.Equal(t, wire.NotECT, s.expect(wire.ACK, 1, 0, 1).ECN, "a pure ACK is not ECT")
		s.send(100)
		require.Equal(t, c.ect, s.expect(wire.ACK|wire.PSH, 1, 100, 1).ECN, c.name)
		require.Equal(t, c.ect != wire.NotECT, s.info().ECN)
	}
}

// A SYN that times out is sent again without ECN: boxes drop it for that.
func TestECNFallsBack(t *testing.T) {
	s := newScript(t, nil)
	s.active(SocketOptions{ECN: ECNOn})
	s.expect(ecnSetup, 0, 0, 0)
	s.wait(1100 * ms)
	s.expect(wire.SYN, 0, 0, 0)
}

// By default we do not ask.
func TestECNIsNotAskedByDefault(t *testing.T) {
	s := newScript(t, nil)
	s.active(SocketOptions{})
	s.expect(wire.SYN, 0, 0, 0)
}

// New data is ECT; what is sent again, probes and pure ACKs are not.
func TestECTOnNewDataOnly(t *testing.T) {
	s := newScript(t, nil)
	s.ecnPassive(wire.OptMSS)
	s.send(100)
	require.Equal(t, wire.ECT0, s.expect(wire.ACK|wire.PSH, 1, 100, 1).ECN)
	s.wait(250 * ms)
	require.Equal(t, wire.NotECT, s.expect(wire.ACK|wire.PSH, 1, 100, 1).ECN, "retransmission")
	s.wnd = 0
	s.in(wire.ACK, 1, 0, 101)
	s.send(200)
	s.wait(1000 * ms)
	require.Equal(t, wire.NotECT, s.expect(wire.ACK, 100, 0, 1).ECN, "window probe")
}

// Every segment says ECE from a CE mark on until the peer's CWR (§6.1.3).
func TestECNReceiverEchoesUntilCWR(t *testing.T) {
	s := newScript(t, nil)
	s.ecnPassive(wire.OptMSS)
	s.noQuick()
	s.data(wire.ECT0, wire.ACK, 1, 100, 1)
	s.quiet()
	s.data(wire.CE, wire.ACK, 101, 100, 1)
	s.expect(wire.ACK|wire.ECE, 1, 0, 201) // at once
	s.data(wire.ECT0, wire.ACK, 201, 100, 1)
	s.expect(wire.ACK|wire.ECE, 1, 0, 301)
	s.send(50)
	s.expect(wire.ACK|wire.ECE|wire.PSH, 1, 50, 301)
	s.data(wire.ECT0, wire.ACK|wire.CWR, 301, 100, 51)
	s.expect(wire.ACK, 51, 0, 401)
	s.data(wire.CE, wire.ACK|wire.CWR, 401, 100, 51)
	s.expect(wire.ACK|wire.ECE, 51, 0, 501) // CWR is for earlier marks
}

// Marks on octets outside the window, and of peers that did not agree, mean nothing.
func TestECNIgnoresForeignMarks(t *testing.T) {
	s := newScript(t, nil)
	s.ecnPassive(wire.OptMSS)
	s.data(wire.CE, wire.ACK, 500_000, 100, 1)
	s.expect(wire.ACK, 1, 0, 1)

	s = newScript(t, nil)
	s.passive(wire.OptMSS, SocketOptions{})
	s.data(wire.CE, wire.ACK, 1, 100, 1)
	s.expect(wire.ACK, 1, 0, 101)
}

// ECE reduces the window once for a window of data, and CWR stands on the first new segment (§6.1.2).
func TestECNSenderReducesOnce(t *testing.T) {
	s := newScript(t, func(c *Config) { c.Tunables.CC = cc.Reno; c.Tunables.InitCwnd = 20 })
	s.ecnPassive(wire.OptMSS | wire.OptSACKPermitted)
	s.send(100 * mss)
	require.Equal(t, 20, s.skip())
	s.in(wire.ACK|wire.ECE, 1, 0, seqOf(2))
	info := s.info()
	require.Equal(t, uint32(10*mss), info.Cwnd)
	require.Equal(t, uint8(2), info.CAState)
	s.quiet()
	s.in(wire.ACK|wire.ECE, 1, 0, seqOf(12))
	require.Equal(t, uint32(10*mss), s.info().Cwnd, "once a window, and no growth meanwhile")
	g := s.expect(wire.ACK|wire.CWR, seqOf(20), mss, 1)
	require.Equal(t, wire.ECT0, g.ECN)
	s.expect(wire.ACK, seqOf(21), mss, 1) // once
	s.in(wire.ACK|wire.ECE, 1, 0, seqOf(20))
	require.Equal(t, uint32(10*mss), s.info().Cwnd, "the CWR has not arrived yet")
	s.in(wire.ACK|wire.ECE, 1, 0, seqOf(21))
	require.Equal(t, uint32(5*mss), s.info().Cwnd, "the next window")
	require.Equal(t, uint64(2), s.e.MIB().ECNReductions)
	s.in(wire.ACK, 1, 0, seqOf(30))
	s.in(wire.ACK, 1, 0, seqOf(31))
	require.Zero(t, s.info().CAState)
}

// The window never falls below one segment, whatever the peer says.
func TestECNNeverBelowOneSegment(t *testing.T) {
	s := newScript(t, func(c *Config) { c.Tunables.CC = cc.Reno })
	s.ecnPassive(wire.OptMSS)
	s.send(1000 * mss)
	for range 30 {
		s.skip()
		s.in(wire.ACK|wire.ECE, 1, 0, uint32(s.info().SndNxt-s.iss))
		require.GreaterOrEqual(t, s.info().Cwnd, uint32(mss))
	}
}

// A reduction for a loss is told by CWR as well.
func TestLossIsToldByCWR(t *testing.T) {
	s := newScript(t, func(c *Config) { c.Tunables.CC = cc.Reno; c.Tunables.InitCwnd = 20 })
	s.ecnPassive(wire.OptMSS | wire.OptSACKPermitted)
	s.send(100 * mss)
	s.skip()
	s.sack(1, 1, seqOf(1), seqOf(5))
	require.Equal(t, wire.NotECT, s.expect(wire.ACK, 1, mss, 1).ECN, "the retransmission")
	for len(s.segs) == 0 {
		s.in(wire.ACK, 1, 0, seqOf(20))
	}
	require.Equal(t, wire.ECT0, s.expect(wire.ACK|wire.CWR, seqOf(20), mss, 1).ECN)
}

// CWR is wanted on one segment of the wire: a large one for the device to cut is made small for it.
func TestCWRIsNotMultiplied(t *testing.T) {
	s := newScript(t, func(c *Config) {
		c.DeviceSegments = true
		c.Tunables.CC, c.Tunables.InitCwnd = cc.Reno, 20
	})
	s.ecnPassive(wire.OptMSS)
	s.send(200 * mss)
	s.skip()
	s.in(wire.ACK|wire.ECE, 1, 0, seqOf(20))
	g := s.expect(wire.ACK|wire.CWR, seqOf(20), mss, 1)
	require.Zero(t, g.SegSize)
	require.Greater(t, s.segs[0].Len, uint32(mss))
	require.False(t, s.segs[0].Flags.Has(wire.CWR))
}
