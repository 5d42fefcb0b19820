//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
	"github.com/stretchr/testify/require"

	"opentoe/test/lab"
)

// The second wire.
const (
	toeAddrB, toeAddrB6   = "10.98.0.1", "fd98::1"
	peerAddrB, peerAddrB6 = "10.98.0.2", "fd98::2"
	nearIfB, farIfB       = "toe1", "wire1"
	mtuB                  = 1400
)

// twoWires is a lab with a second, narrower wire and a toed that drives both.
func twoWires(t *testing.T, driver string) (context.Context, *lab.Lab, *lab.Toed) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	l := wire(t)
	require.NoError(t, l.AddWire(lab.Wire{NearIf: nearIfB, FarIf: farIfB, Address: peerAddrB + "/24", Address6: peerAddrB6 + "/64"}))
	second := fmt.Sprintf("  - name: toe1\n    device: %s:%s\n    mtu: %d\n    addresses: [%s/24, \"%s/64\"]\n",
		driver, nearIfB, mtuB, toeAddrB, toeAddrB6)
	file, runDir, err := l.WriteConfig(config(driver, second))
	require.NoError(t, err)
	d, err := l.StartToed(ctx, file, runDir)
	require.NoError(t, err)
	return ctx, l, d
}

// TestTwoPorts serves one wildcard listener over two wires and opens connections to both, at once,
// with a mirror that tells the wires apart.
func TestTwoPorts(t *testing.T) {
	for _, driver := range []string{"af_xdp", "af_packet"} {
		t.Run(driver, func(t *testing.T) {
			ctx, l, d := twoWires(t, driver)
			_, sum := nginx(ctx, t, l, d, 80, 16*megabyte)
			kernelNginx(ctx, t, l, 81)
			capture := captureSyns(ctx, t, l, d)

			for i, host := range []string{toeAddr, toeAddrB, "[" + toeAddr6 + "]", "[" + toeAddrB6 + "]"} {
				down := l.Path(fmt.Sprintf("passive%d", i))
				curl(ctx, t, l.FarHost, "-o", down, "http://"+host+"/big")
				require.NoError(t, lab.CheckSum(down, sum))
			}
			for i, host := range []string{peerAddr, peerAddrB, "[" + peerAddr6 + "]", "[" + peerAddrB6 + "]"} {
				down := l.Path(fmt.Sprintf("active%d", i))
				offloadedCurl(ctx, t, l, d, "-o", down, "http://"+host+":81/big")
				require.NoError(t, lab.CheckSum(down, sum))
			}
			// Both wires at the same time, in one process of each kind.
			curl(ctx, t, l.FarHost, "--parallel", "--parallel-immediate", "-o", l.Path("both0"), "http://"+toeAddr+"/big",
				"-o", l.Path("both1"), "http://"+toeAddrB+"/big")
			offloadedCurl(ctx, t, l, d, "--parallel", "--parallel-immediate", "-o", l.Path("both2"), "http://"+peerAddr+":81/big",
				"-o", l.Path("both3"), "http://"+peerAddrB+":81/big")
			for i := range 4 {
				require.NoError(t, lab.CheckSum(l.Path(fmt.Sprintf("both%d", i)), sum))
			}
			// A local address chooses the port. (With --local-port, because without one curl sets
			// IP_BIND_ADDRESS_NO_PORT.)
			offloadedCurl(ctx, t, l, d, "--interface", "host!"+toeAddrB, "--local-port", "40000-40100", "-o", os.DevNull, "http://"+peerAddrB+":81/small")
			offloadedOnly(ctx, t, d)

			stats, err := d.Stats(ctx)
			require.NoError(t, err)
			for _, name := range []string{"toe0", "toe1"} {
				require.Greater(t, stats.Ports[name]["TxOctets"], uint64(3*16*megabyte), name)
				require.Greater(t, stats.Ports[name]["RxOctets"], uint64(3*16*megabyte), name)
			}
			out, err := d.Toectl(ctx, "regdump", "XGM1")
			require.NoError(t, err)
			require.Contains(t, out, fmt.Sprintf("%d", mtuB))
			out, err = d.Toectl(ctx, "reg", "MPS_CFG.PortsActive")
			require.NoError(t, err)
			require.Regexp(t, `\b3\b`, out)
			require.NoError(t, capture.Stop())
			checkSyns(t, l.Path("syns.pcapng"))
		})
	}
}

