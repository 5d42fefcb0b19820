package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/hwregs"
)

// fake answers with fixed values.
type fake struct{ captured context.Context }

func (f *fake) Status() (Status, error) { return Status{PID: 7, Offloaded: 3}, nil }
func (f *fake) Sockets(users bool) ([]Socket, error) {
	s := Socket{State: "LISTEN", Local: "[::]:80"}
	if users {
		s.Users = []User{{"nginx", 1, 3}}
	}
	return []Socket{s}, nil
}
func (f *fake) Declines() ([]Decline, error) { return []Decline{{Reason: "policy"}}, nil }
func (f *fake) Policy() (Policy, error)      { return Policy{Source: "x.yaml"}, nil }
func (f *fake) LoadPolicy(p PolicyFile) (Policy, error) {
	if p.Text == "" {
		return Policy{}, fmt.Errorf("%s: empty: %w", p.Name, ErrRequest)
	}
	return Policy{Source: p.Name, DryRun: p.DryRun}, nil
}
func (f *fake) TestPolicy(q PolicyQuestion) (PolicyAnswer, error) {
	return PolicyAnswer{Offload: q.Program == "nginx"}, nil
}
func (f *fake) Neighbours() ([]Neighbour, error) { return []Neighbour{{State: "STALE"}}, nil }
func (f *fake) Routes() ([]Route, error)         { return []Route{{Destination: "all"}}, nil }
func (f *fake) Remaining() (Drain, error)        { return Drain{Connections: 7}, nil }
func (f *fake) Drain(on bool) (Drain, error)     { return Drain{Draining: on}, nil }
func (f *fake) Stats() (Stats, error)            { return Stats{}, errors.New("the device is gone") }

func (f *fake) Registers(name string) ([]hwregs.Value, error) {
	if name == "TP_NONE" {
		return nil, fmt.Errorf("read %s: no such register: %w", name, ErrRequest)
	}
	return []hwregs.Value{{Name: "TP_RXT_MIN", Text: "200ms"}}, nil
}

func (f *fake) Assign(a string) ([]hwregs.Value, error) {
	return []hwregs.Value{{Name: a}}, nil
}

func (f *fake) Capture(ctx context.Context, filter string, snapLen int, start func() io.Writer) error {
	if filter == "nonsense" {
		return fmt.Errorf("filter %q: syntax error: %w", filter, ErrRequest)
	}
	f.captured = ctx
	fmt.Fprintf(start(), "%s %d", filter, snapLen)
	<-ctx.Done()
	return nil
}

func start(t *testing.T) (*fake, *Client, *Server) {
	f := &fake{}
	socket := filepath.Join(t.TempDir(), "toectl.sock")
	s, err := Listen(socket, f)
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return f, NewClient(socket), s
}

func TestAnswers(t *testing.T) {
	_, c, _ := start(t)
	status, err := c.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, Status{PID: 7, Offloaded: 3}, status)

	sockets, err := c.Sockets(t.Context(), true)
	require.NoError(t, err)
	require.Equal(t, "LISTEN", sockets[0].State)

	_, err = c.Stats(t.Context())
	require.EqualError(t, err, "the device is gone")

	neighbours, err := c.Neighbours(t.Context())
	require.NoError(t, err)
	require.Equal(t, "STALE", neighbours[0].State)
	routes, err := c.Routes(t.Context())
	require.NoError(t, err)
	require.Equal(t, "all", routes[0].Destination)

	regs, err := c.Registers(t.Context(), "TP_RXT_MIN")
	require.NoError(t, err)
	require.Equal(t, "200ms", regs[0].Text)
	_, err = c.Registers(t.Context(), "TP_NONE")
	require.EqualError(t, err, "read TP_NONE: no such register")

	regs, err = c.Assign(t.Context(), "A=1")
	require.NoError(t, err)
	require.Equal(t, "A=1", regs[0].Name)
}

// TestCapture demands that what is written arrives at once, and that hanging up ends the capture.
func TestCapture(t *testing.T) {
	f, c, _ := start(t)
	_, err := c.Capture(t.Context(), "nonsense", 0)
	require.EqualError(t, err, `filter "nonsense": syntax error`)

	stream, err := c.Capture(t.Context(), "tcp port 80", 96)
	require.NoError(t, err)
	got := make([]byte, len("tcp port 80 96"))
	_, err = io.ReadFull(stream, got)
	require.NoError(t, err)
	require.Equal(t, "tcp port 80 96", string(got))
	require.NoError(t, stream.Close())
	<-f.captured.Done()
}

func TestSocketIsPrivateAndRemoved(t *testing.T) {
	_, c, s := start(t)
	st, err := os.Stat(c.socket)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), st.Mode().Perm())
	require.NoError(t, s.Close())
	_, err = os.Stat(c.socket)
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = c.Status(t.Context())
	require.ErrorContains(t, err, "toed does not run")
}

func TestDeadToed(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "toectl.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	require.NoError(t, err)
	l.SetUnlinkOnClose(false)
	require.NoError(t, l.Close())
	_, err = NewClient(socket).Status(t.Context())
	require.ErrorContains(t, err, "does not answer")

	s, err := Listen(socket, &fake{})
	require.NoError(t, err, "a dead toed's socket is in the way")
	require.NoError(t, s.Close())
}

func TestPolicyAndDrain(t *testing.T) {
	_, c, _ := start(t)
	sockets, err := c.Sockets(t.Context(), false)
	require.NoError(t, err)
	require.Empty(t, sockets[0].Users)
	sockets, err = c.Sockets(t.Context(), true)
	require.NoError(t, err)
	require.Equal(t, []User{{"nginx", 1, 3}}, sockets[0].Users)
	declines, err := c.Declines(t.Context())
	require.NoError(t, err)
	require.Equal(t, "policy", declines[0].Reason)

	p, err := c.Policy(t.Context())
	require.NoError(t, err)
	require.Equal(t, "x.yaml", p.Source)
	p, err = c.LoadPolicy(t.Context(), PolicyFile{Name: "y.yaml", Text: "[]", DryRun: true})
	require.NoError(t, err)
	require.Equal(t, Policy{Source: "y.yaml", DryRun: true}, p)
	_, err = c.LoadPolicy(t.Context(), PolicyFile{Name: "y.yaml"})
	require.EqualError(t, err, "y.yaml: empty")
	a, err := c.TestPolicy(t.Context(), PolicyQuestion{Program: "nginx"})
	require.NoError(t, err)
	require.True(t, a.Offload)

	d, err := c.Remaining(t.Context())
	require.NoError(t, err)
	require.Equal(t, 7, d.Connections)
	for _, on := range []bool{true, false} {
		d, err = c.Drain(t.Context(), on)
		require.NoError(t, err)
		require.Equal(t, on, d.Draining)
	}
}
