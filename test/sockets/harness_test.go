// Package sockets runs small programs, the cases, twice: on the kernel's sockets and under the preload
// library on a TOE in memory. What they print has to be the same. README.md says how to write and run one.
package sockets

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"opentoe/sockshim/server"
	"opentoe/toe"
	"opentoe/toe/loopdev"
)

const (
	kernelAddr  = "127.0.0.1"
	kernelAddr6 = "::1"
	toeAddr     = "10.99.0.1" // known to the TOE only
	toeAddr6    = "fd99::1"
	patience    = 90 * time.Second
	lanes       = 6 // cases that run at once: they wait more than they work
)

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", fmt.Sprint(lanes)); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// toedIn starts a server over a loopback device.
func toedIn(t testing.TB, dir string) *server.Server { return toedOf(t, dir, 1) }

// toedOf starts a server over a device with so many workers.
func toedOf(t testing.TB, dir string, workers int) *server.Server {
	return toedWith(t, workers, server.Config{Dir: dir})
}

// toedWith is toedOf with more settings.
func toedWith(t testing.TB, workers int, cfg server.Config) *server.Server {
	reg := toe.NewRegistry()
	cfg.Registry, cfg.Log = reg, slog.New(slog.NewTextHandler(testWriter{t}, nil))
	srv, err := server.New(cfg)
	require.NoError(t, err)
	lag, err := time.ParseDuration(cmp.Or(os.Getenv("LAG"), "0"))
	require.NoError(t, err)
	dev, err := loopdev.New(loopdev.Config{Name: "loop", Workers: workers, Lag: lag, Prefixes: []netip.Prefix{
		netip.MustParsePrefix(toeAddr + "/24"), netip.MustParsePrefix(toeAddr6 + "/64"),
	}})
	require.NoError(t, err)
	require.NoError(t, reg.RegisterSocketLayer(srv))
	require.NoError(t, reg.Register(dev))
	require.NoError(t, reg.Activate("loop"))
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ctx) }()
	t.Cleanup(func() {
		_ = reg.Deactivate("loop")
		cancel()
		require.NoError(t, srv.Close())
		require.NoError(t, <-served)
	})
	return srv
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// sanitized says whether cases and library are built with the address and undefined-behaviour
// sanitizers.
func sanitized() bool { return os.Getenv("SAN") == "1" }

// library builds the preload library, once.
var library = sync.OnceValues(func() (string, error) {
	build, err := filepath.Abs("../../build")
	if err != nil {
		return "", err
	}
	name, args := "libtoe_shim.so", []string{"-s", "-C", "../../sockshim/preload"}
	if sanitized() {
		name, args = "libtoe_shim_san.so", append(args, "SAN=1")
	}
	if out, err := exec.Command("make", args...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return filepath.Join(build, name), nil
})

// sanitizer is the address sanitizer's own library, which has to be loaded first.
var sanitizer = sync.OnceValues(func() (string, error) {
	if !sanitized() {
		return "", nil
	}
	out, err := exec.Command("gcc", "-print-file-name=libasan.so").Output()
	return strings.TrimSpace(string(out)), err
})

// preloaded is the environment of a program that runs under the library, with the toed at socket.
func preloaded(t testing.TB, socket string) []string {
	lib, err := library()
	require.NoError(t, err)
	first, err := sanitizer()
	require.NoError(t, err)
	return []string{"LD_PRELOAD=" + strings.TrimSpace(first+" "+lib), "TOE_SOCKET=" + socket}
}

// compile builds one program into build/cases, or finds it there as it was built from the same text.
func compile(source string) (string, error) {
	flags := []string{"-O1", "-g", "-Wall", "-Wextra", "-Werror", "-pthread"}
	dir := "../../build/cases"
	if sanitized() {
		flags = append(flags, "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")
		dir += "-san"
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if err = os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	bin := filepath.Join(dir, strings.TrimSuffix(filepath.Base(source), ".c"))
	lock, err := os.Create(bin + ".lock") // against another run of the tests
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err = unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return "", err
	}
	stamp, err := digest(fmt.Sprint(flags), source, "cases/cases.h")
	if err != nil {
		return "", err
	}
	if was, err := os.ReadFile(bin + ".sum"); err == nil && string(was) == stamp {
		return bin, nil
	}
	if out, err := exec.Command("gcc", append(flags, "-o", bin+".new", source)...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", source, err, out)
	}
	if err = os.Rename(bin+".new", bin); err != nil { // whoever runs the old one goes on
		return "", err
	}
	return bin, os.WriteFile(bin+".sum", []byte(stamp), 0o644)
}

// digest tells texts apart by what they say.
func digest(how string, files ...string) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, how)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%d\n%s", len(text), text)
	}
	return fmt.Sprintf("%x", h.Sum(nil)), nil
}

// run returns what a program prints, or that and why it is wrong. The program is the head of a process
// group, of which nothing is left afterwards.
func run(t testing.TB, env []string, bin string, args ...string) (string, error) {
	return runAs(t, nil, env, bin, args...)
}

// runAs is run for a user; nil: our own.
func runAs(t testing.TB, user *syscall.Credential, env []string, bin string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return runFor(ctx, user, env, bin, args...)
}

// runFor is runAs until the context's end.
func runFor(ctx context.Context, user *syscall.Credential, env []string, bin string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, bin, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, Credential: user}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second // for what the program has left behind
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	if err == nil && stderr.Len() != 0 {
		err = errors.New("it wrote to standard error")
	}
	if err != nil {
		return stdout.String(), fmt.Errorf("%w\nstandard output:\n%s\nstandard error:\n%s", err, &stdout, &stderr)
	}
	return stdout.String(), nil
}

func sum(v []uint64) (n uint64) {
	for _, x := range v {
		n += x
	}
	return n
}
