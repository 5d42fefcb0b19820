package softdev

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/gopacket/layers"
	"github.com/stretchr/testify/require"

	"opentoe/ports"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
	"opentoe/toe"
)

// fakeJudge is a packet filter.
type fakeJudge struct {
	asked     []wire.Flow
	user      [2]uint32 // of the last who asked
	refuses   bool
	rests     int
	listening map[uint16]int
}

func (j *fakeJudge) Leaves(_ int, f *wire.Flow, uid, gid uint32) bool {
	j.asked, j.user = append(j.asked, *f), [2]uint32{uid, gid}
	return !j.refuses
}

func (j *fakeJudge) Rest() { j.rests++ }

func (j *fakeJudge) Listen(_ wire.Addr, v4, _ bool, port uint16, on bool) error {
	if on && v4 {
		j.listening[port]++
	} else if v4 {
		j.listening[port]--
	}
	return nil
}

// newJudged is a pair whose end 1 respects the packet filter returned.
func newJudged(t *testing.T) (*pair, *fakeKernel, *fakeJudge) {
	p, k := newShared(t, true)
	j := &fakeJudge{listening: map[uint16]int{}}
	p.dev[1].cfg.Ports[0].Judge, p.w[1].lanes[0].judge = j, j
	return p, k, j
}

// synFrom is a SYN from a port of end 0's to the listener of end 1.
func synFrom(t *testing.T, port uint16) []byte {
	s := synTo80()
	s.tcp.SrcPort = layers.TCPPort(port)
	return buildFrame(t, s)
}

// A SYN goes up as it came; once the filter has let it through the engine answers.
func TestSynIsJudged(t *testing.T) {
	p, k, j := newJudged(t)
	p.listen(1)
	b := synFrom(t, 5000)
	p.q[1].in.put(slices.Clone(b))
	p.turn(1)
	require.Equal(t, [][]byte{b}, k.up)
	require.Zero(t, p.q[1].sent)
	for n := range 2 { // the SYN-ACK may have been lost: the peer's next SYN is judged again
		require.True(t, p.dev[1].Judged(0, b[wire.EthernetLen:]))
		p.turn(1)
		require.Equal(t, n+1, p.q[1].sent)
		p.q[1].in.put(slices.Clone(b))
		p.turn(1)
		require.Len(t, k.up, n+2)
	}
	require.Zero(t, j.rests)
	require.Equal(t, [NumDrops]uint64{}, p.w[1].count.Drops)
}

// Whole connections: what is theirs is never shown to the filter.
func TestJudgedConnection(t *testing.T) {
	p, k, _ := newJudged(t)
	p.listen(1)
	judge := func() {
		for _, b := range k.up {
			require.True(t, p.dev[1].Judged(0, b[wire.EthernetLen:]))
		}
		k.up = nil
	}
	client := p.connect(0, addr4[0], addr4[1], 100_000)
	p.run(vtime.Minute, func() bool { judge(); return client.acked == client.total })
	server := p.up[1].socks[0]

	// A SYN within the connection is answered by a challenge (RFC 5961), and not shown.
	before := p.w[1].eng.MIB().OutSegs
	s := synTo80()
	s.tcp.SrcPort = layers.TCPPort(server.flow.RemotePort)
	p.q[1].in.put(buildFrame(t, s))
	p.turn(1)
	require.Empty(t, k.up)
	require.Greater(t, p.w[1].eng.MIB().OutSegs, before)
}

// A SYN that would open a connection in TIME-WAIT anew opens a connection: it is judged.
func TestTimeWaitIsJudged(t *testing.T) {
	p, k, _ := newJudged(t)
	p.listen(1)
	p.w[1].lanes[0].judge = nil
	client, server := p.open(1, 1)
	p.run(vtime.Second, func() bool { return client.done(1) && server.done(1) })
	server.closed = true
	p.dev[1].SendFIN(server.tid) // who closes first waits
	p.run(vtime.Minute, func() bool { return client.finished && server.finished })
	p.step()
	require.Equal(t, 1, p.w[1].eng.TimeWaits())
	p.w[1].lanes[0].judge = p.dev[1].cfg.Ports[0].Judge
	s := synTo80()
	s.tcp.SrcPort, s.tcp.Seq = layers.TCPPort(client.flow.LocalPort), 1<<31
	p.q[1].in.put(buildFrame(t, s))
	p.turn(1)
	require.Len(t, k.up, 1)
	require.Equal(t, 1, p.w[1].eng.TimeWaits())
}

