package softdev

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/vtime"
	"opentoe/toe"
)

// The data path allocates nothing: bulk both ways with its acknowledgements, timers, and the
// listing of connections.
func TestNoAllocations(t *testing.T) {
	p := newPair(t, true)
	p.listen(1)
	client, server := p.open(1<<40, 1<<40)
	for _, u := range p.up {
		u.noCheck = true
	}
	for range 1000 {
		p.step()
	}
	before := client.read + server.read
	require.Zero(t, testing.AllocsPerRun(1000, p.step), "bulk")
	require.Greater(t, client.read+server.read, before+10_000_000)

	// Loss: retransmissions, SACK, timeouts.
	p.q[0].impair(1, 0.01, 0, 0)
	p.q[1].impair(2, 0.01, 0, 0)
	for range 1000 {
		p.step()
	}
	require.Zero(t, testing.AllocsPerRun(1000, p.step), "bulk with loss")
	require.NotZero(t, p.w[0].eng.MIB().RetransSegs)

	// Silence, with only timers: not until they give the connection up.
	p.q[0].impair(1, 1, 0, 0)
	require.Zero(t, testing.AllocsPerRun(20, p.step), "timers")

	n := 0
	require.Zero(t, testing.AllocsPerRun(10, func() {
		p.dev[0].EachConn(0, 0, func(toe.TID, *toe.ConnInfo) { n++ })
	}), "list of connections")
	require.NotZero(t, n)
}

func TestNoAllocationsWhenSleeping(t *testing.T) {
	p := newPair(t, true)
	w := p.w[0]
	w.clock = func() vtime.Time { p.now = p.now.Add(vtime.Millisecond); return p.now }
	w.waiter.deaf, w.waiter.interval = true, 1 // ns: returns at once
	require.Zero(t, testing.AllocsPerRun(100, w.sleep))
	require.NotZero(t, w.count.Sleeps)
}
