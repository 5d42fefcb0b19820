//go:build e2e

package e2e

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"opentoe/test/lab"
)

// besideLab is a lab of two wires, both of which the near kernel sees beside toed: its addresses, routes and
// choice of source addresses count.
type besideLab struct {
	*testing.T
	*lab.Lab
	ctx    context.Context
	d      *lab.Toed
	ifaces [2]string // the near kernel's
}

func newBesideLab(t *testing.T, mode string) *besideLab {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	l := &besideLab{T: t, Lab: wire(t), ctx: ctx, ifaces: [2]string{nearIf, nearIfB}}
	require.NoError(t, l.AddWire(lab.Wire{
		NearIf: nearIfB, FarIf: farIfB, Address: peerAddrB + "/24", Address6: peerAddrB6 + "/64", Shared: mode == "netdev",
	}))
	more := "kernel: netdev"
	if mode == "tap" {
		l.ifaces = [2]string{"k0", "k1"}
	} else {
		l.on(l.NearHost, "sysctl", "-qw", "net.ipv6.conf."+nearIf+".disable_ipv6=0")
	}
	body := "ports:\n"
	for i, iface := range []string{nearIf, nearIfB} {
		if mode == "tap" {
			more = "kernel: tap\n    kernel_interface: " + l.ifaces[i]
		}
		a := [][2]string{{toeAddr, toeAddr6}, {toeAddrB, toeAddrB6}}[i]
		body += fmt.Sprintf("  - name: %s\n    device: af_xdp:%s\n    addresses: [%s/24, \"%s/64\"]\n    %s\n", iface, iface, a[0], a[1], more)
	}
	file, runDir, err := l.WriteConfig(body)
	require.NoError(t, err)
	l.d, err = l.StartToed(ctx, file, runDir)
	require.NoError(t, err)
	for _, iface := range l.ifaces {
		l.settled(iface)
	}
	return l
}

// settled waits until duplicate address detection is over.
func (l *besideLab) settled(iface string) {
	l.Helper()
	eventually(l.ctx, l.T, func() error {
		out, err := l.NearHost.Output(l.ctx, "ip", "-6", "address", "show", "dev", iface, "tentative")
		if err == nil && out != "" {
			err = errors.New("addresses are tentative:\n" + out)
		}
		return err
	})
}

// run is [testing.T.Run]: within it the lab's failures are the subtest's.
func (l *besideLab) run(name string, f func(t *testing.T)) {
	l.T.Run(name, func(t *testing.T) {
		whole := l.T
		l.T = t
		defer func() { l.T = whole }()
		f(t)
	})
}

func (l *besideLab) on(h lab.Host, name string, args ...string) {
	l.Helper()
	require.NoError(l, h.Run(name, args...), "%s %s", name, strings.Join(args, " "))
}

// mirrorPort is of a server on the far host that tells its clients their address.
const mirrorPort = 82

func (l *besideLab) serveAddresses() {
	var socket net.Listener
	inside(l.T, l.Far, func() (err error) {
		socket, err = net.Listen("tcp", fmt.Sprintf(":%d", mirrorPort))
		return err
	})
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a, _ := netip.ParseAddrPort(r.RemoteAddr) // net/http's own format
		fmt.Fprint(w, a.Addr().Unmap())
	})}
	go server.Serve(socket)
	l.Cleanup(server.Close)
}

// from returns the address from which a program of the near host reaches the far one's, on the TOE or on the
// kernel.
func (l *besideLab) from(onTOE bool, addr string) string {
	l.Helper()
	words := []string{"curl", "-sS", "--fail", "--noproxy", "*", "-m", "60", "-g", fmt.Sprintf("http://%s:%d/", addr, mirrorPort)}
	if onTOE {
		words = append(l.Toerun(l.d.Socket()), words...)
	}
	out, err := l.NearHost.Output(l.ctx, words[0], words[1:]...)
	require.NoError(l, err, addr)
	return out
}

// agree demands that a connection on the TOE comes from the address that the kernel chooses, and returns it.
func (l *besideLab) agree(addr string) string {
	l.Helper()
	kernel, before := l.from(false, addr), offloaded(l.ctx, l.T, l.d)
	require.Equal(l, kernel, l.from(true, addr), addr)
	require.Equal(l, before+1, offloaded(l.ctx, l.T, l.d), "%s: the connection was not offloaded", addr)
	return kernel
}

// TestBeside has toed on two wires beside the kernel: connections come in by both and go out where the
// kernel's routes say, from the addresses that it chooses, by IPv4, IPv6 and IPv6-mapped IPv4; what is of
// link-local scope is the kernel's.
func TestBeside(t *testing.T) {
	for _, mode := range []string{"netdev", "tap"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			testBeside(t, newBesideLab(t, mode))
		})
	}
}

