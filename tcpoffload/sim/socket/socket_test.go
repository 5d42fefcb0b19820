package socket_test

import (
	"encoding/binary"
	"net/netip"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"opentoe/tcpoffload"
	"opentoe/tcpoffload/sim/socket"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

const (
	ms  = vtime.Millisecond
	sec = vtime.Second
)

// net is two hosts and a perfect wire between them.
type net struct {
	t    *testing.T
	now  vtime.Time
	a, b *socket.Host
	addr map[*socket.Host]netip.Addr
}

func newNet(t *testing.T, a, b string) *net {
	n := &net{t: t, now: vtime.Time(vtime.Second), addr: make(map[*socket.Host]netip.Addr)}
	host := func(key byte, addr string) *socket.Host {
		ip := netip.MustParseAddr(addr)
		h, err := socket.New(socket.Config{
			Engine: tcpoffload.Config{Tunables: tcpoffload.DefaultTunables(), ISNKey: [16]byte{key}},
			Addrs:  []wire.Addr{wire.AddrFrom(ip)},
		})
		require.NoError(t, err)
		n.addr[h] = ip
		return h
	}
	n.a, n.b = host(1, a), host(2, b)
	return n
}

// do makes a call and lets all packets through.
func (n *net) do(h *socket.Host, c socket.Call) socket.Result {
	r := h.Do(n.now, c)
	n.settle()
	return r
}

// must makes a call that may block, until it returns, and demands success.
func (n *net) must(h *socket.Host, c socket.Call) int {
	n.t.Helper()
	r := n.do(h, c)
	for range 100 {
		if !r.Blocked {
			break
		}
		n.wait(10 * ms)
		r = n.do(h, c)
	}
	require.False(n.t, r.Blocked, "%#v", c)
	require.Zero(n.t, r.Errno, "%#v", c)
	return r.Ret
}

func (n *net) fails(e unix.Errno, h *socket.Host, c socket.Call) {
	n.t.Helper()
	r := n.do(h, c)
	require.False(n.t, r.Blocked, "%#v", c)
	require.Equal(n.t, e.Error(), r.Errno.Error(), "%#v", c)
	require.Equal(n.t, -1, r.Ret)
}

func (n *net) settle() {
	for {
		p, ok := n.a.Output()
		to := n.b
		if !ok {
			p, ok = n.b.Output()
			to = n.a
		}
		if !ok {
			return
		}
		require.True(n.t, to.Input(n.now, p.Data))
	}
}

func (n *net) wait(d vtime.Duration) {
	end := n.now.Add(d)
	for {
		next := min(n.a.NextDeadline(), n.b.NextDeadline())
		if next > end {
			break
		}
		n.now = max(n.now, next)
		n.a.Poll(n.now)
		n.b.Poll(n.now)
		n.settle()
	}
	n.now = end
}

// connect returns a connection's descriptors on a and b, and b's listening one.
func (n *net) connect() (cli, srv, lst int) {
	n.t.Helper()
	dom := unix.AF_INET
	if n.addr[n.a].Is6() {
		dom = unix.AF_INET6
	}
	lst = n.must(n.b, &socket.Socket{Domain: dom, Type: unix.SOCK_STREAM})
	addr := netip.AddrPortFrom(n.addr[n.b], 80)
	n.must(n.b, &socket.Bind{FD: lst, Addr: addr})
	n.must(n.b, &socket.Listen{FD: lst, Backlog: 1})
	cli = n.must(n.a, &socket.Socket{Domain: dom, Type: unix.SOCK_STREAM})
	n.must(n.a, &socket.Connect{FD: cli, Addr: addr})
	acc := &socket.Accept{FD: lst}
	srv = n.must(n.b, acc)
	var name socket.GetSockName
	name.FD = cli
	n.must(n.a, &name)
	require.Equal(n.t, name.Addr, acc.Peer)
	return cli, srv, lst
}

func (n *net) set(h *socket.Host, fd, level, name int, v uint32) {
	n.t.Helper()
	n.must(h, &socket.SetOption{FD: fd, Level: level, Name: name, Val: binary.NativeEndian.AppendUint32(nil, v)})
}

func (n *net) get(h *socket.Host, fd, level, name int) int {
	n.t.Helper()
	g := socket.GetOption{FD: fd, Level: level, Name: name, Val: make([]byte, 4)}
	n.must(h, &g)
	require.Equal(n.t, 4, g.N)
	return int(int32(binary.NativeEndian.Uint32(g.Val)))
}

func TestEcho(t *testing.T) {
	for _, pair := range [][2]string{{"192.0.2.1", "192.0.2.2"}, {"2001:db8::1", "2001:db8::2"}} {
		t.Run(pair[0], func(t *testing.T) {
			n := newNet(t, pair[0], pair[1])
			cli, srv, _ := n.connect()
			out := make([]byte, 1_000_000)
			for i := range out {
				out[i] = byte(i * 7)
			}
			in := make([]byte, 0, len(out))
			send := &socket.Send{FD: cli, Buf: out}
			buf := make([]byte, 70_000)
			sent := false
			for len(in) < len(out) {
				if !sent {
					r := n.do(n.a, send)
					require.Zero(t, r.Errno)
					if sent = !r.Blocked; sent {
						require.Equal(t, len(out), r.Ret)
					}
				}
				k := n.must(n.b, &socket.Recv{FD: srv, Buf: buf})
				in = append(in, buf[:k]...)
			}
			require.True(t, sent)
			require.Equal(t, out, in)
			n.must(n.a, &socket.Close{FD: cli})
			require.Zero(t, n.must(n.b, &socket.Recv{FD: srv, Buf: buf}))
			n.must(n.b, &socket.Close{FD: srv})
			n.wait(2 * vtime.Minute)
			require.Zero(t, n.a.Engine.Conns())
			require.Zero(t, n.b.Engine.Conns())
		})
	}
}

func TestErrors(t *testing.T) {
	n := newNet(t, "192.0.2.1", "192.0.2.2")
	buf := make([]byte, 10)
	n.fails(unix.EBADF, n.a, &socket.Recv{FD: 9, Buf: buf})
	s := n.must(n.a, &socket.Socket{Domain: unix.AF_INET, Type: unix.SOCK_STREAM | unix.SOCK_NONBLOCK})
	n.fails(unix.ENOTCONN, n.a, &socket.Recv{FD: s, Buf: buf})
	n.fails(unix.EPIPE, n.a, &socket.Send{FD: s, Buf: buf})
	n.fails(unix.ENOTCONN, n.a, &socket.Shutdown{FD: s, How: unix.SHUT_WR})
	n.fails(unix.EINVAL, n.a, &socket.Accept{FD: s})
	to := netip.MustParseAddrPort("192.0.2.2:81")
	n.fails(unix.EINPROGRESS, n.a, &socket.Connect{FD: s, Addr: to})
	n.fails(unix.ECONNREFUSED, n.a, &socket.Connect{FD: s, Addr: to})
	n.fails(unix.EADDRNOTAVAIL, n.a, &socket.Bind{FD: n.must(n.a, &socket.Socket{Domain: unix.AF_INET, Type: unix.SOCK_STREAM}), Addr: to})
	n.fails(unix.ENOPROTOOPT, n.a, &socket.SetOption{FD: s, Level: unix.IPPROTO_TCP, Name: 999, Val: buf})
	n.fails(unix.ESOCKTNOSUPPORT, n.a, &socket.Socket{Domain: unix.AF_INET, Type: unix.SOCK_DGRAM})
}

func TestResetTellsTheReader(t *testing.T) {
	n := newNet(t, "192.0.2.1", "192.0.2.2")
	cli, srv, _ := n.connect()
	n.must(n.a, &socket.Send{FD: cli, Buf: []byte("lost")})
	n.must(n.b, &socket.Close{FD: srv}) // with unread octets
	buf := make([]byte, 10)
	n.fails(unix.ECONNRESET, n.a, &socket.Recv{FD: cli, Buf: buf})
	require.Zero(t, n.must(n.a, &socket.Recv{FD: cli, Buf: buf}))
	n.fails(unix.EPIPE, n.a, &socket.Send{FD: cli, Buf: buf})
}

func TestRecvFlags(t *testing.T) {
	n := newNet(t, "192.0.2.1", "192.0.2.2")
	cli, srv, _ := n.connect()
	buf := make([]byte, 10)
	n.fails(unix.EAGAIN, n.b, &socket.Recv{FD: srv, Buf: buf, Flags: unix.MSG_DONTWAIT})
	n.must(n.a, &socket.Send{FD: cli, Buf: []byte("abcdef")})
	require.Equal(t, 6, n.must(n.b, &socket.Recv{FD: srv, Buf: buf, Flags: unix.MSG_PEEK}))
	require.Equal(t, 2, n.must(n.b, &socket.Recv{FD: srv, Buf: buf[:2], Flags: unix.MSG_TRUNC}))
	q := &socket.Ioctl{FD: srv, Request: unix.SIOCINQ}
	n.must(n.b, q)
	require.Equal(t, 4, q.Arg)
	all := &socket.Recv{FD: srv, Buf: buf[:8], Flags: unix.MSG_WAITALL}
	require.True(t, n.do(n.b, all).Blocked)
	n.must(n.a, &socket.Send{FD: cli, Buf: []byte("ghij")})
	require.Equal(t, 8, n.do(n.b, all).Ret)
	require.Equal(t, "cdefghij", string(buf[:8]))

	n.set(n.b, srv, unix.SOL_SOCKET, unix.SO_RCVLOWAT, 3)
	n.must(n.a, &socket.Send{FD: cli, Buf: []byte("k")})
	low := &socket.Recv{FD: srv, Buf: buf}
	require.True(t, n.do(n.b, low).Blocked)
	n.must(n.a, &socket.Send{FD: cli, Buf: []byte("lm")})
	require.Equal(t, 3, n.do(n.b, low).Ret)
}

func TestTimeouts(t *testing.T) {
	n := newNet(t, "192.0.2.1", "192.0.2.2")
	_, srv, _ := n.connect()
	half := binary.NativeEndian.AppendUint64(binary.NativeEndian.AppendUint64(nil, 0), 500_000)
	n.must(n.b, &socket.SetOption{FD: srv, Level: unix.SOL_SOCKET, Name: unix.SO_RCVTIMEO, Val: half})
	c := &socket.Recv{FD: srv, Buf: make([]byte, 1)}
	r := n.do(n.b, c)
	require.True(t, r.Blocked)
	require.Equal(t, 500*ms, r.Until.Sub(n.now))
	n.wait(500 * ms)
	r = n.do(n.b, c)
	require.Equal(t, unix.EAGAIN, r.Errno)

	p := &socket.Poll{FDs: []socket.PollFD{{FD: srv, Events: unix.POLLIN}}, Timeout: 10 * ms}
	require.True(t, n.do(n.b, p).Blocked)
	n.wait(10 * ms)
	require.Equal(t, socket.Result{Until: vtime.Never}, n.do(n.b, p))
}

func TestEpollEdge(t *testing.T) {
	n := newNet(t, "192.0.2.1", "192.0.2.2")
	cli, srv, _ := n.connect()
	ep := n.must(n.b, &socket.EpollCreate{})
	n.must(n.b, &socket.EpollCtl{EFD: ep, Op: unix.EPOLL_CTL_ADD, FD: srv, Events: unix.EPOLLIN | unix.EPOLLET, Data: 7})
	wait := func() []socket.EpollEvent {
		c := &socket.EpollWait{EFD: ep, Events: make([]socket.EpollEvent, 4)}
		return c.Events[:n.must(n.b, c)]
	}
	require.Empty(t, wait())
	n.must(n.a, &socket.Send{FD: cli, Buf: []byte("x")})
	require.Equal(t, []socket.EpollEvent{{Events: unix.EPOLLIN, Data: 7}}, wait())
	require.Empty(t, wait(), "the edge is spent")
	n.must(n.a, &socket.Send{FD: cli, Buf: []byte("y")})
	require.Len(t, wait(), 1)
	n.must(n.b, &socket.EpollCtl{EFD: ep, Op: unix.EPOLL_CTL_MOD, FD: srv, Events: unix.EPOLLIN})
	require.Len(t, wait(), 1)
	require.Len(t, wait(), 1, "level")
	n.must(n.b, &socket.EpollCtl{EFD: ep, Op: unix.EPOLL_CTL_MOD, FD: srv, Events: unix.EPOLLIN | unix.EPOLLONESHOT})
	require.Len(t, wait(), 1)
	require.Empty(t, wait())
	n.must(n.b, &socket.Close{FD: srv})
	require.Empty(t, wait(), "a closed socket leaves the set")
}

func TestEpollOut(t *testing.T) {
	n := newNet(t, "192.0.2.1", "192.0.2.2")
	cli, srv, _ := n.connect()
	n.must(n.a, &socket.Fcntl{FD: cli, Cmd: unix.F_SETFL, Arg: unix.O_NONBLOCK})
	n.set(n.a, cli, unix.SOL_SOCKET, unix.SO_SNDBUF, 10_000)
	n.set(n.b, srv, unix.SOL_SOCKET, unix.SO_RCVBUF, 4_000)
	ep := n.must(n.a, &socket.EpollCreate{})
	n.must(n.a, &socket.EpollCtl{EFD: ep, Op: unix.EPOLL_CTL_ADD, FD: cli, Events: unix.EPOLLOUT | unix.EPOLLET})
	c := &socket.EpollWait{EFD: ep, Events: make([]socket.EpollEvent, 1)}
	require.Equal(t, 1, n.must(n.a, c))
	big := make([]byte, 1<<20)
	for {
		r := n.do(n.a, &socket.Send{FD: cli, Buf: big})
		if r.Errno != 0 {
			require.Equal(t, unix.EAGAIN, r.Errno)
			break
		}
	}
	c = &socket.EpollWait{EFD: ep, Events: make([]socket.EpollEvent, 1)}
	require.Zero(t, n.must(n.a, c))
	for range 400 {
		n.do(n.b, &socket.Recv{FD: srv, Buf: big, Flags: unix.MSG_DONTWAIT})
		n.wait(10 * ms)
	}
	c = &socket.EpollWait{EFD: ep, Events: make([]socket.EpollEvent, 1)}
	require.Equal(t, 1, n.must(n.a, c))
	require.Equal(t, uint32(unix.EPOLLOUT), c.Events[0].Events)
}

func TestOptions(t *testing.T) {
	n := newNet(t, "192.0.2.1", "192.0.2.2")
	s := n.must(n.a, &socket.Socket{Domain: unix.AF_INET, Type: unix.SOCK_STREAM})
	n.set(n.a, s, unix.IPPROTO_TCP, unix.TCP_NODELAY, 5)
	require.Equal(t, 1, n.get(n.a, s, unix.IPPROTO_TCP, unix.TCP_NODELAY))
	require.Equal(t, 7200, n.get(n.a, s, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE))
	n.set(n.a, s, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 10)
	require.Equal(t, 10, n.get(n.a, s, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE))
	n.fails(unix.EINVAL, n.a, &socket.SetOption{FD: s, Level: unix.IPPROTO_TCP, Name: unix.TCP_KEEPCNT, Val: []byte{200, 0, 0, 0}})
	n.must(n.a, &socket.SetOption{FD: s, Level: unix.IPPROTO_TCP, Name: unix.TCP_CONGESTION, Val: []byte("reno")})
	g := socket.GetOption{FD: s, Level: unix.IPPROTO_TCP, Name: unix.TCP_CONGESTION, Val: make([]byte, 16)}
	n.must(n.a, &g)
	require.Equal(t, "reno", string(g.Val[:4]))
	n.fails(unix.ENOENT, n.a, &socket.SetOption{FD: s, Level: unix.IPPROTO_TCP, Name: unix.TCP_CONGESTION, Val: []byte("none")})
	require.Equal(t, unix.SOCK_STREAM, n.get(n.a, s, unix.SOL_SOCKET, unix.SO_TYPE))
}

func TestZeroCopyCompletions(t *testing.T) {
	n := newNet(t, "192.0.2.1", "192.0.2.2")
	cli, _, _ := n.connect()
	n.set(n.a, cli, unix.SOL_SOCKET, unix.SO_ZEROCOPY, 1)
	for range 3 {
		n.must(n.a, &socket.Send{FD: cli, Buf: []byte("abc"), Flags: unix.MSG_ZEROCOPY})
		n.wait(50 * ms)
	}
	c := &socket.Recv{FD: cli, Flags: unix.MSG_ERRQUEUE}
	n.must(n.a, c)
	require.Equal(t, &socket.ExtendedErr{Origin: 5, Code: 1, Info: 0, Data: 2}, c.Err)
	n.fails(unix.EAGAIN, n.a, c)
}

// TestTCPInfoLayout compares with the struct that golang.org/x/sys generates from Linux's header.
func TestTCPInfoLayout(t *testing.T) {
	var i socket.TCPInfo
	typ := reflect.TypeFor[unix.TCPInfo]()
	b := i.Bytes()
	for j := range typ.NumField() {
		f := typ.Field(j)
		if f.Name == "_" || int(f.Offset) >= len(b) {
			continue
		}
		for k := range b {
			b[k] = 0
		}
		name := "tcpi_" + string(f.Name[0]|0x20) + f.Name[1:]
		off, size, ok := socket.InfoField(name)
		require.True(t, ok, name)
		require.Equal(t, int(f.Offset), off, name)
		require.Equal(t, int(f.Type.Size()), size, name)
	}
}

func TestTCPInfo(t *testing.T) {
	n := newNet(t, "192.0.2.1", "192.0.2.2")
	cli, _, lst := n.connect()
	i, ok := n.a.TCPInfo(n.now, cli)
	require.True(t, ok)
	for name, want := range map[string]int64{
		"tcpi_state": 1, "tcpi_snd_cwnd": 10, "tcpi_snd_mss": 1448, "tcpi_snd_wscale": 7, "tcpi_rcv_wscale": 7,
		"tcpi_options": 7, "tcpi_snd_ssthresh": 1<<31 - 1,
	} {
		v, ok := i.Field(name)
		require.True(t, ok, name)
		require.Equal(t, want, v, name)
	}
	_, ok = i.Field("tcpi_nothing")
	require.False(t, ok)
	i, _ = n.b.TCPInfo(n.now, lst)
	require.Equal(t, uint8(10), i.State)
}

// TestStampsOfWhatIsSent: SO_TIMESTAMPING tells of the last octet of each write when it left and when it was
// acknowledged, in the order in which that happened.
func TestStampsOfWhatIsSent(t *testing.T) {
	const tx = unix.SOF_TIMESTAMPING_TX_SCHED | unix.SOF_TIMESTAMPING_TX_SOFTWARE | unix.SOF_TIMESTAMPING_TX_ACK
	n := newNet(t, "192.0.2.1", "192.0.2.2")
	cli, _, _ := n.connect()
	opt := func(v uint32) *socket.SetOption {
		val := binary.NativeEndian.AppendUint32(nil, v)
		return &socket.SetOption{FD: cli, Level: unix.SOL_SOCKET, Name: unix.SO_TIMESTAMPING, Val: val}
	}
	n.must(n.a, &socket.Send{FD: cli, Buf: make([]byte, 7)}) // not stamped
	n.wait(50 * ms)
	n.must(n.a, opt(tx|unix.SOF_TIMESTAMPING_SOFTWARE|unix.SOF_TIMESTAMPING_OPT_ID))
	var sent [2]vtime.Time
	for i := range sent {
		sent[i] = n.now
		n.must(n.a, &socket.Send{FD: cli, Buf: make([]byte, 1000)})
		n.wait(50 * ms)
	}
	events := socket.Poll{FDs: []socket.PollFD{{FD: cli}}}
	require.Equal(t, 1, n.must(n.a, &events))
	require.EqualValues(t, unix.POLLERR, events.FDs[0].Revents)
	for i, at := range sent {
		for _, kind := range []uint32{1, 0, 2} { // SCM_TSTAMP_SCHED, SND, ACK
			c := &socket.Recv{FD: cli, Flags: unix.MSG_ERRQUEUE}
			require.Zero(t, n.must(n.a, c))
			require.Equal(t, unix.MSG_ERRQUEUE|unix.MSG_TRUNC, c.OutFlags)
			got := *c.Err
			if kind == 2 {
				require.GreaterOrEqual(t, got.At, at)
				got.At = at // the peer may delay its ACK
			}
			require.Equal(t, socket.ExtendedErr{
				Errno: uint32(unix.ENOMSG), Origin: 4, Info: kind, Data: uint32(1000*(i+1) - 1), At: at, Cut: true,
			}, got)
		}
	}
	n.fails(unix.EAGAIN, n.a, &socket.Recv{FD: cli, Flags: unix.MSG_ERRQUEUE})

	// Only what is asked for, without numbers, and numbers from where they are asked for again.
	n.must(n.a, opt(unix.SOF_TIMESTAMPING_TX_ACK|unix.SOF_TIMESTAMPING_OPT_TSONLY))
	n.must(n.a, &socket.Send{FD: cli, Buf: make([]byte, 10)})
	n.wait(50 * ms)
	c := &socket.Recv{FD: cli, Flags: unix.MSG_ERRQUEUE}
	n.must(n.a, c)
	require.Equal(t, &socket.ExtendedErr{Errno: uint32(unix.ENOMSG), Origin: 4, Info: 2}, c.Err)
	n.must(n.a, opt(unix.SOF_TIMESTAMPING_TX_ACK|unix.SOF_TIMESTAMPING_OPT_ID))
	n.must(n.a, &socket.Send{FD: cli, Buf: make([]byte, 10)})
	n.wait(50 * ms)
	n.must(n.a, c)
	require.EqualValues(t, 9, c.Err.Data)
	n.fails(unix.EINVAL, n.a, &socket.SetOption{
		FD: n.must(n.a, &socket.Socket{Domain: unix.AF_INET, Type: unix.SOCK_STREAM}), Level: unix.SOL_SOCKET,
		Name: unix.SO_TIMESTAMPING, Val: binary.NativeEndian.AppendUint32(nil, unix.SOF_TIMESTAMPING_OPT_ID),
	})
}

// TestZeroCopyParts: a buffer refers to 17 pieces of a program's memory; the next one begins a segment.
func TestZeroCopyParts(t *testing.T) {
	n := newNet(t, "192.0.2.1", "192.0.2.2")
	cli, srv, _ := n.connect()
	n.set(n.a, cli, unix.SOL_SOCKET, unix.SO_ZEROCOPY, 1)
	n.set(n.a, cli, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	parts := make([]int, 40)
	for i := range parts {
		parts[i] = 2
	}
	for _, c := range []struct {
		flags int
		sizes []int // of packets, the headers of 40 octets and timestamps of 12 with them
	}{
		{0, []int{132}}, {unix.MSG_ZEROCOPY, []int{86, 86, 64}},
	} {
		r := n.a.Do(n.now, &socket.Send{FD: cli, Buf: make([]byte, 80), Parts: parts, Flags: c.flags})
		require.Equal(t, 80, r.Ret)
		var sizes []int
		for {
			p, ok := n.a.Output()
			if !ok {
				break
			}
			sizes = append(sizes, len(p.Data))
			require.True(t, n.b.Input(n.now, p.Data))
		}
		require.Equal(t, c.sizes, sizes)
		n.wait(50 * ms)
	}
	require.Equal(t, 160, n.must(n.b, &socket.Recv{FD: srv, Buf: make([]byte, 200)}))
}

// TestSendBufferCountsOverhead: small segments fill the send buffer sooner than their octets do, and a mark
// of all sockets bounds what is not sent.
func TestSendBufferCountsOverhead(t *testing.T) {
	n := newNet(t, "192.0.2.1", "192.0.2.2")
	cli, _, _ := n.connect()
	n.set(n.a, cli, unix.SOL_SOCKET, unix.SO_SNDBUF, 10_000)
	require.Equal(t, 20_000, n.get(n.a, cli, unix.SOL_SOCKET, unix.SO_SNDBUF))
	n.set(n.a, cli, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	n.must(n.a, &socket.Fcntl{FD: cli, Cmd: unix.F_SETFL, Arg: unix.O_NONBLOCK})
	writes := 0
	for n.a.Do(n.now, &socket.Send{FD: cli, Buf: make([]byte, 100)}).Errno == 0 {
		writes++ // each leaves at once, and no ACK comes
	}
	require.Less(t, writes*100, 10_000)
	require.GreaterOrEqual(t, writes, 10)
	n.settle()
	n.wait(sec)

	set := n.a.Settings()
	require.NoError(t, set.Set("net.ipv4.tcp_notsent_lowat", "1"))
	require.NoError(t, n.a.Configure(&set))
	r := n.a.Do(n.now, &socket.Send{FD: cli, Buf: make([]byte, 1<<20)})
	require.Less(t, r.Ret, 150_000)
	require.Equal(t, unix.EAGAIN, n.a.Do(n.now, &socket.Send{FD: cli, Buf: make([]byte, 1)}).Errno)
}
