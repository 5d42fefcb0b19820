package xdp

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"opentoe/tcpoffload/wire"
)

// An injected frame is one that the interface has received, whatever the program would make of it.
func TestInject(t *testing.T) {
	w := newWire(t)
	for _, name := range []string{w.Name, w.Name + "p"} {
		l, err := netlink.LinkByName(name)
		require.NoError(t, err)
		require.NoError(t, netlink.LinkSetUp(l))
	}
	s, err := Attach(w.Name, nil, newClaims(t))
	require.NoError(t, err)
	defer s.Close()
	sniffer, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(sniffer)
	const everything = unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8 // in network order
	require.NoError(t, unix.Bind(sniffer, &unix.SockaddrLinklayer{Protocol: everything, Ifindex: w.Index}))
	require.NoError(t, unix.SetsockoptTimeval(sniffer, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 60}))

	frame := segment(at(local4, 999), at(other4, aPort), wire.ACK)
	require.NoError(t, s.Inject(frame))
	b := make([]byte, 2000)
	for {
		n, from, err := unix.Recvfrom(sniffer, b, 0)
		require.NoError(t, err)
		if bytes.Equal(b[:n], frame) {
			require.NotEqualValues(t, unix.PACKET_OUTGOING, from.(*unix.SockaddrLinklayer).Pkttype)
			return
		}
	}
}