func testBeside(t *testing.T, l *besideLab) {
	near, far := l.NearHost, l.FarHost
	nginx(l.ctx, t, l.Lab, l.d, 80, megabyte)
	l.serveAddresses()

	l.run("two ports", func(t *testing.T) {
		for _, a := range []string{toeAddr, toeAddrB, "[" + toeAddr6 + "]", "[" + toeAddrB6 + "]"} {
			before := offloaded(l.ctx, l.T, l.d)
			require.NoError(t, fetch(l.ctx, far, a))
			require.Equal(t, before+1, offloaded(l.ctx, l.T, l.d), a)
			l.on(far, "ping", "-c", "1", "-W", "60", strings.Trim(a, "[]"))
		}
		for addr, source := range map[string]string{
			peerAddr: toeAddr, peerAddrB: toeAddrB, "[" + peerAddr6 + "]": toeAddr6, "[" + peerAddrB6 + "]": toeAddrB6,
		} {
			require.Equal(t, source, l.agree(addr))
		}
		stats, err := l.d.Stats(l.ctx)
		require.NoError(t, err)
		for _, port := range []string{nearIf, nearIfB} {
			require.NotZero(t, stats.Ports[port]["TxOctets"], port)
			require.NotZero(t, stats.Ports[port]["RxOctets"], port)
		}
	})

	l.run("routes", func(t *testing.T) {
		const beyond = "10.50.0.1"
		l.on(far, "ip", "address", "add", beyond+"/32", "dev", "lo")
		for _, way := range []struct{ gateway, source string }{{peerAddr, toeAddr}, {peerAddrB, toeAddrB}} {
			l.on(near, "ip", "route", "replace", "10.50.0.0/16", "via", way.gateway)
			eventually(l.ctx, t, func() error { // the change is told, not asked for
				if from := l.from(true, beyond); from != way.source {
					return fmt.Errorf("by %s: from %s", way.gateway, from)
				}
				return nil
			})
			require.Equal(t, way.source, l.agree(beyond))
		}
		l.on(near, "ip", "route", "replace", "10.50.0.0/16", "via", peerAddrB, "src", toeAddrB)
		require.Equal(t, toeAddrB, l.agree(beyond))
	})

	l.run("privacy addresses", func(t *testing.T) {
		l.on(near, "sysctl", "-qw", "net.ipv6.conf."+l.ifaces[0]+".use_tempaddr=2")
		l.on(near, "ip", "-6", "address", "add", "fd99::7/64", "dev", l.ifaces[0], "mngtmpaddr", "nodad")
		plain := []string{toeAddr6, "fd99::7"}
		eventually(l.ctx, t, func() error {
			for _, onTOE := range []bool{false, true} {
				if from := l.from(onTOE, "["+peerAddr6+"]"); slices.Contains(plain, from) {
					return fmt.Errorf("on the TOE %v: from %s", onTOE, from)
				}
			}
			return nil
		})
		require.NotContains(t, plain, l.agree("["+peerAddr6+"]"))
		l.on(near, "sysctl", "-qw", "net.ipv6.conf."+l.ifaces[0]+".use_tempaddr=0")
		l.on(near, "ip", "-6", "address", "del", "fd99::7/64", "dev", l.ifaces[0])
	})

	l.run("IPv6-mapped IPv4", func(t *testing.T) {
		require.Equal(t, toeAddr, l.agree("[::ffff:"+peerAddr+"]"))
		// iperf3 listens on one socket for both families.
		serve(l.ctx, t, l.Lab, l.d, 5201, "iperf3", "-s")
		for _, a := range []string{toeAddr, toeAddrB6} {
			before := offloaded(l.ctx, l.T, l.d)
			// Between two tests it does not listen.
			eventually(l.ctx, t, func() error { return far.Run("iperf3", "-c", a, "-n", "100K") })
			require.Equal(t, before+2, offloaded(l.ctx, l.T, l.d), a) // its control connection, and the data's
		}
	})

	if l.ifaces[0] == nearIf { // the TAP does not take in frames for other stations
		l.run("an interface on the port's", func(t *testing.T) {
			const here, there = "10.97.0.1", "10.97.0.2"
			l.on(near, "ip", "link", "add", "link", nearIf, "name", "above", "type", "macvlan", "mode", "bridge")
			l.on(near, "ip", "address", "add", here+"/24", "dev", "above")
			l.on(near, "ip", "link", "set", "above", "up")
			l.on(far, "ip", "address", "add", there+"/24", "dev", farIf)
			before := offloaded(l.ctx, l.T, l.d)
			require.Equal(t, here, l.from(true, there))
			require.NoError(t, fetch(l.ctx, far, here))
			require.Equal(t, before, offloaded(l.ctx, l.T, l.d), "the TOE sends by its port only")
			s, err := l.d.Status(l.ctx)
			require.NoError(t, err)
			require.EqualValues(t, 1, s.Refused["no-route"])
		})
	}

	l.run("link-local", func(t *testing.T) {
		before := offloaded(l.ctx, l.T, l.d)
		there, here := linkLocal(l.ctx, t, far, farIf), linkLocal(l.ctx, t, near, l.ifaces[0])
		require.Equal(t, here, withoutZone(l.from(true, "["+there+"%25"+l.ifaces[0]+"]")))
		require.NoError(t, fetch(l.ctx, far, "["+here+"%25"+farIf+"]"))
		require.Equal(t, before, offloaded(l.ctx, l.T, l.d))
		serve := l.Toerun(l.d.Socket(), "iperf3", "-s", "-p", "5999", "-B", here+"%"+l.ifaces[0])
		server, err := l.Start(near, serve[0], serve[1:]...)
		require.NoError(t, err)
		require.NoError(t, server.WaitFor(l.ctx, func() error { return near.Listening(5999) }))
		l.on(far, "iperf3", "-c", here+"%"+farIf, "-p", "5999", "-n", "100K")
		require.Equal(t, before, offloaded(l.ctx, l.T, l.d))
		out, err := l.d.Toectl(l.ctx, "ss", "--kernel")
		require.NoError(t, err)
		require.Regexp(t, `active.*\[`+there+`\]:82.* link-local`, out)
		require.Regexp(t, `passive.*\[`+here+`\]:5999.* link-local`, out)
	})
}

