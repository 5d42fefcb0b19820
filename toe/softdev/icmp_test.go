package softdev

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload"
	"opentoe/tcpoffload/seq"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
	"opentoe/toe"
)

// icmpFrame is an ICMP or ICMPv6 error for end 0 that quotes the frame b of its own.
func icmpFrame(b []byte, icmpType, code uint8, mtu uint16) []byte {
	v6 := b[12] == 0x86
	ip := wire.IPHeader{Src: wire.AddrFrom(addr4[1]), Dst: wire.AddrFrom(addr4[0]), Proto: wire.ProtoICMP, TTL: 64}
	if v6 {
		ip = wire.IPHeader{Src: wire.AddrFrom(addr6[1]), Dst: wire.AddrFrom(addr6[0]), Proto: wire.ProtoICMPv6, TTL: 64}
	}
	quote := b[wire.EthernetLen:][:ip.Len()+8]
	ip.Payload = wire.ICMPLen + len(quote)
	f := make([]byte, wire.EthernetLen+ip.Len()+ip.Payload)
	wire.PutEthernet(f, macs[0], macs[1], ip.Type())
	msg := wire.ICMP(f[wire.EthernetLen+ip.Put(f[wire.EthernetLen:]):])
	binary.BigEndian.PutUint16(msg[6:], mtu)
	copy(msg[wire.ICMPLen:], quote)
	msg.SetType(icmpType, code)
	pseudo := uint32(0)
	if v6 {
		pseudo = wire.PseudoSum(&ip.Src, &ip.Dst, wire.ProtoICMPv6, uint32(len(msg)))
	}
	msg.UpdateChecksum(pseudo)
	return f
}

// receiveAt has end i receive one frame.
func (p *pair) receiveAt(i int, b []byte) {
	w := p.w[i]
	w.rx.Truncate(0)
	w.rx.Push().Data = b
	w.inputBurst(&w.lanes[0])
}

// An ICMP error about a SYN ends the open at once when it is a hard one; one that quotes nothing of ours
// does nothing.
func TestICMPErrorEndsAnOpen(t *testing.T) {
	for family, remote := range map[string]netip.Addr{"IPv4": addr4[1], "IPv6": addr6[1]} {
		t.Run(family, func(t *testing.T) {
			p := newPair(t, true)
			var syn []byte
			p.q[0].watch = func(b []byte) { syn = append([]byte(nil), b...) }
			local := netip.Addr{}
			icmpType, code := wire.ICMPUnreachable, uint8(13)
			if remote.Is6() {
				local, icmpType, code = addr6[0], wire.ICMPv6Unreachable, 1
			}
			s := p.connect(0, local, remote, 10)
			p.turn(0)
			require.NotNil(t, syn)

			forged := append([]byte(nil), icmpFrame(syn, icmpType, code, 0)...)
			binary.BigEndian.PutUint16(forged[len(forged)-8:], 1) // another port: nobody's segment
			fixICMP(forged)
			p.receiveAt(0, forged)
			require.EqualValues(t, 1, p.w[0].count.Drops[DropICMPUnknown])
			require.False(t, s.finished)

			p.receiveAt(0, icmpFrame(syn, icmpType, code, 0))
			require.EqualValues(t, 1, p.w[0].count.ICMPErrors)
			require.True(t, s.finished)
			require.Contains(t, []toe.End{toe.EndUnreachable, toe.EndRefused}, s.end)
		})
	}
}

// fixICMP makes a frame's ICMP checksum right.
func fixICMP(f []byte) {
	if f[12] != 0x86 {
		wire.ICMP(f[wire.EthernetLen+wire.IPv4Len:]).UpdateChecksum(0)
		return
	}
	msg := wire.ICMP(f[wire.EthernetLen+wire.IPv6Len:])
	src, dst := wire.AddrFrom(addr6[1]), wire.AddrFrom(addr6[0])
	msg.UpdateChecksum(wire.PseudoSum(&src, &dst, wire.ProtoICMPv6, uint32(len(msg))))
}

// An error that the kernel received ends an open as well; one about the kernel's own segments is not
// counted.
func TestICMPErrorFromTheKernel(t *testing.T) {
	p := newPair(t, true)
	s := p.connect(0, netip.Addr{}, addr4[1], 10)
	p.turn(0)
	var info toe.ConnInfo
	require.True(t, p.dev[0].ConnInfo(s.tid, &info))
	e := wire.ICMPError{Type: wire.ICMPUnreachable, Code: 13, Flow: info.Flow, Seq: seq.Num(info.SndUna)}
	e.Flow.LocalPort++
	p.dev[0].ICMPError(&e)
	e.Flow.LocalPort--
	e.Type = wire.ICMPEchoReply
	p.dev[0].ICMPError(&e)
	p.turn(0)
	require.False(t, s.finished)
	require.Zero(t, p.w[0].count.Drops[DropICMPUnknown])
	e.Type = wire.ICMPUnreachable
	p.dev[0].ICMPError(&e)
	p.turn(0)
	require.True(t, s.finished)
	require.EqualValues(t, 1, p.w[0].count.ICMPErrors)
}

