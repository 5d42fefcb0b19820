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
	"regexp"
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
	gateway, gateway2    = peerAddr, "10.99.0.3"
	gateway6, gateway26  = peerAddr6, "fd99::3"
	remoteAddr           = "10.50.0.1"
	remoteAddr6, remote6 = "fd50::1", "fd50::/64"
	toePort              = 80
	kernelPort           = 81
)

// kernelLab is a lab whose port's addresses, routes and neighbours are the near kernel's, and in it two
// nginx on the same address: one on the TOE, one on the kernel.
type kernelLab struct {
	*testing.T
	*lab.Lab
	ctx   context.Context
	d     *lab.Toed
	iface string // the kernel's
}

func newKernelLab(t *testing.T, mode string) *kernelLab {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	l := &kernelLab{T: t, Lab: wire(t), ctx: ctx}
	l.iface = nearIf
	if mode == "tap" {
		l.iface = "k0"
	}
	body := fmt.Sprintf("ports:\n  - name: %s\n    device: af_xdp:%s\n    kernel: %s\n    addresses: [%s/24, \"%s/64\"]\n",
		l.iface, nearIf, mode, toeAddr, toeAddr6)
	if mode == "netdev" {
		l.near("sysctl", "-qw", "net.ipv6.conf."+nearIf+".disable_ipv6=0")
	}
	l.far("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0", "net.ipv4.conf."+farIf+".rp_filter=0", "net.ipv4.conf.all.arp_notify=1",
		"net.ipv4.conf.all.arp_ignore=1", "net.ipv4.conf.default.arp_notify=1", "net.ipv4.tcp_rmem=4096 131072 262144")
	l.far("ip", "link", "add", "link", farIf, "name", "gw2", "type", "macvlan", "mode", "bridge")
	l.far("ip", "address", "add", gateway2+"/32", "dev", "gw2")
	l.far("ip", "link", "set", "gw2", "up")
	l.far("ip", "address", "add", remoteAddr+"/32", "dev", "lo")
	l.far("sysctl", "-qw", "net.ipv6.conf.gw2.accept_dad=0", "net.ipv6.conf.gw2.ndisc_notify=1",
		"net.ipv6.conf.gw2.keep_addr_on_down=1", "net.ipv6.conf."+farIf+".keep_addr_on_down=1")
	l.far("ip", "address", "add", gateway26+"/128", "dev", "gw2", "nodad")
	l.far("ip", "address", "add", remoteAddr6+"/128", "dev", "lo")

	file, runDir, err := l.WriteConfig(body)
	require.NoError(t, err)
	l.d, err = l.StartToed(ctx, file, runDir)
	require.NoError(t, err)
	l.near("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf."+l.iface+".rp_filter=0")
	l.near("ip", "route", "add", "10.50.0.0/16", "via", gateway)
	l.near("sysctl", "-qw", "net.ipv6.conf."+l.iface+".keep_addr_on_down=1")
	l.near("ip", "route", "add", remote6, "via", gateway6, "dev", l.iface)
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
		if strings.HasPrefix(host, "[") {
			name += "6"
		}
		args := append([]string{"-sS", "--fail", "--limit-rate", "8M", "-o", l.Path("down-" + name)}, more...)
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
	for _, mode := range []string{"netdev", "tap"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			testKernelControls(t, newKernelLab(t, mode))
		})
	}
}

