package sim

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// TestReferencePeerResetsWhatIsGone: after a reset that only the peer has seen, the other end is told at its next
// segment, and does not wait for an answer until it gives up.
func TestReferencePeerResetsWhatIsGone(t *testing.T) {
	w := New(1)
	h, err := w.Host(wire.AddrFrom4([4]byte{10, 0, 0, 1}), tcpoffload.Config{Tunables: tcpoffload.DefaultTunables()})
	require.NoError(t, err)
	star := w.Star([]*Host{h}, func(int) (up, down LinkConfig) { return LinkConfig{}, LinkConfig{} })
	p := w.RefPeer(wire.AddrFrom4([4]byte{10, 0, 0, 2}), star, LinkConfig{}, LinkConfig{})
	p.Octets = 100
	s, r := h.ConnectAddr(p.Addr, 1000, port, tcpoffload.SocketOptions{})
	require.Equal(t, tcpoffload.CallOK, r)
	require.NoError(t, w.Run(vtime.Second, func() bool { return s.EOF == 100 }))
	require.NoError(t, w.Pass(vtime.Second))

	c := p.Conns[0]
	reset := w.newPacket()
	*reset = packet{seg: tcpoffload.Segment{Flow: c.Flow, Seq: c.irs.Add(uint32(c.rcv)), Flags: wire.RST}}
	p.take(reset)
	require.True(t, c.Reset)
	require.NoError(t, w.Pass(vtime.Second))
	require.False(t, s.Finished)

	s.Send(10)
	require.NoError(t, w.Run(vtime.Second, func() bool { return s.Finished }))
	require.Equal(t, tcpoffload.ReasonReset, s.Reason)
	require.Len(t, p.Conns, 1)
}
