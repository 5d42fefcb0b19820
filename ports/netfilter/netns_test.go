package netfilter

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"opentoe/pmd/frame"
	"opentoe/ports"
	"opentoe/tcpoffload/seq"
	"opentoe/tcpoffload/wire"
)

const (
	iface = "toe0"
	aPort = 80
)

var (
	nearMAC = wire.MAC{2, 0, 0, 0, 0, 1}
	own4    = netip.MustParsePrefix("192.0.2.1/24")
	own6    = netip.MustParsePrefix("2001:db8::1/64")
	peer4   = netip.MustParseAddr("192.0.2.2")
	peer6   = netip.MustParseAddr("2001:db8::2")
)

// host is a namespace of its own with an interface to which the test is the wire. The test stays on its
// thread.
type host struct {
	t   testing.TB
	tap *ports.TAP
}

func newHost(t testing.TB) *host {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("needs nft")
	}
	runtime.LockOSThread() // for good: the thread ends with the test
	require.NoError(t, unix.Unshare(unix.CLONE_NEWNET))
	tap, err := ports.OpenTAP(ports.TAPConfig{Name: iface, MAC: nearMAC, MTU: 1500, Workers: 1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, tap.Close()) })
	link, err := netlink.LinkByName(iface)
	require.NoError(t, err)
	for _, p := range []netip.Prefix{own4, own6} {
		a, err := netlink.ParseAddr(p.String())
		require.NoError(t, err)
		a.Flags = unix.IFA_F_NODAD
		require.NoError(t, netlink.AddrAdd(link, a))
	}
	// The kernel makes IPv6 addresses its own in the background.
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		r, err := netlink.RouteGet(own6.Addr().AsSlice())
		if err == nil && len(r) == 1 && r[0].Type == unix.RTN_LOCAL {
			break
		}
		require.True(t, time.Now().Before(deadline), "%v %v", r, err)
	}
	return &host{t, tap}
}

// rules adds to the host's rules.
func (h *host) rules(text string) {
	h.t.Helper()
	c := exec.Command("nft", "-f", "-")
	c.Stdin = strings.NewReader(text)
	out, err := c.CombinedOutput()
	require.NoError(h.t, err, string(out))
}

// segment builds a frame of flow f to the host.
func (h *host) segment(f wire.Flow, flags wire.Flags, n seq.Num) []byte {
	w := wire.Header{
		SrcMAC: wire.MAC{2, 0, 0, 0, 0, 2}, DstMAC: nearMAC, TTL: 64, Flags: flags, Seq: n, Wnd: 1000,
		Flow: wire.Flow{Local: f.Remote, LocalPort: f.RemotePort, Remote: f.Local, RemotePort: f.LocalPort},
	}
	b := make([]byte, w.Len())
	w.Put(b, 0, 0, wire.ChecksumSoftware)
	return b
}

// receives has a segment come by the wire, and returns when the kernel has dealt with it.
func (h *host) receives(f *wire.Flow, flags wire.Flags, n seq.Num) {
	done := h.tap.Counters()[ports.KernelUp] + 1
	h.tap.End(0).Up(0, &frame.Frame{Data: h.segment(*f, flags, n)})
	require.Eventually(h.t, func() bool { return h.tap.Counters()[ports.KernelUp] == done }, time.Minute, 10*time.Microsecond)
}

// sent returns how many TCP segments the host has sent so far.
func (h *host) sent() (n int) {
	c, err := net.Dial("udp", netip.AddrPortFrom(peer4, 9).String())
	require.NoError(h.t, err)
	defer c.Close()
	_, err = c.Write([]byte("x")) // ARP asks for the peer, which nothing else does
	require.NoError(h.t, err)
	require.Eventually(h.t, func() bool {
		var blank, got frame.Burst
		blank.Push().Data = make([]byte, 0, 2000)
		if h.tap.End(0).Down(&blank, &got) == 0 {
			return false
		}
		var p wire.Packet
		b := got.At(0).Data
		if wire.Parse(b, false, false, &p) == wire.VerdictTCP {
			n++
		}
		eth, _ := wire.AsEthernet(b)
		kind, _ := eth.Network()
		return kind == wire.TypeARP
	}, time.Minute, 10*time.Microsecond)
	return n
}

// judged is a judge whose deliveries the test sees.
type judged struct {
	*Judge
	syns chan wire.Packet
}

func newJudge(t *testing.T) *judged {
	j, err := New(Config{Interface: iface, Workers: 2, Failed: func(err error) { t.Error(err) }})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, j.Close()) })
	d := &judged{j, make(chan wire.Packet, 100)}
	j.SetStation([]wire.Addr{wire.AddrFrom(own4.Addr()), wire.AddrFrom(own6.Addr())})
	j.Start(func(packet []byte) bool {
		kind := wire.TypeIPv4
		if packet[0]>>4 == 6 {
			kind = wire.TypeIPv6
		}
		b := make([]byte, wire.EthernetLen)
		wire.PutEthernet(b, wire.MAC{}, wire.MAC{}, kind)
		var p wire.Packet
		if wire.Parse(append(b, packet...), false, false, &p) != wire.VerdictTCP {
			return false
		}
		d.syns <- p
		return true
	})
	return d
}

// passes waits for a SYN.
func (d *judged) passes(t *testing.T, f *wire.Flow, n seq.Num) {
	t.Helper()
	select {
	case p := <-d.syns:
		require.Equal(t, *f, p.Flow)
		require.Equal(t, n, p.Seq)
		require.Equal(t, wire.SYN, p.Flags)
	case <-time.After(time.Minute):
		require.Fail(t, "the SYN did not come back")
	}
}

// flow is one between the host and its peer.
func flow(v4 bool, local, remote uint16) wire.Flow {
	f := wire.Flow{Local: wire.AddrFrom(own6.Addr()), Remote: wire.AddrFrom(peer6), LocalPort: local, RemotePort: remote}
	if v4 {
		f.Local, f.Remote = wire.AddrFrom(own4.Addr()), wire.AddrFrom(peer4)
	}
	return f
}
