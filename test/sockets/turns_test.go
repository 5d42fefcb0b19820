package sockets

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTurns reads a socket while toed changes it, in every order of the reader's looks and toed's moves: the
// octets come before the end, whenever the two become visible.
func TestTurns(t *testing.T) {
	lib, err := library()
	require.NoError(t, err)
	objects, err := filepath.Glob(strings.TrimSuffix(lib, ".so") + ".o/*.o")
	require.NoError(t, err)
	require.NotEmpty(t, objects)
	bin := filepath.Join(t.TempDir(), "turns")
	args := []string{"-O1", "-g", "-Wall", "-Wextra", "-Werror", "-pthread", "-o", bin, "turns/turns.c"}
	for _, look := range []string{"shim_rx_ended", "shim_unread", "shim_urgent", "shim_wait_slot"} {
		args = append(args, "-Wl,--wrap="+look)
	}
	if sanitized() {
		args = append(args, "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")
	}
	out, err := exec.Command("gcc", append(args, objects...)...).CombinedOutput()
	require.NoError(t, err, string(out))
	said, err := run(t, nil, bin)
	require.NoError(t, err)
	require.Contains(t, said, "turns")
}