// linkLocal returns an interface's IPv6 address of link-local scope.
func linkLocal(ctx context.Context, t *testing.T, h lab.Host, iface string) string {
	t.Helper()
	out, err := h.Output(ctx, "ip", "-6", "-json", "address", "show", "dev", iface, "scope", "link")
	require.NoError(t, err)
	var list []struct {
		Addresses []struct{ Local string } `json:"addr_info"`
	}
	require.NoError(t, json.Unmarshal([]byte(out), &list))
	for _, i := range list {
		for _, a := range i.Addresses { // what is filtered out leaves an empty entry
			if a.Local != "" {
				return a.Local
			}
		}
	}
	require.Fail(t, "no address of link-local scope", iface)
	return ""
}

func withoutZone(addr string) string {
	addr, _, _ = strings.Cut(addr, "%")
	return addr
}

// TestTaggedFrames sends frames with VLAN tags over a wire that toed drives: they pass to the kernel's
// interface and from it as they are, also those that hold what the TOE would take without the tag.
func TestTaggedFrames(t *testing.T) {
	for _, driver := range []string{"af_xdp", "af_packet"} {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			ctx, l, d := tapToed(t, driver, "", nil)
			nginx(ctx, t, l, d, 80, megabyte)
			taggedFrames(ctx, t, l, l.FarHost, farIf, l.NearHost, tapIf)
			taggedFrames(ctx, t, l, l.NearHost, tapIf, l.FarHost, farIf)
			stats, err := d.Stats(ctx)
			require.NoError(t, err)
			require.Zero(t, stats.TCP["PassiveOpens"]+stats.TCP["OutRsts"]+stats.TCP["OutSegs"], "the TOE took a frame of a VLAN")
		})
	}
}

// taggedFrames sends tagged frames from one interface and waits for them at the other.
func taggedFrames(ctx context.Context, t *testing.T, l *lab.Lab, from lab.Host, out string, to lab.Host, in string) {
	t.Helper()
	dump, err := l.Start(to, "tcpdump", "-i", in, "-n", "-xx", "-l", "--immediate-mode", "-Q", "in", "vlan 5")
	require.NoError(t, err)
	require.NoError(t, dump.WaitFor(ctx, func() error {
		if !dump.Said("listening on") {
			return errors.New("tcpdump does not listen")
		}
		return nil
	}))
	header := slices.Concat(mac(t, to, in), mac(t, from, out), []byte{0x81, 0, 0x60, 5}) // VLAN 5, priority 3
	syn := synFrame(t, l, nil)[ipAt:]
	for name, f := range map[string][]byte{
		"unknown":  slices.Concat(header, []byte{0x88, 0xb5}, []byte("a frame of an experiment, long enough for Ethernet")),
		"SYN":      slices.Concat(header, []byte{8, 0}, syn),
		"two tags": slices.Concat(header, []byte{0x81, 0, 0, 7, 8, 0}, syn),
	} {
		inside(t, from.Namespace, func() error { return sendFrame(out, f) })
		eventually(ctx, t, func() error {
			if !strings.Contains(hexOf(dump.Text()), hex.EncodeToString(f)) {
				return fmt.Errorf("%s has not come, or not as it was:\n%x\n%s", name, f, dump.Text())
			}
			return nil
		})
	}
	require.NoError(t, unix.Kill(dump.PID(), unix.SIGINT))
	<-dump.Done()
}

// hexOf joins the octets that tcpdump -xx has printed.
func hexOf(dump string) string {
	var b strings.Builder
	for line := range strings.Lines(dump) {
		if _, octets, ok := strings.Cut(line, ":  "); ok && strings.HasPrefix(line, "\t0x") {
			b.WriteString(strings.Join(strings.Fields(octets), ""))
		}
	}
	return b.String()
}

// sendFrame sends a frame by an interface of the calling thread's namespace.
func sendFrame(iface string, f []byte) error {
	i, err := net.InterfaceByName(iface)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Sendto(fd, f, 0, &unix.SockaddrLinklayer{Ifindex: i.Index})
}
