package tcpoffload

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/cc"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// TestNoAllocation demands that no entry point allocates, on the paths of bulk transfer, of loss, and
// of connections that come and go.
func TestNoAllocation(t *testing.T) {
	d := newDuo(t, nil)
	e, out := d.e[0], d.out[0]
	c := &e.conns[d.h[0].Index()]
	seg := Segment{Flow: c.flow, Flags: wire.ACK, Wnd: 500}
	seg.Opt.Set, seg.Opt.TSVal = wire.OptTimestamps, c.ts.recent
	n := 0
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		n++
		seg.Ack, seg.Seq, seg.Len = c.snd.nxt, c.rcv.nxt, 1448
		if n%10 == 0 {
			seg.Seq = seg.Seq.Add(1448) // a hole
		}
		e.Arrive(d.now, &seg, out)
		seg.Seq, seg.Len = c.rcv.nxt, 0
		e.Arrive(d.now, &seg, out)
		out.Reset()
		d.sent[0] += 5000
		send := Call{Kind: CallSend, Handle: d.h[0], Pos: d.sent[0]}
		e.Call(d.now, &send, out)
		read := Call{Kind: CallReceived, Handle: d.h[0], Pos: c.rcvPos()}
		e.Call(d.now, &read, out)
		e.Transmit(d.now, 64, out)
		d.now = d.now.Add(10 * vtime.Millisecond)
		e.Expire(d.now, out)
		e.NextDeadline()
		out.Reset()
	}), "bulk and loss")

	var info Info
	port := uint16(2000)
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		port++
		f := c.flow
		f.RemotePort = port
		syn := Segment{Flow: f, Flags: wire.SYN, Seq: 7}
		e.Arrive(d.now, &syn, out)
		e.Transmit(d.now, 4, out)
		h, _ := e.Next(e.synBase)
		e.Info(h, d.now, &info)
		ack := Segment{Flow: f, Flags: wire.ACK, Seq: 8, Ack: info.SndNxt, Wnd: 500}
		require.Equal(t, DropNone, e.Arrive(d.now, &ack, out))
		h, ok := e.Lookup(&f)
		require.True(t, ok)
		e.SetCookie(h, 1)
		e.Call(d.now, &Call{Kind: CallClose, Handle: h}, out)
		e.Transmit(d.now, 64, out)
		fin := Segment{Flow: f, Flags: wire.ACK | wire.FIN, Seq: 8, Ack: info.SndNxt.Add(1)}
		require.Equal(t, DropNone, e.Arrive(d.now, &fin, out))
		e.Call(d.now, &Call{Kind: CallAccepted, Listener: 1<<32 | 1, Value: 1}, out)
		out.Reset()
	}), "connections")
	require.Equal(t, len(e.tws), e.TimeWaits())

	tun := e.Tunables()
	tun.SynCookies = SynCookiesAlways
	require.NoError(t, e.SetTunables(tun))
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		port++
		f := c.flow
		f.RemotePort = port
		syn := Segment{Flow: f, Flags: wire.SYN, Seq: 7}
		require.Equal(t, DropNone, e.Arrive(d.now, &syn, out))
		ack := Segment{Flow: f, Flags: wire.ACK, Seq: 8, Ack: out.Segs[0].Seq.Add(1)}
		require.Equal(t, DropNone, e.Arrive(d.now, &ack, out))
		h, _ := e.Lookup(&f)
		e.Call(d.now, &Call{Kind: CallAbort, Handle: h}, out)
		out.Reset()
	}), "SYN cookies")
}

// TestNoAllocationPaced: nor do algorithms with a model, their timers, and changes among them.
func TestNoAllocationPaced(t *testing.T) {
	d := newDuo(t, func(c *Config) { c.Tunables.CC = cc.BBR })
	bound := Call{Kind: CallSetOption, Handle: d.h[1], Option: OptionMaxPacingRate, Value: 10_000_000}
	require.Equal(t, CallOK, d.e[1].Call(d.now, &bound, d.out[1]))
	n := 0
	require.Zero(t, testing.AllocsPerRun(2000, func() {
		n++
		if n%100 == 0 {
			o := Call{Kind: CallSetOption, Handle: d.h[1], Option: OptionCC, Value: int64(n / 100 % cc.NumAlgorithms)}
			d.e[1].Call(d.now, &o, d.out[1])
		}
		d.send(1, 20_000)
		for range 4 {
			d.now = d.now.Add(200 * vtime.Microsecond)
			d.step()
		}
		d.read(0)
	}))
	require.NotZero(t, d.e[1].MIB().PacingWaits)
}

