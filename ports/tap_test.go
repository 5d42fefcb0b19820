package ports_test

import (
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"opentoe/pmd/frame"
	"opentoe/ports"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// openTAP opens a TAP of this test.
func openTAP(t *testing.T, change func(*ports.TAPConfig)) *ports.TAP {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs CAP_NET_ADMIN")
	}
	cfg := ports.TAPConfig{Name: fmt.Sprintf("tap%d", os.Getpid()), MAC: ourMAC, MTU: 1400, Workers: 2}
	if change != nil {
		change(&cfg)
	}
	tap, err := ports.OpenTAP(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { tap.Close() }) // the second time there is nothing to close
	return tap
}

// The kernel answers on the interface with the port's address, and the interface goes with the TAP.
func TestTAPReachesTheKernel(t *testing.T) {
	tap := openTAP(t, nil)
	ifi, err := net.InterfaceByName(tap.Name())
	require.NoError(t, err)
	require.Equal(t, 1400, ifi.MTU)
	require.Equal(t, ourMAC.String(), ifi.HardwareAddr.String())
	require.NotZero(t, ifi.Flags&net.FlagUp)
	_, err = ports.OpenTAP(ports.TAPConfig{Name: tap.Name(), MAC: ourMAC, MTU: 1400, Workers: 1})
	require.ErrorIs(t, err, fs.ErrExist)
	_, err = ports.AddAddresses(tap.Name(), []netip.Prefix{netip.MustParsePrefix("198.51.100.1/30")})
	require.NoError(t, err)

	request := make([]byte, 60)
	wire.PutEthernet(request, wire.BroadcastMAC(), peerMAC, wire.TypeARP)
	wire.PutARP(request[wire.EthernetLen:], wire.ARPRequest, peerMAC, addr("198.51.100.2"), wire.MAC{}, addr("198.51.100.1"))
	answered := func() bool {
		var blank, tx frame.Burst
		heap := newHeap()
		heap.Alloc(&blank, frame.MaxBurst)
		for w := range 2 {
			tap.End(w).Down(&blank, &tx)
		}
		for _, f := range tx.Frames() {
			if arp, ok := wire.AsARP(f.Data[wire.EthernetLen:]); ok && arp.Op() == wire.ARPReply && wire.Ethernet(f.Data).Dst() == peerMAC {
				require.Equal(t, ourMAC, arp.SenderMAC())
				return true
			}
		}
		return false
	}
	for w := range 2 {
		tap.End(w).Up(vtime.Time(vtime.Second), &frame.Frame{Data: request})
		require.Eventually(t, answered, time.Minute, time.Millisecond, "queue %d", w)
	}
	c := tap.Counters()
	require.EqualValues(t, 2, c[ports.KernelUp])
	require.EqualValues(t, 120, c[ports.KernelUpOctets])
	require.GreaterOrEqual(t, c[ports.KernelDown], uint64(2))
	require.NoError(t, tap.Close())
	_, err = net.InterfaceByName(tap.Name())
	require.Error(t, err)
}

// An interface that somebody takes away is told once; what goes up is lost, counted.
func TestTAPGone(t *testing.T) {
	gone := make(chan error, 10)
	tap := openTAP(t, func(c *ports.TAPConfig) { c.Gone = func(err error) { gone <- err } })
	link, err := netlink.LinkByName(tap.Name())
	require.NoError(t, err)
	require.NoError(t, netlink.LinkSetDown(link))
	up := func() {
		tap.End(0).Up(vtime.Time(vtime.Second), &frame.Frame{Data: make([]byte, 60)})
	}
	refused := func(n uint64) {
		t.Helper()
		require.Eventually(t, func() bool { return tap.Counters()[ports.KernelUpRefused] == n }, time.Minute, time.Millisecond)
	}
	up()
	refused(1)
	require.NoError(t, netlink.LinkSetUp(link))
	up()
	require.Eventually(t, func() bool { return tap.Counters()[ports.KernelUp] == 1 }, time.Minute, time.Millisecond)
	require.NoError(t, netlink.LinkDel(link))
	require.Error(t, <-gone)
	up()
	refused(2)
	require.NoError(t, tap.Close())
	require.Empty(t, gone, "it is told once")
}

// What cannot be is refused, and leaves nothing behind.
func TestTAPConfigIsChecked(t *testing.T) {
	for _, c := range []ports.TAPConfig{
		{Name: "tapx", MAC: ourMAC, MTU: 1500},
		{Name: "tapx", MAC: ourMAC, MTU: 1500, Workers: 1, Limit: ports.Rate{Frames: 1e12}},
	} {
		_, err := ports.OpenTAP(c)
		require.ErrorIs(t, err, ports.ErrInvalid)
	}
	if os.Getuid() != 0 {
		t.Skip("needs CAP_NET_ADMIN")
	}
	for _, c := range []ports.TAPConfig{
		{Name: "a-name-that-is-too-long", MAC: ourMAC, MTU: 1500, Workers: 1},
		{Name: fmt.Sprintf("tap%d", os.Getpid()), MAC: wire.BroadcastMAC(), MTU: 1500, Workers: 1},
		{Name: fmt.Sprintf("tap%d", os.Getpid()), MAC: ourMAC, MTU: 1 << 20, Workers: 1},
	} {
		_, err := ports.OpenTAP(c)
		require.Error(t, err)
		_, err = net.InterfaceByName(c.Name)
		require.Error(t, err)
	}
}
