package tcpoffload

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/cc"
	"opentoe/tcpoffload/wire"
)

// A listener that is paused takes no new SYN; a handshake under way ends well.
func TestPausedListener(t *testing.T) {
	s := newScript(t, nil)
	l := s.listen(8, SocketOptions{})
	pause := func(v int64) {
		s.ok(s.call(Call{Kind: CallSetOption, Listener: l, Option: OptionPause, Value: v}))
	}
	syn := s.seg(wire.SYN, 0, 0, 0)
	syn.Opt = synOptions(wire.OptMSS)
	require.Equal(t, DropNone, s.inject(syn))
	s.iss = s.segs[0].Seq
	s.skip()
	pause(1)
	require.False(t, s.e.Listening(s.flow.Local, s.flow.LocalPort))

	other := syn
	other.Flow.RemotePort++
	require.Equal(t, DropNoConnection, s.inject(other))
	require.True(t, s.segs[0].Flags.Has(wire.RST))
	s.skip()
	require.Equal(t, DropNone, s.in(wire.ACK, 1, 0, 1))
	s.h = s.entry()
	s.state(StateEstablished)

	pause(0)
	require.Equal(t, DropNone, s.inject(other))
	require.True(t, s.segs[0].Flags.Has(wire.SYN|wire.ACK))
}

// What a listener is told to grant is granted to connections after that.
func TestListenerTakesOptionsBack(t *testing.T) {
	s := newScript(t, nil)
	l := s.listen(8, SocketOptions{NoSACK: true, NoTimestamp: true, MSS: 500, CC: cc.Choose(cc.Reno)})
	const both = wire.OptSACKPermitted | wire.OptTimestamps
	shake := func() {
		s.flow.RemotePort++
		syn := s.seg(wire.SYN, 0, 0, 0)
		syn.Opt = synOptions(both)
		s.skip()
		s.inject(syn)
	}
	shake()
	require.Zero(t, s.segs[0].Opt.Set&both)
	require.EqualValues(t, 500, s.segs[0].Opt.MSS)
	for o, v := range map[Option]int64{OptionNoSACK: 0, OptionNoTimestamp: 0, OptionMaxSeg: 0, OptionCC: DefaultCC} {
		s.ok(s.call(Call{Kind: CallSetOption, Listener: l, Option: o, Value: v}))
	}
	shake()
	require.Equal(t, both, s.segs[0].Opt.Set&both)
	require.Greater(t, s.segs[0].Opt.MSS, uint16(500))
	s.iss, s.ts = s.segs[0].Seq, true
	s.in(wire.ACK, 1, 0, 1)
	s.h = s.entry()
	require.Equal(t, "cubic", s.info().CC)
}
