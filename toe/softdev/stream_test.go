package softdev

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
	"opentoe/toe"
)

// finish closes the client's direction and runs until both programs have seen the end.
func (p *pair) finish(limit vtime.Duration, client, server *fakeSock) {
	p.t.Helper()
	p.run(limit, func() bool { return client.written == client.total })
	client.closed = true
	p.dev[0].SendFIN(client.tid)
	p.run(limit, func() bool { return client.finished && server.finished })
	p.step()
	require.Equal(p.t, toe.EndClosed, client.end)
	require.Equal(p.t, toe.EndClosed, server.end)
	require.Zero(p.t, client.wrong+server.wrong, "octets not as sent")
	require.Equal(p.t, client.total, server.read)
	require.Equal(p.t, server.total, client.read)
	for _, w := range p.w {
		require.Equal(p.t, w.count.Verdicts[wire.VerdictTCP], w.eng.MIB().InSegs, "every segment is counted once")
	}
}

func TestStreams(t *testing.T) {
	for _, size := range []uint64{0, 1, 1448, 1449, 65536, 3 << 20} {
		for family, local := range map[string]netip.Addr{"IPv4": {}, "IPv6": addr6[0]} {
			t.Run(fmt.Sprintf("%s/%d", family, size), func(t *testing.T) {
				p := newPair(t, false)
				p.listen(1)
				p.up[1].total = size
				remote := addr4[1]
				if local.IsValid() {
					remote = addr6[1]
				}
				client := p.connect(0, local, remote, size/2)
				p.run(5*vtime.Second, func() bool { return p.up[1].accepted == 1 && len(client.events) > 0 })
				server := p.up[1].socks[0]
				require.Equal(t, toe.EventEstablished, client.events[0])
				require.Equal(t, client.flow.LocalPort, server.flow.RemotePort)
				require.Equal(t, remote, server.flow.Local.Netip())
				require.Equal(t, 1, p.dev[0].Info().Conns)
				p.finish(5*vtime.Second, client, server)

				// Nothing remains but TIME-WAIT, and then nothing.
				p.run(5*vtime.Minute, func() bool { return p.w[0].eng.Conns()+p.w[1].eng.Conns() == 0 })
				for i, w := range p.w {
					require.Zero(t, w.eng.MIB().RetransSegs, "end %d", i)
					require.Equal(t, [NumDrops]uint64{}, w.count.Drops, "end %d", i)
					require.Zero(t, p.dev[i].Info().Conns)
				}
			})
		}
	}
}

func TestStreamsOverABadWire(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			p := newPair(t, seed%2 == 0)
			p.q[0].impair(seed, 0.02, 0.01, 0.02)
			p.q[1].impair(seed+1000, 0.02, 0.01, 0.02)
			p.listen(1)
			client, server := p.open(300_000, 500_000)
			p.finish(20*vtime.Minute, client, server)
			require.NotZero(t, p.q[0].lost+p.q[1].lost)
		})
	}
}

// A handshake whose last ACK is lost completes with the first data segment: its payload must not
// arrive before the socket layer has a socket for it.
func TestDataCompletesTheHandshake(t *testing.T) {
	p := newPair(t, true)
	p.listen(1)
	client := p.connect(0, netip.Addr{}, addr4[1], 0)
	p.turn(0) // SYN
	p.turn(1) // SYN-ACK
	p.turn(0) // ACK
	require.Equal(t, []toe.EventKind{toe.EventEstablished}, client.events)
	_, lost := p.q[1].in.get()
	require.True(t, lost)
	p.turn(1)
	require.Zero(t, p.up[1].accepted)
	client.total = 1000
	p.run(vtime.Second, func() bool { return p.up[1].accepted == 1 && p.up[1].socks[0].read == 1000 })
	require.Zero(t, p.up[1].socks[0].wrong)
}

func TestRefusedOpens(t *testing.T) {
	t.Run("nobody listens", func(t *testing.T) {
		p := newPair(t, true)
		s := p.connect(0, netip.Addr{}, addr4[1], 0)
		p.run(vtime.Second, func() bool { return s.finished })
		require.Equal(t, toe.EndRefused, s.end)
		require.Zero(t, p.w[0].eng.Conns())
	})
	t.Run("the socket layer refuses", func(t *testing.T) {
		p := newPair(t, true)
		p.listen(1)
		p.up[1].refuse = true
		for range 40 { // more than the backlog: a refusal must not use it up
			s := p.connect(0, netip.Addr{}, addr4[1], 10)
			p.run(vtime.Second, func() bool { return s.finished })
			require.Equal(t, toe.EndReset, s.end)
		}
		require.EqualValues(t, 40, p.w[1].count.PassRefused)
		require.Zero(t, p.w[1].eng.Conns())
		p.up[1].refuse = false
		client, server := p.open(10, 10)
		p.finish(vtime.Second, client, server)
	})
	t.Run("no such neighbour", func(t *testing.T) {
		p := newPair(t, false)
		s := p.connect(0, netip.Addr{}, netip.MustParseAddr("10.9.0.77"), 0)
		p.run(10*vtime.Second, func() bool { return s.finished })
		require.Equal(t, toe.EndUnreachable, s.end)
		require.Zero(t, p.w[0].eng.Conns())
	})
}

