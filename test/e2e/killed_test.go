//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opentoe/test/lab"
)

// told is a program that goes on until its standard input ends.
type told struct {
	cmd   *exec.Cmd
	in    io.Closer
	lines *bufio.Scanner
}

func startTold(t *testing.T, cmd *exec.Cmd) *told {
	t.Helper()
	p := &told{cmd: cmd}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	p.in, p.lines = in, bufio.NewScanner(out)
	return p
}

// says returns the next line.
func (p *told) says(t *testing.T) string {
	t.Helper()
	require.True(t, p.lines.Scan())
	return p.lines.Text()
}

// kept is what toed has open and mapped for its clients.
func kept(t *testing.T, d *lab.Toed) string {
	t.Helper()
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", d.PID()))
	require.NoError(t, err)
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", d.PID()))
	require.NoError(t, err)
	return fmt.Sprintf("%d descriptors, %d mapped memory files", len(fds), strings.Count(string(maps), "/memfd:"))
}

// TestKilled kills programs on the TOE at any moment under load, with connections to and from the kernel at the other
// end of the wire. Meanwhile others' transfers have to arrive as they are, both ways. KILLS is how
// many.
func TestKilled(t *testing.T) {
	kills, seed := 20, uint64(time.Now().UnixNano())
	if text := os.Getenv("KILLS"); text != "" {
		var err error
		kills, err = strconv.Atoi(text)
		require.NoError(t, err)
	}
	t.Logf("seed %d", seed)
	ctx, cancel := context.WithTimeout(t.Context(), limit+time.Duration(kills)*time.Second)
	defer cancel()
	l := wire(t)
	file, runDir, err := l.WriteConfig(config("af_xdp", "tcp: {msl: 1s}\n"))
	require.NoError(t, err)
	d, err := l.StartToed(ctx, file, runDir)
	require.NoError(t, err)
	before := kept(t, d)
	bin := l.Path("killed")
	out, err := exec.Command("gcc", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread", "-o", bin, "../sockets/lost/killed.c").CombinedOutput()
	require.NoError(t, err, string(out))

	// Who must not notice: a server on the TOE that the kernel's programs read from, programs on the TOE that read from
	// the kernel's server, and the latter.
	near, sum := nginx(ctx, t, l, d, 80, 4*megabyte)
	words, err := lab.Nginx{Name: "far", Port: 80, Workers: 1, Docs: l.Path("docs")}.Words(l)
	require.NoError(t, err)
	far, err := l.Start(l.FarHost, words[0], words[1:]...)
	require.NoError(t, err)
	require.NoError(t, far.WaitFor(ctx, func() error { return l.FarHost.Listening(80) }))
	var over atomic.Bool
	var bystanders, victims sync.WaitGroup
	var verified [2]int
	get := []string{"curl", "-sS", "--fail", "--noproxy", "*", "--max-time", "60"}
	for i, who := range []struct {
		host  lab.Host
		words []string
	}{
		{l.FarHost, append(get, "http://"+toeAddr+"/big")},
		{l.NearHost, append(l.Toerun(d.Socket(), get...), "http://"+peerAddr+"/big")},
	} {
		bystanders.Go(func() {
			for ; !over.Load() || verified[i] == 0; verified[i]++ {
				h := sha256.New()
				cmd := who.host.Command(ctx, who.words[0], who.words[1:]...)
				cmd.Stdout, cmd.Stderr = h, os.Stderr
				err := cmd.Run()
				if got := hex.EncodeToString(h.Sum(nil)); err == nil && got != sum {
					err = errors.New("SHA-256 " + got)
				}
				if err != nil {
					t.Errorf("%s: %v", who.words, err)
					return
				}
			}
		})
	}
	const port = "7777"
	server := startTold(t, l.FarHost.Command(ctx, bin, peerAddr, "server"))
	victim := append([]string{"env", "SERVER=" + peerAddr, "PORT=" + server.says(t), "CALLED=" + port},
		l.Toerun(d.Socket(), bin, toeAddr, "victim_of_two_hosts")...)
	caller := startTold(t, l.FarHost.Command(ctx, "env", "CALLED="+port, bin, toeAddr, "caller"))

	const atOnce = 3
	for v := range atOnce {
		random := rand.New(rand.NewPCG(seed, uint64(v)))
		victims.Go(func() {
			for range (kills + atOnce - 1 - v) / atOnce {
				cmd := l.NearHost.Command(ctx, victim[0], victim[1:]...)
				var said strings.Builder
				cmd.Stdout, cmd.Stderr = &said, &said
				if err := cmd.Start(); err != nil {
					t.Error(err)
					return
				}
				time.Sleep(time.Duration(random.Int64N(int64(300 * time.Millisecond))))
				if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); err != nil {
					t.Error(err)
				}
				_ = cmd.Wait()
				if said.Len() != 0 {
					t.Errorf("the victim said: %s", said.String())
				}
			}
		})
	}
	victims.Wait()
	over.Store(true)
	bystanders.Wait()
	for _, p := range []*told{caller, server} {
		require.NoError(t, p.in.Close())
	}
	calls := caller.says(t)
	require.NoError(t, caller.cmd.Wait())
	require.NoError(t, server.cmd.Wait())
	stats, err := d.Stats(ctx)
	require.NoError(t, err)
	t.Logf("%d kills of %d clients; %d connections; of the caller: %s; transfers verified: %d from the TOE, %d to it",
		kills, stats.Clients["Died"], offloaded(ctx, t, d), calls, verified[0], verified[1])
	for name, n := range stats.Clients {
		if strings.Contains(strings.ToLower(name), "violation") {
			require.Zero(t, n, name)
		}
	}
	require.NoError(t, near.Stop())
	eventually(ctx, t, func() error {
		s, err := d.Status(ctx)
		if err == nil && (s.Connections != 0 || s.Clients != 0 || s.MemoryBytes != 0) {
			err = fmt.Errorf("left: %+v", s)
		}
		if now := kept(t, d); err == nil && now != before {
			err = fmt.Errorf("toed has %s, had %s", now, before)
		}
		return err
	})
}
