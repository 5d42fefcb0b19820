package notify

import (
	"encoding/binary"
	"net/netip"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// TestFilter runs the filter on made-up calls.
func TestFilter(t *testing.T) {
	raw, err := program()
	require.NoError(t, err)
	list, all := bpf.Disassemble(raw)
	require.True(t, all)
	vm, err := bpf.NewVM(list)
	require.NoError(t, err)

	const (
		allow  = unix.SECCOMP_RET_ALLOW
		ask    = unix.SECCOMP_RET_USER_NOTIF
		enosys = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
		noMP   = unix.SECCOMP_RET_ERRNO | uint32(unix.EPROTONOSUPPORT)
	)
	for _, c := range []struct {
		name string
		nr   uint32
		arch uint32
		args [6]uint64
		want uint32
	}{
		{"connect", unix.SYS_CONNECT, auditArch(), [6]uint64{3}, ask},
		{"accept4", unix.SYS_ACCEPT4, auditArch(), [6]uint64{3}, ask},
		{"read", unix.SYS_READ, auditArch(), [6]uint64{3}, allow},
		{"another architecture's", unix.SYS_CONNECT, 1, [6]uint64{3}, allow},
		{"x32", unix.SYS_CONNECT | x32, auditArch(), [6]uint64{3}, allow},
		{"epoll, added", unix.SYS_EPOLL_CTL, auditArch(), [6]uint64{3, unix.EPOLL_CTL_ADD, 4}, ask},
		{"epoll, deleted", unix.SYS_EPOLL_CTL, auditArch(), [6]uint64{3, unix.EPOLL_CTL_DEL, 4}, allow},
		{"TCP", unix.SYS_SOCKET, auditArch(), [6]uint64{unix.AF_INET, unix.SOCK_STREAM, 0}, allow},
		{"MPTCP", unix.SYS_SOCKET, auditArch(), [6]uint64{unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP}, noMP},
		{"io_uring", unix.SYS_IO_URING_SETUP, auditArch(), [6]uint64{8}, enosys},
		{"what is unsent", unix.SYS_IOCTL, auditArch(), [6]uint64{3, unix.SIOCOUTQ}, ask},
		{"what was never sent", unix.SYS_IOCTL, auditArch(), [6]uint64{3, siocOutqNSD}, ask},
		{"what can be read", unix.SYS_IOCTL, auditArch(), [6]uint64{3, unix.TIOCINQ}, allow},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := vm.Run(data(c.nr, c.arch, c.args))
			require.NoError(t, err)
			require.Equal(t, c.want, uint32(got))
		})
	}
}

// data is a struct seccomp_data as the machine of package bpf loads it: big-endian words.
func data(nr, arch uint32, args [6]uint64) []byte {
	b := binary.BigEndian.AppendUint32(nil, nr)
	b = binary.BigEndian.AppendUint32(b, arch)
	b = append(b, make([]byte, 8)...)
	for _, a := range args { // the low half first, as this machine has it
		b = binary.BigEndian.AppendUint32(b, uint32(a))
		b = binary.BigEndian.AppendUint32(b, uint32(a>>32))
	}
	return b
}

func TestAddresses(t *testing.T) {
	for _, c := range []struct {
		domain int
		at     string
		says   string
	}{
		{unix.AF_INET, "10.99.0.1:80", "10.99.0.1:80"},
		{unix.AF_INET6, "[fd99::1]:65535", "[fd99::1]:65535"},
		{unix.AF_INET6, "10.99.0.1:80", "[::ffff:10.99.0.1]:80"},
	} {
		at, scope, ok := parseAddress(address(c.domain, netip.MustParseAddrPort(c.at)))
		require.True(t, ok)
		require.False(t, scope)
		require.Equal(t, c.says, at.String())
	}
	link := address(unix.AF_INET6, netip.MustParseAddrPort("[fe80::1]:80"))
	link[24] = 2
	_, scope, ok := parseAddress(link)
	require.True(t, ok && scope)
	for _, short := range [][]byte{nil, {2}, {2, 0, 0, 80}, address(unix.AF_INET6, netip.AddrPort{})[:16], {1, 0, 'a'}} {
		_, _, ok := parseAddress(short)
		require.False(t, ok)
	}
}

// TestPair: an end that is filled cannot be written until what fills it is taken; one whose peer has closed with
// octets unread is reset, else at its end.
func TestPair(t *testing.T) {
	ours, theirs, err := pair(true)
	require.NoError(t, err)
	defer unix.Close(theirs)
	require.False(t, nonblocking(theirs))
	require.NotZero(t, events(theirs)&unix.POLLOUT)
	n := fill(theirs)
	require.Zero(t, events(theirs))
	for b := make([]byte, len(filler)); n > 0; {
		k, err := unix.Read(ours, b)
		require.NoError(t, err)
		n -= k
	}
	require.NotZero(t, events(theirs)&unix.POLLOUT)
	require.NotZero(t, fill(theirs))
	require.NoError(t, unix.Close(ours))
	_, err = unix.Read(theirs, make([]byte, 1))
	require.ErrorIs(t, err, unix.ECONNRESET)
	require.True(t, hung(theirs))
}

// TestLooking looks into a process as the supervisor does: into this one.
func TestLooking(t *testing.T) {
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(p[0])
	defer unix.Close(p[1])
	self := uint32(os.Getpid())
	fd, err := descriptor(self, p[0])
	require.NoError(t, err)
	require.Equal(t, inodeOf(p[0]), inodeOf(fd))
	require.NoError(t, unix.Close(fd))
	require.True(t, closesOnExec(self, p[0]))
	_, err = descriptor(self, 1<<20)
	require.ErrorIs(t, err, unix.EBADF)

	mark, b := []byte("here"), make([]byte, 4)
	require.NoError(t, peek(self, AddressOf(mark), b))
	require.Equal(t, mark, b)
	require.Error(t, peek(self, 8, b))
	require.NoError(t, Reachable(int(self), p[0], AddressOf(mark), []byte("here")))
	require.Error(t, Reachable(int(self), p[0], AddressOf(mark), []byte("else")))
}
