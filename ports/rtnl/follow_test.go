package rtnl

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"opentoe/ports"
	"opentoe/tcpoffload/wire"
)

func TestSnapshot(t *testing.T) {
	l := newLab(t, nil)
	v := l.port.View()
	require.Equal(t, wire.MAC{2, 0, 0, 0, 0, 1}, v.MAC)
	require.Equal(t, 1500, v.MTU)
	require.True(t, v.Up)
	require.True(t, v.Complete)
	require.Equal(t, l.link(l.near, "toe").Attrs().Index, v.Index)
	require.Empty(t, v.Addresses, "a link-local address is the kernel's")
}

func TestAddresses(t *testing.T) {
	l := newLab(t, nil)
	l.address(l.near, "toe", "10.99.0.1/24")
	l.address(l.near, "toe", "10.99.0.5/24")
	l.address(l.near, "toe", "fd99::1/64")
	l.address(l.near, "lo", "10.50.0.1/32")
	l.eventually(func(ports.View) bool { return l.owns("10.99.0.1") && l.owns("10.99.0.5") && l.owns("fd99::1") }, "addresses")
	require.False(t, l.owns("10.50.0.1"), "another interface's")
	l.leads("10.99.0.7", "10.99.0.7")
	l.leads("fd99::7", "fd99::7")
	require.Empty(t, l.way("10.99.0.1"), "our own")
	require.Empty(t, l.way("10.50.0.1"), "this host's")
	require.Empty(t, l.way("10.99.0.255"), "broadcast")

	require.NoError(t, l.near.AddrDel(l.link(l.near, "toe"), l.addr("10.99.0.5/24")))
	l.eventually(func(ports.View) bool { return !l.owns("10.99.0.5") && l.owns("10.99.0.1") }, "address removed")

	// One whose uniqueness is not yet proved is not ours; a deprecated one is.
	a := l.addr("fd99::5/64")
	a.Flags = 0
	require.NoError(t, l.near.AddrAdd(l.link(l.near, "toe"), a))
	a = l.addr("fd99::6/64")
	a.PreferedLft, a.ValidLft = 0, 1000
	require.NoError(t, l.near.AddrAdd(l.link(l.near, "toe"), a))
	l.eventually(func(ports.View) bool { return l.owns("fd99::6") }, "deprecated")
	l.eventually(func(ports.View) bool { return l.owns("fd99::5") }, "after duplicate detection")
}

// A duplicate address stays out.
func TestTentativeIsNotOurs(t *testing.T) {
	l := newLab(t, nil)
	l.address(l.far, "far", "fd99::5/64")
	a := l.addr("fd99::5/64")
	a.Flags = 0
	require.NoError(t, l.near.AddrAdd(l.link(l.near, "toe"), a))
	l.address(l.near, "toe", "fd99::1/64")
	l.eventually(func(ports.View) bool { return l.owns("fd99::1") }, "address")
	require.Eventually(t, func() bool {
		list, err := l.near.AddrList(l.link(l.near, "toe"), netlink.FAMILY_V6)
		require.NoError(t, err)
		for _, a := range list {
			if a.IP.Equal(net.ParseIP("fd99::5")) && a.Flags&unix.IFA_F_DADFAILED != 0 {
				return true
			}
		}
		return false
	}, patience, 10*time.Millisecond, "duplicate detection")
	require.False(t, l.owns("fd99::5"))
}

