package softdev

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
	"opentoe/toe"
)

// text returns how many octets of text of which local port a sniffer has seen.
func (r *recorder) text(dir toe.Direction) map[uint16]int {
	seen := map[uint16]int{}
	var p wire.Packet
	for _, f := range r.list {
		if f.dir == dir && wire.Parse(f.packet, true, true, &p) == wire.VerdictTCP && p.PayloadLen > 0 {
			port := p.Flow.RemotePort
			if dir == toe.Receive {
				port = p.Flow.LocalPort
			}
			seen[port] += int(p.PayloadLen)
		}
	}
	return seen
}

// Sniffers do not see what a connection carries that is to be unseen, and see all others.
func TestUnseenConnections(t *testing.T) {
	p := newPair(t, false)
	p.listen(1)
	one, s1 := p.open(0, 0)
	two, s2 := p.open(0, 0)
	var a recorder
	p.dev[0].SetTaps(&a)
	require.NoError(t, p.dev[0].SetOption(one.tid, toe.OptionNoMirror, 1))
	one.total, two.total, s1.total, s2.total = 5000, 6000, 7000, 8000
	p.finish(vtime.Second, one, s1)
	p.finish(vtime.Second, two, s2)
	require.Equal(t, map[uint16]int{two.flow.LocalPort: 6000}, a.text(toe.Transmit))
	require.Equal(t, map[uint16]int{two.flow.LocalPort: 8000}, a.text(toe.Receive))

	require.NoError(t, p.dev[0].SetOption(two.tid, toe.OptionNoMirror, 0), "it is over, and does no harm")
	a.list = nil
	three, s3 := p.open(100, 200) // perhaps in the table where the unseen one was
	p.finish(vtime.Second, three, s3)
	require.Equal(t, map[uint16]int{three.flow.LocalPort: 100}, a.text(toe.Transmit))
}

// A listener hands it down, a connect brings it along.
func TestUnseenFromTheBeginning(t *testing.T) {
	p := newPair(t, false)
	p.listen(1)
	p.w[1].hideListener(7, true)
	var a, b recorder
	p.dev[0].SetTaps(&a)
	p.dev[1].SetTaps(&b)
	client, server := p.open(3000, 4000)
	p.finish(vtime.Second, client, server)
	require.NotEmpty(t, a.text(toe.Transmit))
	require.Empty(t, b.text(toe.Transmit))
	require.Empty(t, b.text(toe.Receive))
	require.NotEmpty(t, b.list, "handshakes are seen")
	p.w[1].hideListener(7, false)
	b.list = nil
	client, server = p.open(3000, 4000)
	p.finish(vtime.Second, client, server)
	require.NotEmpty(t, b.text(toe.Transmit))
}
