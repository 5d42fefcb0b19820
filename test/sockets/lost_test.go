package sockets

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// asToed is set in the environment of a child that is to be a toed; its value is the directory.
const asToed = "SOCKETS_TEST_TOED"

// TestToed is not a test: it is the toed that TestToedLost kills.
func TestToed(t *testing.T) {
	dir := os.Getenv(asToed)
	if dir == "" {
		t.Skip("runs in a process of its own")
	}
	toedIn(t, dir)
	fmt.Println("serving")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n') // for ever: the parent kills us
}

// startToed starts a toed in a process that can be killed.
func startToed(t *testing.T, dir string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], "-test.run=^TestToed$", "-test.v")
	cmd.Env = append(os.Environ(), asToed+"="+dir)
	_, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "serving" {
	}
	require.Equal(t, "serving", lines.Text())
	return cmd
}

// TestToedLost kills toed under a program's connections. Whoever waits on one is told at once, new
// sockets are the kernel's, and when another toed serves the directory it takes new ones again.
func TestToedLost(t *testing.T) {
	dir := t.TempDir()
	bin, err := compile("lost/lost.c")
	require.NoError(t, err)
	first := startToed(t, dir)

	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, toeAddr, "lost")
	cmd.Env = append(os.Environ(), preloaded(t, filepath.Join(dir, "toed.sock"))...)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(out)
	until := func(end string) (got []string) {
		for lines.Scan() && lines.Text() != end {
			got = append(got, lines.Text())
		}
		require.Equal(t, end, lines.Text(), got)
		return got
	}
	require.Empty(t, until("ready"))
	kill := func(toed *exec.Cmd) {
		require.NoError(t, toed.Process.Kill())
		_ = toed.Wait()
	}
	kill(first)
	got := until("waiting")
	slices.Sort(got) // the four waits end in any order
	require.Equal(t, []string{
		"bind without toed: EADDRNOTAVAIL", "close: 0", "epoll: 1", "events: IN HUP ERR", "events: IN RDHUP HUP ERR", "over the kernel: 1",
		"poll: 1", "read: ECONNRESET", "write afterwards: ECONNRESET", "write: ECONNRESET",
	}, got)

	again := func(end string) {
		_, err = in.Write([]byte("again\n"))
		require.NoError(t, err)
		require.Equal(t, []string{"over the new toed: 1"}, until(end))
	}
	second := startToed(t, dir)
	again("waiting")
	kill(second)
	startToed(t, dir)
	again("done")
	require.NoError(t, cmd.Wait())
}
