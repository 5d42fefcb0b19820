//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opentoe/test/lab"
)

// The far host has a second station on the wire, gw2, and an address that only routes lead to.
const (
	gateway, gateway2 = peerAddr, "10.99.0.3"
	remoteAddr        = "10.50.0.1"
	toePort           = 80
	kernelPort        = 81
)

// kernelLab is a lab whose port's addresses, routes and neighbours are the near kernel's, and in it two
// nginx on the same address: one on the TOE, one on the kernel.
type kernelLab struct {
	*testing.T
	*lab.Lab
	ctx context.Context
	d   *lab.Toed
}

func newKernelLab(t *testing.T, mode string) *kernelLab {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	l := &kernelLab{T: t, Lab: wire(t), ctx: ctx}
	body := fmt.Sprintf("ports:\n  - name: %s\n    device: af_xdp:%s\n    kernel: %s\n", nearIf, nearIf, mode)
	l.near("sysctl", "-qw", "net.ipv6.conf."+nearIf+".disable_ipv6=0", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf."+nearIf+".rp_filter=0")
	l.near("ip", "address", "add", toeAddr+"/24", "dev", nearIf)
	l.near("ip", "address", "add", toeAddr6+"/64", "dev", nearIf, "nodad")
	l.near("ip", "route", "add", "10.50.0.0/16", "via", gateway)
	l.far("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0", "net.ipv4.conf."+farIf+".rp_filter=0", "net.ipv4.conf.all.arp_notify=1",
		"net.ipv4.conf.all.arp_ignore=1", "net.ipv4.conf.default.arp_notify=1")
	l.far("ip", "link", "add", "link", farIf, "name", "gw2", "type", "macvlan", "mode", "bridge")
	l.far("ip", "address", "add", gateway2+"/32", "dev", "gw2")
	l.far("ip", "link", "set", "gw2", "up")
	l.far("ip", "address", "add", remoteAddr+"/32", "dev", "lo")

	file, runDir, err := l.WriteConfig(body)
	require.NoError(t, err)
	l.d, err = l.StartToed(ctx, file, runDir)
	require.NoError(t, err)
	nginx(ctx, t, l.Lab, l.d, toePort, 256*megabyte)
	words, err := lab.Nginx{Name: "kernel-nginx", Port: kernelPort, Workers: 1, Docs: l.Path("docs")}.Words(l.Lab)
	require.NoError(t, err)
	server, err := l.Start(l.NearHost, words[0], words[1:]...)
	require.NoError(t, err)
	require.NoError(t, server.WaitFor(ctx, func() error { return l.NearHost.Listening(kernelPort) }))
	return l
}

func (l *kernelLab) near(name string, args ...string) { l.on(l.NearHost, name, args...) }
func (l *kernelLab) far(name string, args ...string)  { l.on(l.FarHost, name, args...) }

func (l *kernelLab) on(h lab.Host, name string, args ...string) {
	l.Helper()
	require.NoError(l, h.Run(name, args...), "%s %s", name, strings.Join(args, " "))
}

// download is a slow transfer from the near host that a test changes things under.
type download struct {
	l    *kernelLab
	name string
	p    *lab.Process
}

// downloads starts one from the TOE and one from the near kernel, to the address that only routes lead to,
// and waits until both run.
func (l *kernelLab) downloads(host string, more ...string) []*download {
	l.Helper()
	var list []*download
	for name, port := range map[string]int{"toe": toePort, "kernel": kernelPort} {
		args := append([]string{"-sS", "--fail", "--limit-rate", "4M", "-o", l.Path("down-" + name)}, more...)
		p, err := l.Start(l.FarHost, "curl", append(args, fmt.Sprintf("http://%s:%d/big", host, port))...)
		require.NoError(l, err)
		list = append(list, &download{l, name, p})
	}
	for _, d := range list {
		d.goesOn()
	}
	return list
}

func (d *download) octets() int64 {
	st, err := os.Stat(d.l.Path("down-" + d.name))
	if err != nil {
		return 0
	}
	return st.Size()
}

// goesOn demands that a megabyte more comes.
func (d *download) goesOn() {
	d.l.Helper()
	start := d.octets()
	eventually(d.l.ctx, d.l.T, func() error {
		select {
		case <-d.p.Done():
			return fmt.Errorf("%s: ended: %s", d.name, d.p.Text())
		default:
		}
		if n := d.octets(); n < start+megabyte/2 {
			return fmt.Errorf("%s: stands at %d octets, was at %d", d.name, n, start)
		}
		return nil
	})
}

// end stops the transfer and demands that what came is what was sent.
func (d *download) end() {
	d.l.Helper()
	d.p.Kill()
	got, err := os.Open(d.l.Path("down-" + d.name))
	require.NoError(d.l, err)
	defer got.Close()
	sent, err := os.Open(d.l.Path("docs", "big"))
	require.NoError(d.l, err)
	defer sent.Close()
	a, b := make([]byte, megabyte), make([]byte, megabyte)
	for {
		n, err := io.ReadFull(got, a)
		if n == 0 {
			return
		}
		_, _ = io.ReadFull(sent, b[:n])
		require.True(d.l, bytes.Equal(a[:n], b[:n]), "%s: other octets than were sent", d.name)
		if err != nil {
			return
		}
	}
}

// received counts the frames that a far interface has received.
func (l *kernelLab) received(iface string) int {
	l.Helper()
	out, err := l.FarHost.Output(l.ctx, "cat", filepath.Join("/sys/class/net", iface, "statistics/rx_packets"))
	require.NoError(l, err)
	n, err := strconv.Atoi(strings.TrimSpace(out))
	require.NoError(l, err)
	return n
}

// TestKernelControls changes what the kernel of the near host controls under transfers of the TOE and of
// that kernel: whatever the kernel's connections survive, the TOE's do.
func TestKernelControls(t *testing.T) {
	l := newKernelLab(t, "netdev")
	list := l.downloads(toeAddr, "--interface", remoteAddr)
	all := func(f func(*download)) {
		t.Helper()
		for _, d := range list {
			f(d)
		}
	}
	sockets, err := l.d.Sockets(l.ctx)
	require.NoError(t, err)
	require.True(t, slices.ContainsFunc(sockets, func(s lab.Socket) bool { return strings.HasPrefix(s.Remote, remoteAddr+":") }), "%v", sockets)
	step := func(name string, f func()) {
		t.Helper()
		start := time.Now()
		f()
		all((*download).goesOn)
		t.Logf("%s: %v", name, time.Since(start))
	}

	step("gateway", func() {
		l.near("ip", "route", "replace", "10.50.0.0/16", "via", gateway2)
		all((*download).goesOn)
		before, old := l.received("gw2"), l.received(farIf)
		all((*download).goesOn)
		eventually(l.ctx, t, func() error {
			if n := l.received("gw2") - before; n < 400 {
				return fmt.Errorf("%d frames came by the new gateway, %d by the wire", n, l.received(farIf)-old)
			}
			return nil
		})
	})
	step("hardware address", func() { l.far("ip", "link", "set", "gw2", "address", "02:00:00:00:55:55") })
	step("interface down and up", func() {
		l.near("ip", "link", "set", nearIf, "down")
		eventually(l.ctx, t, linkIs(l.ctx, l.d, 0, false))
		l.near("ip", "link", "set", nearIf, "up")
		l.near("ip", "route", "replace", "10.50.0.0/16", "via", gateway)
	})
	step("carrier off and on", func() {
		l.far("ip", "link", "set", farIf, "down")
		eventually(l.ctx, t, linkIs(l.ctx, l.d, 0, false))
		l.far("ip", "link", "set", farIf, "up")
	})
	step("address removed and added", func() {
		l.near("ip", "address", "del", toeAddr+"/24", "dev", nearIf)
		l.near("ip", "address", "add", toeAddr+"/24", "dev", nearIf)
		l.near("ip", "route", "replace", "10.50.0.0/16", "via", gateway)
	})
	step("route removed and added", func() {
		l.near("ip", "route", "del", "10.50.0.0/16")
		l.near("ip", "route", "add", "10.50.0.0/16", "via", gateway)
	})
	step("blackhole and back", func() {
		l.near("ip", "route", "replace", "blackhole", "10.50.0.0/16")
		l.near("ip", "route", "replace", "10.50.0.0/16", "via", gateway)
	})
	step("smaller MTU", func() { l.near("ip", "link", "set", nearIf, "mtu", "1400") })
	step("MTU as before", func() { l.near("ip", "link", "set", nearIf, "mtu", "1500") })
	step("policy rule", func() {
		l.near("ip", "route", "add", "10.50.0.0/16", "via", gateway2, "table", "77")
		l.near("ip", "rule", "add", "from", toeAddr, "lookup", "77")
		all((*download).goesOn)
		before := l.received("gw2")
		eventually(l.ctx, t, func() error {
			if l.received("gw2")-before < 100 {
				return errors.New("frames do not go by the rule's gateway")
			}
			return nil
		})
	})
	all((*download).end)
	s, err := l.d.Stats(l.ctx)
	require.NoError(t, err)
	require.NotZero(t, s.Device["Rerouted"])
}
