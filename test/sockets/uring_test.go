package sockets

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestIoUring asks for rings under the library, which refuses them unless it is told otherwise.
func TestIoUring(t *testing.T) {
	_, err := library()
	require.NoError(t, err)
	bin, err := compile("uring/uring.c")
	require.NoError(t, err)
	plain, err := run(t, nil, bin)
	require.NoError(t, err)
	env := preloaded(t, filepath.Join(t.TempDir(), "nobody"))
	for how, want := range map[string]string{
		"refuse": "syscall: refused\nown call: refused\nothers: 1\n",
		"allow":  plain, // as the host has it
	} {
		said, err := run(t, append(env, "TOE_IO_URING="+how), bin)
		require.NoError(t, err)
		require.Equal(t, want, said, how)
	}
	said, err := run(t, env, bin)
	require.NoError(t, err)
	require.Contains(t, said, "syscall: refused\n")
}
