//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opentoe/test/lab"
)

// netdevConfig is toed's configuration on the kernel's own interface: it has the addresses already.
const netdevConfig = "ports:\n  - name: toe0\n    device: af_xdp:" + nearIf + "\n    kernel: netdev\n"

// keptWire is a lab whose near kernel has toed's addresses on the interface.
func keptWire(t *testing.T) *lab.Lab {
	l := wire(t)
	near := l.NearHost
	require.NoError(t, errors.Join(
		near.Run("sysctl", "-qw", "net.ipv6.conf."+nearIf+".disable_ipv6=0", "net.ipv6.conf."+nearIf+".keep_addr_on_down=1"),
		near.Run("ip", "address", "add", toeAddr+"/24", "dev", nearIf),
		near.Run("ip", "address", "add", toeAddr6+"/64", "dev", nearIf, "nodad"),
	))
	return l
}

// programmed reports whether an XDP program is attached to the near end of the wire.
func programmed(ctx context.Context, t *testing.T, l *lab.Lab) bool {
	out, err := l.NearHost.Output(ctx, "ip", "link", "show", nearIf)
	require.NoError(t, err)
	return strings.Contains(out, " xdp ") || strings.Contains(out, " xdpgeneric ")
}

// TestNetdev has toed on the kernel's own interface: one interface, one address, two stacks, at the same
// time and one after the other.
func TestNetdev(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	l := keptWire(t)
	near, far := l.NearHost, l.FarHost

	// The kernel's business before there is a toed: a server that goes on, a connection to it, and one on
	// a port that a program of the TOE is going to listen on.
	const web, kernels = 80, 2222
	serveKernels(t, l, kernels)
	old, err := dialKernel(t, far, "tcp", fmt.Sprintf("%s:%d", toeAddr, kernels))
	require.NoError(t, err)
	former := serveLines(t, near, fmt.Sprintf(":%d", web))
	onWeb, err := dialKernel(t, far, "tcp", fmt.Sprintf("%s:%d", toeAddr, web))
	require.NoError(t, err)
	onWeb.works(t)
	require.NoError(t, former.Close())

	file, runDir, err := l.WriteConfig(netdevConfig)
	require.NoError(t, err)
	d, err := l.StartToed(ctx, file, runDir)
	require.NoError(t, err)
	require.True(t, programmed(ctx, t, l))
	server, _ := nginx(ctx, t, l, d, web, megabyte)
	everything := func(t *testing.T) {
		t.Helper()
		old.works(t)
		onWeb.works(t)
		kernelsAnswer(t, l, kernels)
		for _, a := range []string{toeAddr, toeAddr6} {
			require.NoError(t, fetch(ctx, far, net.JoinHostPort(a, fmt.Sprint(web))))
		}
	}

	t.Run("together", func(t *testing.T) {
		everything(t)
		require.EqualValues(t, 2, offloaded(ctx, t, d), "nginx' connections, and no others")
		stats, err := d.Stats(ctx)
		require.NoError(t, err)
		for _, name := range []string{"xdp-to-toe", "xdp-pass-socket", "xdp-pass-port", "xdp-pass-other"} {
			require.NotZero(t, stats.Ports["toe0"][name], name)
		}
		require.Zero(t, stats.TCP["OutRsts"], "the TOE answered what was not its own")
	})

	t.Run("clients", func(t *testing.T) {
		bothFetch(ctx, t, l, d, web)
	})

	t.Run("ICMP errors", func(t *testing.T) {
		require.NoError(t, far.Run("nft", "add table inet t; add chain inet t in { type filter hook input priority 0; };"+
			" add rule inet t in tcp dport 81 reject with icmpx type admin-prohibited"))
		for _, a := range []string{peerAddr, "[" + peerAddr6 + "]"} {
			words := l.Toerun(d.Socket(), "curl", "-s", "-m", "60", "http://"+a+":81")
			require.ErrorContains(t, near.Run(words[0], words[1:]...), "exit status 7") // at once: 28 were a timeout
		}
		stats, err := d.Stats(ctx)
		require.NoError(t, err)
		require.GreaterOrEqual(t, stats.Ports["toe0"]["icmp-errors"], uint64(2))
		require.EqualValues(t, 2, stats.Device["ICMPErrors"])
	})

	t.Run("interface down and up", func(t *testing.T) {
		c, err := dialKernel(t, far, "tcp", fmt.Sprintf("%s:%d", toeAddr, web))
		require.NoError(t, err)
		getSmall(t, c)
		require.NoError(t, near.Run("ip", "link", "set", nearIf, "down"))
		require.NoError(t, near.Run("ip", "link", "set", nearIf, "up"))
		getSmall(t, c)
		everything(t)
	})

	t.Run("toed dies", func(t *testing.T) {
		require.NoError(t, syscall.Kill(d.PID(), syscall.SIGKILL))
		<-d.Done()
		eventually(ctx, t, func() error {
			if programmed(ctx, t, l) {
				return errors.New("the program outlived toed")
			}
			return nil
		})
		// nginx' kernel sockets listen as before.
		eventually(ctx, t, func() error { return fetch(ctx, far, toeAddr) })
		everything(t)
	})

	t.Run("toed is back", func(t *testing.T) {
		require.NoError(t, server.Stop())
		d, err = l.StartToed(ctx, file, runDir)
		require.NoError(t, err)
		require.Zero(t, offloaded(ctx, t, d))
		server, _ = nginx(ctx, t, l, d, web, megabyte)
		everything(t)
		require.EqualValues(t, 2, offloaded(ctx, t, d))
	})

	t.Run("toed ends", func(t *testing.T) {
		require.NoError(t, d.Stop())
		require.False(t, programmed(ctx, t, l))
		out, err := near.Output(ctx, "ip", "address", "show", "dev", nearIf)
		require.NoError(t, err)
		require.Contains(t, out, toeAddr)
		everything(t)
	})
}

