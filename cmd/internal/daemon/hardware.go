package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"opentoe/cmd/internal/config"
	"opentoe/pmd"
	"opentoe/ports/rtnl"
	"opentoe/ports/xdp"
	"opentoe/toe"
	"opentoe/toe/loopdev"
	"opentoe/toe/softdev"
)

// deviceName is that of the only TOE device of a toed.
const deviceName = "toe0"

// hardware is a TOE device with all that it stands on.
type hardware struct {
	device toe.Device

	// Nil when the device is a loopback:
	soft *softdev.Device
	eal  *pmd.EAL
	nics []*nic // in the order of the configuration

	kernel   *rtnl.Kernel // of the ports that the kernel sees; nil without any
	rerouted atomic.Pointer[softdev.Device]
	rehoming atomic.Pointer[rehoming]
	claims   *xdp.Claims // of the ports whose interface the kernel keeps; nil without any

	undo []func() error
}

// openHardware builds the device that the configuration's ports are of.
func openHardware(cfg *config.Config, log *slog.Logger) (*hardware, error) {
	h := &hardware{}
	var err error
	if cfg.Ports[0].Device == config.Loopback {
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
	h.device, err = loopdev.New(loopdev.Config{
		Name: deviceName, Prefixes: cfg.Ports[0].Addresses, RcvBuf: uint32(cfg.TCP.RcvBuf), MaxConns: cfg.TCP.MaxConnections,
	})
	return err
}

func (h *hardware) openSoftware(cfg *config.Config, log *slog.Logger) error {
	if err := h.startDPDK(cfg); err != nil {
		return err
	}
	soft := softdev.Config{
		Name:             deviceName,
		CPUs:             cfg.Workers.CPUs,
		RegisterThread:   pmd.RegisterThread,
		UnregisterThread: pmd.UnregisterThread,
		MaxConns:         cfg.TCP.MaxConnections * cfg.Workers.Count,
		MaxListeners:     cfg.TCP.MaxListeners,
		HalfOpens:        cfg.TCP.MaxHalfOpen,
		TimeWaits:        cfg.TCP.MaxTimeWait,
		Flights:          cfg.TCP.MaxFlights,
		Islands:          cfg.TCP.MaxIslands,
		Tunables:         cfg.TCP.Tunables(),
		Spin:             time.Duration(cfg.Workers.Spin),
		NoMerge:          !cfg.Workers.Merge,
	}
	if cfg.Workers.Poll == "busy" {
		soft.Poll = softdev.Busy
	}
	if err := h.openControlPlane(cfg, log); err != nil {
		return err
	}
	if err := h.openClaims(cfg, &soft); err != nil {
		return err
	}
	for i := range cfg.Ports {
		n, err := h.openNIC(i, &cfg.Ports[i], cfg.Workers.Count, log)
		if err != nil {
			return err
		}
		h.nics = append(h.nics, n)
		if err := h.openKernelPort(i, n, cfg, log); err != nil {
			return err
		}
		if err := h.openJudge(i, n, cfg, log); err != nil {
			return err
		}
		soft.Ports = append(soft.Ports, n.queues())
	}
	var err error
	if h.soft, err = softdev.New(soft); err != nil {
		return err
	}
	h.device = h.soft
	h.onClose(h.soft.Close)
	h.rerouting(h.soft)
	h.hearJudges()
	return h.hearICMPErrors(cfg)
}

// startDPDK starts the environment for all ports, after a look at what they need of the system.
func (h *hardware) startDPDK(cfg *config.Config) (err error) {
	mode, _ := pmd.ParseHugePageMode(cfg.DPDK.HugePages) // checked with the configuration
	ealConfig := pmd.EALConfig{
		HugePages: mode,
		MemoryMB:  int(cfg.DPDK.Memory / config.MiB),
		LogLevel:  cfg.DPDK.LogLevel,
		ExtraArgs: cfg.DPDK.ExtraArgs,
	}
	for i := range cfg.Ports {
		p := &cfg.Ports[i]
		if err := checkInterface(i, p); err != nil {
			return err
		}
		if isPCI(p.Device) {
			ealConfig.PCI = append(ealConfig.PCI, p.Device)
		}
	}
	if h.eal, err = pmd.Start(ealConfig); err != nil {
		return fmt.Errorf("dpdk: %w", err)
	}
	h.onClose(h.eal.Close)
	return nil
}
