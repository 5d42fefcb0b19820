package ports

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"opentoe/tcpoffload/wire"
)

// icmpAbout builds an ICMP or ICMPv6 message that quotes a TCP segment of the flow.
func icmpAbout(f *wire.Flow, icmpType, code uint8) wire.ICMP {
	h := wire.Header{Flow: *f, Flags: wire.ACK, TTL: 64, Seq: 77}
	frame := make([]byte, h.Len())
	h.Put(frame, 0, 0, wire.ChecksumSoftware)
	packet := frame[wire.EthernetLen:]
	msg := wire.ICMP(append(make([]byte, wire.ICMPLen), packet...))
	binary.BigEndian.PutUint16(msg[6:], 1400) // of an ICMPv6 MTU the lower half
	msg.SetType(icmpType, code)
	msg.UpdateChecksum(0) // of ICMPv6 the kernel fills it in
	return msg
}

// sendICMP sends a message to the loopback address to.
func sendICMP(t *testing.T, to netip.Addr, msg wire.ICMP) {
	domain, proto := unix.AF_INET, unix.IPPROTO_ICMP
	var sa unix.Sockaddr = &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	if to.Is6() {
		domain, proto = unix.AF_INET6, unix.IPPROTO_ICMPV6
		sa = &unix.SockaddrInet6{Addr: to.As16()}
	}
	fd, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, proto)
	require.NoError(t, err)
	defer unix.Close(fd)
	require.NoError(t, unix.Sendto(fd, msg, 0, sa))
}

func TestICMPErrors(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("raw sockets need root")
	}
	port := uint16(40000 + os.Getpid()%20000) // others use the loopback interface, too
	told := make(chan wire.ICMPError, 100)
	l, err := NewICMPErrors("lo", func(e *wire.ICMPError) {
		if e.Flow.LocalPort == port {
			told <- *e
		}
	})
	require.NoError(t, err)
	for _, c := range []struct {
		to                  netip.Addr
		tooBig, code, other uint8
	}{
		{netip.MustParseAddr("127.0.0.1"), wire.ICMPUnreachable, wire.ICMPCodeFragNeeded, wire.ICMPEchoRequest},
		{netip.MustParseAddr("::1"), wire.ICMPv6PacketTooBig, 0, wire.ICMPv6EchoRequest},
	} {
		a := wire.AddrFrom(c.to)
		flow := wire.Flow{Local: a, LocalPort: port, Remote: a, RemotePort: 5}
		sendICMP(t, c.to, icmpAbout(&flow, c.other, 0))
		sendICMP(t, c.to, icmpAbout(&flow, c.tooBig, c.code))
		select {
		case e := <-told:
			require.Equal(t, flow, e.Flow)
			require.Equal(t, [3]any{c.tooBig, c.code, uint32(77)}, [3]any{e.Type, e.Code, uint32(e.Seq)})
			require.EqualValues(t, 1400, e.MTU)
		case <-time.After(time.Minute):
			require.Fail(t, "the error was not heard")
		}
	}
	n, _ := l.Counters()
	require.GreaterOrEqual(t, n, uint64(2))
	a := wire.AddrFrom(netip.MustParseAddr("127.0.0.1"))
	flow := wire.Flow{Local: a, LocalPort: port, Remote: a, RemotePort: 5}
	sendICMP(t, a.Netip(), icmpAbout(&flow, wire.ICMPRedirect, 1))
	select {
	case e := <-told:
		require.True(t, e.Redirects())
		require.Equal(t, [2]wire.Addr{a, wire.AddrFrom4([4]byte{0, 0, 1400 >> 8, 1400 & 255})}, [2]wire.Addr{e.Src, e.Gateway})
	case <-time.After(time.Minute):
		require.Fail(t, "the redirect was not heard")
	}
	require.NoError(t, l.Close())
	require.NoError(t, l.Close())
	require.Empty(t, told)
}

// An ICMPv6 message is told with its sender and its hop limit, without which no redirect is believed.
func TestParseICMPv6Redirect(t *testing.T) {
	remote := netip.MustParseAddr("2001:db8::1")
	flow := wire.Flow{Local: wire.AddrFrom(netip.MustParseAddr("fd99::1")), LocalPort: 4, Remote: wire.AddrFrom(remote), RemotePort: 5}
	h := wire.Header{Flow: flow, Flags: wire.ACK, TTL: 64, Seq: 77}
	quoted := make([]byte, h.Len())
	h.Put(quoted, 0, 0, wire.ChecksumSoftware)
	quoted = append(quoted[wire.EthernetLen:], make([]byte, 4)...) // padded to eight octets
	router, gateway := netip.MustParseAddr("fe80::1"), netip.MustParseAddr("fe80::2")
	msg := append(append([]byte{wire.ICMPv6Redirect, 7: 0}, gateway.AsSlice()...), remote.AsSlice()...)
	msg = append(append(msg, wire.NDRedirected, byte(1+len(quoted)/8), 0, 0, 0, 0, 0, 0), quoted...)
	hops := func(n int32) []byte {
		b := make([]byte, unix.CmsgSpace(4))
		binary.NativeEndian.PutUint64(b, uint64(unix.CmsgLen(4)))
		binary.NativeEndian.PutUint32(b[8:], unix.IPPROTO_IPV6)
		binary.NativeEndian.PutUint32(b[12:], unix.IPV6_HOPLIMIT)
		binary.NativeEndian.PutUint32(b[16:], uint32(n))
		return b
	}
	var e wire.ICMPError
	src := &net.IPAddr{IP: router.AsSlice(), Zone: "eth0"}
	require.True(t, parseICMPv6(msg, hops(255), src, &e))
	require.Equal(t, [3]any{flow, wire.AddrFrom(router), wire.AddrFrom(gateway)}, [3]any{e.Flow, e.Src, e.Gateway})
	require.False(t, parseICMPv6(msg, hops(64), src, &e))
	require.False(t, parseICMPv6(msg, nil, src, &e))
	require.False(t, parseICMPv6(msg, hops(255)[:9], src, &e))
}

func TestICMPErrorsOfNoInterface(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("raw sockets need root")
	}
	_, err := NewICMPErrors("no-such-if0", nil)
	require.ErrorContains(t, err, "no-such-if0")
}

func TestPerSecond(t *testing.T) {
	var p perSecond
	now := time.Unix(1000, 0)
	allowed := 0
	for range 3 * maxICMPErrors {
		if p.allow(now) {
			allowed++
		}
	}
	require.Equal(t, maxICMPErrors, allowed)
	require.True(t, p.allow(now.Add(time.Second)))
}