func TestRoutes(t *testing.T) {
	l := newLab(t, nil)
	l.address(l.near, "toe", "10.99.0.1/24")
	l.address(l.near, "toe", "fd99::1/64")
	l.route(nil, "0.0.0.0/0", "10.99.0.254")
	l.route(nil, "2000::/3", "fd99::254")
	l.leads("192.0.2.1", "10.99.0.254")
	l.leads("2001:db8::1", "fd99::254")

	// Gateway changed, a better metric, a longer prefix, MTU of a route.
	l.route(func(r *netlink.Route) { r.Priority = 50 }, "10.1.0.0/16", "10.99.0.50")
	better := l.route(func(r *netlink.Route) { r.Priority = 10 }, "10.1.0.0/16", "10.99.0.10")
	l.leads("10.1.2.3", "10.99.0.10")
	require.NoError(t, l.near.RouteDel(better))
	l.leads("10.1.2.3", "10.99.0.50")
	longer := l.route(func(r *netlink.Route) { r.MTU = 1300 }, "10.1.2.0/24", "10.99.0.24")
	l.leads("10.1.2.3", "10.99.0.24")
	_, mtu, ok := l.port.Host(0).Exit(monotonic(), addr("10.99.0.1"), addr("10.1.2.3"), false)
	require.True(t, ok)
	require.Equal(t, 1300, mtu)
	require.NoError(t, l.near.RouteDel(longer))
	l.leads("10.1.2.3", "10.99.0.50")

	// What the kernel would not send.
	for _, kind := range []int{unix.RTN_BLACKHOLE, unix.RTN_UNREACHABLE, unix.RTN_PROHIBIT} {
		r := l.route(func(r *netlink.Route) { r.Type, r.LinkIndex = kind, 0 }, "10.1.2.0/24", "")
		l.leads("10.1.2.3", "")
		_, err := l.k.Lookup(addr("10.1.2.3"), addr("10.99.0.1"))
		require.Error(t, err)
		require.NoError(t, l.near.RouteDel(r))
		l.leads("10.1.2.3", "10.99.0.50")
	}
	require.True(t, l.port.View().Complete)
}

// Two next hops, and two ports of which the other has the longer prefix.
func TestRoutesOfOthers(t *testing.T) {
	l := newLab(t, nil)
	l.address(l.near, "toe", "10.99.0.1/24")
	require.NoError(t, l.near.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "other"}, PeerName: "other-far"}))
	l.up(l.near, "other")
	l.address(l.near, "other", "10.77.0.1/24")
	l.route(nil, "10.77.0.0/16", "10.99.0.254")
	l.leads("10.77.1.1", "10.99.0.254")
	l.leads("10.77.0.9", "")
	hop, err := l.k.Lookup(addr("10.77.0.9"), wire.Addr{})
	require.NoError(t, err)
	require.Equal(t, l.link(l.near, "other").Attrs().Index, hop.Index)

	index := l.link(l.near, "toe").Attrs().Index
	l.route(func(r *netlink.Route) {
		r.LinkIndex = 0
		r.MultiPath = []*netlink.NexthopInfo{
			{LinkIndex: index, Gw: net.IPv4(10, 99, 0, 2)}, {LinkIndex: index, Gw: net.IPv4(10, 99, 0, 3)},
		}
	}, "10.88.0.0/16", "")
	h := l.port.Host(0)
	require.Eventually(t, func() bool {
		_, _, ok := h.Exit(monotonic(), addr("10.99.0.1"), addr("10.88.0.1"), true)
		return ok
	}, patience, time.Millisecond)
	require.Empty(t, l.way("10.88.0.1"), "only the kernel knows")
}

