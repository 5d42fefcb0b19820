//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opentoe/test/lab"
)

// kernelServer is a TCP server of a host's kernel that answers lines with themselves.
type kernelServer struct{ net.Listener }

func serveLines(t *testing.T, h lab.Host, addr string) kernelServer {
	var s kernelServer
	inside(t, h.Namespace, func() (err error) {
		s.Listener, err = net.Listen("tcp", addr)
		return err
	})
	t.Cleanup(func() { s.Close() })
	go func() {
		for {
			c, err := s.Accept()
			if err != nil {
				return
			}
			go io.Copy(c, c)
		}
	}()
	return s
}

// lineClient is a connection of a host's kernel to a server of lines.
type lineClient struct {
	net.Conn
	in *bufio.Reader
}

func dialKernel(t *testing.T, h lab.Host, network, addr string) (c lineClient, err error) {
	inside(t, h.Namespace, func() error {
		c.Conn, err = net.DialTimeout(network, addr, limit)
		return nil
	})
	if err == nil {
		t.Cleanup(func() { c.Close() })
		c.in = bufio.NewReader(c.Conn)
	}
	return c, err
}

// works demands that a line comes back.
func (c lineClient) works(t *testing.T) {
	t.Helper()
	require.NoError(t, c.SetDeadline(time.Now().Add(limit)))
	_, err := io.WriteString(c, "Is anybody there?\n")
	require.NoError(t, err)
	line, err := c.in.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "Is anybody there?\n", line)
}

// serveDatagrams answers UDP datagrams on a host's kernel with themselves.
func serveDatagrams(t *testing.T, h lab.Host, addr string) {
	var s net.PacketConn
	inside(t, h.Namespace, func() (err error) {
		s, err = net.ListenPacket("udp", addr)
		return err
	})
	t.Cleanup(func() { s.Close() })
	go func() {
		b := make([]byte, 100)
		for {
			n, from, err := s.ReadFrom(b)
			if err != nil {
				return
			}
			s.WriteTo(b[:n], from)
		}
	}()
}

// serveKernels has the kernels of both hosts serve on a port: lines on both, datagrams on the near one.
func serveKernels(t *testing.T, l *lab.Lab, port int) {
	addr := fmt.Sprintf(":%d", port)
	serveLines(t, l.NearHost, addr)
	serveDatagrams(t, l.NearHost, addr)
	serveLines(t, l.FarHost, addr)
}

// kernelsAnswer demands that what the kernels serve on a port works beside the TOE, both ways, and that the
// near one answers and refuses in its own name.
func kernelsAnswer(t *testing.T, l *lab.Lab, port int) {
	t.Helper()
	answers := func(h lab.Host, network, addr string) {
		t.Helper()
		c, err := dialKernel(t, h, network, net.JoinHostPort(addr, fmt.Sprint(port)))
		require.NoError(t, err)
		c.works(t)
		require.NoError(t, h.Run("ping", "-c", "1", "-W", "60", addr))
	}
	for _, a := range []string{toeAddr, toeAddr6} {
		answers(l.FarHost, "tcp", a)
		answers(l.FarHost, "udp", a)
		_, err := dialKernel(t, l.FarHost, "tcp", net.JoinHostPort(a, "9"))
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
	}
	for _, a := range []string{peerAddr, peerAddr6} {
		answers(l.NearHost, "tcp", a)
	}
}

// fetch has curl on a host's kernel get nginx' small file.
func fetch(ctx context.Context, h lab.Host, addr string) error {
	out, err := h.Output(ctx, "curl", "-sf", "-m", "60", "http://"+addr+"/small")
	if err == nil && len(out) != 1000 {
		err = fmt.Errorf("curl: %d octets of 1000", len(out))
	}
	return err
}

// getSmall fetches the small file over a connection that stays.
func getSmall(t *testing.T, c lineClient) {
	t.Helper()
	require.NoError(t, c.SetDeadline(time.Now().Add(limit)))
	_, err := io.WriteString(c, "GET /small HTTP/1.1\r\nHost: toe\r\n\r\n")
	require.NoError(t, err)
	r, err := http.ReadResponse(c.in, nil)
	require.NoError(t, err)
	n, err := io.Copy(io.Discard, r.Body)
	require.NoError(t, err)
	require.EqualValues(t, 1000, n)
}

// bothFetch starts nginx on the far host; a program on the TOE and one on the near kernel fetch from it.
func bothFetch(ctx context.Context, t *testing.T, l *lab.Lab, d *lab.Toed, port int) {
	t.Helper()
	words, err := lab.Nginx{Name: "far", Port: port, Workers: 1, Docs: l.Path("docs")}.Words(l)
	require.NoError(t, err)
	_, err = l.Start(l.FarHost, words[0], words[1:]...)
	require.NoError(t, err)
	eventually(ctx, t, func() error { return fetch(ctx, l.FarHost, peerAddr) })
	before := offloaded(ctx, t, d)
	for _, a := range []string{peerAddr, "[" + peerAddr6 + "]"} {
		words := l.Toerun(d.Socket(), "curl", "-sf", "-m", "60", "-o", l.Path("got"), "http://"+a+"/small")
		require.NoError(t, l.NearHost.Run(words[0], words[1:]...))
		require.NoError(t, fetch(ctx, l.NearHost, a)) // the kernel's
	}
	require.Equal(t, before+2, offloaded(ctx, t, d))
}
