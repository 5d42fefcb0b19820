package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
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
		if err := h.silence(i, iface, cfg.RuntimeDir); err != nil {
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
// through an interface without addresses, so that the strict reverse-path check drops all of IPv4. What was set
// before is kept in dir as well, for the toed after one that was killed.
func (h *hardware) silence(i int, iface, dir string) error {
	for _, s := range []struct{ file, value string }{
		{"/proc/sys/net/ipv4/conf/" + iface + "/rp_filter", "1"},
		{"/proc/sys/net/ipv4/conf/" + iface + "/arp_ignore", "8"},
		{"/proc/sys/net/ipv6/conf/" + iface + "/disable_ipv6", "1"},
	} {
		kept := filepath.Join(dir, "before-"+iface+"-"+filepath.Base(s.file))
		undo, err := setSysctl(s.file, s.value, kept)
		if err != nil {
			return fmt.Errorf("ports[%d].kernel: tap: keep the kernel silent on %s: %w", i, iface, err)
		}
		h.onClose(undo)
	}
	return nil
}

// setSysctl sets file to value, if it is there, and returns what sets it back. In between the file kept has what it
// was, also when it was an earlier process that set it and could not set it back.
func setSysctl(file, value, kept string) (undo func() error, err error) {
	undo = func() error { return nil }
	before, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return undo, nil // no IPv6 here
	}
	if err != nil {
		return nil, err
	}
	if strings.TrimSpace(string(before)) == value {
		if before, err = os.ReadFile(kept); errors.Is(err, fs.ErrNotExist) {
			return undo, nil // it was so anyway
		}
	} else if err = os.WriteFile(kept, before, 0o600); err == nil {
		err = os.WriteFile(file, []byte(value), 0)
	}
	if err != nil {
		return nil, err
	}
	return func() error {
		err := os.WriteFile(file, before, 0)
		if errors.Is(err, fs.ErrNotExist) {
			err = nil // the interface is gone
		}
		return errors.Join(err, os.Remove(kept))
	}, nil
}
