package sockets

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestManyToeds has a program outlive one toed after the other: of those that are gone it keeps no memory,
// whatever it had there.
func TestManyToeds(t *testing.T) {
	dir := t.TempDir()
	bin, err := compile("lost/often.c")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	toed := startToed(t, dir)
	cmd := exec.CommandContext(ctx, bin, toeAddr, "often")
	cmd.Env = append(os.Environ(), preloaded(t, filepath.Join(dir, "toed.sock"))...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(out)
	const rounds, most = 12, 8 // of now and of before, region and status page; some are given up late
	for round := range rounds {
		_, err = fmt.Fprintln(in, round)
		require.NoError(t, err)
		require.True(t, lines.Scan(), "round %d", round)
		files, err := strconv.Atoi(lines.Text())
		require.NoError(t, err, lines.Text())
		t.Log(files)
		require.LessOrEqual(t, files, most, "round %d", round)
		require.NoError(t, toed.Process.Kill())
		_ = toed.Wait()
		toed = startToed(t, dir)
	}
	require.NoError(t, in.Close())
	require.NoError(t, cmd.Wait())
}
