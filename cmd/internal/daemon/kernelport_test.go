package daemon

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A setting comes back, also when the process that made it was killed and another one ends in order.
func TestSetSysctl(t *testing.T) {
	file, kept := filepath.Join(t.TempDir(), "rp_filter"), filepath.Join(t.TempDir(), "before")
	is := func(want string) {
		t.Helper()
		got, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, want, string(got))
	}
	undo, err := setSysctl(file, "1", kept)
	require.NoError(t, err, "there is no such setting")
	require.NoError(t, undo())
	require.NoFileExists(t, file)

	require.NoError(t, os.WriteFile(file, []byte("2\n"), 0o600))
	_, err = setSysctl(file, "1", kept) // and killed
	require.NoError(t, err)
	is("1")
	undo, err = setSysctl(file, "1", kept)
	require.NoError(t, err)
	is("1")
	require.NoError(t, undo())
	is("2\n")
	require.NoFileExists(t, kept)

	// Killed, and the interface was made anew since: what it is now counts.
	_, err = setSysctl(file, "1", kept)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, []byte("0\n"), 0o600))
	undo, err = setSysctl(file, "1", kept)
	require.NoError(t, err)
	require.NoError(t, undo())
	is("0\n")

	require.NoError(t, os.WriteFile(file, []byte("1\n"), 0o600))
	undo, err = setSysctl(file, "1", kept)
	require.NoError(t, err)
	require.NoFileExists(t, kept)
	require.NoError(t, undo())
	is("1\n")

	require.NoError(t, os.WriteFile(file, []byte("0\n"), 0o600))
	undo, err = setSysctl(file, "1", kept)
	require.NoError(t, err)
	require.NoError(t, os.RemoveAll(filepath.Dir(file)))
	require.NoError(t, undo(), "the interface is gone")
	require.NoFileExists(t, file)
}
