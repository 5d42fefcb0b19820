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

// tapIf is the kernel's interface on a wire that toed drives.
const tapIf = "tap0"

// tapConfig is toed's configuration with a TAP for the kernel; more goes on with the port.
func tapConfig(driver, more string) string {
	return config(driver, "    kernel: tap\n    kernel_interface: "+tapIf+"\n"+more)
}

// tapToed is a lab with a toed that lets the kernel see its port; prepare, if not nil, comes first.
func tapToed(t *testing.T, driver, more string, prepare func(l *lab.Lab)) (context.Context, *lab.Lab, *lab.Toed) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	l := wire(t)
	if prepare != nil {
		prepare(l)
	}
	file, runDir, err := l.WriteConfig(tapConfig(driver, more))
	require.NoError(t, err)
	d, err := l.StartToed(ctx, file, runDir)
	require.NoError(t, err)
	eventually(ctx, t, func() error { // duplicate address detection is over
		out, err := l.NearHost.Output(ctx, "ip", "-6", "address", "show", "dev", tapIf, "tentative")
		if err == nil && out != "" {
			err = errors.New("addresses are tentative:\n" + out)
		}
		return err
	})
	return ctx, l, d
}

// TestTAP has the kernel and the TOE on one wire that toed drives: one address, two stacks, at the same time.
func TestTAP(t *testing.T) {
	for _, driver := range []string{"af_xdp", "af_packet"} {
		t.Run(driver, func(t *testing.T) { tapTogether(t, driver) })
	}
}

