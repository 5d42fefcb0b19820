package launch

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestJudge(t *testing.T) {
	dir := t.TempDir()
	sh, err := os.ReadFile("/bin/sh")
	require.NoError(t, err)
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(file, []byte(text), 0o755))
		return file
	}
	goStatic := build(t, dir, "gostatic", "CGO_ENABLED=0")
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	// A program for a machine that this one is not: the same, with another e_machine.
	foreign := []byte(string(sh))
	foreign[18] ^= 0x10
	// Of 32 bits only the header matters.
	small := append([]byte("\x7fELF\x01\x01\x01"), make([]byte, 45)...)
	copy(small[16:], []byte{2, 0, 3, 0, 1, 0, 0, 0}) // ET_EXEC, EM_386
	small[40], small[42], small[46] = 52, 32, 40

	for _, c := range []struct {
		name, file string
		want       Way
		err        string
	}{
		{"dynamic", "/bin/sh", Preload, ""},
		{"script", write("script", "#! /bin/sh -e\n:\n"), Preload, ""},
		{"script of env", write("envscript", "#!/usr/bin/env -S A=1 gostatic\n"), Supervise, ""},
		{"script of a script", write("nested", "#!"+filepath.Join(dir, "envscript")+"\n"), Supervise, ""},
		{"Go", goStatic, Supervise, ""},
		{"Go without symbols", build(t, dir, "stripped", "CGO_ENABLED=0", "-ldflags=-s -w"), Supervise, ""},
		{"Go with libc", build(t, dir, "gocgo", "CGO_ENABLED=1", "-ldflags=-linkmode=external"), Supervise, ""},
		{"C, static", compile(t, dir, "cstatic", "-static"), Supervise, ""},
		{"C, static and relocatable", compile(t, dir, "cstaticpie", "-static-pie"), Supervise, ""},
		{"C, dynamic", compile(t, dir, "cdynamic"), Preload, ""},
		{"text", write("text", "not a program"), 0, "is not an ELF program"},
		{"another machine", write("foreign", string(foreign)), 0, "is a program for"},
		{"32 bits", write("small", string(small)), 0, "is a program for EM_386, ELFCLASS32"},
	} {
		t.Run(c.name, func(t *testing.T) {
			way, err := Judge(c.file)
			if c.err != "" {
				require.ErrorIs(t, err, ErrUnreachable)
				require.ErrorContains(t, err, c.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, way)
		})
	}

	if os.Getuid() == 0 {
		setuid := write("setuid", string(sh))
		require.NoError(t, os.Chown(setuid, 65534, 65534))
		require.NoError(t, os.Chmod(setuid, 0o755|os.ModeSetuid))
		_, err := Judge(setuid)
		require.ErrorIs(t, err, ErrUnreachable)
		require.ErrorContains(t, err, "is set-user-ID")
	}
}

// build makes a Go program.
func build(t *testing.T, dir, name, env string, flags ...string) string {
	src := filepath.Join(dir, "main.go")
	text := "package main\nfunc main() {}\n"
	if env == "CGO_ENABLED=1" {
		text = "package main\nimport \"C\"\nfunc main() {}\n"
	}
	require.NoError(t, os.WriteFile(src, []byte(text), 0o644))
	bin := filepath.Join(dir, name)
	cmd := exec.Command("go", append(append([]string{"build", "-o", bin}, flags...), src)...)
	cmd.Env = append(os.Environ(), env)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	return bin
}

// compile makes a C program.
func compile(t *testing.T, dir, name string, flags ...string) string {
	src := filepath.Join(dir, "main.c")
	require.NoError(t, os.WriteFile(src, []byte("int main(void) { return 0; }\n"), 0o644))
	bin := filepath.Join(dir, name)
	out, err := exec.Command("gcc", append(flags, "-o", bin, src)...).CombinedOutput()
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
