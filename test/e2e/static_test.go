//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/test/lab"
)

// goProgram builds the net/http program, without libc.
func goProgram(t *testing.T, l *lab.Lab) string {
	t.Helper()
	bin := l.Path("gohttp")
	cmd := exec.Command("go", "build", "-o", bin, "./gohttp")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	return bin
}

// TestGoServer serves downloads and uploads of the kernel's curl by a net/http program on the TOE, and 1,000
// connections.
func TestGoServer(t *testing.T) {
	ctx, l, d := toed(t, "af_xdp", "")
	docs := l.Path("docs")
	require.NoError(t, os.MkdirAll(docs, 0o755))
	sum, err := lab.WriteRandom(filepath.Join(docs, "big"), 64*megabyte, 1)
	require.NoError(t, err)
	_, err = lab.WriteRandom(filepath.Join(docs, "small"), 1000, 2)
	require.NoError(t, err)
	bin := goProgram(t, l)
	server := serve(ctx, t, l, d, 80, bin, "serve", ":80", docs)

	for _, host := range []string{toeAddr, "[" + toeAddr6 + "]"} {
		url := "http://" + host
		curl(ctx, t, l.FarHost, "-o", l.Path("down"), url+"/big")
		require.NoError(t, lab.CheckSum(l.Path("down"), sum))
		curl(ctx, t, l.FarHost, "-o", os.DevNull, "-T", l.Path("docs", "big"), url+"/up")
		require.NoError(t, lab.CheckSum(l.Path("docs", "up"), sum))
	}
	out, err := l.FarHost.Output(ctx, bin, "many", "http://"+toeAddr+"/small", "1000", "100")
	require.NoError(t, err)
	require.Equal(t, "1000000\n", out)
	offloadedOnly(ctx, t, d)
	s, err := d.Status(ctx)
	require.NoError(t, err)
	require.GreaterOrEqual(t, s.Offloaded, uint64(1004))
	require.NoError(t, server.Stop(), "it did not end in order")
}

// TestGoClient runs a net/http client on the TOE against the kernel's server.
func TestGoClient(t *testing.T) {
	ctx, l, d := toed(t, "af_xdp", "")
	docs := l.Path("docs")
	require.NoError(t, os.MkdirAll(docs, 0o755))
	sum, err := lab.WriteRandom(filepath.Join(docs, "big"), 64*megabyte, 1)
	require.NoError(t, err)
	_, err = lab.WriteRandom(filepath.Join(docs, "small"), 1000, 2)
	require.NoError(t, err)
	bin := goProgram(t, l)
	server, err := l.Start(l.FarHost, bin, "serve", ":80", docs)
	require.NoError(t, err)
	require.NoError(t, server.WaitFor(ctx, func() error { return l.FarHost.Listening(80) }))

	run := func(args ...string) (string, error) {
		words := l.Toerun(d.Socket(), append([]string{bin}, args...)...)
		return l.NearHost.Output(ctx, words[0], words[1:]...)
	}
	for _, host := range []string{peerAddr, "[" + peerAddr6 + "]"} {
		url := "http://" + host
		_, err := run("get", url+"/big", l.Path("down"))
		require.NoError(t, err)
		require.NoError(t, lab.CheckSum(l.Path("down"), sum))
		_, err = run("put", url+"/up", l.Path("docs", "big"))
		require.NoError(t, err)
		require.NoError(t, lab.CheckSum(l.Path("docs", "up"), sum))
	}
	out, err := run("many", "http://"+peerAddr+"/small", "1000", "100")
	require.NoError(t, err)
	require.Equal(t, "1000000\n", out)
	offloadedOnly(ctx, t, d)
	_, err = run("get", "http://"+peerAddr+":81/", os.DevNull)
	require.ErrorContains(t, err, "connection refused")
}