func testKernelControls(t *testing.T, l *kernelLab) {
	list := append(l.downloads(toeAddr, "--interface", remoteAddr), l.downloads("["+toeAddr6+"]", "--interface", remoteAddr6)...)
	route := func(to, via, via6 string) {
		t.Helper()
		l.near("ip", "route", to, "10.50.0.0/16", "via", via)
		l.near("ip", "route", to, remote6, "via", via6, "dev", l.iface)
	}
	all := func(f func(*download)) {
		t.Helper()
		for _, d := range list {
			f(d)
		}
	}
	sockets, err := l.d.Sockets(l.ctx)
	require.NoError(t, err)
	for _, addr := range []string{remoteAddr, "[" + remoteAddr6 + "]"} {
		require.True(t, slices.ContainsFunc(sockets, func(s lab.Socket) bool { return strings.HasPrefix(s.Remote, addr+":") }), "%s: %v", addr, sockets)
	}
	step := func(name string, f func()) {
		t.Helper()
		start := time.Now()
		f()
		all((*download).goesOn)
		t.Logf("%s: %v", name, time.Since(start))
	}

	step("gateway", func() {
		route("replace", gateway2, gateway26)
		all((*download).goesOn)
		before, old := l.received("gw2"), l.received(farIf)
		all((*download).goesOn)
		eventually(l.ctx, t, func() error {
			if n := l.received("gw2") - before; n < 100 {
				return fmt.Errorf("%d frames came by the new gateway, %d by the wire", n, l.received(farIf)-old)
			}
			return nil
		})
	})
	step("hardware address", func() { l.far("ip", "link", "set", "gw2", "address", "02:00:00:00:55:55") })
	step("interface down and up", func() {
		l.near("ip", "link", "set", l.iface, "down")
		eventually(l.ctx, t, linkIs(l.ctx, l.d, 0, false))
		l.near("ip", "link", "set", l.iface, "up")
		route("replace", gateway, gateway6)
	})
	step("carrier off and on", func() {
		l.far("ip", "link", "set", farIf, "down")
		eventually(l.ctx, t, linkIs(l.ctx, l.d, 0, false))
		l.far("ip", "link", "set", farIf, "up")
	})
	step("address removed and added", func() {
		l.near("ip", "address", "del", toeAddr+"/24", "dev", l.iface)
		l.near("ip", "address", "del", toeAddr6+"/64", "dev", l.iface)
		l.near("ip", "address", "add", toeAddr+"/24", "dev", l.iface)
		l.near("ip", "address", "add", toeAddr6+"/64", "dev", l.iface, "nodad")
		route("replace", gateway, gateway6)
	})
	step("route removed and added", func() {
		l.near("ip", "route", "del", "10.50.0.0/16")
		l.near("ip", "route", "del", remote6)
		route("add", gateway, gateway6)
	})
	step("blackhole and back", func() {
		l.near("ip", "route", "replace", "blackhole", "10.50.0.0/16")
		l.near("ip", "route", "del", remote6)
		l.near("ip", "route", "add", "blackhole", remote6)
		l.near("ip", "route", "replace", "10.50.0.0/16", "via", gateway)
		l.near("ip", "route", "del", "blackhole", remote6)
		l.near("ip", "route", "add", remote6, "via", gateway6, "dev", l.iface)
	})
	step("smaller MTU", func() { l.near("ip", "link", "set", l.iface, "mtu", "1400") })
	step("MTU as before", func() { l.near("ip", "link", "set", l.iface, "mtu", "1500") })
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

// TestKernelRefuses opens connections on the TOE that the kernel would not open, or not for long: the
// program hears what the kernel would have said.
func TestKernelRefuses(t *testing.T) {
	t.Parallel()
	l := newKernelLab(t, "netdev")
	for i, kind := range []string{"blackhole", "unreachable", "prohibit"} {
		l.near("ip", "route", "add", kind, fmt.Sprintf("10.6%d.0.0/16", i))
	}
	complaint := func(words ...string) string {
		_, err := l.NearHost.Output(l.ctx, words[0], words[1:]...)
		require.Error(t, err)
		text := err.Error()
		return regexp.MustCompile(`after \d+ ms`).ReplaceAllString(text[strings.Index(text, "("):], "")
	}
	for _, host := range []string{"10.60.0.1", "10.61.0.1", "10.62.0.1", "203.0.113.1", "10.99.0.66", "[fd99::66]"} {
		words := []string{"curl", "-sS", "--noproxy", "*", "http://" + host + ":80/"}
		require.Equal(t, complaint(words...), complaint(l.Toerun(l.d.Socket(), words...)...), host)
	}
	out, err := l.d.Toectl(l.ctx, "neigh")
	require.NoError(t, err)
	require.Regexp(t, `10\.99\.0\.66\s+toe0\s+-\s+FAILED`, out)
	out, err = l.d.Toectl(l.ctx, "route")
	require.NoError(t, err)
	require.Regexp(t, `10\.60\.0\.0/16\s+toe0\s+refused`, out)
	require.Regexp(t, `10\.50\.0\.0/16\s+toe0\s+port\s+10\.99\.0\.2`, out)

	// What a route leads to is offloaded, over the gateway that the kernel chooses.
	require.NoError(t, os.WriteFile(l.Path("docs", "small2"), []byte("small"), 0o644))
	kernelNginx(l.ctx, t, l.Lab, 82)
	before, err := l.d.Status(l.ctx)
	require.NoError(t, err)
	l.near("ip", "route", "add", "10.50.0.0/16", "via", gateway2, "table", "77")
	l.near("ip", "rule", "add", "to", remoteAddr, "lookup", "77")
	frames := l.received("gw2")
	offloadedCurl(l.ctx, t, l.Lab, l.d, "-o", os.DevNull, "http://"+remoteAddr+":82/small2")
	after, err := l.d.Status(l.ctx)
	require.NoError(t, err)
	require.Greater(t, after.Offloaded, before.Offloaded)
	require.Greater(t, l.received("gw2"), frames+3)
}

// TestNarrowPath puts a router with a narrow link behind the far host: its ICMP errors make the TOE send
// smaller packets, as they do the kernel.
func TestNarrowPath(t *testing.T) {
	t.Parallel()
	l := newKernelLab(t, "netdev")
	behind := lab.Host{Namespace: l.Near + "-behind"}
	require.NoError(t, lab.Host{}.Run("ip", "netns", "add", behind.Namespace))
	l.Cleanup(func() error { return lab.Host{}.Run("ip", "netns", "del", behind.Namespace) })
	l.far("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
	l.far("ip", "link", "add", "narrow", "type", "veth", "peer", "name", "b0", "netns", behind.Namespace)
	l.far("ip", "address", "add", "10.50.9.1/24", "dev", "narrow")
	l.far("ip", "address", "add", "fd50:9::1/64", "dev", "narrow", "nodad")
	l.far("ip", "link", "set", "narrow", "mtu", "1300", "up")
	l.on(behind, "ip", "address", "add", "10.50.9.2/24", "dev", "b0")
	l.on(behind, "ip", "address", "add", "fd50:9::2/64", "dev", "b0", "nodad")
	l.on(behind, "ip", "link", "set", "b0", "up")
	l.on(behind, "ip", "route", "add", "default", "via", "10.50.9.1")
	l.on(behind, "ip", "route", "add", "default", "via", "fd50:9::1")
	l.near("ip", "route", "add", "fd50:9::/64", "via", gateway6, "dev", l.iface)
	told := uint64(0)
	for _, host := range []string{toeAddr, "[" + toeAddr6 + "]"} {
		for _, port := range []int{toePort, kernelPort} {
			_, err := behind.Output(l.ctx, "curl", "-sS", "--fail", "--range", "0-8388607", "-o", l.Path("narrow"), fmt.Sprintf("http://%s:%d/big", host, port))
			require.NoError(t, err, "%s port %d", host, port)
		}
		s, err := l.d.Stats(l.ctx)
		require.NoError(t, err)
		require.Greater(t, s.Device["ICMPErrors"], told, host)
		told = s.Device["ICMPErrors"]
	}
}

// TestKernelChoosesThePort opens connections over two ports at once, each by the one that the kernel's
// routes name, over IPv4 and IPv6, and moves a route from one port to the other.
func TestKernelChoosesThePort(t *testing.T) {
	for _, mode := range []string{"netdev", "tap"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			kernelChoosesThePort(t, mode)
		})
	}
}