func tapTogether(t *testing.T, driver string) {
	ctx, l, d := tapToed(t, driver, "", nil)
	near, far := l.NearHost, l.FarHost
	const web, kernels = 80, 2222
	serveKernels(t, l, kernels)
	_, sum := nginx(ctx, t, l, d, web, 32*megabyte)

	t.Run("together", func(t *testing.T) {
		for _, a := range []string{toeAddr, toeAddr6} {
			out, err := far.Output(ctx, "ping", "-c", "3", "-i", "0.05", "-W", "60", a)
			require.NoError(t, err)
			require.NotContains(t, out, "DUP!", "two answer")
			require.NoError(t, fetch(ctx, far, net.JoinHostPort(a, fmt.Sprint(web))))
		}
		require.EqualValues(t, 2, offloaded(ctx, t, d), "nginx' connections, and no others")
		kernelsAnswer(t, l, kernels)
		for _, neighbour := range []struct {
			host      lab.Host
			dev, addr string
		}{
			{near, tapIf, peerAddr}, {near, tapIf, peerAddr6}, {far, farIf, toeAddr}, {far, farIf, toeAddr6},
		} {
			out, err := neighbour.host.Output(ctx, "ip", "neigh", "show", neighbour.addr, "dev", neighbour.dev)
			require.NoError(t, err)
			require.Contains(t, out, "lladdr", neighbour.addr)
		}
	})

	t.Run("refusals are the kernel's", func(t *testing.T) {
		for _, a := range []string{toeAddr, toeAddr6} {
			c, err := dialKernel(t, far, "udp", net.JoinHostPort(a, "9"))
			require.NoError(t, err)
			require.NoError(t, c.SetDeadline(time.Now().Add(limit)))
			_, err = io.WriteString(c, "Is anybody there?")
			require.NoError(t, err)
			_, err = c.Read(make([]byte, 100))
			require.ErrorIs(t, err, syscall.ECONNREFUSED)
		}
		stats, err := d.Stats(ctx)
		require.NoError(t, err)
		require.Zero(t, stats.TCP["OutRsts"], "the TOE answered what was not its own")
		for _, name := range []string{"kernel-up", "kernel-down", "kernel-up-octets", "kernel-down-octets"} {
			require.NotZero(t, stats.Ports["toe0"][name], name)
		}
	})

	t.Run("forwarding", func(t *testing.T) {
		require.NoError(t, errors.Join(
			near.Run("sysctl", "-qw", "net.ipv4.ip_forward=1"),
			near.Run("ip", "address", "add", "10.55.0.1/32", "dev", "lo"),
			near.Run("ip", "route", "add", "10.55.0.9/32", "via", peerAddr),
			far.Run("ip", "route", "add", "10.55.0.0/24", "via", toeAddr),
			far.Run("ping", "-c", "1", "-W", "60", "10.55.0.1"), // an address of the host that the port does not have
		))
		out, _ := far.Output(ctx, "ping", "-c", "1", "-W", "60", "-t", "1", "10.55.0.9")
		require.Contains(t, out, "Time to live exceeded")
		c, err := dialKernel(t, far, "tcp", fmt.Sprintf("10.55.0.1:%d", kernels))
		require.NoError(t, err)
		c.works(t)
	})

	t.Run("fragments", func(t *testing.T) {
		require.NoError(t, far.Run("ping", "-c", "1", "-W", "60", "-s", "4000", toeAddr6))
		if driver == "af_xdp" { // DPDK has AF_PACKET put IPv4 together, larger than its frames
			require.NoError(t, far.Run("ping", "-c", "1", "-W", "60", "-s", "4000", toeAddr))
		}
	})

	t.Run("clients", func(t *testing.T) {
		require.NoError(t, near.Run("ip", "neigh", "flush", "dev", tapIf))
		bothFetch(ctx, t, l, d, web)
	})

	t.Run("flood", func(t *testing.T) {
		flood, err := l.Start(far, "ping", "-q", "-f", "-s", "1000", toeAddr)
		require.NoError(t, err)
		stop := blast(t, far, net.JoinHostPort(toeAddr, fmt.Sprint(kernels)))
		curl(ctx, t, far, "-o", l.Path("down"), "http://"+toeAddr+"/big")
		require.NoError(t, lab.CheckSum(l.Path("down"), sum))
		require.NotZero(t, stop())
		require.NoError(t, syscall.Kill(flood.PID(), syscall.SIGINT))
		<-flood.Done()
		require.Regexp(t, `[1-9]\d* received`, flood.Text())
		c, err := dialKernel(t, far, "tcp", net.JoinHostPort(toeAddr, fmt.Sprint(kernels)))
		require.NoError(t, err)
		c.works(t)
	})

	t.Run("seen by operators", func(t *testing.T) {
		out, err := d.Toectl(ctx, "status")
		require.NoError(t, err)
		require.Contains(t, out, tapIf+" (tap)")
		capture, err := l.Start(near, l.Bin("toectl"), "--socket", d.RunDir+"/toectl.sock", "capture", "-w", l.Path("icmp.pcapng"), "icmp")
		require.NoError(t, err)
		require.NoError(t, capture.WaitFor(ctx, func() error { return readable(ctx, l, l.Path("icmp.pcapng")) }))
		require.NoError(t, far.Run("ping", "-c", "1", "-W", "60", toeAddr))
		eventually(ctx, t, func() error {
			out, err := near.Output(ctx, "tcpdump", "-n", "-r", l.Path("icmp.pcapng"))
			if err == nil && (!strings.Contains(out, "echo request") || !strings.Contains(out, "echo reply")) {
				err = errors.New("the mirror does not show both directions:\n" + out)
			}
			return err
		})
	})

	t.Run("idle", func(t *testing.T) {
		eventually(ctx, t, func() error { return idle(ctx, d) })
	})

	t.Run("the interface goes", func(t *testing.T) {
		require.NoError(t, near.Run("ip", "link", "del", tapIf))
		eventually(ctx, t, func() error {
			if !d.Said("the kernel's interface is gone") {
				return errors.New("toed has not noticed")
			}
			return nil
		})
		_, err := d.Status(ctx)
		require.NoError(t, err)
	})
	require.NoError(t, d.Stop(), d.LastLine())
	require.False(t, hasInterface(ctx, near, tapIf))
	value, err := near.Output(ctx, "sysctl", "-n", "net.ipv4.conf."+nearIf+".rp_filter", "net.ipv4.conf."+nearIf+".arp_ignore")
	require.NoError(t, err)
	require.Equal(t, "0\n0\n", value, "what toed changed is as it was")
}