func TestCanOffload(t *testing.T) {
	p := newPair(t, true)
	for _, c := range []struct {
		name, local, remote string
		want                toe.Reason
	}{
		{"neighbour", "", "10.9.0.2", toe.Offloaded},
		{"neighbour, bound", "10.9.0.1", "10.9.0.2", toe.Offloaded},
		{"no route", "", "192.0.2.1", toe.ReasonNoRoute},
		{"no route, IPv6", "", "2001:db8::1", toe.ReasonNoRoute},
		{"bound elsewhere", "192.0.2.1", "10.9.0.2", toe.ReasonLocalAddr},
		{"loopback", "", "127.0.0.1", toe.ReasonLoopback},
		{"ourselves", "", "10.9.0.1", toe.ReasonLoopback},
		{"nobody", "", "::", toe.ReasonInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &toe.ConnectRequest{}
			r.Flow.Remote, r.Flow.RemotePort = addrOf(c.remote), 80
			if c.local != "" {
				r.Flow.Local = addrOf(c.local)
			}
			require.Equal(t, c.want, p.dev[0].CanOffload(r))
			require.Zero(t, testing.AllocsPerRun(10, func() { p.dev[0].CanOffload(r) }))
		})
	}
}

func TestTableFull(t *testing.T) {
	p := newPair(t, true)
	for range 64 {
		p.connect(0, netip.Addr{}, addr4[1], 0)
	}
	s := p.up[0].add(0)
	r := toe.ConnectRequest{Sock: s.id}
	r.Flow.Remote, r.Flow.RemotePort, r.Flow.LocalPort = addrOf("10.9.0.2"), 80, 1
	_, reason := p.dev[0].Connect(0, &r)
	require.Equal(t, toe.ReasonTableFull, reason)
}

// A receiver without room drops payload before the engine knows of it. The stream goes on later, and
// the one the other way is not held up.
func TestNoSpace(t *testing.T) {
	p := newPair(t, true)
	p.listen(1)
	p.up[1].full = true
	client, server := p.open(100_000, 100_000)
	p.run(vtime.Minute, func() bool { return client.read == 100_000 && server.acked == 100_000 })
	require.Zero(t, server.readable)
	require.NotZero(t, p.w[1].count.Drops[DropNoSpace])
	p.up[1].full = false
	p.finish(vtime.Minute, client, server)
}

// A program that does not read closes the window; none of what it has not read is lost.
func TestSlowReader(t *testing.T) {
	p := newPair(t, true)
	p.listen(1)
	client, server := p.open(300_000, 0)
	server.hold = true
	start := p.now
	p.run(vtime.Minute, func() bool { return p.now.Sub(start) > 30*vtime.Second })
	require.LessOrEqual(t, server.readable, uint64(len(server.rx)))
	require.NotZero(t, p.w[0].eng.MIB().ZeroWindowProbes)
	server.hold = false
	p.finish(vtime.Minute, client, server)
}

func TestSendRST(t *testing.T) {
	p := newPair(t, true)
	p.listen(1)
	client, server := p.open(1000, 1000)
	seen := len(client.events)
	p.dev[0].SendRST(client.tid)
	client.tid = 0
	p.run(vtime.Second, func() bool { return server.finished })
	require.Equal(t, toe.EndReset, server.end)
	require.Len(t, client.events, seen, "no upcall after SendRST")
	require.Zero(t, p.w[0].eng.Conns()+p.w[1].eng.Conns())
}

func TestStaleTIDsAreIgnored(t *testing.T) {
	p := newPair(t, true)
	p.listen(1)
	client, _ := p.open(0, 0)
	tid := client.tid
	p.dev[0].SendRST(tid)
	client.tid = 0
	for _, tid := range []toe.TID{tid, 0, ^toe.TID(0), tid + 1, tid | 5<<tidWorkerShift} {
		p.dev[0].Output(tid, 100, false)
		p.dev[0].Received(tid, 0)
		p.dev[0].SendFIN(tid)
		p.dev[0].SendRST(tid)
		p.dev[0].Release(tid)
		require.ErrorIs(t, p.dev[0].SetOption(tid, toe.OptionNoDelay, 1), toe.ErrInvalid)
		require.False(t, p.dev[0].ConnInfo(tid, &toe.ConnInfo{}))
	}
	require.Zero(t, p.w[0].eng.Conns())
}

