package daemon

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/cmd/internal/config"
	"opentoe/cmd/internal/ctl"
	"opentoe/sockshim/client"
)

// here is toed's address: a different one in each process, for a listener has its port in the kernel too.
var here = fmt.Sprintf("10.%d.%d.%d", 64+os.Getpid()>>16&63, os.Getpid()>>8&255, os.Getpid()&255)

// loopback is a configuration that needs no DPDK, no wire and no privileges.
func loopback(t *testing.T, dir string) *config.Config {
	t.Helper()
	cfg, err := config.Parse("test.yaml", []byte(`
runtime_dir: `+dir+`
ports: [{name: lo0, device: loopback, addresses: [`+here+`/8]}]
clients: {memory: 16MiB, slots: 64}
`))
	require.NoError(t, err)
	return cfg
}

// TestLifeOnLoopback starts a whole toed, moves data through it, looks at it as an operator does,
// and demands that its end leaves nothing behind.
func TestLifeOnLoopback(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	d, err := Start(loopback(t, dir), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()

	operator := ctl.NewClient(filepath.Join(dir, config.OperatorSocket))
	c, err := client.Dial(client.Config{Socket: filepath.Join(dir, config.ControlSocket)})
	require.NoError(t, err)
	l, conn := connection(t, c)
	status, err := operator.Status(ctx)
	require.NoError(t, err)
	require.Equal(t, 1, status.Clients)
	require.Equal(t, 1, status.Listeners)
	require.Equal(t, uint64(2), status.Offloaded, "one active, one passive open")
	require.Equal(t, "loopdev", status.Devices[0].Type)
	sockets, err := operator.Sockets(ctx, true)
	require.NoError(t, err)
	require.Len(t, sockets, 3, "a listener and both ends of a connection")
	require.Equal(t, os.Getpid(), sockets[0].PID)
	_, err = operator.Stats(ctx)
	require.NoError(t, err)
	regs, err := operator.Registers(ctx, "SHM_CLIENTS")
	require.NoError(t, err)
	require.Equal(t, "1", regs[0].Text)
	_, err = operator.Registers(ctx, "XGM0_MAC")
	require.Error(t, err, "a loopback has no Ethernet port")

	require.NoError(t, conn.Close())
	require.NoError(t, l.Close())
	require.NoError(t, c.Close())
	cancel()
	require.NoError(t, <-ended)
	require.NoError(t, d.Close())
	require.NoDirExists(t, dir)
}

func echo(l net.Listener) {
	conn, err := l.Accept()
	if err != nil {
		return
	}
	defer conn.Close()
	io.Copy(conn, conn)
}

// TestSecondOnOneDirectory demands a refusal that does not disturb the first.
func TestSecondOnOneDirectory(t *testing.T) {
	dir := t.TempDir()
	d, err := Start(loopback(t, dir), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	_, err = Start(loopback(t, dir), slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "another toed")
	_, err = ctl.NewClient(filepath.Join(dir, config.OperatorSocket)).Status(t.Context())
	require.NoError(t, err)
	require.NoError(t, d.Close())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
}

// TestFailureHalfWay fails in the last steps and demands that the first ones are undone.
func TestFailureHalfWay(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	cfg := loopback(t, dir)
	cfg.Mirror.File = "/nowhere/mirror.pcapng"
	_, err := Start(cfg, slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "mirror.file: open /nowhere/mirror.pcapng")
	require.NoDirExists(t, dir)
}

func TestMissingInterface(t *testing.T) {
	cfg := loopback(t, filepath.Join(t.TempDir(), "run"))
	cfg.Ports[0].Device = "af_xdp:nowhere0"
	_, err := Start(cfg, slog.New(slog.DiscardHandler))
	require.EqualError(t, err, "ports[0].device: af_xdp:nowhere0: no such network interface: create it, or name one that ip link shows")
	require.NoDirExists(t, cfg.RuntimeDir)
}

func TestVirtualDevices(t *testing.T) {
	require.Equal(t, []string{
		"net_af_xdp0,iface=eth1,start_queue=0,queue_count=1,busy_budget=0",
		"net_af_packet0,iface=eth1,qpairs=1,qdisc_bypass=1,blocksz=65536,framesz=2048,framecnt=2048",
	}, vdevs(0, "af_xdp:eth1", 1, 1500))
	require.Equal(t, []string{"0000:01:00.0"}, vdevs(1, "0000:01:00.0", 1, 1500))
	require.Equal(t, []string{"net_memif0,role=client"}, vdevs(1, "net_memif0,role=client", 1, 1500))
	require.Equal(t, "net_af_packet1,iface=eth1,qpairs=2,qdisc_bypass=1,blocksz=65536,framesz=16384,framecnt=2048", vdevs(1, "af_packet:eth1", 2, 9000)[0])
	require.True(t, isPCI("0000:01:00.0"))
	require.False(t, isPCI("net_memif0,socket=/run/a:b"))
}

// TestListenAgain closes a listener and takes its port again at once, as iperf3 does: the TOE has
// to have let go of it.
func TestListenAgain(t *testing.T) {
	dir := t.TempDir()
	d, err := Start(loopback(t, dir), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	c, err := client.Dial(client.Config{Socket: filepath.Join(dir, config.ControlSocket)})
	require.NoError(t, err)
	for range 200 {
		l, err := c.Listen("tcp", here+":7")
		require.NoError(t, err)
		require.NoError(t, l.Close())
	}
	status, err := d.Status()
	require.NoError(t, err)
	require.Empty(t, status.Refused)
	require.NoError(t, c.Close())
	cancel()
	require.NoError(t, <-ended)
	require.NoError(t, d.Close())
}
