package ports_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"opentoe/pmd/frame"
	"opentoe/ports"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// packetQueue is a ports.Queue over a packet socket.
type packetQueue struct {
	*heap
	fd  int
	buf []byte
}

func (q *packetQueue) Receive(b *frame.Burst) int {
	b.Truncate(0)
	for b.Room() > 0 {
		n, from, err := unix.Recvfrom(q.fd, q.buf, unix.MSG_DONTWAIT)
		if err != nil {
			break
		}
		if from.(*unix.SockaddrLinklayer).Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		q.Alloc(b, 1)
		f := b.At(b.Len() - 1)
		f.Data = append(f.Data, q.buf[:n]...)
	}
	return b.Len()
}

func (q *packetQueue) Transmit(b *frame.Burst) int {
	sent := 0
	for _, f := range b.Frames() {
		if _, err := unix.Write(q.fd, f.Data); err == nil {
			sent++
		}
	}
	q.Free(b)
	return sent
}

// kernelPeer makes a namespace with one end of a veth pair and returns its name, and a queue at the
// other end.
func kernelPeer(t *testing.T) (ns string, q *packetQueue) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs CAP_NET_ADMIN")
	}
	ns = fmt.Sprintf("h6-%d", os.Getpid())
	ours, theirs := fmt.Sprintf("h6a%d", os.Getpid()), fmt.Sprintf("h6b%d", os.Getpid())
	ip := func(args ...string) {
		t.Helper()
		out, err := exec.Command("ip", args...).CombinedOutput()
		require.NoError(t, err, "ip %v: %s", args, out)
	}
	ip("netns", "add", ns)
	t.Cleanup(func() { ip("netns", "del", ns) })
	ip("link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", ns)
	t.Cleanup(func() { ip("link", "del", ours) }) // the namespace goes some time after its name
	require.NoError(t, os.WriteFile("/proc/sys/net/ipv6/conf/"+ours+"/disable_ipv6", []byte("1"), 0))
	ip("link", "set", ours, "up", "promisc", "on")
	ip("-n", ns, "link", "set", theirs, "address", peerMAC.String(), "up")
	ip("-n", ns, "addr", "add", "10.99.0.2/24", "dev", theirs)
	ip("-n", ns, "addr", "add", "fd99::2/64", "dev", theirs, "nodad")

	ifi, err := net.InterfaceByName(ours)
	require.NoError(t, err)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	require.NoError(t, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: ifi.Index}))
	return ns, &packetQueue{heap: newHeap(), fd: fd, buf: make([]byte, 65536)}
}

// The kernel's stack finds us by ARP and ND and gets its echoes; we find it.
func TestAgainstTheKernel(t *testing.T) {
	ns, q := kernelPeer(t)
	p := newPort(t, nil)
	h := p.Host(0)
	hello := []byte("hello, kernel, are you there?")
	requests := make(chan wire.Addr, 4)
	answers := make(chan wire.Addr, 4)
	var stop atomic.Bool
	done := make(chan struct{})
	start := time.Now()
	// A worker in miniature.
	go func() {
		defer close(done)
		var rx, tx frame.Burst
		for !stop.Load() {
			now := vtime.Time(time.Since(start))
			idle := q.Receive(&rx) == 0
			for i := range rx.Len() {
				f := rx.At(i)
				if from, ok := echoReply(f.Data, string(hello)); ok {
					answers <- from
				} else {
					h.Input(now, f, q, &tx)
				}
			}
			q.Free(&rx)
			select {
			case to := <-requests:
				var one frame.Burst
				q.Alloc(&one, 1)
				f := *one.At(0)
				f.Data = f.Data[:echoRequest(f.Data[:cap(f.Data)], to, hello)]
				idx, _ := h.NextHop(to)
				h.Send(now, idx, &f, q, &tx)
			default:
			}
			h.Expire(now, q, &tx)
			q.Transmit(&tx)
			if idle {
				runtime.Gosched()
				pollBriefly(q.fd)
			}
		}
	}()
	t.Cleanup(func() { stop.Store(true); <-done })

	ping(t, ns, unix.AF_INET, &unix.SockaddrInet4{Addr: our4.As4()})
	ping(t, ns, unix.AF_INET6, &unix.SockaddrInet6{Addr: our6})
	out, err := exec.Command("ip", "-n", ns, "neigh").CombinedOutput()
	require.NoError(t, err)
	require.Equal(t, 2, strings.Count(string(out), ourMAC.String()), "%s", out)

	// The other way round, with what the kernel's questions taught us forgotten.
	for _, a := range []wire.Addr{peer4, peer6} {
		p.ForgetNeighbour(a)
		before := h.Counters()[ports.CountResolved]
		requests <- a
		select {
		case from := <-answers:
			require.Equal(t, a, from)
		case <-time.After(time.Minute):
			t.Fatalf("no answer from %v: %v", a, h.Counters())
		}
		require.Equal(t, before+1, h.Counters()[ports.CountResolved])
	}
	require.Zero(t, h.Counters()[ports.CountBadICMP])
	require.Zero(t, h.Counters()[ports.CountBadIP])
	require.Zero(t, h.Counters()[ports.CountBadARP])
}