// TestNoAllocationInTrouble: nor does anything that goes wrong on the way, nor what finds it out.
func TestNoAllocationInTrouble(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*Config)
		// loses is duo.loses for the n-th segment with text.
		loses func(n int, seg *Segment) bool
		seen  func(*MIB) uint64 // what proves that it happened
	}{
		{
			"RACK, lost retransmissions, probes", func(*Config) {},
			func(n int, _ *Segment) bool { return n%5 == 0 || n%48 < 6 },
			func(m *MIB) uint64 { return min(m.FastRetrans, m.LossProbes, m.Timeouts) },
		},
		{
			"NewReno", func(c *Config) { c.Tunables.SACK = false },
			func(n int, _ *Segment) bool { return n%23 == 0 },
			func(m *MIB) uint64 { return m.FastRetrans },
		},
		{
			"BBR", func(c *Config) { c.Tunables.CC = cc.BBR },
			func(n int, _ *Segment) bool { return n%17 == 0 },
			func(m *MIB) uint64 { return m.FastRetrans },
		},
		{
			"ECN", func(c *Config) { c.Tunables.ECN = ECNOn },
			func(n int, seg *Segment) bool {
				if n%11 == 0 && seg.ECN != wire.NotECT {
					seg.ECN = wire.CE
				}
				return n%61 == 0
			},
			func(m *MIB) uint64 { return m.ECNReductions },
		},
		{
			"path MTU", func(c *Config) { c.Tunables.MTUProbing = MTUProbingAlways },
			func(_ int, seg *Segment) bool { return seg.Len > 1300 },
			func(m *MIB) uint64 { return min(m.MTUProbes, m.MTUProbesLost) },
		},
		{
			"a short pool", func(c *Config) {
				c.Memory = NewMemoryOf(Sizes{Conns: 16, Listeners: 4, Flights: 4, Ranges: 2})
			},
			func(n int, _ *Segment) bool { return n%3 == 0 },
			func(m *MIB) uint64 { return m.FlightPoolEmpty },
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDuo(t, c.edit)
			n := 0
			d.loses = func(_ int, seg *Segment) bool {
				if seg.Len == 0 {
					return false
				}
				n++
				return c.loses(n, seg)
			}
			require.Zero(t, testing.AllocsPerRun(300, func() {
				d.send(1, 40_000)
				for range 12 {
					d.now = d.now.Add(3 * vtime.Millisecond)
					d.step()
				}
				d.read(0)
			}))
			require.NotZero(t, c.seen(d.e[1].MIB()), "%+v", *d.e[1].MIB())
		})
	}
}

// TestNoAllocationFastOpen: nor do connections that begin with data on the SYN.
func TestNoAllocationFastOpen(t *testing.T) {
	d := newDuo(t, nil)
	srv, cli := d.e[0], d.e[1]
	flow := cli.conns[d.h[1].Index()].flow
	flow.RemotePort = 81
	listen := Call{Kind: CallListen, Flow: wire.Flow{LocalPort: 81}, Value: 5, Opt: SocketOptions{FastOpen: 5}}
	require.Equal(t, CallOK, srv.Call(d.now, &listen, d.out[0]))
	require.Zero(t, testing.AllocsPerRun(500, func() {
		flow.LocalPort++
		open := Call{Kind: CallOpen, Flow: flow, Opt: SocketOptions{FastOpenConn: true}}
		require.Equal(t, CallOK, cli.Call(d.now, &open, d.out[1]))
		d.h = [2]Handle{0, open.Handle}
		d.sent, d.seen = [2]uint64{}, [2]uint64{}
		d.send(1, 100)
		for range 3 {
			d.step()
		}
		srv.Call(d.now, &Call{Kind: CallAccepted, Listener: listen.Listener, Value: 1}, d.out[0])
		require.Equal(t, uint64(100), d.seen[0])
		srv.Call(d.now, &Call{Kind: CallClose, Handle: d.h[0]}, d.out[0])
		cli.Call(d.now, &Call{Kind: CallClose, Handle: d.h[1]}, d.out[1])
		for range 3 {
			d.step()
		}
	}))
	require.NotZero(t, cli.MIB().FastOpenActive)
	require.NotZero(t, srv.MIB().FastOpenPassive)
}
