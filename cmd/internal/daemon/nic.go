package daemon

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"net"
	"strings"

	"opentoe/cmd/internal/config"
	"opentoe/pmd"
	"opentoe/ports"
	"opentoe/ports/netfilter"
	"opentoe/ports/xdp"
	"opentoe/tcpoffload/wire"
	"opentoe/toe/softdev"
)

// nic is one port: the device that DPDK has opened, and what it is on the network.
type nic struct {
	dev  *pmd.Port
	port *ports.Port
	tap  *ports.TAP // of a port that the kernel sees by one, else nil

	judge *netfilter.Judge // of a port that respects the packet filter, else nil

	// Of a port whose interface the kernel keeps, else nil:
	steer *xdp.Steering
	icmp  *ports.ICMPErrors
	back  *ports.Return // of what the program took for the TOE's
}

// close gives back what is the port's.
func (n *nic) close() error {
	var errs []error
	if n.back != nil {
		errs = append(errs, n.back.Close())
	}
	if n.steer != nil {
		errs = append(errs, n.steer.Close())
	}
	if n.dev != nil {
		errs = append(errs, n.dev.Close())
	}
	return errors.Join(errs...)
}

// openNIC opens port number i of the configuration.
func (h *hardware) openNIC(i int, p *config.Port, workers int, log *slog.Logger) (n *nic, err error) {
	n = &nic{}
	h.onClose(n.close)
	if p.Kernel == config.KernelNetdev {
		err = n.openNetdev(h.eal, i, p, workers, h.claims)
	} else {
		n.dev, err = openDevice(h.eal, i, p, workers, log)
	}
	if err != nil {
		return nil, err
	}
	if _, ok := n.dev.RSS(); workers > 1 && !ok {
		return nil, fmt.Errorf("workers.count: %d: %s cannot tell which of its queues a connection uses: choose 1",
			workers, n.description())
	}
	c := portConfig(p, stationOf(n.dev), workers)
	if p.Kernel != config.KernelNone {
		c.Control, c.Redirects = h.kernel, ports.KernelRedirects(p.KernelInterface())
	}
	if n.port, err = ports.New(c); err != nil {
		return nil, err
	}
	if p.Kernel == config.KernelNetdev {
		if err := h.follow(i, p, n.port); err != nil {
			return nil, err
		}
		n.followSteering(log)
	}
	return n, nil
}

// openDevice tries what can drive the port, in order.
func openDevice(eal *pmd.EAL, i int, p *config.Port, workers int, log *slog.Logger) (*pmd.Port, error) {
	var failed error
	for rest := vdevs(i, p.Device, workers, p.MTU); len(rest) > 0; rest = rest[1:] {
		dev, err := eal.OpenPort(pmdConfig(p, rest[0], workers))
		if err == nil {
			return dev, nil
		}
		failed = errors.Join(failed, err)
		if len(rest) > 1 {
			log.Warn("AF_XDP is not to be had, falling back to AF_PACKET", "port", p.Name, "cause", err)
		}
	}
	return nil, fmt.Errorf("ports[%d].device: %s: %w", i, p.Device, failed)
}

func pmdConfig(p *config.Port, device string, workers int) pmd.PortConfig {
	return pmd.PortConfig{
		Name: p.Name, Device: device, MTU: p.MTU,
		RxQueues: workers, TxQueues: workers, RxDesc: p.RxDesc, TxDesc: p.TxDesc,
		Offloads: pmd.Offloads(p.Offloads),
	}
}

// description is as DPDK knows the port: "net_af_xdp0,iface=toe0 (net_af_xdp)".
func (n *nic) description() string { return fmt.Sprintf("%s (%s)", n.dev.Device(), n.dev.Driver()) }