// ping has the namespace's kernel send an echo request and wait for the answer.
func ping(t *testing.T, ns string, family int, to unix.Sockaddr) {
	t.Helper()
	made := make(chan int)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread must not serve anybody else
		fd := -1
		defer func() { made <- fd }()
		handle, err := unix.Open("/run/netns/"+ns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return
		}
		defer unix.Close(handle)
		if unix.Setns(handle, unix.CLONE_NEWNET) == nil {
			proto := unix.IPPROTO_ICMP
			if family == unix.AF_INET6 {
				proto = unix.IPPROTO_ICMPV6
			}
			fd, _ = unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, proto)
		}
	}()
	fd := <-made
	require.GreaterOrEqual(t, fd, 0, "no socket in the namespace")
	defer unix.Close(fd)
	require.NoError(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1}))
	require.NoError(t, unix.Connect(fd, to))
	msg := wire.ICMP(make([]byte, 1400))
	msg.SetType(wire.ICMPEchoRequest, 0)
	want := wire.ICMPEchoReply
	if family == unix.AF_INET6 { // the kernel computes the checksum
		msg.SetType(wire.ICMPv6EchoRequest, 0)
		want = wire.ICMPv6EchoReply
	} else {
		msg.UpdateChecksum(0)
	}
	_, err := unix.Write(fd, msg)
	require.NoError(t, err)
	buf := make([]byte, 2048)
	for tries := 0; ; {
		n, err := unix.Read(fd, buf)
		if tries++; errors.Is(err, unix.EAGAIN) && tries < 20 { // a busy machine loses one now and then
			_, err = unix.Write(fd, msg)
			require.NoError(t, err)
			continue
		}
		require.NoError(t, err, "no answer")
		got := wire.ICMP(buf[:n])
		if ip, ok := wire.AsIPv4(buf[:n]); ok && family == unix.AF_INET {
			got = wire.ICMP(ip.Payload())
		}
		if got.Type() == want {
			require.Len(t, got, len(msg))
			return
		}
	}
}

// pollBriefly waits for a frame, at most a millisecond.
func pollBriefly(fd int) {
	_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 1)
	if err != nil && !errors.Is(err, unix.EINTR) {
		panic(err)
	}
}

