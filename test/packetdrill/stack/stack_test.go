package stack

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"opentoe/tcpoffload"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// Threads of these tests: the ids only have to differ.
const (
	mainThread  = 1
	otherThread = 2
)

// bench is a stack whose calls are counted as the C side counts them.
type bench struct {
	*Stack
	t       *testing.T
	entered atomic.Int64
}

func newBench(t *testing.T, flags, sysctl string) *bench {
	b := &bench{t: t}
	s, err := New(Config{Main: mainThread, Entered: b.entered.Load, Flags: flags, Sysctl: sysctl})
	require.NoError(t, err)
	b.Stack = s
	return b
}

// in makes a call that is counted.
func (b *bench) in(f func()) {
	b.entered.Add(1)
	defer b.entered.Add(-1)
	f()
}

func (b *bench) listen(port uint16) int {
	b.t.Helper()
	fd, e := b.Socket(mainThread, unix.AF_INET, unix.SOCK_STREAM, 0)
	require.Zero(b.t, e)
	_, e = b.Bind(mainThread, fd, sockaddr(netip.AddrPortFrom(netip.IPv4Unspecified(), port)))
	require.Zero(b.t, e)
	_, e = b.Listen(mainThread, fd, 1)
	require.Zero(b.t, e)
	return fd
}

// TestTimeStandsStillForThreads lets one thread wait in poll while the other lets time pass: poll ends
// after exactly its timeout, because time does not pass before the first thread has told it.
func TestTimeStandsStillForThreads(t *testing.T) {
	b := newBench(t, "", "")
	fd := b.listen(80)
	began := b.Now(mainThread)
	var ended int64
	done := make(chan struct{})
	b.entered.Add(1) // as the C side: before the thread is in Go
	go func() {
		defer close(done)
		n, e := b.Poll(otherThread, []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 300)
		b.entered.Add(-1)
		require.Zero(t, e)
		require.Zero(t, n)
		ended = b.Now(otherThread)
	}()
	b.Usleep(mainThread, vtime.Second)
	<-done
	require.InDelta(t, 300_000, ended-began, 2)
	require.InDelta(t, 1_000_000, b.Now(mainThread)-began, 2)
}

// TestMainThreadMayWaitAlone lets the main thread block where nobody else can make time pass.
func TestMainThreadMayWaitAlone(t *testing.T) {
	b := newBench(t, "", "")
	fd := b.listen(80)
	began := b.Now(mainThread)
	b.in(func() {
		n, e := b.Poll(mainThread, []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 300)
		require.Zero(t, e)
		require.Zero(t, n)
	})
	require.InDelta(t, 300_000, b.Now(mainThread)-began, 2)
	b.in(func() {
		_, _, e := b.Accept(mainThread, fd)
		require.Equal(t, unix.EDEADLK, e)
	})
}

// TestReceiveGivesUp: nothing is ever sent, and Receive says so instead of waiting for ever.
func TestReceiveGivesUp(t *testing.T) {
	b := newBench(t, "", "")
	began := b.Now(mainThread)
	n, at := b.Receive(mainThread, make([]byte, 2000))
	require.Zero(t, n)
	require.InDelta(t, int64(receiveLimit/vtime.Microsecond), at-began, 2)
}

