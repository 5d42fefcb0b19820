package xdp

import (
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"

	"opentoe/ports"
	"opentoe/tcpoffload/wire"
)

// The tests run the program on frames by BPF_PROG_TEST_RUN, attached nowhere, with the sockets of this
// machine's loopback interface for the kernel's.

var (
	station = wire.MAC{2, 0, 0, 0, 0, 1}
	peer    = wire.MAC{2, 0, 0, 0, 0, 2}
	local4  = netip.MustParseAddr("127.0.0.1")
	local6  = netip.MustParseAddr("::1")
	other4  = netip.MustParseAddr("127.0.0.9")
)

// bench is a program with tables of two queues.
type bench struct {
	testing.TB
	claims *Claims
	*Steering
	ingress int // interface by which frames come; 0: loopback, which has one queue
}

func newBench(t testing.TB) *bench {
	needRoot(t)
	c, err := NewClaims(2)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	s, err := load(c)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	require.NoError(t, s.SetStation(station, []wire.Addr{wire.AddrFrom(local4), wire.AddrFrom(local6)}))
	return &bench{t, c, s, 0}
}

// segment builds the frame of a segment to this station.
func segment(src, dst netip.AddrPort, flags wire.Flags) []byte {
	h := wire.Header{
		SrcMAC: peer, DstMAC: station, TTL: 64, Flags: flags, Seq: 1000, Ack: 2000, Wnd: 1000,
		Flow: wire.Flow{
			Local: wire.AddrFrom(src.Addr()), LocalPort: src.Port(),
			Remote: wire.AddrFrom(dst.Addr()), RemotePort: dst.Port(),
		},
	}
	b := make([]byte, h.Len())
	h.Put(b, 0, 0, wire.ChecksumSoftware)
	return b
}

// judge returns what the program makes of a frame on the queue.
func (b *bench) judge(frame []byte, queue uint32) Verdict {
	b.Helper()
	before, err := b.Verdicts()
	require.NoError(b, err)
	// Without the socket that a queue has in life, redirection ends in passing: the count tells.
	ret, err := b.objects.Steer.Run(&ebpf.RunOptions{
		Data: frame, Context: context{DataEnd: uint32(len(frame)), Queue: queue, Ingress: uint32(b.ingress)},
	})
	require.NoError(b, err)
	const xdpPass = 2
	require.EqualValues(b, xdpPass, ret)
	after, err := b.Verdicts()
	require.NoError(b, err)
	verdict := NumVerdicts
	for v := range after {
		if after[v] != before[v] {
			require.Equal(b, NumVerdicts, verdict, "two verdicts on one frame")
			verdict = Verdict(v)
		}
	}
	return verdict
}

// tell expects a verdict on a segment that arrives by queue 0.
func (b *bench) tell(want Verdict, src, dst netip.AddrPort, flags wire.Flags) {
	b.Helper()
	got := b.judge(segment(src, dst, flags), 0)
	require.Equal(b, want, got, "%v", got)
}

func at(a netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(a, port) }

func addrOf(a net.Addr) netip.AddrPort { return a.(*net.TCPAddr).AddrPort() }

// Ports that nothing on a machine of ours listens on, below the ephemeral ones.
const (
	aPort     = 1001
	otherPort = 1002
)

func TestListener(t *testing.T) {
	for _, local := range []netip.Addr{local4, local6} {
		b := newBench(t)
		src, dst := at(local, 999), at(local, aPort)
		b.tell(PassPort, src, dst, wire.SYN)

		b.Listen(wire.AddrFrom(local), true, true, aPort, true)
		b.tell(ToTOE, src, dst, wire.SYN)
		b.tell(ToTOE, src, dst, wire.ACK) // it may bring back a cookie
		b.tell(PassPort, src, at(local, otherPort), wire.SYN)

		b.Listen(wire.AddrFrom(local), true, true, aPort, true)
		b.Listen(wire.AddrFrom(local), true, true, aPort, false)
		b.tell(ToTOE, src, dst, wire.SYN) // the second socket still listens
		b.Listen(wire.AddrFrom(local), true, true, aPort, false)
		b.tell(PassPort, src, dst, wire.SYN)
	}
}

