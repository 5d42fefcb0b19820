package ports

import (
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
)

// raiseInterface sets up the kernel's interface and brings it up.
func raiseInterface(cfg *TAPConfig) error {
	h, err := netlink.NewHandle()
	if err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	defer h.Close()
	link, err := h.LinkByName(cfg.Name)
	if err != nil {
		return err
	}
	if err := h.LinkSetHardwareAddr(link, net.HardwareAddr(cfg.MAC[:])); err != nil {
		return fmt.Errorf("set address %v: %w", cfg.MAC, err)
	}
	if err := h.LinkSetMTU(link, cfg.MTU); err != nil {
		return fmt.Errorf("set mtu %d: %w", cfg.MTU, err)
	}
	if err := h.LinkSetTxQLen(link, interfaceQueue); err != nil {
		return fmt.Errorf("set txqueuelen %d: %w", interfaceQueue, err)
	}
	if err := h.LinkSetUp(link); err != nil {
		return fmt.Errorf("bring up: %w", err)
	}
	return nil
}