// TestPortGone takes one of two wires down and then away in the middle of everything: what runs over
// the other is not disturbed, toed does not spin, and ends in order.
func TestPortGone(t *testing.T) {
	for _, driver := range []string{"af_xdp", "af_packet"} {
		t.Run(driver, func(t *testing.T) {
			ctx, l, d := twoWires(t, driver)
			_, sum := nginx(ctx, t, l, d, 80, 16*megabyte)
			slow := func(name, host string) *lab.Process {
				p, err := l.Start(l.FarHost, "curl", "-sS", "--fail", "--limit-rate", "6M", "-o", l.Path(name), "http://"+host+"/big")
				require.NoError(t, err)
				eventually(ctx, t, func() error {
					if st, err := os.Stat(l.Path(name)); err != nil || st.Size() == 0 {
						return errors.New(name + ": nothing has come")
					}
					return nil
				})
				return p
			}
			stays, leaves := slow("stays", toeAddr), slow("leaves", toeAddrB)
			require.NoError(t, l.NearHost.Run("ip", "link", "set", nearIfB, "down"))
			eventually(ctx, t, linkIs(ctx, d, 1, false))
			curl(ctx, t, l.FarHost, "-o", l.Path("down"), "http://"+toeAddr+"/big")
			require.NoError(t, lab.CheckSum(l.Path("down"), sum))

			require.NoError(t, l.NearHost.Run("ip", "link", "set", nearIfB, "up"))
			eventually(ctx, t, linkIs(ctx, d, 1, true))
			<-leaves.Done()
			require.NoError(t, lab.CheckSum(l.Path("leaves"), sum), "it went on when the wire came back: %s", leaves.Text())
			leaves = slow("leaves", toeAddrB)

			require.NoError(t, l.NearHost.Run("ip", "link", "del", nearIfB))
			curl(ctx, t, l.FarHost, "-o", l.Path("gone"), "http://"+toeAddr+"/big")
			require.NoError(t, lab.CheckSum(l.Path("gone"), sum))
			<-stays.Done()
			require.NoError(t, lab.CheckSum(l.Path("stays"), sum), stays.Text())
			require.NoError(t, linkIs(ctx, d, 0, true)())
			require.NoError(t, linkIs(ctx, d, 1, false)())
			leaves.Kill()

			eventually(ctx, t, func() error { return idle(ctx, d) })
			require.NoError(t, d.Stop(), d.LastLine())
		})
	}
}

// idle returns nil if toed has slept for nine tenths of a while.
func idle(ctx context.Context, d *lab.Toed) error {
	before, err := d.Stats(ctx)
	if err != nil {
		return err
	}
	var asleep, awake int64
	for asleep+awake < 300e6 { // the observation period, ns
		after, err := d.Stats(ctx)
		if err != nil {
			return err
		}
		a, b := after.Workers[0], before.Workers[0]
		asleep, awake = a.AsleepNS-b.AsleepNS, a.BusyNS+a.IdleNS-b.BusyNS-b.IdleNS
	}
	if awake > asleep/10 {
		return fmt.Errorf("awake for %d ns, asleep for %d ns", awake, asleep)
	}
	return nil
}

// linkIs returns a function that demands a link state of a port.
func linkIs(ctx context.Context, d *lab.Toed, port int, up bool) func() error {
	return func() error {
		s, err := d.Status(ctx)
		if err == nil && s.Ports[port].LinkUp != up {
			err = fmt.Errorf("port %s: link up is %v", s.Ports[port].Name, !up)
		}
		return err
	}
}

// kernelNginx serves the same files from the far host's kernel.
func kernelNginx(ctx context.Context, t *testing.T, l *lab.Lab, port int) {
	t.Helper()
	words, err := lab.Nginx{Name: "kernel-nginx", Port: port, Workers: 1, Docs: l.Path("docs")}.Words(l)
	require.NoError(t, err)
	server, err := l.Start(l.FarHost, words[0], words[1:]...)
	require.NoError(t, err)
	require.NoError(t, server.WaitFor(ctx, func() error { return l.FarHost.Listening(port) }))
}

// captureSyns records our SYNs and SYN-ACKs in syns.pcapng.
func captureSyns(ctx context.Context, t *testing.T, l *lab.Lab, d *lab.Toed) *lab.Process {
	t.Helper()
	file := l.Path("syns.pcapng")
	p, err := l.Start(l.NearHost, l.Bin("toectl"), "--socket", filepath.Join(d.RunDir, "toectl.sock"), "capture", "-w", file, "tcp[tcpflags] & tcp-syn != 0")
	require.NoError(t, err)
	require.NoError(t, p.WaitFor(ctx, func() error { return readable(ctx, l, file) }))
	return p
}

