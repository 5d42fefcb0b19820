package daemon

import (
	"fmt"
	"log/slog"
	"sync/atomic"

	"opentoe/cmd/internal/config"
	"opentoe/ports"
	"opentoe/ports/rtnl"
	"opentoe/toe"
	"opentoe/toe/softdev"
)

// Ports that the kernel sees: it owns their addresses, routes and neighbours.

// openControlPlane begins to listen to the kernel's tables, if a port needs it.
func (h *hardware) openControlPlane(cfg *config.Config, log *slog.Logger) (err error) {
	for i := range cfg.Ports {
		if cfg.Ports[i].Kernel == config.KernelNone {
			continue
		}
		h.kernel, err = rtnl.New(rtnl.Config{Log: log, Changed: func() {
			if d := h.rerouted.Load(); d != nil {
				d.Reroute()
			}
			if r := h.rehoming.Load(); r != nil {
				r.begin()
			}
		}})
		if err != nil {
			return fmt.Errorf("ports[%d].kernel: %s: %w", i, cfg.Ports[i].Kernel, err)
		}
		h.onClose(h.kernel.Close)
		return nil
	}
	return nil
}

// follow gives the kernel's interface of port number i the configured addresses and makes the port what
// the interface is, from now on.
func (h *hardware) follow(i int, p *config.Port, port *ports.Port) error {
	iface := p.KernelInterface()
	remove, err := ports.AddAddresses(iface, p.Addresses)
	if err == nil {
		h.onClose(remove)
		err = h.kernel.Follow(port, iface)
	}
	if err != nil {
		return fmt.Errorf("ports[%d].kernel: %s: %w", i, p.Kernel, err)
	}
	return nil
}

// rerouting lets changes of the kernel's tables reach d's connections.
func (h *hardware) rerouting(d *softdev.Device) { h.rerouted.Store(d) }

// rehoming brings listeners to the TOE whose address a port has got. However often it is asked meanwhile, one
// more look is enough.
type rehoming struct {
	registry *toe.Registry
	log      *slog.Logger
	asked    atomic.Bool // and nobody has begun
}

func (r *rehoming) begin() {
	if !r.asked.Swap(true) {
		go func() {
			r.asked.Store(false)
			if n := r.registry.Rehome(); n > 0 {
				r.log.Info("listeners have got their address", "listeners", n)
			}
		}()
	}
}