// The errors that a worker believes in a second are bounded.
func TestICMPErrorsAreLimited(t *testing.T) {
	p := newPair(t, true)
	var syn []byte
	p.q[0].watch = func(b []byte) { syn = append([]byte(nil), b...) }
	p.connect(0, netip.Addr{}, addr4[1], 10)
	p.turn(0)
	soft := icmpFrame(syn, wire.ICMPTimeExceeded, 0, 0)
	for range icmpPerSecond + 5 {
		p.receiveAt(0, append([]byte(nil), soft...))
	}
	require.EqualValues(t, 5, p.w[0].count.Drops[DropICMPLimited])
	p.w[0].now = p.w[0].now.Add(vtime.Second)
	p.receiveAt(0, append([]byte(nil), soft...))
	require.EqualValues(t, 5, p.w[0].count.Drops[DropICMPLimited])
}

func TestICMPKinds(t *testing.T) {
	for code, want := range []tcpoffload.ICMPKind{0: tcpoffload.ICMPSoft, 1: tcpoffload.ICMPSoft, 2: tcpoffload.ICMPHard,
		3: tcpoffload.ICMPHard, 4: tcpoffload.ICMPTooBig, 5: tcpoffload.ICMPSoft, 6: tcpoffload.ICMPHard,
		9: tcpoffload.ICMPHard, 10: tcpoffload.ICMPHard, 11: tcpoffload.ICMPSoft, 12: tcpoffload.ICMPSoft,
		13: tcpoffload.ICMPHard, 16: 0} {
		if want != 0 || code == 16 {
			require.Equal(t, want, icmpKind4(wire.ICMPUnreachable, uint8(code)), "code %d", code)
		}
	}
	require.Zero(t, icmpKind4(4, 0), "a source quench is ignored (RFC 6633)")
	require.Zero(t, icmpKind4(5, 1), "a redirect is no error")
	require.Equal(t, tcpoffload.ICMPTooBig, icmpKind6(wire.ICMPv6PacketTooBig, 0))
	require.Equal(t, tcpoffload.ICMPHard, icmpKind6(wire.ICMPv6Unreachable, 4))
	require.Equal(t, tcpoffload.ICMPSoft, icmpKind6(wire.ICMPv6Unreachable, 0))
	require.Zero(t, icmpKind6(wire.ICMPv6EchoReply, 0))
}

// A path MTU from outside makes the connections to that address send smaller packets, and no others.
func TestPMTUUpdate(t *testing.T) {
	p := newPair(t, true)
	p.listen(1)
	client, server := p.open(0, 0)
	require.ErrorIs(t, p.dev[0].PMTUUpdate(wire.AddrFrom(addr4[1]), 20), toe.ErrInvalid)
	require.NoError(t, p.dev[0].PMTUUpdate(wire.AddrFrom(addr6[1]), 1280))
	p.step()
	var info toe.ConnInfo
	require.True(t, p.dev[0].ConnInfo(client.tid, &info))
	require.EqualValues(t, 1448, info.SndMSS)
	require.NoError(t, p.dev[0].PMTUUpdate(wire.AddrFrom(addr4[1]), 1000))
	p.step()
	require.True(t, p.dev[0].ConnInfo(client.tid, &info))
	require.EqualValues(t, 1000-20-20-12, info.SndMSS)
	longest := 0
	p.q[0].watch = func(b []byte) { longest = max(longest, len(b)) }
	client.total = 100_000
	p.finish(vtime.Minute, client, server)
	require.Equal(t, 1000+wire.EthernetLen, longest)
}

// A redirect moves connections to another next hop; one that is not on the link is none.
func TestRouteRedirect(t *testing.T) {
	p := newPair(t, true)
	p.listen(1)
	client, server := p.open(1000, 0)
	other := addrOf("10.9.0.77")
	require.NoError(t, p.dev[0].L2Update(other, macs[1], true))
	require.NoError(t, p.dev[0].RouteRedirect(wire.AddrFrom(addr4[1]), addrOf("192.0.2.1")))
	require.NoError(t, p.dev[0].RouteRedirect(wire.AddrFrom(addr4[1]), other))
	p.finish(vtime.Minute, client, server)
	require.NoError(t, p.dev[0].L2Update(other, wire.MAC{}, false))
}