// checkSyns demands that every frame stands under its port, and announces the MSS of its port's MTU.
func checkSyns(t *testing.T, file string) {
	t.Helper()
	f, err := os.Open(file)
	require.NoError(t, err)
	defer f.Close()
	r, err := pcapgo.NewNgReader(f, pcapgo.NgReaderOptions{})
	require.NoError(t, err)
	seen := [2]int{}
	for {
		data, info, err := r.ReadPacketData()
		if err != nil {
			break
		}
		pkt := gopacket.NewPacket(data, layers.LayerTypeEthernet, gopacket.Default)
		ip, ok := pkt.NetworkLayer().(*layers.IPv4)
		if !ok {
			continue // the filter takes IPv4 only
		}
		port, mtu, net := 0, 1500, "10.99.0."
		if info.InterfaceIndex == 1 {
			port, mtu, net = 1, mtuB, "10.98.0."
		}
		seen[port]++
		require.True(t, strings.HasPrefix(ip.SrcIP.String(), net), "%v under port %d", ip.SrcIP, port)
		if ip.SrcIP.String() != toeAddr && ip.SrcIP.String() != toeAddrB {
			continue
		}
		tcp := pkt.TransportLayer().(*layers.TCP)
		for _, o := range tcp.Options {
			if o.OptionType == layers.TCPOptionKindMSS {
				require.Equal(t, mtu-40, int(o.OptionData[0])<<8|int(o.OptionData[1]), "MSS of port %d", port)
			}
		}
	}
	require.Greater(t, seen[0], 4)
	require.Greater(t, seen[1], 4)
	for i, name := range []string{"toe0", "toe1"} {
		iface, err := r.Interface(i)
		require.NoError(t, err)
		require.Equal(t, name, iface.Name)
	}
}

// TestMemif joins two toeds on two hosts by shared memory: a wire without a kernel. The first has an
// ordinary port beside it.
func TestMemif(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	l := wire(t)
	const addrA, addrB = "10.97.0.1", "10.97.0.2"
	memif := func(role, addr, addr6 string) string {
		return fmt.Sprintf("  - name: mem0\n    device: net_memif0,role=%s,socket=%s,socket-abstract=no\n    addresses: [%s/24, \"%s/64\"]\n",
			role, l.Path("memif.sock"), addr, addr6)
	}
	file, runDir, err := l.WriteConfigAs("a", config("af_xdp", memif("server", addrA, "fd97::1")))
	require.NoError(t, err)
	a, err := l.StartToed(ctx, file, runDir)
	require.NoError(t, err)
	require.NoError(t, linkIs(ctx, a, 1, false)(), "nobody is at the other end")
	file, runDir, err = l.WriteConfigAs("b", "ports:\n"+memif("client", addrB, "fd97::2"))
	require.NoError(t, err)
	b, err := l.StartToedOn(ctx, l.FarHost, file, runDir)
	require.NoError(t, err)
	eventually(ctx, t, linkIs(ctx, a, 1, true))
	eventually(ctx, t, linkIs(ctx, b, 0, true))

	_, sum := nginx(ctx, t, l, a, 80, 64*megabyte)
	for _, host := range []string{addrA, "[fd97::1]"} {
		onB(ctx, t, l, b, "-o", l.Path("down"), "http://"+host+"/big")
		require.NoError(t, lab.CheckSum(l.Path("down"), sum))
		onB(ctx, t, l, b, "-o", os.DevNull, "-T", l.Path("docs", "big"), "http://"+host+"/up/big")
		require.NoError(t, lab.CheckSum(l.Path("nginx", "up", "big"), sum))
	}
	curl(ctx, t, l.FarHost, "-o", l.Path("veth"), "http://"+toeAddr+"/big") // the kernel's curl, over the other port
	require.NoError(t, lab.CheckSum(l.Path("veth"), sum))
	offloadedOnly(ctx, t, a)
	offloadedOnly(ctx, t, b)

	// The other end may go and come back.
	require.NoError(t, b.Stop())
	eventually(ctx, t, linkIs(ctx, a, 1, false))
	b, err = l.StartToedOn(ctx, l.FarHost, file, runDir)
	require.NoError(t, err)
	eventually(ctx, t, linkIs(ctx, a, 1, true))
	onB(ctx, t, l, b, "-o", l.Path("again"), "http://"+addrA+"/big")
	require.NoError(t, lab.CheckSum(l.Path("again"), sum))
	require.NoError(t, a.Stop())
	require.NoError(t, b.Stop())
}

// onB runs curl on the far host, offloaded to its toed.
func onB(ctx context.Context, t *testing.T, l *lab.Lab, b *lab.Toed, args ...string) {
	t.Helper()
	words := append(l.Toerun(b.Socket(), "curl", "-sS", "--fail", "--noproxy", "*"), args...)
	_, err := l.FarHost.Output(ctx, words[0], words[1:]...)
	require.NoError(t, err, strings.Join(args, " "))
}
