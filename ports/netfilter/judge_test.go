package netfilter

import (
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/seq"
	"opentoe/tcpoffload/wire"
)

// Of SYNs in a row those come back that the rules let through; the last one shows that the others do not.
func TestArriving(t *testing.T) {
	h := newHost(t)
	j := newJudge(t)
	j.Listen(wire.Addr{}, true, true, aPort, true)
	h.rules(`table inet t { chain in { type filter hook input priority 0
		tcp sport 1001 drop; tcp sport 1002 reject with tcp reset; tcp sport 1003 ct state new reject
		tcp sport 1009 limit rate over 1/day burst 1 packets drop
	}
	chain pre { type nat hook prerouting priority -100; tcp dport 81 redirect to :80; }; }`)
	for _, v4 := range []bool{true, false} {
		n := seq.Num(0)
		for _, c := range []struct {
			name          string
			local, remote uint16
			flags         wire.Flags
			passes        bool
		}{
			{"dropped", aPort, 1001, wire.SYN, false},
			{"reset", aPort, 1002, wire.SYN, false},
			{"rejected", aPort, 1003, wire.SYN, false},
			{"let through", aPort, 1004, wire.SYN, true},
			{"again", aPort, 1004, wire.SYN, true},
			{"another port", aPort + 2, 1005, wire.SYN, false},
			{"translated", aPort + 1, 1006, wire.SYN, false},
			{"an answer", aPort, 1007, wire.SYN | wire.ACK, false},
			{"within a limit", aPort, 1009, wire.SYN, v4},
			{"beyond it", aPort, 1009, wire.SYN, false},
			{"yet another", aPort, 1008, wire.SYN, true},
		} {
			f := flow(v4, c.local, c.remote)
			n++
			h.receives(&f, c.flags, n)
			if c.passes {
				j.passes(t, &f, n)
			}
		}
	}
	require.Empty(t, j.syns)
	require.EqualValues(t, 7, j.Counters()[CountIn])
}

func TestListeners(t *testing.T) {
	h := newHost(t)
	j := newJudge(t)
	v4, v6 := flow(true, aPort, 1000), flow(false, aPort, 1000)
	end4, end6 := flow(true, aPort+1, 1000), flow(false, aPort+1, 1000)
	j.Listen(wire.Addr{}, true, true, aPort+1, true)
	// is demands that SYNs of a family come back, or not.
	is := func(on4, on6 bool) {
		t.Helper()
		h.receives(&v4, wire.SYN, 1)
		h.receives(&end4, wire.SYN, 2)
		if on4 {
			j.passes(t, &v4, 1)
		}
		j.passes(t, &end4, 2)
		h.receives(&v6, wire.SYN, 1)
		h.receives(&end6, wire.SYN, 2)
		if on6 {
			j.passes(t, &v6, 1)
		}
		j.passes(t, &end6, 2)
	}
	is(false, false)
	j.Listen(v4.Local, true, false, aPort, true)
	is(true, false)
	j.Listen(wire.AddrFrom4([4]byte{}), true, false, aPort, true)
	j.Listen(v4.Local, true, false, aPort, false)
	is(true, false)
	j.Listen(wire.Addr{}, false, true, aPort, true)
	is(true, true)
	j.Listen(wire.Addr{}, false, true, aPort, true)
	j.Listen(wire.AddrFrom4([4]byte{}), true, false, aPort, false)
	is(false, true)
	j.Listen(wire.Addr{}, false, true, aPort, false)
	is(false, true)
	j.Listen(wire.Addr{}, false, true, aPort, false)
	is(false, false)

	// Addresses come and go.
	j.Listen(wire.Addr{}, true, true, aPort, true)
	is(true, true)
	j.SetStation([]wire.Addr{v6.Local})
	h.receives(&v4, wire.SYN, 1)
	h.receives(&v6, wire.SYN, 1)
	j.passes(t, &v6, 1)
	j.SetStation([]wire.Addr{v4.Local, v6.Local})
	is(true, true)

	// More than one change has.
	for p := range uint16(1200) {
		j.Listen(wire.Addr{}, true, true, 10000+p, true)
	}
	far := flow(true, 11199, 1000)
	h.receives(&far, wire.SYN, 1)
	j.passes(t, &far, 1)
}

// The table is nobody else's, and goes with its owner.
func TestTable(t *testing.T) {
	h := newHost(t)
	j, err := New(Config{Interface: iface, Workers: 1})
	require.NoError(t, err)
	_, err = New(Config{Interface: iface, Workers: 1})
	require.ErrorContains(t, err, "another toed")
	h.rules("flush ruleset")
	out, err := exec.Command("nft", "list", "ruleset").Output()
	require.NoError(t, err)
	require.Contains(t, string(out), "table inet opentoe-toe0")
	require.NoError(t, j.Close())
	require.NoError(t, j.Close())
	j.Listen(wire.Addr{}, true, true, aPort, true) // late, and in vain
	out, err = exec.Command("nft", "list", "ruleset").Output()
	require.NoError(t, err)
	require.Empty(t, string(out))
	_, err = New(Config{Interface: "no-such-if0", Workers: 1})
	require.ErrorContains(t, err, "no-such-if0")
}

func TestRest(t *testing.T) {
	h := newHost(t)
	j := newJudge(t)
	j.Listen(wire.Addr{}, true, true, aPort, true)
	f := flow(true, aPort, 1000)
	h.receives(&f, wire.SYN, 1)
	j.passes(t, &f, 1)
	j.rest(true)
	h.receives(&f, wire.SYN, 2)
	j.rest(false)
	j.Rest()
	require.Eventually(t, func() bool { return j.Counters()[CountRests] == 1 }, time.Minute, time.Millisecond)
	require.Eventually(t, func() bool {
		j.mu.Lock()
		defer j.mu.Unlock()
		return len(j.installed) == 2
	}, time.Minute, time.Millisecond)
	h.receives(&f, wire.SYN, 3)
	j.passes(t, &f, 3)
}

func TestCounterNames(t *testing.T) {
	seen := map[string]bool{}
	for c := range NumCounters {
		seen[c.String()] = true
	}
	require.Len(t, seen, int(NumCounters))
	require.Equal(t, "unknown", NumCounters.String())
}
