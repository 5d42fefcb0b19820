package sim_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload"
	"opentoe/tcpoffload/cc"
	"opentoe/tcpoffload/sim"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// pair makes two hosts with default engines on w.
func pair(t testing.TB, w *sim.World, edit func(c *tcpoffload.Config)) (a, b *sim.Host) {
	cfg := func(n byte) tcpoffload.Config {
		c := tcpoffload.Config{Tunables: tcpoffload.DefaultTunables(), Seed: w.Rand().Uint64(), ISNKey: [16]byte{n}}
		if edit != nil {
			edit(&c)
		}
		return c
	}
	a, err := w.Host(wire.AddrFrom4([4]byte{10, 0, 0, 1}), cfg(1))
	require.NoError(t, err)
	b, err = w.Host(wire.AddrFrom4([4]byte{10, 0, 0, 2}), cfg(2))
	require.NoError(t, err)
	return a, b
}

// TestTransfer sends streams both ways through bad links and demands that they arrive complete, that
// both ends finish in order, and that nothing stalls.
func TestTransfer(t *testing.T) {
	first, last := uint64(1), uint64(400)
	if testing.Short() {
		last = 60
	}
	if *seedFlag != 0 {
		first, last = *seedFlag, *seedFlag
	}
	for seed := first; seed <= last; seed++ {
		if err := transfer(t, seed); err != nil {
			t.Fatalf("seed %d: %v (go test ./tcpoffload/sim -run TestTransfer -seed=%d)", seed, err, seed)
		}
	}
}

func transfer(t *testing.T, seed uint64) error {
	w := sim.New(seed)
	r := w.Rand()
	algo := cc.Algorithm(r.IntN(cc.NumAlgorithms))
	tso := r.IntN(3) == 0
	a, b := pair(t, w, func(c *tcpoffload.Config) {
		c.Tunables.CC = algo
		c.DeviceSegments = tso
		c.MTU = []int{1500, 576, 9000}[r.IntN(3)]
	})
	link := func() sim.LinkConfig {
		l := sim.LinkConfig{
			Delay:     vtime.Duration(r.Int64N(int64(20 * vtime.Millisecond))),
			Loss:      sim.PPM(r.IntN(50_000)),
			Duplicate: sim.PPM(r.IntN(20_000)),
			Reorder:   sim.PPM(r.IntN(50_000)),
		}
		l.Jitter = l.Delay/2 + vtime.Microsecond
		if r.IntN(2) == 0 {
			l.RateBps = 1_000_000 + r.Int64N(1_000_000_000)
			l.Queue = 20_000 + r.IntN(200_000)
		}
		return l
	}
	w.Join(a, b, link(), link())
	opt := func() tcpoffload.SocketOptions {
		o := tcpoffload.SocketOptions{
			NoSACK: r.IntN(4) == 0, NoTimestamp: r.IntN(4) == 0, NoDelay: r.IntN(2) == 0,
		}
		if r.IntN(4) == 0 {
			o.RcvBuf = uint32(2048 + r.IntN(30000))
		}
		return o
	}
	if _, res := a.Listen(80, 8, opt()); res != tcpoffload.CallOK {
		return fmt.Errorf("listen: %d", res)
	}
	// Each end sends in pieces, at times of its own, and now and then stops reading.
	drive := func(s *sim.Sock, total uint64) {
		var step func()
		step = func() {
			if s.Finished {
				return
			}
			if r.IntN(8) == 0 {
				s.Stopped = true
				w.At(w.Now().Add(vtime.Duration(r.Int64N(int64(2*vtime.Second)))), func() {
					s.Stopped = false
					s.ReadAll()
				})
			}
			if s.Sent == total {
				s.Close()
				return
			}
			s.Send(min(uint64(1+r.IntN(40000)), total-s.Sent))
			w.At(w.Now().Add(vtime.Duration(r.Int64N(int64(20*vtime.Millisecond)))), step)
		}
		step()
	}
	totals := [2]uint64{uint64(r.IntN(400_000)), uint64(r.IntN(400_000))}
	var srv *sim.Sock
	a.OnAccept = func(s *sim.Sock) { srv = s; drive(s, totals[0]) }
	cli, res := b.Connect(a, 1000, 80, opt())
	if res != tcpoffload.CallOK {
		return fmt.Errorf("connect: %d", res)
	}
	started := false
	cli.OnEvent = func() {
		if cli.Established && !started {
			started = true
			drive(cli, totals[1])
		}
	}
	err := w.Run(20*60*vtime.Second, func() bool { return srv != nil && srv.Finished && cli.Finished })
	switch {
	case err != nil:
		return err
	case srv.Reason != tcpoffload.ReasonNone || cli.Reason != tcpoffload.ReasonNone:
		return fmt.Errorf("ended by reasons %d and %d", srv.Reason, cli.Reason)
	case !srv.PeerClosed || srv.EOF != totals[1] || !cli.PeerClosed || cli.EOF != totals[0]:
		return fmt.Errorf("streams of %d and %d octets end at %d and %d", totals[0], totals[1], cli.EOF, srv.EOF)
	case srv.Acked != totals[0] || cli.Acked != totals[1]:
		return fmt.Errorf("streams of %d and %d octets acknowledged to %d and %d", totals[0], totals[1], srv.Acked, cli.Acked)
	}
	// TIME-WAIT passes and the tables are empty again.
	gone := func(e *tcpoffload.Engine) bool { return e.Conns()+e.HalfOpens()+e.TimeWaits() == 0 }
	if err := w.Run(20*60*vtime.Second, func() bool { return gone(a.Engine) && gone(b.Engine) }); err != nil {
		return err
	}
	if u := a.Engine.Usage(); u != (tcpoffload.Usage{Listeners: 1}) {
		return fmt.Errorf("left over: %+v", u)
	}
	if u := b.Engine.Usage(); u != (tcpoffload.Usage{}) {
		return fmt.Errorf("left over: %+v", u)
	}
	return nil
}
