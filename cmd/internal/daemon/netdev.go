package daemon

import (
	"fmt"
	"log/slog"
	"strings"

	"opentoe/cmd/internal/config"
	"opentoe/ports"
	"opentoe/ports/xdp"
	"opentoe/tcpoffload/wire"
)

// Ports whose interface the kernel keeps (kernel: netdev).

// openClaims makes the memory in which the engines tell the programs of such ports what they have; nil
// when there are none.
func (h *hardware) openClaims(cfg *config.Config) (*xdp.Claims, error) {
	for i := range cfg.Ports {
		if cfg.Ports[i].Kernel != config.KernelNetdev {
			continue
		}
		c, err := xdp.NewClaims(cfg.Workers.Count)
		if err != nil {
			return nil, fmt.Errorf("ports[%d].kernel: netdev: %w", i, err)
		}
		h.onClose(c.Close)
		return c, nil
	}
	return nil, nil
}

// attachSteering puts the program on the interface of such a port, before the driver opens its sockets.
func (n *nic) attachSteering(i int, p *config.Port, claims *xdp.Claims) (err error) {
	if p.Kernel != config.KernelNetdev {
		return nil
	}
	_, iface, _ := strings.Cut(p.Device, ":")
	if n.steer, err = xdp.Attach(iface, claims); err != nil {
		return fmt.Errorf("ports[%d].kernel: netdev: %w", i, err)
	}
	return nil
}

// followSteering keeps the program up to date with the port's addresses.
func (n *nic) followSteering(log *slog.Logger) {
	if n.steer == nil {
		return
	}
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

// addSteering adds what the program of an interface decided.
func (c counters) addSteering(s *xdp.Steering) {
	if s == nil {
		return
	}
	verdicts, err := s.Verdicts()
	if err != nil {
		return // the tables are gone: toed ends
	}
	for v, n := range verdicts {
		c["xdp-"+xdp.Verdict(v).String()] += n
	}
}
