package pmd_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"opentoe/pmd"
	"opentoe/pmd/frame"
)

// wire is a veth pair: end dut in this namespace, to be opened by a driver, and end peer in a
// namespace of its own, under the kernel.
type wire struct {
	dut, ns, peer string
}

func newWire(t testing.TB) *wire { return newWireQueues(t, 1) }

// newWireQueues makes a pair with that many queues.
func newWireQueues(t testing.TB, queues int) *wire {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("making a veth pair needs root")
	}
	id := rand.IntN(1 << 24)
	w := &wire{dut: fmt.Sprintf("pmd%06x", id), ns: fmt.Sprintf("toe-pmd-%06x", id), peer: "peer"}
	run(t, "ip netns add "+w.ns)
	t.Cleanup(func() {
		run(t, "ip link del "+w.dut) // at once; with the namespace it would go at leisure
		run(t, "ip netns del "+w.ns)
	})
	run(t, fmt.Sprintf("ip link add %s numrxqueues %d numtxqueues %d type veth peer name %s numrxqueues %d numtxqueues %d netns %s",
		w.dut, queues, queues, w.peer, queues, queues, w.ns))
	run(t, fmt.Sprintf("sysctl -q -w net.ipv6.conf.%s.disable_ipv6=1", w.dut))
	run(t, fmt.Sprintf("ip netns exec %s sysctl -q -w net.ipv6.conf.%s.disable_ipv6=1", w.ns, w.peer))
	run(t, "ip link set up "+w.dut)
	run(t, fmt.Sprintf("ip -n %s link set up %s", w.ns, w.peer))
	run(t, fmt.Sprintf("ip -n %s addr add 10.42.0.2/24 dev %s", w.ns, w.peer))
	run(t, fmt.Sprintf("ip netns exec %s ethtool -K %s tx off tso off gso off gro off", w.ns, w.peer))
	return w
}

func run(t testing.TB, line string) {
	t.Helper()
	args := strings.Fields(line)
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", line, err, out)
	}
}

// peerReceived returns how many frames have arrived at the peer.
func (w *wire) peerReceived(t testing.TB) int {
	t.Helper()
	out, err := exec.Command("ip", "netns", "exec", w.ns, "cat", "/sys/class/net/"+w.peer+"/statistics/rx_packets").Output()
	require.NoError(t, err)
	n, err := strconv.Atoi(strings.TrimSpace(string(out)))
	require.NoError(t, err)
	return n
}

// wait blocks in epoll until a descriptor of q is readable, as an idle worker does.
func wait(t testing.TB, q *pmd.Queue) {
	t.Helper()
	ep, err := unix.EpollCreate1(0)
	require.NoError(t, err)
	defer unix.Close(ep)
	for _, fd := range q.WaitFDs() {
		require.NoError(t, unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}))
	}
	var ev [4]unix.EpollEvent
	for {
		n, err := unix.EpollWait(ep, ev[:], 10_000)
		if err == unix.EINTR {
			continue
		}
		require.NoError(t, err)
		require.NotZero(t, n, "no frame woke the sleeper")
		return
	}
}

var drivers = []string{"net_af_packet0,iface=%s", "net_af_xdp0,iface=%s,start_queue=0,busy_budget=0"}

// peerSocket returns a UDP socket of the peer's kernel, connected to the other end.
func (w *wire) peerSocket(t testing.TB) *net.UDPConn {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	require.NoError(t, err)
	defer home.Close()
	there, err := os.Open("/run/netns/" + w.ns)
	require.NoError(t, err)
	defer there.Close()
	require.NoError(t, unix.Setns(int(there.Fd()), unix.CLONE_NEWNET))
	defer unix.Setns(int(home.Fd()), unix.CLONE_NEWNET)
	conn, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: dutIP, Port: 7})
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

var (
	dutIP  = net.IPv4(10, 42, 0, 1).To4()
	peerIP = net.IPv4(10, 42, 0, 2).To4()
)

