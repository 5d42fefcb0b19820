//go:build apps

package apps

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opentoe/test/lab"
)

const (
	toeAddr, toeAddr6   = lab.ToeAddr, lab.ToeAddr6
	peerAddr, peerAddr6 = lab.PeerAddr, lab.PeerAddr6
	nearIf, farIf       = lab.NearIf, lab.FarIf

	// limit is the longest that one row may take: what stalls fails.
	limit = 4 * time.Minute
)

// toedConfig is the quickstart's: toed on the kernel's own interface. TIME-WAIT is short, so that the end of a row,
// which demands an empty toed, comes soon.
const toedConfig = "ports:\n  - name: toe0\n    device: af_xdp:" + nearIf + "\n    kernel: netdev\ntcp: {msl: 500ms}\n"

// bench is where a row is run: two hosts, a wire, toed on the near one.
type bench struct {
	*testing.T // of the step that runs
	*lab.Lab
	ctx   context.Context
	toed  *lab.Toed
	steps []string

	groups []int // process groups of programs that have put themselves into the background
}

// runApp runs a row and returns what came of it.
func runApp(t *testing.T, a *app) result {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	versions, err := versions(ctx, a.packages)
	require.NoError(t, err)
	b := &bench{T: t, ctx: ctx, Lab: newLab(t, slug(a.name))}
	file, runDir, err := b.WriteConfig(toedConfig + a.config)
	require.NoError(t, err)
	b.toed, err = b.StartToed(ctx, file, runDir)
	require.NoError(t, err)
	a.run(b)
	share := b.share()
	b.stopAll()
	b.empty()
	if a.kernel == "" {
		require.GreaterOrEqual(t, share, 99, "per cent of the connections were the TOE's")
	}
	return result{app: a, versions: versions, steps: b.steps, share: share}
}

func newLab(t *testing.T, name string) *lab.Lab {
	cfg, err := lab.Standard("../..", fmt.Sprintf("toeapp%d-%s", os.Getpid()%100000, name))
	require.NoError(t, err)
	cfg.Shared = true
	l, err := lab.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			showLogs(t, l)
		}
		require.NoError(t, l.Close())
	})
	near := l.NearHost
	require.NoError(t, errors.Join(
		countLocal(l.FarHost),
		near.Run("ip", "address", "add", toeAddr+"/24", "dev", nearIf),
		near.Run("ip", "address", "add", toeAddr6+"/64", "dev", nearIf, "nodad"),
	))
	return l
}

// step is a part of a row that docs/APPS.md names.
func (b *bench) step(what string, f func()) {
	b.Helper()
	outer := b.T
	defer func() { b.T = outer }()
	b.steps = append(b.steps, what)
	if !outer.Run(what, func(t *testing.T) { b.T = t; f() }) {
		outer.FailNow()
	}
}

// ok demands that there is no error.
func (b *bench) ok(err error) {
	b.Helper()
	require.NoError(b, err)
}

// until waits for f to return nil; what it returned last is the failure.
func (b *bench) until(f func() error) {
	b.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-b.ctx.Done():
			require.NoError(b, err)
		case <-tick.C:
		}
	}
}

// far runs a program to its end on the far kernel and returns its standard output.
func (b *bench) far(words ...string) string {
	b.Helper()
	return b.output(b.FarHost, words)
}

// near runs a program to its end on the TOE and returns its standard output.
func (b *bench) near(words ...string) string {
	b.Helper()
	return b.output(b.NearHost, b.onTOE(words...))
}

// here runs a program to its end on the near host, without the TOE.
func (b *bench) here(words ...string) string {
	b.Helper()
	return b.output(b.NearHost, words)
}

