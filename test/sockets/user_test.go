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
	"opentoe/toe"
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

// overQuota opens a listener and a connection to it, and then one more of each.
const overQuota = `
import errno, socket, sys
def name(call, *args):
    try:
        call(*args)
        return "0"
    except OSError as e:
        return errno.errorcode[e.errno]
def bound():
    s = socket.socket()
    s.bind((sys.argv[1], 0))
    return s
l, c = bound(), socket.socket()
l.listen()
c.connect(l.getsockname())
a, _ = l.accept()
more, l2 = socket.socket(), bound()
print("listen:", name(l2.listen), "listens:", l2.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
print("connect:", name(more.connect, l.getsockname()))
a.close()
c.close()
print("a listener again:", name(l2.listen))
`

// TestOverQuota: a program whose user has as many sockets as he may hears of it, where the operator wants that,
// and can go on when others are closed; otherwise its listener is the kernel's.
func TestOverQuota(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	user := &syscall.Credential{Uid: 4300, Gid: 4300}
	for over, want := range map[server.OverQuota]string{
		server.Refuse:        "listen: ENOBUFS listens: 0\nconnect: ENOBUFS\na listener again: 0\n",
		server.LeaveToKernel: "listen: 0 listens: 1\nconnect: ",
	} {
		srv := toedWith(t, 1, server.Config{Dir: reachable(t, t.TempDir()), UserSockets: 3, OverQuota: over})
		env := append(preloaded(t, srv.SocketPath()), "ASAN_OPTIONS=detect_leaks=0")
		out, err := runAs(t, user, env, "/usr/bin/python3", "-B", "-c", overQuota, toeAddr)
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(out, want), out)
		require.NotZero(t, srv.Counters().Declined[toe.ReasonQuota])
	}
}
