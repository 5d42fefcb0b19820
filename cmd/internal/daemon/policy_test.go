package daemon

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opentoe/cmd/internal/config"
	"opentoe/cmd/internal/ctl"
	"opentoe/sockshim/client"
)

// running is a whole toed on a loopback, with a client.
func running(t *testing.T) (*Daemon, *ctl.Client, *client.Client) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "run")
	d, err := Start(loopback(t, dir), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	c, err := client.Dial(client.Config{Socket: filepath.Join(dir, config.ControlSocket)})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, c.Close())
		cancel()
		require.NoError(t, <-ended)
		require.NoError(t, d.Close())
	})
	return d, ctl.NewClient(filepath.Join(dir, config.OperatorSocket)), c
}

const patience = time.Minute

// connection returns one between c and a server that c is, too, once it works.
func connection(t *testing.T, c *client.Client) (net.Listener, net.Conn) {
	t.Helper()
	l, err := c.Listen("tcp", here+":7")
	require.NoError(t, err)
	go echo(l)
	conn, err := c.DialContext(t.Context(), "tcp", here+":7")
	require.NoError(t, err)
	exchange(t, conn)
	return l, conn
}

// exchange proves that a connection works.
func exchange(t *testing.T, conn net.Conn) {
	t.Helper()
	_, err := conn.Write([]byte("hello"))
	require.NoError(t, err)
	got := make([]byte, 5)
	_, err = io.ReadFull(conn, got)
	require.NoError(t, err)
	require.Equal(t, "hello", string(got))
}

func TestPolicyLive(t *testing.T) {
	d, operator, c := running(t)
	ctx := t.Context()
	l, conn := connection(t, c)

	exe, err := os.Executable()
	require.NoError(t, err)
	rules := "- {name: me, program: \"" + exe + "\", role: passive, local_ports: 8, offload: no}\n- {congestion_control: bbr}\n"
	p, err := operator.LoadPolicy(ctx, ctl.PolicyFile{Name: "rules.yaml", Text: rules, DryRun: true})
	require.NoError(t, err)
	require.True(t, p.DryRun)
	require.Len(t, p.Rules, 2)
	p, err = operator.Policy(ctx)
	require.NoError(t, err)
	require.Empty(t, p.Rules, "a dry run changed the policy")
	p, err = operator.LoadPolicy(ctx, ctl.PolicyFile{Name: "rules.yaml", Text: rules})
	require.NoError(t, err)
	require.Equal(t, 1, p.ListenersChanged, "the listener's connections are to use bbr")
	exchange(t, conn) // never retroactive

	if kernels, err := c.Listen("tcp", here+":8"); err == nil { // the kernel may have the address, or not
		require.NoError(t, kernels.Close())
	}
	declines, err := operator.Declines(ctx)
	require.NoError(t, err)
	require.Len(t, declines, 1)
	require.Equal(t, "policy", declines[0].Reason)
	require.Equal(t, here+":8", declines[0].Local)
	require.Equal(t, "*", declines[0].Remote)
	require.Equal(t, "passive", declines[0].Role)
	require.Equal(t, os.Getpid(), declines[0].PID)
	require.NotEmpty(t, declines[0].Meaning)
	require.WithinDuration(t, time.Now(), declines[0].Time, time.Minute)

	_, err = operator.LoadPolicy(ctx, ctl.PolicyFile{Name: "rules.yaml", Text: "- {offload: perhaps}"})
	require.EqualError(t, err, `rules.yaml:1:13: policy[0].offload: "perhaps": bad value: write yes or no`)
	p, err = operator.Policy(ctx)
	require.NoError(t, err)
	require.Equal(t, "rules.yaml", p.Source)
	require.Equal(t, map[string]string{"program": exe, "role": "passive", "local_ports": "8"}, p.Rules[0].Match)
	require.Equal(t, map[string]string{"offload": "no"}, p.Rules[0].Set)
	require.EqualValues(t, 1, p.Rules[0].Hits)

	a, err := operator.TestPolicy(ctx, ctl.PolicyQuestion{Role: "passive", Local: here + ":8", Program: exe})
	require.NoError(t, err)
	require.False(t, a.Offload)
	require.Equal(t, "me", a.Rule.Name)
	a, err = operator.TestPolicy(ctx, ctl.PolicyQuestion{Role: "active", Remote: "192.0.2.1:7", Program: "x"})
	require.NoError(t, err)
	require.Equal(t, 1, a.Rule.Index)
	require.Equal(t, "no-route", a.Reason)
	a, err = operator.TestPolicy(ctx, ctl.PolicyQuestion{Role: "passive", Local: "80",
		Policy: &ctl.PolicyFile{Name: "x", Text: "[{local_ports: 80, offload: no}]"}})
	require.NoError(t, err)
	require.Equal(t, "policy", a.Reason)
	for _, q := range []ctl.PolicyQuestion{{}, {Role: "active"}, {Role: "passive"}, {Role: "active", Remote: "host:80"}} {
		_, err = operator.TestPolicy(ctx, q)
		require.Error(t, err)
	}

	file := filepath.Join(t.TempDir(), "toed.yaml")
	require.NoError(t, os.WriteFile(file, []byte("policy: [{offload: yes}]\n"), 0o644))
	require.NoError(t, d.ReloadPolicy(file))
	p, err = operator.Policy(ctx)
	require.NoError(t, err)
	require.Equal(t, file, p.Source)
	require.EqualValues(t, 3, p.Loads)
	require.Error(t, d.ReloadPolicy(file+".none"))
	conn2, err := c.DialContext(ctx, "tcp", here+":7")
	require.NoError(t, err)
	require.NoError(t, conn2.Close())
	require.NoError(t, conn.Close())
	require.NoError(t, l.Close())
}

func TestDrain(t *testing.T) {
	d, operator, c := running(t)
	ctx := t.Context()
	l, conn := connection(t, c)
	r, err := operator.Drain(ctx, true)
	require.NoError(t, err)
	require.True(t, r.Draining)
	require.Equal(t, 2, r.Connections, "both ends")
	require.Equal(t, 1, r.Listeners)
	require.Equal(t, os.Getpid(), r.Programs[0].PID)
	a, err := operator.TestPolicy(ctx, ctl.PolicyQuestion{Role: "active", Remote: here + ":7"})
	require.NoError(t, err)
	require.Equal(t, "draining", a.Reason)
	status, err := operator.Status(ctx)
	require.NoError(t, err)
	require.True(t, status.Draining)
	exchange(t, conn)

	r, err = operator.Drain(ctx, false)
	require.NoError(t, err)
	require.False(t, r.Draining)
	finished := make(chan struct{})
	go func() {
		d.Finish(ctx, patience)
		close(finished)
	}()
	require.Eventually(t, func() bool { r, _ := d.Remaining(); return r.Draining }, patience, time.Millisecond)
	exchange(t, conn)
	require.NoError(t, conn.Close())
	<-finished
	r, err = d.Remaining()
	require.NoError(t, err)
	require.Zero(t, r.Connections)
	require.NoError(t, l.Close())
}