// With policy routing the kernel is asked, and its answers hold until something changes.
func TestRules(t *testing.T) {
	l := newLab(t, nil)
	l.address(l.near, "toe", "10.99.0.1/24")
	l.address(l.near, "toe", "10.99.0.7/24")
	l.route(nil, "10.5.0.0/16", "10.99.0.50")
	l.route(func(r *netlink.Route) { r.Table = 77 }, "10.5.0.0/16", "10.99.0.77")
	l.leads("10.5.0.1", "10.99.0.50")
	rule := netlink.NewRule()
	rule.Src = &net.IPNet{IP: net.IPv4(10, 99, 0, 7).To4(), Mask: net.CIDRMask(32, 32)}
	rule.Table, rule.Priority = 77, 1000
	require.NoError(t, l.near.RuleAdd(rule))
	l.eventually(func(v ports.View) bool { return !v.Complete }, "a rule")

	h := l.port.Host(0)
	via := func(local string) string {
		idx, _, ok := h.Exit(monotonic(), addr(local), addr("10.5.0.1"), false)
		require.True(t, ok, local)
		for _, n := range l.port.Neighbours(monotonic()) {
			if other, ok := h.Neighbour(n.Addr); ok && other == idx {
				return n.Addr.Netip().String()
			}
		}
		return ""
	}
	require.Equal(t, "10.99.0.50", via("10.99.0.1"))
	lookups := func() uint64 { c := l.k.Counters(); return c[CountLookups] - c[CountLookupHits] }
	kept := false
	for end := time.Now().Add(patience); !kept && time.Now().Before(end); { // a change of the interfaces spoils it
		require.Equal(t, "10.99.0.77", via("10.99.0.7"))
		before := lookups()
		require.Equal(t, "10.99.0.77", via("10.99.0.7"))
		kept = lookups() == before
	}
	require.True(t, kept, "the answer was kept")

	// A change in the rule's table makes who asks ask again.
	changes := l.changes.Load()
	require.NoError(t, l.near.RouteReplace(&netlink.Route{Dst: &net.IPNet{IP: net.IPv4(10, 5, 0, 0).To4(), Mask: net.CIDRMask(16, 32)},
		Table: 77, Gw: net.IPv4(10, 99, 0, 78), LinkIndex: l.link(l.near, "toe").Attrs().Index}))
	for end := time.Now().Add(patience); via("10.99.0.7") != "10.99.0.78"; time.Sleep(time.Millisecond) {
		require.True(t, time.Now().Before(end), "the old way is still taken")
	}
	require.Eventually(t, func() bool { return l.changes.Load() > changes }, patience, time.Millisecond)
	require.NoError(t, l.near.RuleDel(rule))
	l.eventually(func(v ports.View) bool { return v.Complete }, "the default rules")
	require.Equal(t, "10.99.0.50", via("10.99.0.7"))
}

func TestLookup(t *testing.T) {
	l := newLab(t, nil)
	l.address(l.near, "toe", "10.99.0.1/24")
	l.address(l.near, "toe", "fd99::1/64")
	l.route(func(r *netlink.Route) { r.Src, r.MTU = net.IPv4(10, 99, 0, 1), 1400 }, "10.5.0.0/16", "10.99.0.50")
	l.leads("10.5.0.1", "10.99.0.50")
	index := l.link(l.near, "toe").Attrs().Index
	hop, err := l.k.Lookup(addr("10.5.0.1"), wire.Addr{})
	require.NoError(t, err)
	require.Equal(t, ports.Hop{Via: addr("10.99.0.50"), Src: addr("10.99.0.1"), MTU: 1400, Index: index}, hop)
	hop, err = l.k.Lookup(addr("fd99::9"), wire.Addr{})
	require.NoError(t, err)
	require.Equal(t, ports.Hop{Via: addr("fd99::9"), Src: addr("fd99::1"), Index: index}, hop)
	hop, err = l.k.Lookup(addr("10.99.0.1"), wire.Addr{})
	require.NoError(t, err)
	require.True(t, hop.Local)
	_, err = l.k.Lookup(addr("198.51.100.1"), wire.Addr{})
	require.ErrorIs(t, err, unix.ENETUNREACH)
	_, err = l.k.Lookup(addr("10.5.0.1"), addr("10.99.0.66"))
	require.Error(t, err, "from an address that is not ours")
}

