package ports_test

import (
	"bytes"
	"net"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"opentoe/ports"
	"opentoe/toe"
)

func TestInterfaceShowsFrames(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs CAP_NET_ADMIN")
	}
	const name = "h6mon0"
	m := newMirror(t, ports.MirrorConfig{Ports: []string{"toe0"}, Workers: 1})
	s, err := m.AddInterface(name, 9000, ports.SinkOptions{})
	require.NoError(t, err)

	ifi, err := net.InterfaceByName(name)
	require.NoError(t, err)
	require.Equal(t, 9000, ifi.MTU)
	require.NotZero(t, ifi.Flags&net.FlagUp)
	addrs, err := ifi.Addrs()
	require.NoError(t, err)
	require.Empty(t, addrs, "the interface must not get a link-local address")
	_, err = m.AddInterface(name, 1500, ports.SinkOptions{})
	require.ErrorIs(t, err, unix.EBUSY, "a second one of the name")

	// Without a protocol it hears nothing until it is bound, else it would hear every interface.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	require.NoError(t, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: ifi.Index}))
	require.NoError(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10}))

	a, b := tcpFrame(t, 80, make([]byte, 1400)), tcpFrame(t, 81, nil)
	m.Tap(0, 0, toe.Receive, 1, frames(a))
	m.Tap(0, 0, toe.Transmit, 2, frames(b))
	buf := make([]byte, 16384)
	for _, want := range [][]byte{a, b} {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		require.NoError(t, err)
		require.True(t, bytes.Equal(want, buf[:n]))
	}
	require.NoError(t, s.Close())
	_, err = net.InterfaceByName(name)
	require.Error(t, err, "the interface must go with the sink")
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }
