//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
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
)

// limit is the longest that one test may take: what stalls fails.
const limit = 5 * time.Minute

// wire is a lab without toed.
func wire(t *testing.T) *lab.Lab {
	t.Helper()
	cfg, err := lab.Standard("../..", fmt.Sprintf("%s-%s", prefix(), strings.ToLower(strings.ReplaceAll(t.Name(), "/", "-"))))
	require.NoError(t, err)
	l, err := lab.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			showLogs(t, l)
		}
		require.NoError(t, l.Close())
	})
	return l
}

// config is toed's configuration for a driver: af_xdp or af_packet.
func config(driver, more string) string {
	return fmt.Sprintf("ports:\n  - name: toe0\n    device: %s:%s\n    addresses: [%s/24, \"%s/64\"]\n%s",
		driver, nearIf, toeAddr, toeAddr6, more)
}

// toed is a lab with toed on the near host.
func toed(t *testing.T, driver, more string) (context.Context, *lab.Lab, *lab.Toed) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	l := wire(t)
	file, runDir, err := l.WriteConfig(config(driver, more))
	require.NoError(t, err)
	d, err := l.StartToed(ctx, file, runDir)
	require.NoError(t, err)
	s, err := d.Status(ctx)
	require.NoError(t, err)
	require.Equal(t, "net_"+driver, s.Ports[0].Driver, "toed fell back to another driver")
	return ctx, l, d
}

// serve starts a program under toerun and waits until it listens on the TOE.
func serve(ctx context.Context, t *testing.T, l *lab.Lab, d *lab.Toed, port int, words ...string) *lab.Process {
	t.Helper()
	words = l.Toerun(d.Socket(), words...)
	p, err := l.Start(l.NearHost, words[0], words[1:]...)
	require.NoError(t, err)
	require.NoError(t, p.WaitFor(ctx, func() error { return d.Listening(ctx, port) }))
	return p
}

// nginx starts a server with a file "big" of n octets and small ones, and returns big's SHA-256.
func nginx(ctx context.Context, t *testing.T, l *lab.Lab, d *lab.Toed, port int, n int64) (p *lab.Process, sum string) {
	t.Helper()
	docs := l.Path("docs")
	require.NoError(t, os.MkdirAll(docs, 0o755))
	sum, err := lab.WriteRandom(filepath.Join(docs, "big"), n, 1)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(docs, "small"), []byte(strings.Repeat("x", 1000)), 0o644))
	words, err := lab.Nginx{Name: "nginx", Port: port, Workers: 2, Docs: docs}.Words(l)
	require.NoError(t, err)
	return serve(ctx, t, l, d, port, words...), sum
}

// showLogs prints the last lines of every log of the lab.
func showLogs(t *testing.T, l *lab.Lab) {
	logs, _ := filepath.Glob(l.Path("*.log")) // the pattern is well-formed
	for _, f := range logs {
		text, _ := os.ReadFile(f)
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		t.Logf("%s:\n%s", filepath.Base(f), strings.Join(lines[max(0, len(lines)-20):], "\n"))
	}
}

// eventually waits until f returns nil; what it returned last is the failure.
func eventually(ctx context.Context, t *testing.T, f func() error) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			require.NoError(t, err)
		case <-tick.C:
		}
	}
}

// offloaded returns how many connections toed has carried.
func offloaded(ctx context.Context, t *testing.T, d *lab.Toed) uint64 {
	t.Helper()
	s, err := d.Status(ctx)
	require.NoError(t, err)
	return s.Offloaded
}

// offloadedOnly demands that nothing was left to the kernel.
func offloadedOnly(ctx context.Context, t *testing.T, d *lab.Toed) {
	t.Helper()
	s, err := d.Status(ctx)
	require.NoError(t, err)
	require.Empty(t, s.Refused, "sockets were left to the kernel")
	require.NotZero(t, s.Offloaded)
}
