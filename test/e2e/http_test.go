//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/test/lab"
)

const megabyte = 1 << 20

// TestNginx serves downloads and uploads to the kernel's curl, over each driver and family.
func TestNginx(t *testing.T) {
	for _, c := range []struct{ name, driver, host string }{
		{"xdp", "af_xdp", toeAddr},
		{"packet", "af_packet", toeAddr},
		{"v6", "af_xdp", "[" + toeAddr6 + "]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, l, d := toed(t, c.driver, "")
			_, sum := nginx(ctx, t, l, d, 80, 256*megabyte)
			url := "http://" + c.host

			curl(ctx, t, l.FarHost, "-o", l.Path("down"), url+"/big")
			require.NoError(t, lab.CheckSum(l.Path("down"), sum))

			curl(ctx, t, l.FarHost, "-o", os.DevNull, "-T", l.Path("docs", "big"), url+"/up/big")
			require.NoError(t, lab.CheckSum(l.Path("nginx", "up", "big"), sum))
			offloadedOnly(ctx, t, d)
		})
	}
}

// TestManyConnections makes 200 requests over 20 parallel connections, and 200 over one each.
func TestManyConnections(t *testing.T) {
	ctx, l, d := toed(t, "af_xdp", "")
	nginx(ctx, t, l, d, 80, megabyte)
	url := fmt.Sprintf("http://%s/small?[1-200]", toeAddr)
	for _, header := range []string{"Connection: keep-alive", "Connection: close"} {
		curl(ctx, t, l.FarHost, "--parallel", "--parallel-immediate", "--parallel-max", "20", "-H", header, "-o", l.Path("small#1"), url)
		for i := 1; i <= 200; i++ {
			st, err := os.Stat(l.Path(fmt.Sprintf("small%d", i)))
			require.NoError(t, err)
			require.EqualValues(t, 1000, st.Size())
		}
	}
	offloadedOnly(ctx, t, d)
	s, err := d.Status(ctx)
	require.NoError(t, err)
	require.GreaterOrEqual(t, s.Offloaded, uint64(200))
}

// TestActive runs curl on the TOE against a kernel nginx.
func TestActive(t *testing.T) {
	ctx, l, d := toed(t, "af_xdp", "")
	docs := l.Path("docs")
	require.NoError(t, os.MkdirAll(docs, 0o755))
	sum, err := lab.WriteRandom(filepath.Join(docs, "big"), 256*megabyte, 1)
	require.NoError(t, err)
	words, err := lab.Nginx{Name: "nginx", Port: 80, Workers: 1, Docs: docs}.Words(l)
	require.NoError(t, err)
	server, err := l.Start(l.FarHost, words[0], words[1:]...)
	require.NoError(t, err)
	require.NoError(t, server.WaitFor(ctx, func() error { return l.FarHost.Listening(80) }))

	for _, host := range []string{peerAddr, "[" + peerAddr6 + "]"} {
		offloadedCurl(ctx, t, l, d, "-o", l.Path("down"), "http://"+host+"/big")
		require.NoError(t, lab.CheckSum(l.Path("down"), sum))
		offloadedCurl(ctx, t, l, d, "-o", os.DevNull, "-T", l.Path("docs", "big"), "http://"+host+"/up/big")
		require.NoError(t, lab.CheckSum(l.Path("nginx", "up", "big"), sum))
	}
	offloadedOnly(ctx, t, d)
}

// TestRefused connects to a port where nobody listens, in both directions.
func TestRefused(t *testing.T) {
	ctx, l, d := toed(t, "af_xdp", "")
	_, err := l.FarHost.Output(ctx, "curl", "-sS", "http://"+toeAddr+":81/")
	require.ErrorContains(t, err, "Failed to connect")
	words := append(l.Toerun(d.Socket()), "curl", "-sS", "http://"+peerAddr+":81/")
	_, err = l.NearHost.Output(ctx, words[0], words[1:]...)
	require.ErrorContains(t, err, "Failed to connect")
}

// TestKill kills nginx in the middle of a download: the peer sees a reset, toed forgets everything.
func TestKill(t *testing.T) {
	ctx, l, d := toed(t, "af_xdp", "")
	server, _ := nginx(ctx, t, l, d, 80, 64*megabyte)
	idle, err := d.Status(ctx)
	require.NoError(t, err)

	client, err := l.Start(l.FarHost, "curl", "-sS", "--limit-rate", "1M", "-o", l.Path("down"), "http://"+toeAddr+"/big")
	require.NoError(t, err)
	eventually(ctx, t, func() error {
		st, err := os.Stat(l.Path("down"))
		if err == nil && st.Size() < megabyte {
			err = fmt.Errorf("%d octets have come", st.Size())
		}
		return err
	})
	server.Kill()
	<-client.Done()
	require.Contains(t, client.Text(), "reset by peer")

	eventually(ctx, t, func() error {
		sockets, err := d.Sockets(ctx)
		if err == nil && len(sockets) > 0 {
			err = fmt.Errorf("toectl ss still shows %v", sockets)
		}
		return err
	})
	eventually(ctx, t, func() error {
		s, err := d.Status(ctx)
		if err == nil && (s.Clients != 0 || s.MemoryBytes != 0 || s.Connections != 0) {
			err = fmt.Errorf("still in use: %+v, idle was %+v", s, idle)
		}
		return err
	})
}

func curl(ctx context.Context, t *testing.T, h lab.Host, args ...string) {
	t.Helper()
	_, err := h.Output(ctx, "curl", append([]string{"-sS", "--fail", "--noproxy", "*"}, args...)...)
	require.NoError(t, err)
}

func offloadedCurl(ctx context.Context, t *testing.T, l *lab.Lab, d *lab.Toed, args ...string) {
	t.Helper()
	words := append(l.Toerun(d.Socket()), "curl", "-sS", "--fail", "--noproxy", "*")
	words = append(words, args...)
	_, err := l.NearHost.Output(ctx, words[0], words[1:]...)
	require.NoError(t, err, strings.Join(args, " "))
}