// queues hands the port to the device.
func (n *nic) queues() softdev.PortQueues {
	q := softdev.PortQueues{Port: n.port, TxChecksum: n.dev.Enabled().TxChecksum}
	for i := range n.dev.Queues() {
		queue := n.dev.Queue(i)
		q.Queues = append(q.Queues, queue)
		q.WaitFDs = append(q.WaitFDs, queue.WaitFDs())
	}
	if n.steer != nil {
		q.Steering = n.steer
	}
	if n.back != nil {
		for i := range n.dev.Queues() {
			q.Kernel = append(q.Kernel, n.back.End(i))
		}
	}
	if n.judge != nil {
		q.Judge = n.judge
	}
	if n.tap != nil {
		for i := range n.dev.Queues() {
			q.Kernel = append(q.Kernel, n.tap.End(i))
		}
	}
	if rss, ok := n.dev.RSS(); ok {
		q.RSS = &softdev.RSS{Key: rss.Key[:], Table: rss.Table}
	}
	return q
}

// stationOf returns the Ethernet address of dev, or a random one of our own for a device that has
// none, such as a ring.
func stationOf(dev *pmd.Port) wire.MAC {
	mac := wire.MAC(dev.MAC())
	if mac == (wire.MAC{}) {
		rand.Read(mac[:])
		mac[0] = mac[0]&^1 | 2 // unicast, locally administered
	}
	return mac
}

func portConfig(p *config.Port, mac wire.MAC, workers int) ports.Config {
	c := ports.Config{Name: p.Name, MAC: mac, MTU: p.MTU, Addresses: p.Addresses, Workers: workers}
	for _, r := range p.Routes {
		c.Routes = append(c.Routes, ports.Route{Dst: r.To, Via: r.Via})
	}
	for _, n := range p.Neighbours {
		c.Neighbours = append(c.Neighbours, ports.Neighbour{Addr: n.Address, MAC: n.HardwareAddr()})
	}
	return c
}

// vdevs returns what to try, in order, for the device of port number i, as DPDK wants it.
func vdevs(i int, device string, queues, mtu int) []string {
	kind, iface, _ := strings.Cut(device, ":")
	xdp := fmt.Sprintf("net_af_xdp%d,iface=%s,start_queue=0,queue_count=%d,busy_budget=0", i, iface, queues)
	packet := fmt.Sprintf("net_af_packet%d,iface=%s,qpairs=%d,qdisc_bypass=1,blocksz=65536,framesz=%d,framecnt=2048", i, iface, queues, packetFrame(mtu))
	switch kind {
	case "af_xdp":
		return []string{xdp, packet}
	case "af_packet":
		return []string{packet}
	}
	return []string{device}
}

// packetFrame returns the size of an AF_PACKET ring's frames for IP packets of mtu octets: a power of two
// that holds the kernel's header, the link layer's, and the packet.
func packetFrame(mtu int) int {
	const headers = 128
	return max(2048, 1<<bits.Len(uint(mtu+headers-1)))
}

func isPCI(device string) bool {
	return strings.Count(device, ":") >= 1 && !strings.HasPrefix(device, "net_") && !strings.HasPrefix(device, "af_")
}

// checkInterface finds the usual mistakes with the Linux interface of port number i before DPDK
// does, in fewer words.
func checkInterface(i int, p *config.Port) error {
	kind, name, _ := strings.Cut(p.Device, ":")
	if kind != "af_xdp" && kind != "af_packet" {
		return nil
	}
	ifc, err := net.InterfaceByName(name)
	if err != nil {
		return fmt.Errorf("ports[%d].device: %s: no such network interface: create it, or name one that ip link shows", i, p.Device)
	}
	if ifc.Flags&net.FlagUp == 0 {
		return fmt.Errorf("ports[%d].device: %s: the interface is down: ip link set %s up", i, p.Device, name)
	}
	if ifc.MTU < p.MTU {
		return fmt.Errorf("ports[%d].mtu: %d: %s carries %d: lower it, or ip link set %s mtu %d", i, p.MTU, name, ifc.MTU, name, p.MTU)
	}
	return nil
}
