//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestLocalPortInUse leaves connections half closed, one after the other and from few ports. For the
// kernel their ports are free again as soon as the program has gone, but on the device they are in
// use: another one has to be found each time.
func TestLocalPortInUse(t *testing.T) {
	const ports = 16 // the kernel prefers one half of them
	ctx, l, d := toed(t, "af_packet", "")
	server, err := l.Start(l.FarHost, "redis-server", "--bind", peerAddr, "--protected-mode", "no", "--save", "", "--dir", l.Dir)
	require.NoError(t, err)
	eventually(ctx, t, func() error { return l.FarHost.Run("redis-cli", "-h", peerAddr, "ping") })
	// A server that stands still accepts, by its kernel, and does not close.
	require.NoError(t, syscall.Kill(server.PID(), syscall.SIGSTOP))
	defer func() { _ = server.Kill() }() // it would not hear of an orderly end
	require.NoError(t, l.NearHost.Run("sysctl", "-qw",
		fmt.Sprintf("net.ipv4.ip_local_port_range=%d %d", 28000, 28000+ports-1)))
	for range ports/2 - 1 {
		const timedOut = 28 // connected, but got no answer
		words := l.Toerun(d.Socket(), "curl", "-s", "-m", "0.2", "http://"+peerAddr+":6379")
		var exit *exec.ExitError
		require.True(t, errors.As(l.NearHost.Run(words[0], words[1:]...), &exit))
		require.Equal(t, timedOut, exit.ExitCode())
	}
	s, err := d.Status(ctx)
	require.NoError(t, err)
	require.EqualValues(t, ports/2-1, s.Offloaded)
}
