package sockets

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// link builds a program of the folder turns out of the library's own objects; calls to the functions given
// come to the program's, which stands for toed.
func link(t *testing.T, name string, looks ...string) string {
	lib, err := library()
	require.NoError(t, err)
	objects, err := filepath.Glob(strings.TrimSuffix(lib, ".so") + ".o/*.o")
	require.NoError(t, err)
	require.NotEmpty(t, objects)
	bin := filepath.Join(t.TempDir(), name)
	args := []string{"-O1", "-g", "-Wall", "-Wextra", "-Werror", "-pthread", "-o", bin, "turns/" + name + ".c"}
	for _, look := range looks {
		args = append(args, "-Wl,--wrap="+look)
	}
	if sanitized() {
		args = append(args, "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")
	}
	out, err := exec.Command("gcc", append(args, objects...)...).CombinedOutput()
	require.NoError(t, err, string(out))
	return bin
}

// TestTurns reads a socket while toed changes it, in every order of the reader's looks and toed's moves: the
// octets come before the end, whenever the two become visible.
func TestTurns(t *testing.T) {
	said, err := run(t, nil, link(t, "turns", "shim_rx_ended", "shim_unread", "shim_urgent", "shim_wait_slot"))
	require.NoError(t, err)
	require.Contains(t, said, "turns")
}

// TestToedEndsDuringLook has toed end at every moment of a wait for a listener: the thread looks after the
// listener, and does not sleep over it. While toed is asked to take a listener it is still without toed, for all.
func TestToedEndsDuringLook(t *testing.T) {
	said, err := run(t, nil, link(t, "away", "shim_now", "shim_ready", "shim_eq_alloc", "shim_relisten_slow", "shim_wait_slot"))
	require.NoError(t, err)
	require.Contains(t, said, "turns")
}

// TestTurnsAtTheQueue has two processes see one connection in the kernel's queue of a listener that they share.
func TestTurnsAtTheQueue(t *testing.T) {
	said, err := run(t, nil, link(t, "queue"))
	require.NoError(t, err, said)
	require.Contains(t, said, "turns")
}
