//go:build e2e

package e2e

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	tcp "opentoe/tcpoffload/wire"
	"opentoe/test/lab"
)

// The far host and a host behind it, "second", are routers on one wire. What is for second's inner addresses
// the near host sends to the far one, which passes it on to second by the same wire: it has something to say.
const (
	secondAddr                  = "10.99.0.3"
	firstLocal, secondLocal     = "fe80::a", "fe80::b"
	innerAddr4, innerAddr6      = "10.50.0.1", "fd50::1"
	innerPrefix4, innerPrefix6  = "10.50.0.0/16", "fd50::/64"
	settingsOfRedirects, router = "accept_redirects", "br0"
)

func TestRedirect(t *testing.T) {
	for _, mode := range []string{"none", "tap", "netdev"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			testRedirect(t, newRedirectLab(t, mode), mode)
		})
	}
}

// redirectLab is a lab with two routers.
type redirectLab struct {
	*kernelLab
	second lab.Host
}

func newRedirectLab(t *testing.T, mode string) *redirectLab {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	l := &redirectLab{kernelLab: &kernelLab{T: t, Lab: wire(t), ctx: ctx, iface: nearIf}}
	l.second = lab.Host{Namespace: l.Near + "-second"}
	require.NoError(t, lab.Host{}.Run("ip", "netns", "add", l.second.Namespace))
	l.Cleanup(func() error { return lab.Host{}.Run("ip", "netns", "del", l.second.Namespace) })
	l.far("ip", "address", "flush", "dev", farIf)
	l.far("ip", "link", "add", router, "type", "bridge")
	l.far("ip", "link", "add", "s0", "type", "veth", "peer", "name", "w0", "netns", l.second.Namespace)
	for _, iface := range []string{farIf, "s0"} {
		l.far("ip", "link", "set", iface, "master", router, "up")
	}
	l.far("ethtool", "-K", "s0", "tx", "off", "gso", "off", "gro", "off")
	l.on(l.second, "ethtool", "-K", "w0", "tx", "off", "tso", "off", "gso", "off", "gro", "off")
	for _, h := range []struct {
		lab.Host
		iface string
		addrs []string
	}{
		{l.FarHost, router, []string{peerAddr + "/24", peerAddr6 + "/64", firstLocal + "/64"}},
		{l.second, "w0", []string{secondAddr + "/24", "fd99::3/64", secondLocal + "/64"}},
	} {
		l.on(h.Host, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1", "net.ipv4.conf.all.rp_filter=0",
			"net.ipv4.conf."+h.iface+".rp_filter=0", "net.ipv4.conf.all.send_redirects=1")
		for _, a := range h.addrs {
			l.on(h.Host, "ip", "address", "add", a, "dev", h.iface, "nodad")
		}
		l.on(h.Host, "ip", "link", "set", "lo", "up")
		l.on(h.Host, "ip", "link", "set", h.iface, "up")
	}
	l.on(l.second, "sysctl", "-qw", "net.ipv4.tcp_rmem=4096 131072 262144") // what goes on is not from a buffer
	l.on(l.second, "ip", "address", "add", innerAddr4+"/32", "dev", "lo")
	l.on(l.second, "ip", "address", "add", innerAddr6+"/128", "dev", "lo")
	l.far("ip", "route", "add", innerPrefix4, "via", secondAddr)
	l.far("ip", "route", "add", innerPrefix6, "via", secondLocal, "dev", router)

	body := fmt.Sprintf("ports:\n  - name: toe0\n    device: af_xdp:%s\n    addresses: [%s/24, \"%s/64\"]\n", nearIf, toeAddr, toeAddr6)
	switch mode {
	case "none":
		body += fmt.Sprintf("    routes: [{to: %s, via: %s}, {to: \"%s\", via: \"%s\"}]\n", innerPrefix4, peerAddr, innerPrefix6, firstLocal)
	case "tap":
		l.iface = "k0"
		body += "    kernel: tap\n    kernel_interface: k0\n"
	default:
		body += "    kernel: netdev\n"
		l.near("sysctl", "-qw", "net.ipv6.conf."+nearIf+".disable_ipv6=0")
	}
	file, runDir, err := l.WriteConfig(body)
	require.NoError(t, err)
	l.d, err = l.StartToed(ctx, file, runDir)
	require.NoError(t, err)
	if mode != "none" {
		l.near("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf."+l.iface+".rp_filter=0")
		l.accept("0")
		l.near("ip", "route", "add", innerPrefix4, "via", peerAddr)
		l.near("ip", "route", "add", innerPrefix6, "via", firstLocal, "dev", l.iface)
	}
	nginx(ctx, t, l.Lab, l.d, toePort, 256*megabyte)
	return l
}