func kernelChoosesThePort(t *testing.T, mode string) {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	l := wire(t)
	require.NoError(t, l.AddWire(lab.Wire{NearIf: nearIfB, FarIf: farIfB, Address: peerAddrB + "/24", Address6: peerAddrB6 + "/64"}))
	ifaces := []string{nearIf, nearIfB} // the kernel's
	if mode == "tap" {
		ifaces = []string{"k0", "k1"}
		require.NoError(t, l.NearHost.Run("sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0"))
	} else {
		for _, iface := range ifaces {
			require.NoError(t, l.NearHost.Run("sysctl", "-qw", "net.ipv6.conf."+iface+".disable_ipv6=0", "net.ipv6.conf."+iface+".accept_dad=0"))
		}
	}
	require.NoError(t, l.FarHost.Run("ip", "address", "add", remoteAddr+"/32", "dev", "lo"))
	port := func(iface, device, addr, addr6 string) string {
		return fmt.Sprintf("  - name: %s\n    device: af_xdp:%s\n    kernel: %s\n    addresses: [%s/24, \"%s/64\"]\n", iface, device, mode, addr, addr6)
	}
	file, runDir, err := l.WriteConfig("ports:\n" + port(ifaces[0], nearIf, toeAddr, toeAddr6) + port(ifaces[1], nearIfB, toeAddrB, toeAddrB6))
	require.NoError(t, err)
	d, err := l.StartToed(ctx, file, runDir)
	require.NoError(t, err)
	docs := l.Path("docs")
	require.NoError(t, os.MkdirAll(docs, 0o755))
	sum, err := lab.WriteRandom(filepath.Join(docs, "big"), 4*megabyte, 1)
	require.NoError(t, err)
	kernelNginx(ctx, t, l, 81)

	octets := func(name string) uint64 {
		s, err := d.Stats(ctx)
		require.NoError(t, err)
		return s.Ports[name]["RxOctets"]
	}
	get := func(host, by string) {
		t.Helper()
		before := octets(by)
		offloadedCurl(ctx, t, l, d, "-o", l.Path("got"), "http://"+host+":81/big")
		require.NoError(t, lab.CheckSum(l.Path("got"), sum))
		require.Greater(t, octets(by)-before, uint64(4*megabyte), "%s should have come by %s", host, by)
	}
	get(peerAddr, ifaces[0])
	get(peerAddrB, ifaces[1])
	get("["+peerAddr6+"]", ifaces[0])
	get("["+peerAddrB6+"]", ifaces[1])
	require.NoError(t, l.NearHost.Run("ip", "route", "add", remoteAddr, "via", peerAddr))
	get(remoteAddr, ifaces[0])
	require.NoError(t, l.NearHost.Run("ip", "route", "replace", remoteAddr, "via", peerAddrB))
	get(remoteAddr, ifaces[1])
	offloadedOnly(ctx, t, d)
}

