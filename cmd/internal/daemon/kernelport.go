package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"

	"opentoe/cmd/internal/config"
	"opentoe/ports"
)

// openKernelPort lets the kernel see port number i, if the configuration says so.
func (h *hardware) openKernelPort(i int, n *nic, cfg *config.Config, log *slog.Logger) error {
	p := &cfg.Ports[i]
	if p.Kernel != config.KernelTAP {
		return nil
	}
	if kind, iface, _ := strings.Cut(p.Device, ":"); kind == "af_xdp" || kind == "af_packet" {
		if err := h.silence(i, iface); err != nil {
			return err
		}
	}
	var err error
	n.tap, err = ports.OpenTAP(ports.TAPConfig{
		Name: p.KernelInterface(), MAC: n.port.MAC(), MTU: p.MTU, Workers: cfg.Workers.Count,
		Limit: ports.Rate{Frames: uint64(p.KernelRate.Frames), Octets: uint64(p.KernelRate.Octets)},
		Gone: func(err error) {
			log.Warn("the kernel's interface is gone: what is not offloaded is lost", "port", p.Name, "interface", p.KernelInterface(), "cause", err)
		},
	})
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("ports[%d].kernel_interface: %s: the interface exists: choose another name", i, p.KernelInterface())
	}
	if err != nil {
		return fmt.Errorf("ports[%d].kernel: tap: %w", i, err)
	}
	h.onClose(n.tap.Close)
	return h.follow(i, p, n.port)
}

// silence keeps the kernel from answering on the interface that drives port number i: it sees every frame
// there, as AF_PACKET gives it copies, and the addresses are its own, by the TAP. No source is reached
// through an interface without addresses, so that the strict reverse-path check drops all of IPv4.
func (h *hardware) silence(i int, iface string) error {
	for _, s := range []struct{ file, value string }{
		{"/proc/sys/net/ipv4/conf/" + iface + "/rp_filter", "1"},
		{"/proc/sys/net/ipv4/conf/" + iface + "/arp_ignore", "8"},
		{"/proc/sys/net/ipv6/conf/" + iface + "/disable_ipv6", "1"},
	} {
		before, err := os.ReadFile(s.file)
		if errors.Is(err, fs.ErrNotExist) {
			continue // no IPv6 here
		}
		if err == nil && strings.TrimSpace(string(before)) == s.value {
			continue
		}
		if err == nil {
			err = os.WriteFile(s.file, []byte(s.value), 0)
		}
		if err != nil {
			return fmt.Errorf("ports[%d].kernel: tap: keep the kernel silent on %s: %w", i, iface, err)
		}
		h.onClose(func() error {
			err := os.WriteFile(s.file, before, 0)
			if errors.Is(err, fs.ErrNotExist) {
				return nil // the interface is gone
			}
			return err
		})
	}
	return nil
}
