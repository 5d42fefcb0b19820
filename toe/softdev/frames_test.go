package softdev

import (
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/stretchr/testify/require"

	"opentoe/pmd/frame"
	"opentoe/tcpoffload"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
	"opentoe/toe"
)

func addrOf(s string) wire.Addr { return wire.AddrFrom(netip.MustParseAddr(s)) }

// segment describes a TCP frame for buildFrame.
type segment struct {
	srcMAC, dstMAC wire.MAC
	src, dst       netip.Addr
	tcp            layers.TCP
	payload        []byte
	spoil          func(b []byte) []byte
}

// buildFrame lets gopacket write a frame.
func buildFrame(t testing.TB, s segment) []byte {
	eth := layers.Ethernet{SrcMAC: s.srcMAC[:], DstMAC: s.dstMAC[:], EthernetType: layers.EthernetTypeIPv4}
	ip := layers.IPv4{Version: 4, IHL: 5, TTL: 64, Protocol: layers.IPProtocolTCP,
		SrcIP: s.src.AsSlice(), DstIP: s.dst.AsSlice()}
	require.NoError(t, s.tcp.SetNetworkLayerForChecksum(&ip))
	buf := gopacket.NewSerializeBuffer()
	require.NoError(t, gopacket.SerializeLayers(buf,
		gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&eth, &ip, &s.tcp, gopacket.Payload(s.payload)))
	b := buf.Bytes()
	if s.spoil != nil {
		b = s.spoil(b)
	}
	return b
}

// synTo80 is a sound SYN from end 0 to end 1.
func synTo80() segment {
	return segment{srcMAC: macs[0], dstMAC: macs[1], src: addr4[0], dst: addr4[1],
		tcp: layers.TCP{SrcPort: 4000, DstPort: 80, Seq: 1, Window: 1000, SYN: true}}
}

// Every frame that is not taken is counted under exactly one name.
func TestMalformedFrames(t *testing.T) {
	type want struct {
		verdict wire.Verdict
		drop    Drop
		engine  tcpoffload.DropReason
	}
	const noDrop = NumDrops
	change := func(f func(s *segment)) segment { s := synTo80(); f(&s); return s }
	spoil := func(f func(b []byte) []byte) segment { return change(func(s *segment) { s.spoil = f }) }
	for _, c := range []struct {
		name string
		s    segment
		want want
	}{
		{"sound", synTo80(), want{wire.VerdictTCP, noDrop, 0}},
		{"other station", change(func(s *segment) { s.dstMAC[5] = 9 }), want{wire.VerdictTCP, DropNotOurMAC, 0}},
		{"broadcast", change(func(s *segment) { s.dstMAC = wire.BroadcastMAC() }), want{wire.VerdictTCP, DropNotOurMAC, 0}},
		{"other address", change(func(s *segment) { s.dst = netip.MustParseAddr("10.9.0.3") }), want{wire.VerdictTCP, DropNotOurAddress, 0}},
		{"no way back", change(func(s *segment) { s.src = netip.MustParseAddr("192.0.2.7") }), want{wire.VerdictTCP, DropNoRoute, 0}},
		{"loopback source", change(func(s *segment) { s.src = netip.MustParseAddr("127.0.0.1") }), want{wire.VerdictBadAddress, noDrop, 0}},
		{"no listener", change(func(s *segment) { s.tcp.DstPort = 81 }), want{wire.VerdictTCP, noDrop, tcpoffload.DropNoConnection}},
		{"cut in the Ethernet header", spoil(func(b []byte) []byte { return b[:10] }), want{wire.VerdictShort, noDrop, 0}},
		{"cut in the TCP header", spoil(func(b []byte) []byte { return b[:40] }), want{wire.VerdictBadIPLength, noDrop, 0}},
		{"IP version", spoil(func(b []byte) []byte { b[14] = 0x65; return b }), want{wire.VerdictBadIPVersion, noDrop, 0}},
		{"IP checksum", spoil(func(b []byte) []byte { b[24] ^= 1; return b }), want{wire.VerdictBadIPChecksum, noDrop, 0}},
		{"TCP checksum", spoil(func(b []byte) []byte { b[50] ^= 1; return b }), want{wire.VerdictBadTCPChecksum, noDrop, 0}},
		{"data offset", spoil(func(b []byte) []byte { b[46] = 0x10; return b }), want{wire.VerdictBadTCPHeader, noDrop, 0}},
		{"unknown protocol", spoil(func(b []byte) []byte { b[12], b[13] = 0x88, 0xcc; return b }), want{wire.VerdictOther, DropUnknownProtocol, 0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPair(t, true)
			p.listen(1)
			w := p.w[1]
			require.True(t, p.q[1].in.put(buildFrame(t, c.s)))
			w.iterate()
			var verdicts [wire.NumVerdicts]uint64
			verdicts[c.want.verdict] = 1
			require.Equal(t, verdicts, w.count.Verdicts)
			var drops [NumDrops]uint64
			if c.want.drop != noDrop {
				drops[c.want.drop] = 1
			}
			require.Equal(t, drops, w.count.Drops)
			var engine [tcpoffload.NumDropReasons]uint64
			if c.want.engine != 0 {
				engine[c.want.engine] = 1
			}
			require.Equal(t, engine, *w.eng.Drops())
		})
	}
}