func TestConnInfo(t *testing.T) {
	p := newPair(t, true)
	p.listen(1)
	client, server := p.open(5000, 7000)
	p.run(vtime.Second, func() bool { return client.read == 7000 && server.read == 5000 })
	p.run(vtime.Second, func() bool { return client.acked == 5000 && server.acked == 7000 })
	var info toe.ConnInfo
	require.True(t, p.dev[0].ConnInfo(client.tid, &info))
	require.Equal(t, "ESTABLISHED", info.State)
	require.Equal(t, client.id, info.Sock)
	require.Equal(t, client.flow, info.Flow)
	require.EqualValues(t, 5000, info.BytesAcked)
	require.EqualValues(t, 7000, info.BytesReceived)
	require.EqualValues(t, 1448, info.SndMSS)
	require.NotZero(t, info.SRTT)
	n := 0
	require.Zero(t, p.dev[1].EachConn(0, 0, func(tid toe.TID, info *toe.ConnInfo) {
		n++
		require.Equal(t, server.tid, tid)
	}))
	require.Equal(t, 1, n)
}

func TestListeners(t *testing.T) {
	p := newPair(t, true)
	p.listen(1)
	require.Equal(t, toe.ReasonInUse, p.w[1].listen(&toe.Listener{ID: 7, Port: 90}))
	require.Equal(t, toe.ReasonInUse, p.w[1].listen(&toe.Listener{ID: 8, Port: 80, V6: true}))
	require.Equal(t, toe.ReasonLocalAddr, p.dev[1].ListenStart(&toe.Listener{ID: 9, Port: 90, Addr: addrOf("192.0.2.1")}))
	p.w[1].unlisten(7)
	s := p.connect(0, netip.Addr{}, addr4[1], 0)
	p.run(vtime.Second, func() bool { return s.finished })
	require.Equal(t, toe.EndRefused, s.end)
	p.w[1].unlisten(7) // again: ignored
}

// What leaves no work behind must not keep the worker awake.
func TestQuiescence(t *testing.T) {
	p := newPair(t, true)
	p.listen(1)
	client, server := p.open(100_000, 100_000)
	p.run(vtime.Second, func() bool { return client.acked == 100_000 && server.acked == 100_000 })
	for range 10 {
		p.step()
	}
	for _, w := range p.w {
		w.tick()
		require.Zero(t, w.iterate())
		require.Greater(t, w.nextDeadline().Sub(p.now), 10*vtime.Millisecond)
	}
}

// A burst of segments is one step for the program, and what ends a stream comes after it.
func TestProgressIsToldOncePerBurst(t *testing.T) {
	p := newPair(t, true)
	p.listen(1)
	client, server := p.open(10*1448, 0)
	for len(server.events) == 0 {
		p.step()
	}
	client.closed = true
	p.dev[0].SendFIN(client.tid)
	p.run(vtime.Second, func() bool { return client.finished })
	require.EqualValues(t, 10*1448, server.read)
	require.Equal(t, []toe.EventKind{toe.EventReadable, toe.EventPeerClose}, server.events[:2])
	require.Equal(t, []toe.EventKind{toe.EventEstablished, toe.EventAcked}, client.events[:2])
	require.Equal(t, []toe.EventKind{toe.EventPeerClose, toe.EventFinished}, client.events[len(client.events)-2:])
	require.Equal(t, toe.EventFinished, server.events[len(server.events)-1])
}

func TestL2Update(t *testing.T) {
	p := newPair(t, false)
	p.listen(1)
	p.q[0].watch = func(b []byte) {
		require.NotEqual(t, []byte{8, 6}, b[12:14], "nothing to ask for")
	}
	require.NoError(t, p.dev[0].L2Update(wire.AddrFrom(addr4[1]), macs[1], true))
	require.NoError(t, p.dev[1].L2Update(wire.AddrFrom(addr4[0]), macs[0], true))
	client, server := p.open(10, 10)
	p.finish(vtime.Second, client, server)
	require.Error(t, p.dev[0].L2Update(addrOf("192.0.2.1"), macs[1], true), "not a neighbour")
	require.NoError(t, p.dev[0].L2Update(wire.AddrFrom(addr4[1]), wire.MAC{}, false))
}

// Listeners of one group share what comes, and one may leave.
func TestListenerGroup(t *testing.T) {
	p := newPair(t, true)
	for _, id := range []toe.ListenID{7, 8} {
		require.Equal(t, toe.Offloaded, p.w[1].listen(&toe.Listener{ID: id, Port: 80, Group: 1, Backlog: 8}))
	}
	require.Equal(t, toe.ReasonInUse, p.w[1].listen(&toe.Listener{ID: 9, Port: 80, Group: 2}))
	had := map[toe.ListenID]int{}
	opens := func() {
		for range 32 {
			n := p.up[1].accepted
			s := p.connect(0, netip.Addr{}, addr4[1], 0)
			p.run(vtime.Second, func() bool { return p.up[1].accepted > n })
			had[p.up[1].lastListen]++
			s.closed = true
			p.dev[0].SendFIN(s.tid)
			p.run(vtime.Second, func() bool { return s.finished })
		}
	}
	opens()
	require.Len(t, had, 2)
	p.w[1].unlisten(7)
	clear(had)
	opens()
	require.Equal(t, map[toe.ListenID]int{8: 32}, had)
}
