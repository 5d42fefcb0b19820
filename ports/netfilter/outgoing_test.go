package netfilter

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLeaving(t *testing.T) {
	h := newHost(t)
	j := newJudge(t)
	h.rules(`table inet t {
	chain out { type filter hook output priority 0
		tcp dport 1001 drop; tcp dport 1002 reject with tcp reset; tcp dport 1003 reject
		tcp dport 1005 meta skuid 1234 drop; tcp dport 1006 meta skgid 4321 drop; meta mark set 7
	}
	chain elsewhere { type nat hook output priority -100; tcp dport 1007 redirect to :80; }
	chain late { type filter hook postrouting priority 200; tcp dport 1008 drop; }
	chain changed { type nat hook postrouting priority 100
		ip daddr 192.0.2.2 tcp dport 1009 snat ip to 192.0.2.77; tcp dport 1010 masquerade
	}
	}`)
	for _, v4 := range []bool{true, false} {
		for _, c := range []struct {
			name     string
			remote   uint16
			uid, gid uint32
			leaves   bool
		}{
			{"dropped", 1001, 0, 0, false},
			{"reset", 1002, 0, 0, false},
			{"rejected", 1003, 0, 0, false},
			{"let through", 1004, 0, 0, true},
			{"again", 1004, 0, 0, true},
			{"the user", 1005, 1234, 0, false},
			{"not the user", 1005, 1235, 4321, true},
			{"the group", 1006, 1234, 4321, false},
			{"not the group", 1006, 1234, 4320, true},
			{"sent elsewhere", 1007, 0, 0, false},
			{"dropped late", 1008, 0, 0, false},
			{"from elsewhere", 1009, 0, 0, !v4},
			{"masqueraded as what it is", 1010, 0, 0, true},
		} {
			f := flow(v4, 5000, c.remote)
			for w := range 2 {
				require.Equal(t, c.leaves, j.Leaves(w, &f, c.uid, c.gid), "%s %v", c.name, v4)
			}
		}
	}
	require.NotZero(t, j.Counters()[CountOut])
	require.NotZero(t, j.Counters()[CountOutRefused])
	require.Zero(t, h.sent(), "a copy has left")
}

// A worker keeps some users' sockets, not those of everybody who ever asked.
func TestUsers(t *testing.T) {
	newHost(t)
	j := newJudge(t)
	f := flow(true, 5000, 80)
	for uid := range uint32(maxUsers + 10) {
		require.True(t, j.Leaves(0, &f, uid, 0))
		require.True(t, j.Leaves(0, &f, 0, 0), "who asks often stays")
	}
	require.Len(t, j.workers[0].users, maxUsers)
	require.Zero(t, j.workers[0].users[maxUsers-1].uid)
}

func TestLeavingDoesNotAllocate(t *testing.T) {
	newHost(t)
	j := newJudge(t)
	for _, v4 := range []bool{true, false} {
		f := flow(v4, 5000, 80)
		require.True(t, j.Leaves(0, &f, 0, 0))
		require.Zero(t, testing.AllocsPerRun(100, func() { j.Leaves(0, &f, 0, 0) }))
	}
}
