package rtnl

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"opentoe/ports"
	"opentoe/tcpoffload/wire"
)

// patience bounds the waiting for something that has to happen.
const patience = time.Minute

// lab is a network namespace with an interface "toe" whose wire leads to the interface "far" in a second
// namespace, where the kernel answers for addresses.
type lab struct {
	testing.TB
	near, far *netlink.Handle
	port      *ports.Port
	k         *Kernel
	changes   atomic.Uint64 // how often Changed was called
}

// namespace runs f on a thread in a fresh network namespace. The thread ends with it, the namespace with
// the last socket that f has opened there.
func namespace(t testing.TB, f func(ns int)) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs CAP_NET_ADMIN")
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		ns, err := unix.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			f(ns)
		}
		done <- err
	}()
	require.NoError(t, <-done)
}

func newLab(t testing.TB, change func(*Config)) *lab {
	l := &lab{TB: t}
	var errs []error
	try := func(err error) { errs = append(errs, err) }
	farNS := -1
	namespace(t, func(ns int) {
		var err error
		l.far, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		try(err)
		farNS = ns
	})
	t.Cleanup(func() { unix.Close(farNS) })
	namespace(t, func(ns int) {
		unix.Close(ns)
		var err error
		l.near, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		try(err)
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.HardwareAddr = "toe", net.HardwareAddr{2, 0, 0, 0, 0, 1}
		try(l.near.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "far", PeerHardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 2}}))
		peer, err := l.near.LinkByName("far")
		try(err)
		try(l.near.LinkSetNsFd(peer, farNS))
		cfg := Config{Changed: func() { l.changes.Add(1) }}
		if change != nil {
			change(&cfg)
		}
		l.k, err = New(cfg)
		try(err)
	})
	for _, err := range errs {
		require.NoError(t, err)
	}
	t.Cleanup(func() {
		require.NoError(t, l.k.Close())
		l.near.Close()
		l.far.Close()
	})
	l.up(l.near, "lo")
	l.up(l.far, "lo")
	l.up(l.near, "toe")
	l.up(l.far, "far")
	var err error
	l.port, err = ports.New(ports.Config{Name: "p", MAC: wire.MAC{2, 9}, MTU: 1500, Workers: 1, Control: l.k})
	require.NoError(t, err)
	require.NoError(t, l.k.Follow(l.port, "toe"))
	return l
}

func (l *lab) link(h *netlink.Handle, name string) netlink.Link {
	l.Helper()
	link, err := h.LinkByName(name)
	require.NoError(l, err)
	return link
}

func (l *lab) up(h *netlink.Handle, name string) {
	l.Helper()
	require.NoError(l, h.LinkSetUp(l.link(h, name)))
}

// address adds an address, "10.0.0.1/24", which is usable at once.
func (l *lab) address(h *netlink.Handle, name, prefix string) {
	l.Helper()
	require.NoError(l, h.AddrAdd(l.link(h, name), l.addr(prefix)))
}

func (l *lab) addr(prefix string) *netlink.Addr {
	l.Helper()
	a, err := netlink.ParseAddr(prefix)
	require.NoError(l, err)
	a.Flags = unix.IFA_F_NODAD
	return a
}

// route adds a route: by way of a gateway if there is one, else on the link toe.
func (l *lab) route(change func(*netlink.Route), dst, via string) *netlink.Route {
	l.Helper()
	_, ipnet, err := net.ParseCIDR(dst)
	require.NoError(l, err)
	r := &netlink.Route{Dst: ipnet, LinkIndex: l.link(l.near, "toe").Attrs().Index, Gw: net.ParseIP(via)}
	if change != nil {
		change(r)
	}
	require.NoError(l, l.near.RouteAdd(r))
	return r
}

// eventually waits until the port is as check wants it.
func (l *lab) eventually(check func(v ports.View) bool, what string) {
	l.Helper()
	require.Eventually(l, func() bool { return check(l.port.View()) }, patience, time.Millisecond, "%s: %+v", what, l.port.View())
}

func (l *lab) owns(a string) bool { return l.port.Owns(addr(a)) }

// way returns the neighbour by which the port's own tables lead to a, "" for none.
func (l *lab) way(a string) string {
	via, _, ok := l.port.Gateway(addr(a))
	if !ok {
		return ""
	}
	return via.Netip().String()
}

func (l *lab) leads(dst, via string) {
	l.Helper()
	require.Eventually(l, func() bool { return l.way(dst) == via }, patience, time.Millisecond, "%s should be reached by %q: %+v", dst, via, l.port.View())
}

func addr(s string) wire.Addr { return wire.AddrFrom(netip.MustParseAddr(s)) }
