package tcpoffload

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/wire"
)

// readFast lets the peer send, and the program read, more and more in every round trip.
func (s *script) readFast(from uint32) (pos uint32) {
	pos = from
	for range 40 {
		for range 60 {
			s.in(wire.ACK, pos, 1448, 1)
			pos += 1448
		}
		s.now = s.now.Add(5 * ms)
		s.read(uint64(pos - 1))
		s.now = s.now.Add(5 * ms)
	}
	s.skip()
	return pos
}

// TCP_WINDOW_CLAMP bounds the window, and auto-tuning goes on below it, as in Linux.
func TestClampBoundsTuning(t *testing.T) {
	s := newScript(t, nil)
	s.passive(allOptions, SocketOptions{RcvClamp: 300_000})
	require.Equal(t, s.e.Tunables().DefaultRcvBuf, s.info().RcvLimit)
	pos := s.readFast(1)
	require.EqualValues(t, 300_000, s.info().RcvLimit, "grown up to the clamp")

	s.option(OptionRcvClamp, 100_000)
	require.EqualValues(t, 100_000, s.info().RcvLimit)
	s.option(OptionRcvClamp, 350_000)
	pos = s.readFast(pos)
	grown := s.info().RcvLimit
	require.Greater(t, grown, uint32(100_000), "tuned again")
	require.LessOrEqual(t, grown, uint32(350_000))
	s.option(OptionRcvClamp, 0)
	s.readFast(pos)
	require.GreaterOrEqual(t, s.info().RcvLimit, grown)

	s.option(OptionRcvClamp, 1)
	require.Equal(t, uint32(minRcvBuf), s.info().RcvLimit, "never always shut")
}

// A buffer that the program chose is bounded too.
func TestClampBoundsChosenBuffer(t *testing.T) {
	s := newScript(t, nil)
	l := s.listen(8, SocketOptions{RcvBuf: 100_000})
	s.ok(s.call(Call{Kind: CallSetOption, Listener: l, Option: OptionRcvClamp, Value: 20_000}))
	require.Equal(t, CallInvalid, s.call(Call{Kind: CallSetOption, Listener: l, Option: OptionRcvClamp, Value: -1}))
	syn := s.seg(wire.SYN, 0, 0, 0)
	syn.Opt = synOptions(allOptions)
	require.Equal(t, DropNone, s.inject(syn))
	require.EqualValues(t, 20_000, s.segs[0].Wnd)
	require.Zero(t, s.segs[0].Opt.WScale, "a window of that size needs no scale")
	s.iss = s.segs[0].Seq
	require.Equal(t, DropNone, s.in(wire.ACK, 1, 0, 1))
	s.h = s.action(ActPassEstablished).Handle
	require.EqualValues(t, 20_000, s.info().RcvLimit)
	s.option(OptionRcvBuf, 50_000)
	require.EqualValues(t, 20_000, s.info().RcvLimit)
	s.option(OptionRcvClamp, 0)
	s.option(OptionRcvBuf, 50_000)
	require.EqualValues(t, 50_000, s.info().RcvLimit)
}