func echoRequest(b []byte, to wire.Addr, body []byte) int {
	h := wire.IPHeader{Src: our4, Dst: to, Proto: wire.ProtoICMP, TTL: 64, Payload: wire.ICMPLen + len(body)}
	kind, pseudo := wire.ICMPEchoRequest, uint32(0)
	if !to.Is4() {
		h.Src, h.Proto, kind = our6, wire.ProtoICMPv6, wire.ICMPv6EchoRequest
		pseudo = wire.PseudoSum(&h.Src, &h.Dst, h.Proto, uint32(h.Payload))
	}
	wire.PutEthernet(b, wire.MAC{}, wire.MAC{}, h.Type())
	n := wire.EthernetLen + h.Put(b[wire.EthernetLen:])
	msg := wire.ICMP(b[n : n+h.Payload])
	clear(msg)
	msg.SetType(kind, 0)
	copy(msg.Body(), body)
	msg.UpdateChecksum(pseudo)
	return n + h.Payload
}

// echoReply recognises the answer to echoRequest.
func echoReply(b []byte, body string) (from wire.Addr, ok bool) {
	eth, _ := wire.AsEthernet(b)
	if ip, ok := wire.AsIPv4(eth.Payload()); ok && ip.Protocol() == wire.ProtoICMP {
		msg, ok := wire.AsICMP(ip.Payload())
		return ip.Src(), ok && msg.Type() == wire.ICMPEchoReply && string(msg.Body()) == body
	}
	if ip, ok := wire.AsIPv6(eth.Payload()); ok && ip.NextHeader() == wire.ProtoICMPv6 {
		msg, ok := wire.AsICMP(ip.Payload())
		return ip.Src(), ok && msg.Type() == wire.ICMPv6EchoReply && string(msg.Body()) == body
	}
	return wire.Addr{}, false
}

func TestConfigIsChecked(t *testing.T) {
	prefix, a := netip.MustParsePrefix, netip.MustParseAddr
	for name, change := range map[string]func(c *ports.Config){
		"name":                   func(c *ports.Config) { c.Name = "" },
		"mac zero":               func(c *ports.Config) { c.MAC = wire.MAC{} },
		"mac group":              func(c *ports.Config) { c.MAC = wire.BroadcastMAC() },
		"mtu small":              func(c *ports.Config) { c.MTU = 575 },
		"mtu large":              func(c *ports.Config) { c.MTU = 65536 },
		"mtu small for IPv6":     func(c *ports.Config) { c.MTU = 1279 },
		"workers":                func(c *ports.Config) { c.Workers = 0 },
		"neighbours negative":    func(c *ports.Config) { c.MaxNeighbours = -1 },
		"neighbours many":        func(c *ports.Config) { c.MaxNeighbours = 1 << 20 },
		"addresses many":         func(c *ports.Config) { c.Addresses = make([]netip.Prefix, 65) },
		"address zero":           func(c *ports.Config) { c.Addresses = append(c.Addresses, netip.Prefix{}) },
		"address multicast":      func(c *ports.Config) { c.Addresses = append(c.Addresses, prefix("224.0.0.1/8")) },
		"address loopback":       func(c *ports.Config) { c.Addresses = append(c.Addresses, prefix("127.0.0.1/8")) },
		"address mapped":         func(c *ports.Config) { c.Addresses = append(c.Addresses, prefix("::ffff:10.0.0.1/120")) },
		"address twice":          func(c *ports.Config) { c.Addresses = append(c.Addresses, c.Addresses[0]) },
		"route off link":         func(c *ports.Config) { c.Routes[0].Via = a("10.98.0.1") },
		"route to ourselves":     func(c *ports.Config) { c.Routes[0].Via = a("10.99.0.1") },
		"route of two families":  func(c *ports.Config) { c.Routes[0].Via = a("fd99::5") },
		"route without gateway":  func(c *ports.Config) { c.Routes[0].Via = netip.Addr{} },
		"neighbour off link":     func(c *ports.Config) { c.Neighbours = []ports.Neighbour{{a("10.98.0.1"), peerMAC}} },
		"neighbour with a group": func(c *ports.Config) { c.Neighbours = []ports.Neighbour{{a("10.99.0.5"), wire.BroadcastMAC()}} },
	} {
		cfg := config()
		change(&cfg)
		_, err := ports.New(cfg)
		require.ErrorIs(t, err, ports.ErrInvalid, name)
	}
}
