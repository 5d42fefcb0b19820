package server

import (
	"net"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"opentoe/sockshim/shm"
	"opentoe/tcpoffload/wire"
	"opentoe/toe"
)

// TestVouched: a client without the right to a low port may have a listener there when it shows that it
// holds one in the kernel, once, and nothing else.
func TestVouched(t *testing.T) {
	r := newRig(t, 1, nil)
	r.srv.lowPorts, r.c.lowPort = 1<<16-1, false

	bound := func(network, addr string) (fd int, port uint16) {
		conn, err := net.Listen(network, addr)
		require.NoError(t, err)
		t.Cleanup(func() { conn.Close() })
		f, err := conn.(*net.TCPListener).File()
		require.NoError(t, err)
		t.Cleanup(func() { f.Close() })
		return int(f.Fd()), uint16(conn.Addr().(*net.TCPAddr).Port)
	}
	open := func(op uint8, port uint16) *shm.Slot {
		n := r.mem.SlotLoans[0].Take()
		p := &r.mem.Slots[n]
		p.ReqFamily, p.ReqLocalPort, p.ReqRemotePort = 4, port, 80
		p.ReqRemoteAddr = wire.AddrFrom4([4]byte{10, 7, 0, 2})
		r.post(0, op, n, 1)
		r.dev.iterate()
		return p
	}
	declined := func(p *shm.Slot) bool {
		return atomic.LoadUint32(&p.State) == shm.SlotDeclined && p.Reason == uint8(toe.ReasonPolicy)
	}
	show := func(fd int) {
		_, errno := r.c.probe(&shm.Msg{Type: shm.MsgProbe}, []int{fd})
		require.Equal(t, unix.ENOENT, errno)
	}

	for _, c := range []struct{ network, addr string }{{"tcp4", "127.0.0.1:0"}, {"tcp6", "[::1]:0"}} {
		fd, port := bound(c.network, c.addr)
		require.True(t, declined(open(shm.OpPassOpenReq, port)), "not shown")
		show(fd)
		require.True(t, declined(open(shm.OpActOpenReq, port)), "a connection is not a listener")
		require.True(t, declined(open(shm.OpPassOpenReq, port-1)), "another port")
		require.False(t, declined(open(shm.OpPassOpenReq, port)))
		require.True(t, declined(open(shm.OpPassOpenReq, port)), "a second time")
	}

	// A socket that is bound does not listen.
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	require.NoError(t, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	port, err := unix.Getsockname(fd)
	require.NoError(t, err)
	show(fd)
	require.True(t, declined(open(shm.OpPassOpenReq, uint16(port.(*unix.SockaddrInet4).Port))))
}

// TestVouchedElsewhere: in a network namespace of one's own anybody can listen on any port.
func TestVouchedElsewhere(t *testing.T) {
	if unix.Getuid() != 0 {
		t.Skip("network namespaces need root")
	}
	r := newRig(t, 1, nil)
	opened := make(chan int)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the namespace
		fd := -1
		if unix.Unshare(unix.CLONE_NEWNET) == nil {
			fd, _ = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		}
		opened <- fd
	}()
	fd := <-opened
	require.GreaterOrEqual(t, fd, 0)
	defer unix.Close(fd)
	require.NoError(t, unix.Bind(fd, &unix.SockaddrInet4{Port: 80}))
	require.NoError(t, unix.Listen(fd, 1))
	r.c.vouch(fd)
	require.False(t, r.c.vouched.take(80))
}
