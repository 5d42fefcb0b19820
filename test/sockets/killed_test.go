package sockets

import (
	"bufio"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opentoe/sockshim/server"
)

// count returns the number in an environment variable, or otherwise.
func count(t *testing.T, name string, otherwise int) int {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err, name)
	return n
}

// bystander is a program whose own transfers go on while others are killed.
type bystander struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *bufio.Scanner
	port  string
}

func startBystander(t *testing.T, env []string, bin, address string) *bystander {
	b := &bystander{cmd: exec.Command(bin, address, "bystander")}
	b.cmd.Env = append(os.Environ(), env...)
	b.cmd.Stderr = os.Stderr
	var err error
	b.in, err = b.cmd.StdinPipe()
	require.NoError(t, err)
	out, err := b.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, b.cmd.Start())
	t.Cleanup(func() { _ = b.cmd.Process.Kill(); _ = b.cmd.Wait() })
	b.lines = bufio.NewScanner(out)
	require.True(t, b.lines.Scan())
	b.port = b.lines.Text()
	return b
}

// end lets it end in order and returns how many transfers it has verified.
func (b *bystander) end(t *testing.T) int {
	require.NoError(t, b.in.Close())
	require.True(t, b.lines.Scan())
	rounds, err := strconv.Atoi(strings.TrimPrefix(b.lines.Text(), "rounds "))
	require.NoError(t, err, b.lines.Text())
	require.NoError(t, b.cmd.Wait())
	return rounds
}

// TestKilled kills programs with all their threads and children at any moment under load, and lets one go
// on beside them. KILLS is how many.
func TestKilled(t *testing.T) {
	kills, seed := count(t, "KILLS", 20), uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	bin, err := compile("lost/killed.c")
	require.NoError(t, err)
	srv := toedOf(t, t.TempDir(), 3)
	files, maps := memoryFiles(t)
	env := preloaded(t, srv.SocketPath())
	by := startBystander(t, env, bin, toeAddr)

	const atOnce = 3
	var victims sync.WaitGroup
	for v := range atOnce {
		random := rand.New(rand.NewPCG(seed, uint64(v)))
		victims.Go(func() {
			for range (kills + atOnce - 1 - v) / atOnce {
				cmd := exec.Command(bin, toeAddr, "victim")
				cmd.Env = append(append(os.Environ(), env...), "PORT="+by.port)
				cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
				var said strings.Builder
				cmd.Stdout, cmd.Stderr = &said, &said
				if err := cmd.Start(); err != nil {
					t.Error(err)
					return
				}
				time.Sleep(time.Duration(random.Int64N(int64(150 * time.Millisecond))))
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
	c := srv.Counters()
	rounds := by.end(t)
	t.Logf("%d kills of %d clients; %d connections, %d transfers of the bystander", kills, c.Died, c.ActiveOpens, rounds)
	require.Zero(t, sum(c.Violations[:]))
	require.Eventually(t, func() bool { return srv.Usage() == server.Usage{} }, patience, time.Millisecond, "%+v", srv.Usage())
	require.Eventually(t, func() bool {
		f, m := memoryFiles(t)
		return f == files && m == maps
	}, patience, time.Millisecond, "memory files stay open or mapped")
}

// memoryFiles counts the memory files that this process has open, and mapped.
func memoryFiles(t *testing.T) (open, mapped int) {
	fds, err := filepath.Glob("/proc/self/fd/*")
	require.NoError(t, err)
	for _, fd := range fds {
		if name, err := os.Readlink(fd); err == nil && strings.HasPrefix(name, "/memfd:") {
			open++
		}
	}
	maps, err := os.ReadFile("/proc/self/maps")
	require.NoError(t, err)
	return open, strings.Count(string(maps), "/memfd:")
}