func TestWildcardListener(t *testing.T) {
	b := newBench(t)
	any4 := wire.AddrFrom4([4]byte{})
	b.Listen(any4, true, false, aPort, true)
	b.tell(ToTOE, at(local4, 999), at(local4, aPort), wire.SYN)
	b.tell(PassPort, at(local6, 999), at(local6, aPort), wire.SYN)
	b.Listen(wire.Addr{}, true, true, aPort, true)
	b.tell(ToTOE, at(local6, 999), at(local6, aPort), wire.SYN)
	b.Listen(any4, true, false, aPort, false)
	b.tell(ToTOE, at(local4, 999), at(local4, aPort), wire.SYN)
	b.Listen(wire.Addr{}, true, true, aPort, false)
	b.tell(PassPort, at(local4, 999), at(local4, aPort), wire.SYN)
	b.Listen(wire.Addr{}, false, true, aPort, true) // IPV6_V6ONLY
	b.tell(PassPort, at(local4, 999), at(local4, aPort), wire.SYN)
	b.tell(ToTOE, at(local6, 999), at(local6, aPort), wire.SYN)
}

func TestClaim(t *testing.T) {
	b := newBench(t)
	src, dst := at(local4, 999), at(local4, aPort)
	b.ingress = newWire(t).Index
	b.claims.Worker(0)[aPort] = 1
	b.tell(ToTOE, src, dst, wire.ACK)
	b.tell(ToTOE, src, dst, wire.SYN|wire.ACK)
	b.tell(ToTOE, src, dst, wire.RST)
	b.tell(ToTOE, src, dst, wire.SYN) // both ends may open (RFC 9293 §3.5)
	require.Equal(t, PassPort, b.judge(segment(src, dst, wire.ACK), 1), "the other worker has no such connection")
	require.Equal(t, PassOther, b.judge(segment(src, dst, wire.ACK), 2), "a queue without a worker")
	b.claims.Worker(1)[aPort] = 1
	require.Equal(t, ToTOE, b.judge(segment(src, dst, wire.ACK), 1))
	b.claims.Worker(0)[aPort] = 0
	b.tell(PassPort, src, dst, wire.ACK)
}

// The kernel has a server on the port and connections: they go on, whatever the TOE has there.
func TestKernelSockets(t *testing.T) {
	for _, local := range []netip.Addr{local4, local6} {
		b := newBench(t)
		server, err := net.Listen("tcp", at(local, 0).String())
		require.NoError(t, err)
		defer server.Close()
		client, err := net.Dial("tcp", server.Addr().String())
		require.NoError(t, err)
		defer client.Close()
		dst, src := addrOf(server.Addr()), addrOf(client.LocalAddr())
		stranger := at(local, 999)
		b.tell(PassPort, src, dst, wire.ACK)

		b.claims.Worker(0)[dst.Port()] = 1
		b.tell(PassSocket, src, dst, wire.ACK)
		b.tell(PassSocket, src, dst, wire.SYN)
		b.tell(ToTOE, stranger, dst, wire.SYN) // it may be one in a connection of the TOE
		b.tell(ToTOE, stranger, dst, wire.ACK)

		b.Listen(wire.AddrFrom(local), true, true, dst.Port(), true)
		b.tell(PassSocket, src, dst, wire.ACK)
		b.tell(PassSocket, src, dst, wire.SYN)
		b.tell(ToTOE, stranger, dst, wire.SYN) // the kernel's listener is the TOE's placeholder
		b.tell(ToTOE, stranger, dst, wire.ACK)

		// The client's end: its port may be that of a placeholder as well.
		b.claims.Worker(0)[src.Port()] = 1
		b.tell(PassSocket, dst, src, wire.ACK)
	}
}

func TestKernelTimeWait(t *testing.T) {
	b := newBench(t)
	server, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	client, err := net.Dial("tcp", server.Addr().String())
	require.NoError(t, err)
	accepted, err := server.Accept()
	require.NoError(t, err)
	require.NoError(t, server.Close())
	require.NoError(t, accepted.Close())
	_, err = client.Read(make([]byte, 1)) // the server's FIN is here
	require.Error(t, err)
	require.NoError(t, client.Close())
	dst, src := addrOf(server.Addr()), addrOf(client.LocalAddr())
	b.Listen(wire.AddrFrom(local4), true, true, dst.Port(), true)
	b.tell(PassSocket, src, dst, wire.ACK) // it waits to answer the last FIN again
}

