package launch

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPreloadable(t *testing.T) {
	dir := t.TempDir()
	script := filepath.Join(dir, "script")
	require.NoError(t, os.WriteFile(script, []byte("#! /bin/sh -e\n:\n"), 0o755))
	text := filepath.Join(dir, "text")
	require.NoError(t, os.WriteFile(text, []byte("not a program"), 0o755))
	setuid := filepath.Join(dir, "setuid")
	sh, err := os.ReadFile("/bin/sh")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(setuid, sh, 0o755))

	require.NoError(t, Preloadable("/bin/sh"))
	require.NoError(t, Preloadable(script))
	require.ErrorIs(t, Preloadable(text), ErrUnreachable)
	static := buildStatic(t, dir)
	require.EqualError(t, Preloadable(static), static+" is statically linked: the preload library cannot reach it")

	if os.Getuid() == 0 {
		require.NoError(t, os.Chown(setuid, 65534, 65534))
		require.NoError(t, os.Chmod(setuid, 0o755|os.ModeSetuid))
		require.ErrorContains(t, Preloadable(setuid), "is set-user-ID")
	}
}

func buildStatic(t *testing.T, dir string) string {
	src := filepath.Join(dir, "main.go")
	require.NoError(t, os.WriteFile(src, []byte("package main\nfunc main() {}\n"), 0o644))
	bin := filepath.Join(dir, "static")
	cmd := exec.Command("go", "build", "-o", bin, src)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	return bin
}

func TestEnvironment(t *testing.T) {
	env := Environment([]string{"A=1", "LD_PRELOAD=/x.so /shim.so:/y.so", "TOE_SOCKET=/old"}, "/shim.so", "/run/s")
	require.Equal(t, []string{"A=1", "LD_PRELOAD=/shim.so:/x.so:/y.so", "TOE_SOCKET=/run/s"}, env)
}

func TestFindShim(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "build"), 0o755))
	shim := filepath.Join(dir, "build", "libtoe_shim.so")
	require.NoError(t, os.WriteFile(shim, nil, 0o644))
	t.Setenv("TOE_SHIM", "")
	got, err := FindShim(filepath.Join(dir, "bin", "toerun"))
	require.NoError(t, err)
	require.Equal(t, shim, got)

	t.Setenv("TOE_SHIM", filepath.Join(dir, "absent.so"))
	_, err = FindShim(filepath.Join(dir, "bin", "toerun"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestAnswers(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "toed.sock")
	require.ErrorContains(t, Answers(socket), "toed does not run")

	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: socket, Net: "unixpacket"})
	require.NoError(t, err)
	require.NoError(t, Answers(socket))

	l.SetUnlinkOnClose(false)
	require.NoError(t, l.Close())
	require.ErrorContains(t, Answers(socket), "does not answer")
}