// TestVethTalksToKernel lets the kernel at the other end send a datagram to an address that only
// this test knows: it sleeps in epoll until the ARP request arrives, answers, receives the
// datagram, and sends one back. gopacket judges what arrives and builds what leaves.
func TestVethTalksToKernel(t *testing.T) {
	for _, dev := range drivers {
		t.Run(strings.SplitN(dev, ",", 2)[0], func(t *testing.T) {
			w := newWire(t)
			p := open(t, pmd.PortConfig{Name: "toe0", Device: fmt.Sprintf(dev, w.dut)})
			q := p.Queue(0)
			ifi, err := net.InterfaceByName(w.dut)
			require.NoError(t, err)
			mac := p.MAC()
			require.EqualValues(t, ifi.HardwareAddr, mac[:])
			require.Equal(t, 1500, p.MTU())
			require.True(t, p.Link().Up)
			require.Len(t, p.WaitFDs(), 1)

			conn := w.peerSocket(t)
			_, err = conn.Write([]byte("knock"))
			require.NoError(t, err)
			eth, udp := answerARP(t, q, mac)
			require.Equal(t, "knock", string(udp.Payload))
			send(t, q, &layers.Ethernet{SrcMAC: mac[:], DstMAC: eth.SrcMAC, EthernetType: layers.EthernetTypeIPv4},
				&layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: dutIP, DstIP: peerIP},
				&layers.UDP{SrcPort: udp.DstPort, DstPort: udp.SrcPort}, gopacket.Payload("who is there?"))
			require.NoError(t, conn.SetReadDeadline(time.Now().Add(10*time.Second)))
			buf := make([]byte, 100)
			n, err := conn.Read(buf)
			require.NoError(t, err)
			require.Equal(t, "who is there?", string(buf[:n]))
			require.Zero(t, q.Outstanding())
			require.NotZero(t, p.Stats().RxFrames)
			require.EqualValues(t, 2, p.Stats().TxFrames)
		})
	}
}

func TestSetMTU(t *testing.T) {
	for _, dev := range drivers {
		w := newWire(t)
		p := open(t, pmd.PortConfig{Device: fmt.Sprintf(dev, w.dut)})
		require.NoError(t, p.SetMTU(1400))
		require.Equal(t, 1400, p.MTU())
		ifi, err := net.InterfaceByName(w.dut)
		require.NoError(t, err)
		require.Equal(t, 1400, ifi.MTU, "the interface follows")
		require.ErrorContains(t, p.SetMTU(9000), "larger")
		require.Equal(t, 1400, p.MTU())
	}
}

// TestNoBufferIsBad sends several times as many datagrams as there are buffers through the driver,
// so that each buffer serves as one for receiving and one for sending.
func TestNoBufferIsBad(t *testing.T) {
	const mbufs, burst = 4095, 32
	for _, dev := range drivers {
		t.Run(strings.SplitN(dev, ",", 2)[0], func(t *testing.T) {
			w := newWire(t)
			p := open(t, pmd.PortConfig{Device: fmt.Sprintf(dev, w.dut), Mbufs: mbufs})
			q := p.Queue(0)
			conn := w.peerSocket(t)
			_, err := conn.Write([]byte("knock"))
			require.NoError(t, err)
			answerARP(t, q, p.MAC())
			payload := make([]byte, 1472)
			reply := make([]byte, 2000)
			var b frame.Burst
			for sent := 0; sent < 3*mbufs; sent += burst {
				for range burst {
					_, err := conn.Write(payload)
					require.NoError(t, err)
				}
				for got := 0; got < burst; {
					for q.Receive(&b) == 0 {
						wait(t, q)
					}
					got += b.Len()
					for i := range b.Frames() {
						turnAround(b.At(i).Data)
					}
					require.Equal(t, b.Len(), q.Transmit(&b))
				}
				require.NoError(t, conn.SetReadDeadline(time.Now().Add(10*time.Second)))
				for range burst {
					n, err := conn.Read(reply)
					require.NoError(t, err)
					require.Len(t, payload, n)
				}
			}
			require.Zero(t, q.Outstanding())
			require.Zero(t, p.Stats().RxMissed)
		})
	}
}

// turnAround makes a datagram its own answer. Both checksums stay as they are.
func turnAround(f []byte) {
	swap := func(a, b, n int) {
		for i := range n {
			f[a+i], f[b+i] = f[b+i], f[a+i]
		}
	}
	swap(0, 6, 6)   // MAC addresses
	swap(26, 30, 4) // IP addresses
	swap(34, 36, 2) // ports
}

