package server

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// The capability counts of a process that was given it, not of one that an executable file gave it to: that
// may have been started after the connection was made.
func TestWhoMayBindLow(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give capabilities")
	}
	const nobody = 65534
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && len(d) > 1; d = filepath.Dir(d) {
		require.NoError(t, os.Chmod(d, 0o755))
	}
	cat, err := exec.LookPath("cat")
	require.NoError(t, err)
	text, err := os.ReadFile(cat)
	require.NoError(t, err)
	gifted := filepath.Join(dir, "cat")
	require.NoError(t, os.WriteFile(gifted, text, 0o755))
	// struct vfs_cap_data of linux/capability.h: revision 2, effective; permitted; inheritable.
	caps := []byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	require.NoError(t, unix.Setxattr(gifted, "security.capability", caps, 0))

	for _, c := range []struct {
		name, program string
		ambient       []uintptr
		want          bool
	}{
		{"without", cat, nil, false},
		{"given", cat, []uintptr{unix.CAP_NET_BIND_SERVICE}, true},
		{"the file's", gifted, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := exec.Command(c.program)
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}, AmbientCaps: c.ambient}
			in, err := cmd.StdinPipe()
			require.NoError(t, err)
			out, err := cmd.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			_, err = in.Write([]byte("."))
			require.NoError(t, err)
			_, err = out.Read(make([]byte, 1)) // it runs
			require.NoError(t, err)
			require.Equal(t, c.want, mayBindLow(&unix.Ucred{Pid: int32(cmd.Process.Pid), Uid: nobody, Gid: nobody}))
			require.NoError(t, in.Close())
			require.NoError(t, cmd.Wait())
		})
	}
}