// The interface's own changes.
func TestLink(t *testing.T) {
	l := newLab(t, nil)
	l.address(l.near, "toe", "10.99.0.1/24")
	l.leads("10.99.0.7", "10.99.0.7")
	toe := l.link(l.near, "toe")
	require.NoError(t, l.near.LinkSetMTU(toe, 1300))
	l.eventually(func(v ports.View) bool { return v.MTU == 1300 }, "a smaller MTU")
	require.NoError(t, l.near.LinkSetMTU(toe, 9000))
	l.eventually(func(v ports.View) bool { return v.MTU == 1500 }, "no more than the device can carry")
	require.NoError(t, l.near.LinkSetHardwareAddr(toe, net.HardwareAddr{2, 0, 0, 0, 0, 9}))
	l.eventually(func(v ports.View) bool { return v.MAC == wire.MAC{2, 0, 0, 0, 0, 9} }, "MAC")

	require.NoError(t, l.far.LinkSetDown(l.link(l.far, "far")))
	l.eventually(func(v ports.View) bool { return !v.Up }, "no carrier")
	l.up(l.far, "far")
	l.eventually(func(v ports.View) bool { return v.Up }, "carrier")

	require.NoError(t, l.near.LinkSetDown(toe))
	l.eventually(func(v ports.View) bool { return !v.Up && len(v.Addresses) == 1 }, "down, with its IPv4 address")
	l.leads("10.99.0.7", "")
	require.NoError(t, l.near.LinkSetUp(toe))
	l.leads("10.99.0.7", "10.99.0.7")

	require.NoError(t, l.near.LinkDel(toe))
	l.eventually(func(v ports.View) bool { return !v.Up && v.Index == 0 && len(v.Addresses) == 0 }, "deleted")
}

// A flood of changes overruns a small buffer; in the end the port is what the kernel is.
func TestOverrun(t *testing.T) {
	l := newLab(t, func(c *Config) { c.EventBuffer = 2048 })
	l.address(l.near, "toe", "10.99.0.1/24")
	index := l.link(l.near, "toe").Attrs().Index
	for round := range 40 {
		for i := range 50 {
			l.route(nil, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), 0, 0}), 16).String(), "10.99.0.50")
			require.NoError(t, l.near.NeighSet(&netlink.Neigh{LinkIndex: index, IP: net.IPv4(10, 99, 0, byte(100+i)), State: netlink.NUD_PERMANENT,
				HardwareAddr: net.HardwareAddr{2, 0, 0, 1, byte(round), byte(i)}}))
		}
		for i := range 50 {
			if i%7 != 0 || round < 39 {
				require.NoError(t, l.near.RouteDel(&netlink.Route{LinkIndex: index, Dst: &net.IPNet{IP: net.IPv4(10, byte(i), 0, 0).To4(), Mask: net.CIDRMask(16, 32)}}))
			}
		}
	}
	for i := range 50 {
		want := ""
		if i%7 == 0 {
			want = "10.99.0.50"
		}
		l.leads(netip.AddrFrom4([4]byte{10, byte(i), 1, 1}).String(), want)
		a := addr(netip.AddrFrom4([4]byte{10, 99, 0, byte(100 + i)}).String())
		require.Eventually(t, func() bool { return l.neighbour(a).MAC == wire.MAC{2, 0, 0, 1, 39, byte(i)} }, patience, time.Millisecond, "%v: %v", a, l.neighbour(a))
	}
	require.NotZero(t, l.k.Counters()[CountOverruns], "the buffer was large enough")
}

// An end in the middle of a reading is no trouble to tell of.
func TestCloseWhileReading(t *testing.T) {
	for range 5 {
		t.Run("", func(t *testing.T) {
			var log bytes.Buffer
			t.Cleanup(func() { require.Empty(t, log.String()) }) // after Close
			l := newLab(t, func(cfg *Config) { cfg.Log = slog.New(slog.NewTextHandler(&log, nil)) })
			l.address(l.near, "toe", "10.0.0.1/8")
			for i := range 2000 { // takes longer than readings wait for each other
				l.route(nil, fmt.Sprintf("192.168.%d.%d/32", i/250, i%250), "10.0.0.2")
			}
		})
	}
}
