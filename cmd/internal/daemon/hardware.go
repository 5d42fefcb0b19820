package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"opentoe/cmd/internal/config"
	"opentoe/pmd"
	"opentoe/ports"
	"opentoe/tcpoffload/wire"
	"opentoe/toe"
	"opentoe/toe/loopdev"
	"opentoe/toe/softdev"
)

// hardware is a TOE device with all that it stands on.
type hardware struct {
	device      toe.Device
	description string // "net_af_xdp0,iface=toe0 (net_af_xdp)"

	// Nil when the device is a loopback:
	soft *softdev.Device
	eal  *pmd.EAL
	nic  *pmd.Port
	port *ports.Port

	undo []func() error
}

// openHardware builds the device that the configuration's port names.
func openHardware(cfg *config.Config, log *slog.Logger) (*hardware, error) {
	h := &hardware{}
	var err error
	if cfg.Ports[0].Device == "loopback" {
		err = h.openLoopback(cfg)
	} else {
		err = h.openSoftware(cfg, log)
	}
	if err != nil {
		return nil, errors.Join(err, h.close())
	}
	return h, nil
}

// close undoes what was opened, the latest first. The device is not attached any more.
func (h *hardware) close() error {
	var errs []error
	for i := len(h.undo) - 1; i >= 0; i-- {
		errs = append(errs, h.undo[i]())
	}
	h.undo = nil
	return errors.Join(errs...)
}

func (h *hardware) onClose(f func() error) { h.undo = append(h.undo, f) }

func (h *hardware) openLoopback(cfg *config.Config) (err error) {
	p := &cfg.Ports[0]
	h.description = p.Device
	h.device, err = loopdev.New(loopdev.Config{
		Name: p.Name, Prefixes: p.Addresses, RcvBuf: uint32(cfg.TCP.RcvBuf), MaxConns: cfg.TCP.MaxConnections,
	})
	return err
}

func (h *hardware) openSoftware(cfg *config.Config, log *slog.Logger) error {
	if err := h.openNIC(cfg, log); err != nil {
		return err
	}
	p := &cfg.Ports[0]
	h.description = fmt.Sprintf("%s (%s)", h.nic.Device(), h.nic.Driver())
	var err error
	if h.port, err = ports.New(portConfig(p, wire.MAC(h.nic.MAC()), cfg.Workers.Count)); err != nil {
		return err
	}
	soft := softdev.Config{
		Name:             p.Name,
		CPUs:             cfg.Workers.CPUs,
		RegisterThread:   pmd.RegisterThread,
		UnregisterThread: pmd.UnregisterThread,
		MaxConns:         cfg.TCP.MaxConnections * cfg.Workers.Count,
		MaxListeners:     cfg.TCP.MaxListeners,
		Tunables:         cfg.TCP.Tunables(),
		Spin:             time.Duration(cfg.Workers.Spin),
	}
	if cfg.Workers.Poll == "busy" {
		soft.Poll = softdev.Busy
	}
	queues := softdev.PortQueues{Port: h.port, TxChecksum: h.nic.Enabled().TxChecksum}
	for i := range h.nic.Queues() {
		q := h.nic.Queue(i)
		queues.Queues = append(queues.Queues, q)
		queues.WaitFDs = append(queues.WaitFDs, q.WaitFDs())
	}
	if rss, ok := h.nic.RSS(); ok {
		queues.RSS = &softdev.RSS{Key: rss.Key[:], Table: rss.Table}
	} else if cfg.Workers.Count > 1 {
		return fmt.Errorf("workers.count: %d: %s cannot tell which of its queues a connection uses: choose 1",
			cfg.Workers.Count, h.description)
	}
	soft.Ports = append(soft.Ports, queues)
	if h.soft, err = softdev.New(soft); err != nil {
		return err
	}
	h.device = h.soft
	h.onClose(h.soft.Close)
	return nil
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

// openNIC starts DPDK and opens the port through it.
func (h *hardware) openNIC(cfg *config.Config, log *slog.Logger) error {
	p := &cfg.Ports[0]
	devices := vdevs(p.Device, cfg.Workers.Count)
	if err := checkInterface(p); err != nil {
		return err
	}
	mode, _ := pmd.ParseHugePageMode(cfg.DPDK.HugePages) // checked with the configuration
	ealConfig := pmd.EALConfig{
		HugePages: mode,
		MemoryMB:  int(cfg.DPDK.Memory / config.MiB),
		LogLevel:  cfg.DPDK.LogLevel,
		ExtraArgs: cfg.DPDK.ExtraArgs,
	}
	if isPCI(p.Device) {
		ealConfig.PCI = []string{p.Device}
	}
	eal, err := pmd.Start(ealConfig)
	if err != nil {
		return fmt.Errorf("dpdk: %w", err)
	}
	h.eal = eal
	h.onClose(eal.Close)
	var failed error
	for i, device := range devices {
		h.nic, err = eal.OpenPort(pmd.PortConfig{
			Name: p.Name, Device: device, MTU: p.MTU,
			RxQueues: cfg.Workers.Count, TxQueues: cfg.Workers.Count, RxDesc: p.RxDesc, TxDesc: p.TxDesc,
			Offloads: pmd.Offloads(p.Offloads),
		})
		if err == nil {
			h.onClose(h.nic.Close)
			return nil
		}
		failed = errors.Join(failed, err)
		if i+1 < len(devices) {
			log.Warn("AF_XDP is not to be had, falling back to AF_PACKET", "port", p.Name, "cause", err)
		}
	}
	return fmt.Errorf("ports[0].device: %s: %w", p.Device, failed)
}

// vdevs returns what to try, in order, for a device of the configuration, as DPDK wants it.
func vdevs(device string, queues int) []string {
	kind, iface, _ := strings.Cut(device, ":")
	xdp := fmt.Sprintf("net_af_xdp0,iface=%s,start_queue=0,queue_count=%d,busy_budget=0", iface, queues)
	packet := fmt.Sprintf("net_af_packet0,iface=%s,qpairs=%d,qdisc_bypass=1,blocksz=65536,framesz=2048,framecnt=2048", iface, queues)
	switch kind {
	case "af_xdp":
		return []string{xdp, packet}
	case "af_packet":
		return []string{packet}
	}
	return []string{device}
}

func isPCI(device string) bool {
	return strings.Count(device, ":") >= 1 && !strings.HasPrefix(device, "net_") && !strings.HasPrefix(device, "af_")
}

// checkInterface finds the usual mistakes with a Linux interface before DPDK does, in fewer words.
func checkInterface(p *config.Port) error {
	kind, name, _ := strings.Cut(p.Device, ":")
	if kind != "af_xdp" && kind != "af_packet" {
		return nil
	}
	ifc, err := net.InterfaceByName(name)
	if err != nil {
		return fmt.Errorf("ports[0].device: %s: no such network interface: create it, or name one that ip link shows", p.Device)
	}
	if ifc.Flags&net.FlagUp == 0 {
		return fmt.Errorf("ports[0].device: %s: the interface is down: ip link set %s up", p.Device, name)
	}
	if ifc.MTU < p.MTU {
		return fmt.Errorf("ports[0].mtu: %d: %s carries %d: lower it, or ip link set %s mtu %d", p.MTU, name, ifc.MTU, name, p.MTU)
	}
	return nil
}
