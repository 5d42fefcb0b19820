//go:build e2e

package e2e

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestFastOpen opens connections with their first octets, from the TOE to the kernel and from the kernel to the TOE: the first
// asks for a cookie, the others use it.
func TestFastOpen(t *testing.T) {
	ctx, l, d := toed(t, "af_xdp", "")
	program := l.Path("fastopen")
	out, err := exec.Command("gcc", "-Wall", "-Wextra", "-Werror", "-O2", "-o", program, "testdata/fastopen.c").CombinedOutput()
	require.NoError(t, err, string(out))
	require.NoError(t, l.FarHost.Run("sysctl", "-qw", "net.ipv4.tcp_fastopen=3"))
	const want = "hello, with the SYN: 0\nhello, with the SYN: 1\nhello, with the SYN: 1\n"

	kernel := l.FarHost.Command(ctx, program, "listen", peerAddr, "7301")
	require.NoError(t, kernel.Start())
	words := l.Toerun(d.Socket(), program, "connect", peerAddr, "7301")
	text, err := l.NearHost.Command(ctx, words[0], words[1:]...).CombinedOutput()
	require.NoError(t, err, string(text))
	require.Equal(t, want, string(text))
	require.NoError(t, kernel.Wait())

	words = l.Toerun(d.Socket(), program, "listen", toeAddr, "7302")
	toe := l.NearHost.Command(ctx, words[0], words[1:]...)
	require.NoError(t, toe.Start())
	text, err = l.FarHost.Command(ctx, program, "connect", toeAddr, "7302").CombinedOutput()
	require.NoError(t, err, string(text))
	require.Equal(t, want, string(text))
	require.NoError(t, toe.Wait())
	offloadedOnly(ctx, t, d)
}