// accept sets whether the near kernel believes redirects.
func (l *redirectLab) accept(value string) {
	l.Helper()
	for _, name := range []string{"ipv4.conf.all.", "ipv4.conf." + l.iface + ".", "ipv6.conf." + l.iface + "."} {
		l.near("sysctl", "-qw", "net."+name+settingsOfRedirects+"="+value)
	}
}

// forwarded counts the packets that the first router has passed on.
func (l *redirectLab) forwarded() (n int) {
	l.Helper()
	out, err := l.FarHost.Output(l.ctx, "nstat", "-asz", "IpForwDatagrams", "Ip6OutForwDatagrams")
	require.NoError(l, err)
	for line := range strings.Lines(out) {
		var name string
		var v int
		if _, err := fmt.Sscan(line, &name, &v); err == nil {
			n += v
		}
	}
	return n
}

// counter reads one of the port's counters.
func (l *redirectLab) counter(name string) uint64 {
	l.Helper()
	s, err := l.d.Stats(l.ctx)
	require.NoError(l, err)
	v, ok := s.Ports["toe0"][name]
	require.True(l, ok, name)
	return v
}

// transfer starts a download of second's and waits until it runs.
func (l *redirectLab) transfer(name, host, from string) *download {
	l.Helper()
	p, err := l.Start(l.second, "curl", "-sS", "--fail", "--limit-rate", "8M", "-o", l.Path("down-"+name), "--interface", from,
		fmt.Sprintf("http://%s:%d/big", host, toePort))
	require.NoError(l, err)
	d := &download{l.kernelLab, name, p}
	d.goesOn()
	return d
}

// bySecond waits until the transfers go on without the first router.
func (l *redirectLab) bySecond(list ...*download) {
	l.Helper()
	eventually(l.ctx, l.T, func() error {
		before := l.forwarded()
		for _, d := range list {
			d.goesOn()
		}
		if n := l.forwarded() - before; n > 20 {
			return fmt.Errorf("the first router passed on %d packets more", n)
		}
		return nil
	})
}

func testRedirect(t *testing.T, l *redirectLab, mode string) {
	four := l.transfer("four", toeAddr, innerAddr4)
	if mode != "none" {
		// The kernel's settings hold for connections of the TOE.
		eventually(l.ctx, t, func() error {
			if n := l.counter("redirect-refused"); n == 0 {
				return fmt.Errorf("no redirect was refused")
			}
			return nil
		})
		before := l.forwarded()
		four.goesOn()
		require.Greater(t, l.forwarded(), before+100)
		require.Zero(t, l.counter("redirected"))
		l.accept("1")
	}
	six := l.transfer("six", "["+toeAddr6+"]", innerAddr6)
	eventually(l.ctx, t, func() error {
		if n := l.counter("redirected"); n < 2 {
			return fmt.Errorf("%d redirects were followed", n)
		}
		return nil
	})
	l.bySecond(four, six)

	// A forged one quotes what is not in flight.
	sockets, err := l.d.Sockets(l.ctx)
	require.NoError(t, err)
	for _, s := range sockets {
		remote, err := netip.ParseAddrPort(s.Remote)
		if err != nil || remote.Addr() != netip.MustParseAddr(innerAddr4) {
			continue
		}
		unknown := func() uint64 {
			s, err := l.d.Stats(l.ctx)
			require.NoError(t, err)
			return s.Drops["icmp-unknown"]
		}
		drops := unknown()
		require.NoError(t, l.FarHost.Inside(func() error { return forge(remote) }))
		eventually(l.ctx, t, func() error {
			if unknown() == drops {
				return fmt.Errorf("the forged redirect was not counted")
			}
			return nil
		})
	}
	l.bySecond(four, six)

	four.end()
	six.end()
}

// forge sends the TOE a redirect that quotes a segment to remote which it has not sent.
func forge(remote netip.AddrPort) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	toe := netip.MustParseAddr(toeAddr)
	h := tcp.Header{Flags: tcp.ACK, TTL: 64, Seq: 77, Flow: tcp.Flow{
		Local: tcp.AddrFrom(toe), LocalPort: toePort, Remote: tcp.AddrFrom(remote.Addr()), RemotePort: remote.Port()}}
	quoted := make([]byte, h.Len())
	h.Put(quoted, 0, 0, tcp.ChecksumSoftware)
	msg := tcp.ICMP(append(make([]byte, tcp.ICMPLen), quoted[tcp.EthernetLen:]...))
	binary.BigEndian.PutUint32(msg[4:], 0x0a630004) // 10.99.0.4, where nobody is
	msg.SetType(tcp.ICMPRedirect, 1)
	msg.UpdateChecksum(0)
	return unix.Sendto(fd, msg, 0, &unix.SockaddrInet4{Addr: toe.As4()})
}