// TestEachQueueHasItsSocket opens two queues and checks that each can be slept on by itself.
func TestEachQueueHasItsSocket(t *testing.T) {
	w := newWireQueues(t, 2)
	p := open(t, pmd.PortConfig{Device: fmt.Sprintf("net_af_packet0,iface=%s,qpairs=2", w.dut), RxQueues: 2})
	require.Len(t, p.Queue(0).WaitFDs(), 1)
	require.Len(t, p.Queue(1).WaitFDs(), 1)
	require.Len(t, p.WaitFDs(), 2)
	_, err := w.peerSocket(t).Write([]byte("knock"))
	require.NoError(t, err)
	// The kernel chooses the queue by hash; only that queue's socket may wake anybody.
	ready := poll(t, p.WaitFDs())
	require.Len(t, ready, 1)
	var b frame.Burst
	for i := range 2 {
		q := p.Queue(i)
		require.Equal(t, q.WaitFDs()[0] == ready[0], q.Receive(&b) > 0, "queue %d", i)
		q.Free(&b)
	}
}

// TestPortHearsItsInterfaceOnly opens ports while another interface is busy.
func TestPortHearsItsInterfaceOnly(t *testing.T) {
	to, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer to.Close()
	from, err := net.DialUDP("udp4", nil, to.LocalAddr().(*net.UDPAddr))
	require.NoError(t, err)
	stop, talk := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(talk)
		for {
			select {
			case <-stop:
				return
			default:
				_, _ = from.Write([]byte("elsewhere")) // nobody need read it
			}
		}
	}()
	defer func() { close(stop); <-talk; from.Close() }()
	w := newWireQueues(t, 2)
	for range 5 {
		p, err := eal.OpenPort(pmd.PortConfig{Device: fmt.Sprintf("net_af_packet0,iface=%s,qpairs=2", w.dut), RxQueues: 2})
		require.NoError(t, err)
		var b frame.Burst
		for i := range 2 {
			require.Zero(t, p.Queue(i).Receive(&b), "queue %d", i)
		}
		require.NoError(t, p.Close())
	}
}

// poll waits until a descriptor is readable and returns those that are.
func poll(t testing.TB, fds []int) (ready []int) {
	t.Helper()
	set := make([]unix.PollFd, len(fds))
	for i, fd := range fds {
		set[i] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	}
	for {
		n, err := unix.Poll(set, 10_000)
		if err == unix.EINTR {
			continue
		}
		require.NoError(t, err)
		require.NotZero(t, n)
		break
	}
	for _, p := range set {
		if p.Revents&unix.POLLIN != 0 {
			ready = append(ready, int(p.Fd))
		}
	}
	return ready
}

// answerARP answers the kernel's ARP requests until it sends a datagram, and returns that.
func answerARP(t testing.TB, q *pmd.Queue, mac [6]byte) (*layers.Ethernet, *layers.UDP) {
	var rx frame.Burst
	defer q.Free(&rx)
	for {
		for q.Receive(&rx) == 0 {
			wait(t, q)
		}
		for _, f := range rx.Frames() {
			pkt := gopacket.NewPacket(f.Data, layers.LayerTypeEthernet, gopacket.Default)
			if arp, ok := pkt.Layer(layers.LayerTypeARP).(*layers.ARP); ok && arp.Operation == layers.ARPRequest {
				send(t, q, &layers.Ethernet{SrcMAC: mac[:], DstMAC: arp.SourceHwAddress, EthernetType: layers.EthernetTypeARP},
					&layers.ARP{
						AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4,
						HwAddressSize: 6, ProtAddressSize: 4, Operation: layers.ARPReply,
						SourceHwAddress: mac[:], SourceProtAddress: arp.DstProtAddress,
						DstHwAddress: arp.SourceHwAddress, DstProtAddress: arp.SourceProtAddress,
					})
			}
			if udp, ok := pkt.Layer(layers.LayerTypeUDP).(*layers.UDP); ok {
				return pkt.Layer(layers.LayerTypeEthernet).(*layers.Ethernet), udp
			}
		}
		q.Free(&rx)
	}
}

func send(t testing.TB, q *pmd.Queue, l ...gopacket.SerializableLayer) {
	t.Helper()
	for _, x := range l {
		if udp, ok := x.(*layers.UDP); ok {
			require.NoError(t, udp.SetNetworkLayerForChecksum(l[1].(*layers.IPv4)))
		}
	}
	buf := gopacket.NewSerializeBuffer()
	opts := gopacket.SerializeOptions{ComputeChecksums: true, FixLengths: true}
	require.NoError(t, gopacket.SerializeLayers(buf, opts, l...))
	var tx frame.Burst
	require.Equal(t, 1, q.Alloc(&tx, 1))
	tx.At(0).Data = append(tx.At(0).Data, buf.Bytes()...)
	require.Equal(t, 1, q.Transmit(&tx))
}