// TestNetdevAddresses has toed add its configured address to the kernel's interface, and take it away.
func TestNetdevAddresses(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	l := wire(t)
	file, runDir, err := l.WriteConfig(netdevConfig + "    addresses: [" + toeAddr + "/24]\n")
	require.NoError(t, err)
	d, err := l.StartToed(ctx, file, runDir)
	require.NoError(t, err)
	nginx(ctx, t, l, d, 80, megabyte)
	require.NoError(t, l.FarHost.Run("ping", "-c", "1", "-W", "60", toeAddr))
	require.NoError(t, fetch(ctx, l.FarHost, toeAddr))
	offloadedOnly(ctx, t, d)

	// An address that the administrator adds is the TOE's too, at once; one that goes is not.
	const other = "10.99.0.7"
	require.NoError(t, l.NearHost.Run("ip", "address", "add", other+"/24", "dev", nearIf))
	eventually(ctx, t, func() error {
		s, err := d.Status(ctx)
		require.NoError(t, err)
		n := s.Offloaded
		require.NoError(t, fetch(ctx, l.FarHost, other))
		if s, err = d.Status(ctx); err == nil && s.Offloaded == n {
			err = errors.New("the kernel answers")
		}
		return err
	})
	require.NoError(t, d.Stop())
	out, err := l.NearHost.Output(ctx, "ip", "-4", "address", "show", "dev", nearIf)
	require.NoError(t, err)
	require.NotContains(t, out, toeAddr)
	require.Contains(t, out, other)
}

// TestNetdevQueues has an interface that spreads what it receives over more queues than toed reads.
func TestNetdevQueues(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	l := keptWire(t)
	const link = "spread0"
	require.NoError(t, l.NearHost.Run("ip", "link", "add", link, "numrxqueues", "2", "type", "veth", "peer", "name", "spread1"))
	require.NoError(t, errors.Join(
		l.NearHost.Run("ip", "link", "set", link, "up"), l.NearHost.Run("ip", "link", "set", "spread1", "up"),
	))
	file, _, err := l.WriteConfig("ports:\n  - name: toe0\n    device: af_xdp:" + link + "\n    kernel: netdev\n")
	require.NoError(t, err)
	_, err = l.NearHost.Output(ctx, l.Bin("toed"), "--config", file)
	require.ErrorContains(t, err, "ethtool -L "+link+" combined 1")
}

// TestNetdevFullTable has more connections than the TOE has room for: the kernel takes the others, to the
// same program, and all go on.
func TestNetdevFullTable(t *testing.T) {
	for _, filter := range []string{"bypass", "respect"} {
		t.Run(filter, func(t *testing.T) {
			t.Parallel()
			fullTable(t, "    netfilter: "+filter+"\n")
		})
	}
}

func fullTable(t *testing.T, more string) {
	const room, all = 16, 24
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	l := keptWire(t)
	file, runDir, err := l.WriteConfig(netdevConfig + more + fmt.Sprintf("tcp: {max_connections: %d}\n", room))
	require.NoError(t, err)
	d, err := l.StartToed(ctx, file, runDir)
	require.NoError(t, err)
	serve(ctx, t, l, d, 6379, "redis-server", "--bind", toeAddr, "--protected-mode", "no", "--save", "", "--dir", l.Dir)
	ping := func(c lineClient) {
		require.NoError(t, c.SetDeadline(time.Now().Add(limit)))
		_, err := io.WriteString(c, "PING\r\n")
		require.NoError(t, err)
		line, err := c.in.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "+PONG\r\n", line)
	}
	var conns []lineClient
	for range all {
		c, err := dialKernel(t, l.FarHost, "tcp", toeAddr+":6379")
		require.NoError(t, err)
		ping(c)
		conns = append(conns, c)
	}
	for _, c := range conns {
		ping(c)
	}
	s, err := d.Status(ctx)
	require.NoError(t, err)
	require.EqualValues(t, room, s.Offloaded)
}

// TestNetdevCookies has a server of the kernel that answers every SYN by a cookie, on a port on which the
// TOE still has a connection: the ACK that brings the cookie back is nobody's at first sight. The TOE hands it
// back to the kernel, and what else it does not know, too.
func TestNetdevCookies(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	l := keptWire(t)
	const web = 80
	file, runDir, err := l.WriteConfig(netdevConfig)
	require.NoError(t, err)
	d, err := l.StartToed(ctx, file, runDir)
	require.NoError(t, err)
	server, _ := nginx(ctx, t, l, d, web, megabyte)
	idle, err := dialKernel(t, l.FarHost, "tcp", toeAddr+":80")
	require.NoError(t, err)
	offloadedOnly(ctx, t, d)
	require.NoError(t, server.Stop())
	_, err = idle.in.ReadByte()
	require.Error(t, err, "nginx has gone; we do not, so that its end waits for ours")

	require.NoError(t, l.NearHost.Run("sysctl", "-qw", "net.ipv4.tcp_syncookies=2"))
	serveLines(t, l.NearHost, fmt.Sprintf(":%d", web))
	for _, a := range []string{toeAddr, toeAddr6} {
		c, err := dialKernel(t, l.FarHost, "tcp", net.JoinHostPort(a, fmt.Sprint(web)))
		require.NoError(t, err)
		c.works(t)
	}
	stats, err := d.Stats(ctx)
	require.NoError(t, err)
	require.GreaterOrEqual(t, stats.Ports["toe0"]["kernel-up"], uint64(2))
	require.Zero(t, stats.Ports["toe0"]["kernel-up-refused"])
	require.Zero(t, stats.TCP["OutRsts"])
}
