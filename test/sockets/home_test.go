package sockets

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opentoe/sockshim/client"
)

// homeServer is a listener of the program home: it answers with its name.
type homeServer struct {
	port int
	name string
}

// startHome starts the program under the library and returns its listeners.
func startHome(t *testing.T, dir string) (list []homeServer) {
	bin, err := compile("lost/home.c")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, bin, toeAddr, "home")
	cmd.Env = append(os.Environ(), preloaded(t, filepath.Join(dir, "toed.sock"))...)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { in.Close(); _ = cmd.Wait() }) // it kills its group
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "ready" {
		var s homeServer
		_, err := fmt.Sscanf(lines.Text(), "%d", &s.port)
		require.NoError(t, err, lines.Text())
		s.name = lines.Text()[len(fmt.Sprint(s.port))+1:]
		list = append(list, s)
	}
	require.Equal(t, "ready", lines.Text())
	require.Len(t, list, 8)
	go func() {
		for lines.Scan() {
			t.Error("home: " + lines.Text())
		}
	}()
	return list
}

func at(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

// answers reports whether what is dialled answers with name.
func answers(conn net.Conn, err error, name string) error {
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	got, err := io.ReadAll(conn)
	if err == nil && string(got) != name {
		err = fmt.Errorf("answer %q, want %q", got, name)
	}
	return err
}

// TestListenersComeHome has listeners that were there before toed, and that outlive it: each is on toed
// whenever there is one, and on the kernel all the time.
func TestListenersComeHome(t *testing.T) {
	dir := t.TempDir()
	list := startHome(t, dir)
	overKernel := func() {
		for _, s := range list {
			conn, err := net.Dial("tcp", at(kernelAddr, s.port))
			require.NoError(t, answers(conn, err, s.name), s.name)
		}
	}
	overKernel()
	for range 3 {
		toed := startToed(t, dir)
		c, err := client.Dial(client.Config{Socket: filepath.Join(dir, "toed.sock")})
		require.NoError(t, err)
		for range 2 { // those that share a listener have all come by the second time, or join later
			for _, s := range list {
				var last error
				require.Eventually(t, func() bool {
					conn, err := c.DialContext(t.Context(), "tcp", at(toeAddr, s.port))
					last = answers(conn, err, s.name)
					return last == nil
				}, patience, time.Millisecond, "%s: %v", s.name, last)
			}
		}
		overKernel()
		require.NoError(t, toed.Process.Kill())
		_ = toed.Wait()
		_ = c.Close()
		overKernel()
	}
}
