package ports

import (
	"fmt"
	"net/netip"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
)

func TestAddAddresses(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("making an interface needs root")
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = fmt.Sprintf("ports%d", os.Getpid())
	link := netlink.NewVeth(attrs)
	link.PeerName = attrs.Name + "p"
	require.NoError(t, netlink.LinkAdd(link))
	defer netlink.LinkDel(link)
	there, ours, ours6 := netip.MustParsePrefix("192.0.2.1/24"), netip.MustParsePrefix("192.0.2.2/24"), netip.MustParsePrefix("2001:db8::1/64")
	require.NoError(t, netlink.AddrAdd(link, kernelAddress(there)))
	has := func() (list []string) {
		addrs, err := netlink.AddrList(link, netlink.FAMILY_ALL)
		require.NoError(t, err)
		for _, a := range addrs {
			list = append(list, a.IPNet.String())
		}
		return list
	}

	remove, err := AddAddresses(attrs.Name, []netip.Prefix{there, ours, ours6})
	require.NoError(t, err)
	require.ElementsMatch(t, []string{there.String(), ours.String(), ours6.String()}, has())
	require.NoError(t, netlink.AddrDel(link, kernelAddress(ours))) // the administrator was quicker
	require.NoError(t, remove())
	require.Equal(t, []string{there.String()}, has())

	// The administrator's second address in a network does not go with our first.
	first, second := netip.MustParsePrefix("198.51.100.1/24"), netip.MustParsePrefix("198.51.100.2/24")
	remove, err = AddAddresses(attrs.Name, []netip.Prefix{first})
	require.NoError(t, err)
	require.NoError(t, netlink.AddrAdd(link, kernelAddress(second)))
	require.NoError(t, remove())
	require.Equal(t, []string{there.String(), second.String()}, has())
	require.NoError(t, netlink.AddrDel(link, kernelAddress(second)))

	// What cannot be had is had not at all.
	_, err = AddAddresses(attrs.Name, []netip.Prefix{ours, netip.MustParsePrefix("ff02::1/64")})
	require.ErrorContains(t, err, "ff02::1")
	require.Equal(t, []string{there.String()}, has())

	remove, err = AddAddresses(attrs.Name, []netip.Prefix{ours})
	require.NoError(t, err)
	require.NoError(t, netlink.LinkDel(link))
	require.NoError(t, remove())
	_, err = AddAddresses(attrs.Name, nil)
	require.ErrorContains(t, err, attrs.Name)
}