// TestConnectRetransmits takes the SYN and its retransmission off the wire, a second apart.
func TestConnectRetransmits(t *testing.T) {
	b := newBench(t, "", "")
	fd, e := b.Socket(mainThread, unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	require.Zero(t, e)
	_, e = b.Connect(mainThread, fd, sockaddr(netip.MustParseAddrPort("[fd3d:fa7b:d17d::1]:8080")))
	require.Equal(t, unix.EINPROGRESS, e)
	p := make([]byte, 2000)
	n, first := b.Receive(mainThread, p)
	require.Equal(t, byte(6), p[0]>>4)
	require.Equal(t, byte(2), p[40+13], "SYN")
	again, second := b.Receive(mainThread, p)
	require.Equal(t, n, again)
	require.InDelta(t, 1_000_000, second-first, 1000)
	_, e = b.Close(mainThread, fd)
	require.Zero(t, e)
	require.False(t, b.Owns(fd))
}

func TestMissingMemory(t *testing.T) {
	b := newBench(t, "", "")
	fd := b.listen(80)
	_, e := b.Sendmsg(mainThread, fd, Parts{Data: [][]byte{nil}, Len: 10}, nil, 0)
	require.Equal(t, unix.EFAULT, e)
}

func TestFlags(t *testing.T) {
	f, err := parseFlags("")
	require.NoError(t, err)
	require.Len(t, f.local, 2)
	f, err = parseFlags("mtu=9000,local=2001:db8::1")
	require.NoError(t, err)
	require.Equal(t, 9000, f.mtu)
	require.Len(t, f.local, 1)
	for _, bad := range []string{"mtu=x", "local=", "speed=1"} {
		_, err := parseFlags(bad)
		require.Error(t, err, bad)
	}
}

// TestSettingsFollowTheKernel: a setting is in force for the next call, and one that the engine refuses
// leaves the last ones in force.
func TestSettingsFollowTheKernel(t *testing.T) {
	dir := t.TempDir()
	set := func(name, v string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(v+"\n"), 0o600))
	}
	b := newBench(t, "", dir)
	require.True(t, b.host.Engine.Tunables().Timestamps)
	set("tcp_timestamps", "0")
	set("tcp_sack", "0")
	set("tcp_window_scaling", "0")
	set("tcp_ecn", "1")
	set("tcp_rmem", "4096\t20000\t100000")
	set("tcp_syn_retries", "3")
	set("tcp_fin_timeout", "7")
	set("tcp_slow_start_after_idle", "0")
	set("tcp_syncookies", "2")
	set("tcp_mtu_probing", "2")
	set("tcp_fastopen", "0x402")
	set("tcp_fastopen_key", "1-2-3-4,a1a1a1a1-6-7-8")
	fd := b.listen(80)
	got := b.host.Engine.Tunables()
	require.False(t, got.Timestamps || got.SACK || got.WindowScale)
	require.Equal(t, tcpoffload.ECNOn, got.ECN)
	require.Equal(t, tcpoffload.FastOpenServer, got.FastOpen)
	require.Equal(t, 1, b.option(mainThread, fd, unix.SOL_TCP, unix.TCP_FASTOPEN), "every listener, with its backlog")
	require.False(t, got.IdleRestart || got.Pacing)
	require.Equal(t, tcpoffload.SynCookiesAlways, got.SynCookies)
	require.Equal(t, tcpoffload.MTUProbingAlways, got.MTUProbing)
	require.Equal(t, uint8(3), got.SynRetries)
	require.Equal(t, 7*vtime.Second, got.FinWait2)
	require.Equal(t, uint32(10000), got.DefaultRcvBuf)
	require.Equal(t, uint32(100000), got.MaxRcvBuf)
	set("tcp_rmem", "4096 1 1")
	set("tcp_timestamps", "many")
	b.listen(81)
	require.Equal(t, got, b.host.Engine.Tunables())
}

// TestCommandFlushesMetrics takes a server's cookie, flushes, and finds that the next SYN asks for one.
func TestCommandFlushesMetrics(t *testing.T) {
	b := newBench(t, "", "")
	to := sockaddr(netip.MustParseAddrPort("192.0.2.1:8080"))
	p := make([]byte, 2000)
	for _, c := range []struct {
		command string
		n       int
		e       unix.Errno
	}{{"true", 0, unix.EINPROGRESS}, {"sysctl -q net.ipv4.tcp_sack=1", 10, 0}, {"ip tcp_metrics flush all > /dev/null", 0, unix.EINPROGRESS}} {
		b.Command(c.command)
		fd, e := b.Socket(mainThread, unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
		require.Zero(t, e)
		n, e := b.Sendmsg(mainThread, fd, Parts{[][]byte{make([]byte, 10)}, 10}, to, unix.MSG_FASTOPEN)
		require.Equal(t, c.e, e)
		require.Equal(t, c.n, max(n, 0))
		k, _ := b.Receive(mainThread, p)
		b.Input(mainThread, synAckWithCookie(t, p[:k]))
		b.Receive(mainThread, p)
		b.Close(mainThread, fd)
		b.Receive(mainThread, p)
	}
}

// synAckWithCookie returns the answer to the SYN in IPv4 packet syn, with a Fast Open cookie.
func synAckWithCookie(t *testing.T, syn []byte) []byte {
	frame := make([]byte, wire.EthernetLen+len(syn))
	wire.PutEthernet(frame, wire.MAC{}, wire.MAC{}, wire.TypeIPv4)
	copy(frame[wire.EthernetLen:], syn)
	var k wire.Packet
	require.Equal(t, wire.VerdictTCP, wire.Parse(frame, false, false, &k))
	h := wire.Header{
		Flags: wire.SYN | wire.ACK, TTL: 64, Ack: k.Seq.Add(1), Wnd: 1000,
		Flow: k.Flow, // as a receiver sees it: the destination is local
		Opt:  wire.Options{Set: wire.OptMSS | wire.OptFastOpen, MSS: 1460, CookieLen: 4},
	}
	b := make([]byte, h.Len())
	h.Put(b, 0, 0, wire.ChecksumSoftware)
	return b[wire.EthernetLen:]
}

// TestKernelHoldsThePort: while a socket listens the kernel's tables have its port.
func TestKernelHoldsThePort(t *testing.T) {
	s, err := New(Config{Main: mainThread, Entered: func() int64 { return 0 }, HoldPorts: true})
	require.NoError(t, err)
	b := &bench{Stack: s, t: t}
	const port = 48_123
	listening := func() bool {
		for _, name := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
			text, err := os.ReadFile(name)
			require.NoError(t, err)
			for line := range strings.Lines(string(text)) {
				f := strings.Fields(line)
				if strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) && f[3] == "0A" {
					return true
				}
			}
		}
		return false
	}
	require.False(t, listening())
	fd := b.listen(port)
	require.True(t, listening())
	_, e := b.Close(mainThread, fd)
	require.Zero(t, e)
	require.False(t, listening())
}