// A worker without room leaves SYNs to the kernel; its connections go on.
func TestFullTable(t *testing.T) {
	b := newBench(t)
	src, dst := at(local4, 999), at(local4, aPort)
	b.Listen(wire.Addr{}, true, false, aPort, true)
	b.claims.Worker(0)[0] = 1
	b.tell(PassPort, src, dst, wire.SYN)
	b.tell(ToTOE, src, dst, wire.ACK)
	b.claims.Worker(0)[aPort] = 1
	b.tell(ToTOE, src, dst, wire.ACK)

	server, err := net.Listen("tcp", at(local4, 0).String())
	require.NoError(t, err)
	defer server.Close()
	dst = addrOf(server.Addr())
	b.Listen(wire.Addr{}, true, false, dst.Port(), true)
	b.claims.Worker(0)[dst.Port()] = 1
	b.tell(ToTOE, src, dst, wire.SYN) // it may be one in a connection of the TOE
	b.claims.Worker(0)[dst.Port()] = 0
	b.tell(PassPort, src, dst, wire.SYN)
	b.claims.Worker(0)[0] = 0
	b.tell(ToTOE, src, dst, wire.SYN)
}

func TestAddresses(t *testing.T) {
	b := newBench(t)
	b.Listen(wire.Addr{}, true, true, aPort, true)
	b.Listen(wire.AddrFrom(other4), true, false, otherPort, true)
	src := at(local4, 999)
	b.tell(PassOther, src, at(other4, aPort), wire.SYN) // forwarded, or not there yet
	b.tell(PassOther, src, at(other4, otherPort), wire.SYN)

	require.NoError(t, b.SetStation(station, []wire.Addr{wire.AddrFrom(other4)}))
	b.tell(ToTOE, src, at(other4, aPort), wire.SYN)
	b.tell(ToTOE, src, at(other4, otherPort), wire.SYN)
	b.tell(ToTOE, src, at(local4, aPort), wire.SYN) // for a while
	first := b.rows[firstRow].lost
	b.forget(firstRow, first)
	b.tell(PassOther, src, at(local4, aPort), wire.SYN)
	require.NoError(t, b.SetStation(station, []wire.Addr{wire.AddrFrom(other4), wire.AddrFrom(local4)}))
	b.tell(ToTOE, src, at(local4, aPort), wire.SYN)
	require.NoError(t, b.SetStation(station, []wire.Addr{wire.AddrFrom(other4)}))
	require.NoError(t, b.SetStation(station, []wire.Addr{wire.AddrFrom(other4), wire.AddrFrom(local4)}))
	b.forget(firstRow, b.rows[firstRow].lost)
	b.tell(ToTOE, src, at(local4, aPort), wire.SYN) // it was given back
	require.NoError(t, b.SetStation(station, []wire.Addr{wire.AddrFrom(other4)}))
	b.forget(firstRow, first)
	b.tell(ToTOE, src, at(local4, aPort), wire.SYN) // it was taken away again not long ago

	require.NoError(t, b.SetStation(peer, []wire.Addr{wire.AddrFrom(other4)}))
	b.tell(PassOther, src, at(other4, aPort), wire.SYN) // for another station
}

func TestMoreAddressesThanRows(t *testing.T) {
	b := newBench(t)
	var own []wire.Addr
	for i := range MaxAddresses {
		own = append(own, wire.AddrFrom4([4]byte{127, 0, 1, byte(i)}))
	}
	require.NoError(t, b.SetStation(station, own))
	require.Error(t, b.SetStation(station, append(own, wire.AddrFrom(other4))))
	require.ErrorIs(t, b.Listen(wire.AddrFrom(other4), true, false, aPort, true), ports.ErrTableFull)
	require.NoError(t, b.SetStation(station, []wire.Addr{wire.AddrFrom(other4)}))
	b.tell(PassPort, at(local4, 999), at(other4, aPort), wire.SYN)
	require.NoError(t, b.Listen(wire.AddrFrom(other4), true, false, aPort, true))
	b.tell(ToTOE, at(local4, 999), at(other4, aPort), wire.SYN)
}

