package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"

	"opentoe/cmd/internal/config"
	"opentoe/pmd"
	"opentoe/ports"
	"opentoe/ports/xdp"
	"opentoe/tcpoffload/wire"
	"opentoe/toe/softdev"
)

// Ports whose interface the kernel keeps (kernel: netdev).

// openClaims makes the memory in which the device's engines tell the programs of such ports what they have,
// if there are any.
func (h *hardware) openClaims(cfg *config.Config, soft *softdev.Config) (err error) {
	for i := range cfg.Ports {
		if cfg.Ports[i].Kernel != config.KernelNetdev {
			continue
		}
		if h.claims, err = xdp.NewClaims(cfg.Workers.Count); err != nil {
			return fmt.Errorf("ports[%d].kernel: netdev: %w", i, err)
		}
		h.onClose(h.claims.Close)
		for w := range cfg.Workers.Count {
			soft.PortUse = append(soft.PortUse, h.claims.Worker(w))
		}
		return nil
	}
	return nil
}

// openNetdev opens such a port and puts the program on its interface. There is no falling back to AF_PACKET:
// those sockets get copies of what the kernel itself answers.
func (n *nic) openNetdev(eal *pmd.EAL, i int, p *config.Port, workers int, claims *xdp.Claims) error {
	fail := func(err error) error { return fmt.Errorf("ports[%d].kernel: netdev: %w", i, err) }
	iface := p.KernelInterface()
	if n := receiveQueues(iface); n > workers {
		return fail(fmt.Errorf("%s receives by %d queues, of which %d would be read: ethtool -L %s combined %d", iface, n, workers, iface, workers))
	}
	if _, err := xdp.Clear(iface); err != nil {
		return fail(err)
	}
	object, name, err := xdp.Object()
	if err != nil {
		return fail(err)
	}
	defer object.Close()
	device := vdevs(i, p.Device, workers, p.MTU)[0] + ",xdp_prog=" + name
	if n.dev, err = eal.OpenPort(pmdConfig(p, device, workers)); err != nil {
		if e := (*pmd.Errno)(nil); errors.As(err, &e) { // AF_PACKET alone is no way out here
			e.Mend = strings.Replace(e.Mend, "use net_af_packet", "choose kernel: tap with af_packet:"+iface, 1)
		}
		return fail(err)
	}
	var sockets []int
	for q := range n.dev.Queues() {
		fds := n.dev.Queue(q).WaitFDs()
		if len(fds) != 1 {
			return fail(fmt.Errorf("queue %d of %s has %d sockets", q, iface, len(fds)))
		}
		sockets = append(sockets, fds[0])
	}
	if n.steer, err = xdp.Attach(iface, sockets, claims); err != nil {
		return fail(err)
	}
	limit := ports.Rate{Frames: uint64(p.KernelRate.Frames), Octets: uint64(p.KernelRate.Octets)}
	if n.back, err = ports.NewReturn(workers, limit, n.steer.Inject); err != nil {
		return fail(err)
	}
	return nil
}

// receiveQueues returns over how many queues an interface spreads what it receives; 0: not known. What comes by
// one that no worker reads is the kernel's, also segments of connections of ours, which it would reset.
func receiveQueues(iface string) int {
	queues, _ := filepath.Glob(filepath.Join("/sys/class/net", iface, "queues", "rx-*")) // the pattern is good
	return len(queues)
}

// hearICMPErrors tells the device of the ICMP errors that the kernel receives on such ports: the programs
// leave them to it.
func (h *hardware) hearICMPErrors(cfg *config.Config) error {
	for i, n := range h.nics {
		if n.steer == nil {
			continue
		}
		var err error
		n.icmp, err = ports.NewICMPErrors(cfg.Ports[i].KernelInterface(), func(e *wire.ICMPError) {
			if n.port.Owns(e.Flow.Local) {
				h.soft.ICMPError(e)
			}
		})
		if err != nil {
			return fmt.Errorf("ports[%d].kernel: netdev: %w", i, err)
		}
		h.onClose(n.icmp.Close)
	}
	return nil
}

// followSteering keeps the program up to date with the port's addresses.
func (n *nic) followSteering(log *slog.Logger) {
	n.port.Watch(func(v ports.View) {
		own := make([]wire.Addr, 0, len(v.Addresses))
		for _, a := range v.Addresses {
			own = append(own, wire.AddrFrom(a.Addr()))
		}
		if err := n.steer.SetStation(v.MAC, own); err != nil {
			log.Error("not every segment of ours will reach us", "port", n.port.Name(), "cause", err)
		}
	})
}

// addNetdev adds what the program of an interface decided, and the ICMP errors of the kernel.
func (c counters) addNetdev(n *nic) {
	if n.steer == nil {
		return
	}
	c["icmp-errors"], c["icmp-errors-limited"] = n.icmp.Counters()
	for i, v := range n.back.Counters() {
		if ports.KernelCounter(i) < ports.KernelDown { // nothing comes down
			c[ports.KernelCounter(i).String()] += v
		}
	}
	verdicts, err := n.steer.Verdicts()
	if err != nil {
		return // the tables are gone: toed ends
	}
	for v, n := range verdicts {
		c["xdp-"+xdp.Verdict(v).String()] += n
	}
}