func hasInterface(ctx context.Context, h lab.Host, name string) bool {
	_, err := h.Output(ctx, "ip", "link", "show", name)
	return err == nil
}

// blast sends UDP datagrams as fast as it can, until stop is called, which returns how many.
func blast(t *testing.T, h lab.Host, addr string) (stop func() int) {
	c, err := dialKernel(t, h, "udp", addr)
	require.NoError(t, err)
	quit, sent := make(chan struct{}), make(chan int, 1)
	go func() {
		n, b := 0, make([]byte, 100)
		for {
			select {
			case <-quit:
				sent <- n
				return
			default:
			}
			if _, err := c.Write(b); err == nil { // what a full queue refuses does not count
				n++
			}
		}
	}()
	return func() int { close(quit); return <-sent }
}

// TestTAPRate bounds what reaches the kernel; the TOE's connections do not feel it.
func TestTAPRate(t *testing.T) {
	ctx, l, d := tapToed(t, "af_xdp", "    kernel_rate: {frames: 100}\n", nil)
	nginx(ctx, t, l, d, 80, megabyte)
	out, err := l.FarHost.Output(ctx, "ping", "-q", "-f", "-c", "300", "-W", "1", toeAddr)
	require.Contains(t, out, "300 packets transmitted")
	require.Error(t, errors.Join(err, lossless(out)), "nothing was lost: %s", out)
	stats, err := d.Stats(ctx)
	require.NoError(t, err)
	require.NotZero(t, stats.Ports["toe0"]["kernel-up-limited"])
	for range 3 {
		require.NoError(t, fetch(ctx, l.FarHost, toeAddr))
	}
	// The kernel's own sending waits, and is not lost.
	before := stats.Ports["toe0"]["kernel-down"]
	_ = l.NearHost.Run("ping", "-q", "-c", "40", "-l", "40", "-W", "1", peerAddr) // of the answers some are lost
	eventually(ctx, t, func() error {
		stats, err := d.Stats(ctx)
		if down := stats.Ports["toe0"]["kernel-down"]; err == nil && down < before+40 {
			err = fmt.Errorf("%d frames of 40 have come down", down-before)
		}
		return err
	})
	stats, err = d.Stats(ctx)
	require.NoError(t, err)
	require.NotZero(t, stats.Ports["toe0"]["kernel-down-paused"])
}

// lossless returns nil unless ping has missed answers.
func lossless(out string) error {
	if strings.Contains(out, " 0% packet loss") {
		return nil
	}
	return errors.New("packets were lost")
}

// TestTAPJumbo has the kernel use the wire's large frames.
func TestTAPJumbo(t *testing.T) {
	ctx, l, d := tapToed(t, "af_packet", "    mtu: 9000\n", func(l *lab.Lab) {
		require.NoError(t, errors.Join(l.NearHost.Run("ip", "link", "set", nearIf, "mtu", "9000"), l.FarHost.Run("ip", "link", "set", farIf, "mtu", "9000")))
	})
	out, err := l.NearHost.Output(ctx, "ip", "link", "show", tapIf)
	require.NoError(t, err)
	require.Contains(t, out, "mtu 9000")
	require.NoError(t, l.FarHost.Run("ping", "-c", "1", "-W", "60", "-M", "do", "-s", "8972", toeAddr))
	require.NoError(t, l.NearHost.Run("ping", "-c", "1", "-W", "60", "-M", "do", "-s", "8972", peerAddr))
	require.NoError(t, l.FarHost.Run("ping", "-c", "1", "-W", "60", "-s", "20000", toeAddr6))
	_, err = d.Status(ctx)
	require.NoError(t, err)
}

// TestTAPName refuses an interface that exists, and says how to mend it.
func TestTAPName(t *testing.T) {
	l := wire(t)
	file, runDir, err := l.WriteConfig(config("af_xdp", "    kernel: tap\n"))
	require.NoError(t, err)
	_, err = l.NearHost.Output(t.Context(), l.Bin("toed"), "--config", file)
	require.ErrorContains(t, err, "ports[0].kernel_interface: toe0: the interface exists: choose another name")
	require.NoDirExists(t, runDir)
}
