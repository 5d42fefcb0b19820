package sockets

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opentoe/sockshim/server"
)

// reachable lets every user reach a directory of the test.
func reachable(t *testing.T, dir string) string {
	for d := dir; d != os.TempDir() && len(d) > 1; d = filepath.Dir(d) {
		require.NoError(t, os.Chmod(d, 0o755))
	}
	return dir
}

// TestOrdinaryUser: what a program gets does not depend on who runs it. Of one that is not root toed sees each
// socket that it opens, of root it does not want to.
func TestOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	user := &syscall.Credential{Uid: 4300, Gid: 4300}
	srv := toedOf(t, reachable(t, t.TempDir()), 3)
	env := preloaded(t, srv.SocketPath())
	cases := 0
	for _, p := range programs(t) {
		if !slices.Contains([]string{"echo", "merged", "nonblock", "descriptors", "forks", "server", "names"}, p.name) {
			continue
		}
		for _, c := range p.cases {
			if _, differs := known(p.name + "/" + c.name); differs || !strings.Contains(c.families, "4") {
				continue
			}
			cases++
			t.Run(p.name+"/"+c.name, func(t *testing.T) {
				want, err := runAs(t, user, nil, p.argv[0], kernelAddr, c.name)
				require.NoError(t, err)
				got, err := runAs(t, user, env, p.argv[0], toeAddr, c.name)
				require.NoError(t, err)
				require.Equal(t, want, got)
				require.Eventually(t, func() bool { return srv.Usage() == server.Usage{} }, patience, time.Millisecond)
			})
		}
	}
	require.NotZero(t, cases)
	counters := srv.Counters()
	require.NotZero(t, counters.ShowsAsked, "toed has seen no socket")
	require.NotZero(t, counters.ActiveOpens, "nothing was offloaded")
	require.NotZero(t, counters.Listens)
	require.Zero(t, sum(counters.Violations[:]))
	require.Zero(t, sum(counters.Declined[:]), "all was offloaded: %v", counters.Declined)
}