func TestDeviceChecksumFlags(t *testing.T) {
	p := newPair(t, true)
	p.listen(1)
	w := p.w[1]
	bad := synTo80()
	bad.spoil = func(b []byte) []byte { b[24] ^= 1; b[50] ^= 1; return b }
	b := buildFrame(t, bad)
	w.in = &w.lanes[0]
	w.input(w.in, &frame.Frame{Data: b, Flags: frame.RxIPCsumGood | frame.RxL4CsumGood})
	require.EqualValues(t, 1, w.count.Verdicts[wire.VerdictTCP], "what the device verified is not verified again")
	w.input(w.in, &frame.Frame{Data: b, Flags: frame.RxL4CsumBad})
	require.EqualValues(t, 1, w.count.Drops[DropDeviceChecksum])
}

// judge decodes every TCP frame that a device sends and lets gopacket write it again, checksums
// computed anew: the octets must be the same.
func judge(t *testing.T, seen *int) func([]byte) {
	return func(b []byte) {
		pkt := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.Default)
		require.Nil(t, pkt.ErrorLayer(), "gopacket cannot decode %x", b)
		tcp, ok := pkt.Layer(layers.LayerTypeTCP).(*layers.TCP)
		if !ok {
			return
		}
		*seen++
		require.NoError(t, tcp.SetNetworkLayerForChecksum(pkt.NetworkLayer()))
		if ip, ok := pkt.NetworkLayer().(*layers.IPv4); ok {
			require.Equal(t, layers.IPv4DontFragment, ip.Flags&layers.IPv4DontFragment)
			require.EqualValues(t, 64, ip.TTL)
		}
		buf := gopacket.NewSerializeBuffer()
		require.NoError(t, gopacket.SerializeLayers(buf,
			gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
			pkt.LinkLayer().(gopacket.SerializableLayer), pkt.NetworkLayer().(gopacket.SerializableLayer),
			tcp, gopacket.Payload(tcp.Payload)))
		require.Equal(t, buf.Bytes(), b)
	}
}

func TestFramesAreSound(t *testing.T) {
	for family, local := range map[string]netip.Addr{"IPv4": {}, "IPv6": addr6[0]} {
		t.Run(family, func(t *testing.T) {
			p := newPair(t, false)
			seen := 0
			p.q[0].watch, p.q[1].watch = judge(t, &seen), judge(t, &seen)
			p.q[0].impair(3, 0.05, 0, 0) // SACK blocks on the way back
			p.listen(1)
			remote := addr4[1]
			if local.IsValid() {
				remote = addr6[1]
			}
			client := p.connect(0, local, remote, 200_001)
			p.run(5*vtime.Second, func() bool { return p.up[1].accepted == 1 && len(client.events) > 0 })
			p.finish(vtime.Minute, client, p.up[1].socks[0])
			require.Greater(t, seen, 150)
		})
	}
}

func TestChecksumOffload(t *testing.T) {
	p := newPair(t, true)
	w := p.w[0]
	l := &w.lanes[0]
	w.up = p.up[0]
	p.up[0].add(100).written = 100
	require.NotZero(t, l.blanks())
	for name, local := range map[string]int{"IPv4": 0, "IPv6": 1} {
		t.Run(name, func(t *testing.T) {
			s := tcpoffload.TxSegment{Cookie: 1, Len: 100, Flags: wire.ACK}
			s.Flow = wire.Flow{Local: wire.AddrFrom(addr4[0]), Remote: wire.AddrFrom(addr4[1]), LocalPort: 1, RemotePort: 2}
			if local == 1 {
				s.Flow.Local, s.Flow.Remote = wire.AddrFrom(addr6[0]), wire.AddrFrom(addr6[1])
			}
			f := l.blank.At(0)
			require.True(t, w.build(f, &s, true))
			require.NotZero(t, f.Flags&frame.TxTCPCsum)
			require.Equal(t, local == 0, f.Flags&frame.TxIPCsum != 0)
			require.EqualValues(t, 14, f.L2Len)
			require.EqualValues(t, 20+20*local, f.L3Len)
			require.EqualValues(t, 20, f.L4Len)
			require.Len(t, f.Data, 14+20+20*local+20+100)
		})
	}
}

// tapRecord keeps a copy of what a tap shows.
type tapRecord struct {
	dir    toe.Direction
	now    vtime.Time
	packet []byte
}

type recorder struct{ list []tapRecord }

func (r *recorder) Tap(w, port int, dir toe.Direction, now vtime.Time, frames []frame.Frame) {
	for _, f := range frames {
		r.list = append(r.list, tapRecord{dir, now, append([]byte(nil), f.Data...)})
	}
}

// A tap sees every frame once, both ways, complete, and in the order of the wire.
func TestTaps(t *testing.T) {
	p := newPair(t, false)
	var a, b recorder
	p.dev[0].SetTaps(&a)
	p.dev[1].SetTaps(&b)
	p.listen(1)
	client, server := p.open(5000, 5000)
	p.finish(vtime.Second, client, server)
	require.Len(t, b.list, len(a.list))
	for dir, back := range map[toe.Direction]toe.Direction{toe.Transmit: toe.Receive, toe.Receive: toe.Transmit} {
		var one, other [][]byte
		for i := range a.list {
			if a.list[i].dir == dir {
				one = append(one, a.list[i].packet)
			}
			if b.list[i].dir == back {
				other = append(other, b.list[i].packet)
			}
		}
		require.Equal(t, one, other)
	}
	first := gopacket.NewPacket(a.list[0].packet, layers.LayerTypeEthernet, gopacket.Default)
	require.NotNil(t, first.Layer(layers.LayerTypeARP), "even the ARP request comes by")
	p.dev[0].SetTaps()
	n := len(a.list)
	p.run(5*vtime.Minute, func() bool { return p.w[0].eng.Conns() == 0 })
	require.Len(t, a.list, n, "a tap taken away sees nothing")
}
