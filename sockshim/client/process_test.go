package client_test

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"opentoe/sockshim/client"
	"opentoe/sockshim/server"
)

// childSocket names the environment variable that makes the test binary a client process, which
// connects to childTarget and then does nothing.
const (
	childSocket = "OPENTOE_TEST_SOCKET"
	childTarget = "OPENTOE_TEST_TARGET"
)

func TestMain(m *testing.M) {
	if socket := os.Getenv(childSocket); socket != "" {
		os.Exit(child(socket, os.Getenv(childTarget)))
	}
	os.Exit(m.Run())
}

func child(socket, target string) int {
	c, err := client.Dial(client.Config{Socket: socket, Program: "child"})
	if err != nil {
		return 1
	}
	conn, err := c.DialContext(context.Background(), "tcp", target)
	if err != nil {
		return 2
	}
	if _, err := conn.Write([]byte("here\n")); err != nil {
		return 3
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // until the parent lets go
	if c.Close() != nil {
		return 4
	}
	return 0
}

// TestProcessEnds: a process that is killed resets its connections; one that ends in order closes
// them. Either way nothing of it is left.
func TestProcessEnds(t *testing.T) {
	for _, kill := range []bool{true, false} {
		t.Run(map[bool]string{true: "killed", false: "in order"}[kill], func(t *testing.T) {
			srv, cfg := serve(t, nil)
			c := dial(t, cfg)
			ln, err := c.Listen("tcp", toeAddr+":0")
			require.NoError(t, err)
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), childSocket+"="+cfg.Socket, childTarget+"="+ln.Addr().String())
			stdin, err := cmd.StdinPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			conn, err := ln.Accept()
			require.NoError(t, err)
			r := bufio.NewReader(conn)
			line, err := r.ReadString('\n')
			require.NoError(t, err)
			require.Equal(t, "here\n", line)
			var found bool
			for _, info := range srv.Clients() {
				if info.Program == "child" {
					found = true
					require.EqualValues(t, cmd.Process.Pid, info.PID)
					require.Equal(t, 1, info.Sockets)
				}
			}
			require.True(t, found)
			if kill {
				require.NoError(t, cmd.Process.Kill())
				_, err = r.ReadByte()
				require.ErrorIs(t, err, unix.ECONNRESET)
				require.Error(t, cmd.Wait())
			} else {
				require.NoError(t, stdin.Close())
				_, err = r.ReadByte()
				require.ErrorIs(t, err, io.EOF)
				require.NoError(t, cmd.Wait())
			}
			require.NoError(t, conn.Close())
			require.NoError(t, ln.Close())
			require.NoError(t, c.Close())
			idle(t, srv)
			require.Equal(t, server.Usage{}, srv.Usage())
		})
	}
}