// Whatever is not plainly a segment for us is the kernel's.
func TestOtherFrames(t *testing.T) {
	plain4 := segment(at(local4, 999), at(local4, aPort), wire.SYN)
	plain6 := segment(at(local6, 999), at(local6, aPort), wire.SYN)
	edit := func(plain []byte, f func(b []byte) []byte) []byte { return f(append([]byte(nil), plain...)) }
	put := func(off int, v ...byte) func(b []byte) []byte {
		return func(b []byte) []byte { copy(b[off:], v); return b }
	}
	const ip, tcp4, tcp6 = 14, 34, 54
	cases := map[string][]byte{
		"arp":             edit(plain4, put(12, 0x08, 0x06)),
		"vlan":            edit(plain4, func(b []byte) []byte { return append(append(append([]byte(nil), b[:12]...), 0x81, 0, 0, 5), b[12:]...) }),
		"broadcast":       edit(plain4, put(0, 255, 255, 255, 255, 255, 255)),
		"udp":             edit(plain4, put(ip+9, 17)),
		"icmp":            edit(plain4, put(ip+9, 1)),
		"middle fragment": edit(plain4, put(ip+6, 0x20, 5)),
		"last fragment":   edit(plain4, put(ip+6, 0, 5)),
		"version":         edit(plain4, put(ip, 0x65)),
		"short ihl":       edit(plain4, put(ip, 0x44)),
		"options beyond":  edit(plain4, put(ip, 0x4f)),
		"cut ip":          plain4[:ip+19],
		"cut tcp":         plain4[:tcp4+19],
		"udp6":            edit(plain6, put(ip+6, 17)),
		"icmp6":           edit(plain6, put(ip+6, 58)),
		"hop-by-hop":      edit(plain6, put(ip+6, 0)),
		"fragment6":       edit(plain6, put(ip+6, 44)),
		"version6":        edit(plain6, put(ip, 0x40)),
		"cut ip6":         plain6[:ip+39],
		"cut tcp6":        plain6[:tcp6+19],
	}
	b := newBench(t)
	b.Listen(wire.Addr{}, true, true, aPort, true)
	require.Equal(t, ToTOE, b.judge(plain4, 0))
	require.Equal(t, ToTOE, b.judge(plain6, 0))
	require.Equal(t, ToTOE, b.judge(edit(plain4, put(ip+6, 0x40, 0)), 0), "don't fragment")
	require.Equal(t, ToTOE, b.judge(edit(plain4, put(ip+6, 0x20, 0)), 0), "first fragment")
	priority := func(b []byte) []byte { return slices.Insert(b, 12, 0x81, 0, 0xe0, 0) }
	require.Equal(t, ToTOE, b.judge(edit(plain4, priority), 0), "a priority and no VLAN")
	require.Equal(t, ToTOE, b.judge(edit(plain6, priority), 0), "a priority and no VLAN")
	for name, frame := range cases {
		require.Equal(t, PassOther, b.judge(frame, 0), name)
	}
}

// Extension headers do not hide a segment that the workers would understand.
func TestIPv6Extensions(t *testing.T) {
	const hop, routing, fragment, destination, tcp, auth = 0, 43, 44, 60, 6, 51
	type header struct {
		kind byte
		rest [7]byte // what follows the next header's kind
		more int     // octets beyond eight
	}
	options := header{kind: destination, rest: [7]byte{2}, more: 16}
	eight := make([]header, 8)
	for i := range eight {
		eight[i] = options
	}
	plain := segment(at(local6, 999), at(local6, aPort), wire.SYN)
	b := newBench(t)
	b.Listen(wire.Addr{}, true, true, aPort, true)
	for name, c := range map[string]struct {
		chain []header
		last  byte
		want  Verdict
	}{
		"options":              {[]header{{kind: hop}, options}, tcp, ToTOE},
		"eight":                {eight, tcp, ToTOE},
		"nine":                 {append(eight, options), tcp, PassOther},
		"used-up routing":      {[]header{{kind: routing}}, tcp, ToTOE},
		"routing":              {[]header{{kind: routing, rest: [7]byte{2, 0, 1}, more: 16}}, tcp, PassOther},
		"whole in a fragment":  {[]header{{kind: fragment}}, tcp, ToTOE},
		"first fragment":       {[]header{{kind: fragment, rest: [7]byte{0, 0, 1}}}, tcp, ToTOE},
		"last fragment":        {[]header{{kind: fragment, rest: [7]byte{0, 0, 8}}}, tcp, PassOther},
		"authentication":       {[]header{{kind: auth}}, tcp, PassOther},
		"udp behind options":   {[]header{options}, 17, PassOther},
		"options that are cut": {[]header{{kind: destination, rest: [7]byte{200}}}, tcp, PassOther},
	} {
		frame := append([]byte(nil), plain[:54]...)
		frame[20] = c.chain[0].kind
		for i, h := range c.chain {
			next := c.last
			if i+1 < len(c.chain) {
				next = c.chain[i+1].kind
			}
			frame = append(append(append(frame, next), h.rest[:]...), make([]byte, h.more)...)
		}
		frame = append(frame, plain[54:]...)
		require.Equal(t, c.want, b.judge(frame, 0), name)
	}
}

func TestIPv4Options(t *testing.T) {
	b := newBench(t)
	b.Listen(wire.Addr{}, true, false, aPort, true)
	plain := segment(at(local4, 999), at(local4, aPort), wire.SYN)
	frame := append(append(append([]byte(nil), plain[:34]...), 1, 1, 1, 0), plain[34:]...)
	frame[14] = 0x46
	require.Equal(t, ToTOE, b.judge(frame, 0))
}