// What comes back when there is no room or listener any more is lost, and does not go up a second time.
func TestJudgedTooLate(t *testing.T) {
	p, k, j := newJudged(t)
	b := synFrom(t, 5000)
	require.True(t, p.dev[1].Judged(0, b[wire.EthernetLen:]))
	p.turn(1)
	require.EqualValues(t, 1, p.w[1].count.Drops[DropJudged])
	require.Zero(t, j.rests, "there is no listener that the kernel might stand in for")

	p.listen(1)
	for p.w[1].eng.Conns() < 64 {
		p.connect(1, addr4[1], addr4[0], 0)
	}
	require.True(t, p.dev[1].Judged(0, b[wire.EthernetLen:]))
	p.turn(1)
	require.EqualValues(t, 2, p.w[1].count.Drops[DropJudged])
	require.Equal(t, 1, j.rests)
	require.Empty(t, k.up)

	// Nor does what is for another address; what is no segment is nothing.
	s := synTo80()
	s.dst = netip.MustParseAddr("10.9.0.3")
	other := buildFrame(t, s)
	require.True(t, p.dev[1].Judged(0, other[wire.EthernetLen:]))
	p.turn(1)
	require.EqualValues(t, 1, p.w[1].count.Drops[DropNotOurAddress])
	require.Empty(t, k.up)
	for _, packet := range [][]byte{nil, {0x60}, b[wire.EthernetLen : wire.EthernetLen+30]} {
		require.False(t, p.dev[1].Judged(0, packet))
	}
}

// As many as fit wait for a worker that does not get round to them.
func TestJudgedFlood(t *testing.T) {
	p, _, _ := newJudged(t)
	p.listen(1)
	b := synFrom(t, 5000)[wire.EthernetLen:]
	for range maxJudgements {
		require.True(t, p.dev[1].Judged(0, b))
	}
	require.False(t, p.dev[1].Judged(0, b))
	p.turn(1)
	require.True(t, p.dev[1].Judged(0, b))
	p.w[1].mail.finish(p.now)
	require.False(t, p.dev[1].Judged(0, b))
	require.Zero(t, p.w[1].judgements.Load())
}

func TestConnectIsJudged(t *testing.T) {
	p, _, j := newJudged(t)
	r := toe.ConnectRequest{Sock: 1, Client: &toe.Client{UID: 7, GID: 8},
		Flow: wire.Flow{Remote: wire.AddrFrom(addr4[0]), LocalPort: 5000, RemotePort: 80}}
	j.refuses = true
	_, reason := p.dev[1].Connect(0, &r)
	require.Equal(t, toe.ReasonNetfilter, reason)
	require.Equal(t, [2]uint32{7, 8}, j.user)
	require.Equal(t, wire.AddrFrom(addr4[1]), j.asked[0].Local, "with the address that it would have")
	require.Zero(t, p.w[1].eng.Conns())
	j.refuses, r.Client = false, nil
	_, reason = p.dev[1].Connect(0, &r)
	require.Equal(t, toe.Offloaded, reason)
	require.Len(t, j.asked, 2)
}

// The filter is told of listeners as a steering is.
func TestJudgeIsToldOfListeners(t *testing.T) {
	_, _, j := newJudged(t)
	d := &Device{cfg: Config{Ports: []PortQueues{{Judge: j}}}}
	d.steer(&toe.Listener{ID: 1, Port: 80})
	require.Equal(t, 1, j.listening[80])
	d.pauseSteering(1, true)
	require.Zero(t, j.listening[80])
	d.pauseSteering(1, false)
	require.Equal(t, 1, j.listening[80])
	d.unsteer(1)
	require.Zero(t, j.listening[80])

	q := PortQueues{Port: testPort(t, 1, true), Queues: make([]ports.Queue, 1), Judge: j}
	require.Contains(t, q.check(1), "no exception path")
}