func (b *bench) output(h lab.Host, words []string) string {
	b.Helper()
	cmd := h.Command(b.ctx, words[0], words[1:]...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	require.NoError(b, err, "%s\n%s\n%s", strings.Join(words, " "), tail(stdout.String()), tail(stderr.String()))
	return stdout.String()
}

// tail returns the last lines of a text.
func tail(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}

// write makes a file in the lab's folder and returns its name.
func (b *bench) write(name, text string) string {
	b.Helper()
	name = b.Path(name)
	b.ok(os.MkdirAll(filepath.Dir(name), 0o755))
	b.ok(os.WriteFile(name, []byte(text), 0o644))
	return name
}

// random makes a file of n octets and returns its name and SHA-256.
func (b *bench) random(name string, n int64) (file, sum string) {
	b.Helper()
	file = b.Path(name)
	b.ok(os.MkdirAll(filepath.Dir(file), 0o755))
	sum, err := lab.WriteRandom(file, n, 1)
	b.ok(err)
	return file, sum
}

// same demands that a file has that SHA-256.
func (b *bench) same(name, sum string) {
	b.Helper()
	b.ok(lab.CheckSum(name, sum))
}

// folder makes a folder that belongs to a user.
func (b *bench) folder(name, owner string) string {
	b.Helper()
	name = b.Path(name)
	b.ok(os.MkdirAll(name, 0o755))
	u, err := user.Lookup(owner)
	b.ok(err)
	uid, _ := strconv.Atoi(u.Uid) // numeric on Linux
	gid, _ := strconv.Atoi(u.Gid)
	b.ok(os.Chown(name, uid, gid))
	return name
}

// countLocal has the far kernel count the connections that do not leave it.
func countLocal(far lab.Host) error {
	return far.Run("nft", "add table inet local; add counter inet local connections;"+
		" add chain inet local out { type filter hook output priority 0; };"+
		" add rule inet local out oifname lo tcp flags & (syn|ack) == (syn|ack) counter name connections")
}

// share returns how many of a hundred connections over the wire the TOE carried. The far kernel counts all; a handshake
// that its client gave up at the end may count for one of them only.
func (b *bench) share() int {
	b.Helper()
	stats, err := b.toed.Stats(b.ctx)
	b.ok(err)
	toe := stats.TCP["ActiveOpens"] + stats.TCP["PassiveOpens"] - stats.TCP["AttemptFails"]
	snmp := strings.Fields(b.far("grep", "^Tcp:", "/proc/net/snmp"))
	half := len(snmp) / 2
	count := map[string]uint64{}
	for i := range half {
		count[snmp[i]], _ = strconv.ParseUint(snmp[half+i], 10, 64)
	}
	var local uint64
	_, text, _ := strings.Cut(b.far("nft", "list", "counter", "inet", "local", "connections"), "packets ")
	_, err = fmt.Sscan(text, &local)
	b.ok(err)
	all := count["ActiveOpens"] + count["PassiveOpens"] - count["AttemptFails"] - 2*local
	b.Logf("%d of %d connections over the wire were the TOE's", toe, all)
	require.NotZero(b, all, "no connection at all")
	return int(min(100, (toe*100+all/2)/all))
}

// empty demands that toed has forgotten all programs, and noticed nothing wrong with them.
func (b *bench) empty() {
	b.Helper()
	b.until(func() error {
		s, err := b.toed.Status(b.ctx)
		if err == nil && (s.Clients != 0 || s.MemoryBytes != 0 || s.Connections != 0) {
			err = fmt.Errorf("left in toed: %+v", s)
		}
		if err != nil {
			return err
		}
		sockets, err := b.toed.Sockets(b.ctx)
		if err == nil && len(sockets) > 0 {
			err = fmt.Errorf("left in toed: %v", sockets)
		}
		return err
	})
}

// showLogs prints the last lines of every log of the lab.
func showLogs(t *testing.T, l *lab.Lab) {
	logs, _ := filepath.Glob(l.Path("*.log")) // the pattern is well-formed
	more, _ := filepath.Glob(l.Path("*", "*.log"))
	for _, f := range append(logs, more...) {
		if text, _ := os.ReadFile(f); len(text) > 0 {
			t.Logf("%s:\n%s", filepath.Base(f), tail(string(text)))
		}
	}
}

// versions asks dpkg for the versions of packages.
func versions(ctx context.Context, packages []string) ([]string, error) {
	var list []string
	for _, p := range packages {
		v, err := lab.Host{}.Output(ctx, "dpkg-query", "-W", "-f", "${Status} ${Version}", p)
		if i := strings.LastIndexByte(v, ' '); err == nil && strings.HasPrefix(v, "install ok installed") {
			list = append(list, v[i+1:])
			continue
		}
		return nil, fmt.Errorf("package %s is not installed: make apps installs it", p)
	}
	return list, nil
}
