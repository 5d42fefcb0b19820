// Package sockets runs the C programs in the folder programs twice, on the kernel's sockets and under the
// preload library on a TOE in memory, and demands the same output.
package sockets

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opentoe/sockshim/server"
	"opentoe/toe"
	"opentoe/toe/loopdev"
)

const (
	kernelAddr = "127.0.0.1"
	toeAddr    = "10.99.0.1" // known to the TOE only
	patience   = 90 * time.Second
)

// toed starts a server over a loopback device.
func toedIn(t *testing.T, dir string) *server.Server { return toedOf(t, dir, 1) }

// toedOf starts a server over a device with so many workers.
func toedOf(t *testing.T, dir string, workers int) *server.Server {
	reg := toe.NewRegistry()
	srv, err := server.New(server.Config{
		Dir: dir, Registry: reg, Log: slog.New(slog.NewTextHandler(testWriter{t}, nil)),
	})
	require.NoError(t, err)
	dev, err := loopdev.New(loopdev.Config{Name: "loop", Workers: workers, Prefixes: []netip.Prefix{
		netip.MustParsePrefix(toeAddr + "/24"), netip.MustParsePrefix("fd99::1/64"),
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

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// sanitized says whether programs and library are built with the address and undefined-behaviour
// sanitizers.
func sanitized() bool { return os.Getenv("SAN") == "1" }

// library builds the preload library.
func library(t *testing.T) string {
	build, err := filepath.Abs("../../build")
	require.NoError(t, err)
	name, args := "libtoe_shim.so", []string{"-s", "-C", "../../sockshim/preload"}
	if sanitized() {
		name, args = "libtoe_shim_san.so", append(args, "SAN=1")
	}
	out, err := exec.Command("make", args...).CombinedOutput()
	require.NoError(t, err, string(out))
	return filepath.Join(build, name)
}

// preload is the value of LD_PRELOAD: the address sanitizer's own library has to come first.
func preload(t *testing.T, lib string) string {
	if !sanitized() {
		return lib
	}
	out, err := exec.Command("gcc", "-print-file-name=libasan.so").Output()
	require.NoError(t, err)
	return strings.TrimSpace(string(out)) + " " + lib
}

// compile builds one program.
func compile(t *testing.T, source, dir string) string {
	bin := filepath.Join(dir, strings.TrimSuffix(filepath.Base(source), ".c"))
	args := []string{"-O1", "-g", "-Wall", "-Wextra", "-Werror", "-pthread", "-o", bin, source}
	if sanitized() {
		args = append(args, "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")
	}
	out, err := exec.Command("gcc", args...).CombinedOutput()
	require.NoError(t, err, string(out))
	return bin
}

// run returns what a program prints.
func run(t *testing.T, env []string, bin string, args ...string) string {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.WaitDelay = time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	require.NoError(t, err, "%s\n%s", stdout.String(), stderr.String())
	require.Empty(t, stderr.String())
	return stdout.String()
}

func TestPrograms(t *testing.T) {
	lib, dir := library(t), t.TempDir()
	sources, err := filepath.Glob("programs/*.c")
	require.NoError(t, err)
	require.NotEmpty(t, sources)
	for _, source := range sources {
		t.Run(strings.TrimSuffix(filepath.Base(source), ".c"), func(t *testing.T) {
			bin := compile(t, source, dir)
			want := run(t, nil, bin, kernelAddr)
			require.Contains(t, want, "done")

			var env []string
			for _, workers := range []int{3, 1} {
				srv := toedOf(t, t.TempDir(), workers)
				env = []string{"LD_PRELOAD=" + preload(t, lib), "TOE_SOCKET=" + srv.SocketPath()}
				require.Equal(t, want, run(t, env, bin, toeAddr), "%d workers", workers)
				c := srv.Counters()
				require.NotZero(t, c.ActiveOpens, "nothing was offloaded")
				require.NotZero(t, c.PassiveOpens, "nothing was accepted")
				require.Zero(t, sum(c.Violations[:]), "the library broke the contract")
				require.Eventually(t, func() bool { return srv.Usage() == server.Usage{} }, patience, time.Millisecond,
					"memory, sockets and places are given back")
			}

			// Without toed the library is not to be noticed.
			with := env[1]
			env[1] = "TOE_SOCKET=" + filepath.Join(dir, "nobody")
			require.Equal(t, want, run(t, env, bin, kernelAddr))
			// Nor with toed when the address is the kernel's.
			env[1] = with
			require.Equal(t, want, run(t, env, bin, kernelAddr))
		})
	}
}

func sum(v []uint64) (n uint64) {
	for _, x := range v {
		n += x
	}
	return n
}