// TestListenerWaitsForItsAddress has programs listen before their port has an address: on every address, and
// on ones that it gets only later, loses and gets again. Both are on the TOE as soon as the address is.
func TestListenerWaitsForItsAddress(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	const iface = "k0"
	l := wire(t)
	file, runDir, err := l.WriteConfig(fmt.Sprintf("ports:\n  - name: %s\n    device: af_xdp:%s\n    kernel: tap\n", iface, nearIf))
	require.NoError(t, err)
	d, err := l.StartToed(ctx, file, runDir)
	require.NoError(t, err)
	near := func(words ...string) {
		t.Helper()
		require.NoError(t, l.NearHost.Run(words[0], words[1:]...))
	}
	near("sysctl", "-qw", "net.ipv4.ip_nonlocal_bind=1", "net.ipv6.ip_nonlocal_bind=1", "net.ipv6.conf."+iface+".accept_dad=0")
	redis := func(port int, bind ...string) {
		t.Helper()
		words := []string{"redis-server", "--save", "", "--protected-mode", "no", "--dir", l.Dir, "--port", fmt.Sprint(port), "--bind"}
		serve(ctx, t, l, d, port, append(words, bind...)...)
	}
	redis(redisPort, "*", "-::*")
	redis(redisPort+1, toeAddr, toeAddr6)
	ss := func() string {
		out, err := d.Toectl(ctx, "ss", "-l")
		require.NoError(t, err)
		return out
	}
	require.Regexp(t, regexp.QuoteMeta(toeAddr)+`:6380.* kernel:local-addr\n`, ss())
	require.Regexp(t, regexp.QuoteMeta(toeAddr6)+`]:6380.* kernel:local-addr\n`, ss())
	require.NotRegexp(t, `:6379.* kernel:`, ss())
	out, err := d.Toectl(ctx, "ss", "--kernel")
	require.NoError(t, err)
	require.Contains(t, out, "local-addr")

	// pings demands that both servers answer on the TOE, at all of its addresses.
	pings := func(addrs ...string) {
		t.Helper()
		for _, a := range addrs {
			for _, port := range []int{redisPort, redisPort + 1} {
				eventually(ctx, t, func() error {
					before := offloaded(ctx, t, d)
					if err := l.FarHost.Run("redis-cli", "-h", a, "-p", fmt.Sprint(port), "ping"); err != nil {
						return err
					}
					if offloaded(ctx, t, d) != before+1 {
						return fmt.Errorf("%s port %d was served by the kernel", a, port)
					}
					return nil
				})
			}
		}
	}
	near("ip", "address", "add", toeAddr+"/24", "dev", iface)
	pings(toeAddr)
	require.Equal(t, 1, strings.Count(ss(), "kernel:"), "the other one waits")
	near("ip", "address", "add", toeAddr6+"/64", "dev", iface)
	pings(toeAddr6, toeAddr)
	require.NotContains(t, ss(), "kernel:")
	near("ip", "address", "del", toeAddr+"/24", "dev", iface)
	near("ip", "address", "add", toeAddr+"/24", "dev", iface)
	pings(toeAddr, toeAddr6)
}
