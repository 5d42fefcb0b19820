package ports

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// AddAddresses gives the kernel's interface those of the addresses that it does not have, and returns what
// takes them off again. An interface that has gone meanwhile has lost them by itself. Needs CAP_NET_ADMIN.
func AddAddresses(iface string, addresses []netip.Prefix) (remove func() error, err error) {
	link, err := netlink.LinkByName(iface)
	if err != nil {
		return nil, fmt.Errorf("ports: interface %q: %w", iface, err)
	}
	var added []netip.Prefix
	remove = func() error {
		var errs []error
		for _, a := range slices.Backward(added) {
			errs = append(errs, removeAddress(link, kernelAddress(a)))
		}
		added = nil
		return errors.Join(errs...)
	}
	for _, a := range addresses {
		switch err := netlink.AddrAdd(link, kernelAddress(a)); {
		case errors.Is(err, unix.EEXIST):
		case err != nil:
			return nil, errors.Join(fmt.Errorf("ports: interface %q: add address %v: %w", iface, a, err), remove())
		default:
			added = append(added, a)
		}
	}
	return remove, nil
}

func kernelAddress(a netip.Prefix) *netlink.Addr {
	return &netlink.Addr{IPNet: &net.IPNet{IP: a.Addr().AsSlice(), Mask: net.CIDRMask(a.Bits(), a.Addr().BitLen())}}
}

// removeAddress takes one address off an interface, if it is there. With a primary IPv4 address the kernel
// removes the others of its network, unless told to promote one of them; those are somebody else's and come
// back.
func removeAddress(link netlink.Link, a *netlink.Addr) error {
	before, err := netlink.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		return nil // the interface is gone
	}
	switch err := netlink.AddrDel(link, a); {
	case errors.Is(err, unix.EADDRNOTAVAIL), errors.Is(err, unix.ENODEV):
		return nil
	case err != nil:
		return err
	}
	var errs []error
	for _, other := range before {
		if other.Flags&unix.IFA_F_SECONDARY == 0 || other.Equal(*a) {
			continue
		}
		other.Flags = 0
		if err := netlink.AddrAdd(link, &other); !errors.Is(err, unix.EEXIST) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
