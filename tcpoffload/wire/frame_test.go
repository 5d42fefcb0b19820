package wire_test

import (
	"bytes"
	"flag"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/seq"
	"opentoe/tcpoffload/wire"
)

var update = flag.Bool("update", false, "rewrite testdata")

var (
	macA = wire.MAC{2, 0, 0, 0, 0, 0xa}
	macB = wire.MAC{2, 0, 0, 0, 0, 0xb}
)

func addr(s string) wire.Addr { return wire.AddrFrom(netip.MustParseAddr(s)) }

func flow4() wire.Flow {
	return wire.Flow{Local: addr("10.99.0.1"), Remote: addr("10.99.0.2"), LocalPort: 80, RemotePort: 40000}
}

func flow6() wire.Flow {
	return wire.Flow{Local: addr("fd99::1"), Remote: addr("fd99::2"), LocalPort: 443, RemotePort: 50001}
}

// sample is a segment to build.
type sample struct {
	name    string
	h       wire.Header
	payload []byte
}

// samples are the segments of the golden file.
func samples() []sample {
	base := wire.Header{SrcMAC: macA, DstMAC: macB, TTL: 64, DF: true, IPID: 0xbeef, Flow: flow4(),
		Seq: 0xfffffff0, Ack: 0x01020304, Wnd: 0xabcd, Flags: wire.ACK}
	syn := wire.Options{Set: wire.OptMSS | wire.OptSACKPermitted | wire.OptTimestamps | wire.OptWindowScale,
		MSS: 1460, WScale: 7, TSVal: 0xdeadbeef}
	ts := wire.Options{Set: wire.OptTimestamps, TSVal: 0x11223344, TSEcr: 0x55667788}
	sack := func(n uint8, also wire.OptionSet) wire.Options {
		return wire.Options{Set: wire.OptSACK | also, NumSACK: n, TSVal: 1, TSEcr: 2, MSS: 536,
			SACK: [4]wire.SACKBlock{{Left: 10, Right: 20}, {Left: 30, Right: 40}, {Left: 50, Right: 60}, {Left: 0xfffffff0, Right: 16}}}
	}
	var list []sample
	add := func(name string, payload string, change func(h *wire.Header)) {
		h := base
		change(&h)
		list = append(list, sample{name, h, []byte(payload)})
	}
	add("ACK", "", func(h *wire.Header) {})
	add("SYN with everything", "", func(h *wire.Header) { h.Flags = wire.SYN | wire.ECE | wire.CWR; h.Opt = syn; h.Ack = 0 })
	add("SYN-ACK without timestamps", "", func(h *wire.Header) {
		h.Flags = wire.SYN | wire.ACK
		h.Opt = syn
		h.Opt.Set &^= wire.OptTimestamps
	})
	add("SYN with MSS", "", func(h *wire.Header) { h.Flags, h.Opt, h.Opt.Set = wire.SYN, syn, wire.OptMSS })
	add("data", "GET / HTTP/1.0\r\n\r\n", func(h *wire.Header) { h.Flags |= wire.PSH; h.Opt = ts; h.ECN = wire.ECT0 })
	add("odd data", "odd", func(h *wire.Header) { h.Opt = ts; h.DF = false; h.TOS = 0xb8 })
	add("urgent", "!", func(h *wire.Header) { h.Flags |= wire.URG; h.Urg = 1 })
	add("one SACK block", "", func(h *wire.Header) { h.Opt = sack(1, wire.OptTimestamps) })
	add("three SACK blocks", "", func(h *wire.Header) { h.Opt = sack(3, wire.OptTimestamps) })
	add("a fourth has no room", "", func(h *wire.Header) { h.Opt = sack(4, wire.OptTimestamps) })
	add("four SACK blocks", "", func(h *wire.Header) { h.Opt = sack(4, 0) })
	add("RST", "", func(h *wire.Header) { h.Flags = wire.RST })
	add("FIN IPv6", "bye", func(h *wire.Header) {
		h.Flow = flow6()
		h.Flags |= wire.FIN
		h.Opt = ts
		h.ECN = wire.ECT0
		h.TOS = 0x28
	})
	add("SYN asks for a Fast Open cookie", "", func(h *wire.Header) {
		h.Flags = wire.SYN
		h.Opt = syn
		h.Opt.Set |= wire.OptFastOpen
	})
	add("SYN with a Fast Open cookie and data", "GET /", func(h *wire.Header) {
		h.Flags = wire.SYN
		h.Opt = syn
		h.Opt.Set |= wire.OptFastOpen
		h.Opt.CookieLen, h.Opt.Cookie = 8, [16]byte{1, 2, 3, 4, 5, 6, 7, 8}
	})
	add("SYN IPv6", "", func(h *wire.Header) { h.Flow = flow6(); h.Flags = wire.SYN; h.Opt = syn })
	return list
}

// emit writes the frame to a buffer full of rubbish, which must not shine through.
func emit(h *wire.Header, payload []byte, mode wire.ChecksumMode) []byte {
	b := bytes.Repeat([]byte{0xee}, h.Len()+len(payload))
	copy(b[h.Len():], payload)
	h.Put(b[:h.Len()], len(payload), wire.Sum(payload, 0), mode)
	return b
}

func TestPutAgreesWithGopacket(t *testing.T) {
	for _, c := range samples() {
		t.Run(c.name, func(t *testing.T) {
			b := emit(&c.h, c.payload, wire.ChecksumSoftware)
			p := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.Default)
			require.Nil(t, p.ErrorLayer())
			tcp := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
			require.NoError(t, tcp.SetNetworkLayerForChecksum(p.NetworkLayer()))
			again := gopacket.NewSerializeBuffer()
			require.NoError(t, gopacket.SerializeLayers(again,
				gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
				p.LinkLayer().(gopacket.SerializableLayer), p.NetworkLayer().(gopacket.SerializableLayer),
				tcp, gopacket.Payload(tcp.Payload)))
			require.Equal(t, again.Bytes()[:len(b)], b, "gopacket would write other octets for\n%v", p)

			require.EqualValues(t, c.h.Seq, tcp.Seq)
			require.EqualValues(t, c.h.Ack, tcp.Ack)
			require.Equal(t, c.h.Wnd, tcp.Window)
			require.Equal(t, c.h.Urg, tcp.Urgent)
			require.EqualValues(t, c.h.Flow.LocalPort, tcp.SrcPort)
			require.EqualValues(t, c.h.Flow.RemotePort, tcp.DstPort)
			src, dst := p.NetworkLayer().NetworkFlow().Endpoints()
			require.Equal(t, c.h.Flow.Local.String(), src.String())
			require.Equal(t, c.h.Flow.Remote.String(), dst.String())
			require.Equal(t, c.payload, append([]byte{}, tcp.Payload...))
			if ip, ok := p.NetworkLayer().(*layers.IPv4); ok {
				require.Equal(t, c.h.IPID, ip.Id)
				require.Equal(t, c.h.DF, ip.Flags&layers.IPv4DontFragment != 0)
				require.Equal(t, c.h.TOS&^3, ip.TOS&^3)
				require.Equal(t, uint8(c.h.ECN), ip.TOS&3)
				require.Equal(t, c.h.TTL, ip.TTL)
			} else {
				ip := p.NetworkLayer().(*layers.IPv6)
				require.Equal(t, c.h.TOS&^3, ip.TrafficClass&^3)
				require.Equal(t, uint8(c.h.ECN), ip.TrafficClass&3)
				require.Equal(t, c.h.TTL, ip.HopLimit)
			}
		})
	}
}

func TestPutGolden(t *testing.T) {
	const path = "testdata/headers.pcap"
	if *update {
		f, err := os.Create(path)
		require.NoError(t, err)
		defer f.Close()
		w := pcapgo.NewWriter(f)
		require.NoError(t, w.WriteFileHeader(65535, layers.LinkTypeEthernet))
		for _, c := range samples() {
			b := emit(&c.h, c.payload, wire.ChecksumSoftware)
			require.NoError(t, w.WritePacket(gopacket.CaptureInfo{CaptureLength: len(b), Length: len(b)}, b))
		}
		return
	}
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	r, err := pcapgo.NewReader(f)
	require.NoError(t, err)
	text := func(b []byte) string {
		return gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.Default).Dump()
	}
	for _, c := range samples() {
		want, _, err := r.ReadPacketData()
		require.NoError(t, err)
		require.Equal(t, text(want), text(emit(&c.h, c.payload, wire.ChecksumSoftware)), c.name)
	}
	_, _, err = r.ReadPacketData()
	require.ErrorIs(t, err, io.EOF)
}

// What is built for a device is right once the device has added up the segment.
func TestPutForADevice(t *testing.T) {
	for _, c := range samples() {
		want := emit(&c.h, c.payload, wire.ChecksumSoftware)
		l4 := wire.EthernetLen + c.h.L3Len()
		for _, mode := range []wire.ChecksumMode{wire.ChecksumOffload, wire.ChecksumSegment} {
			b := emit(&c.h, c.payload, mode)
			if c.h.Flow.Is4() {
				require.Zero(t, b[24]|b[25], "the IPv4 checksum is the device's")
				copy(b[24:26], want[24:26])
			}
			pseudo := uint32(0)
			if mode == wire.ChecksumSegment {
				pseudo = uint32(len(b) - l4) // the device adds the length of each segment
			}
			wire.TCP(b[l4:]).SetChecksum(wire.Checksum(b[l4:], pseudo))
			require.Equal(t, want, b, c.name)
		}
	}
}

func TestParseWhatWasPut(t *testing.T) {
	for _, c := range samples() {
		t.Run(c.name, func(t *testing.T) {
			b := emit(&c.h, c.payload, wire.ChecksumSoftware)
			padded := append(bytes.Clone(b), make([]byte, 7)...) // link-layer padding is no payload
			var p wire.Packet
			p.Opt.Set, p.ECN, p.BadOptions = 0xff, wire.CE, true // from the packet before
			require.Equal(t, wire.VerdictTCP, wire.Parse(padded, false, false, &p))
			require.Equal(t, wire.Flow{Local: c.h.Flow.Remote, Remote: c.h.Flow.Local,
				LocalPort: c.h.Flow.RemotePort, RemotePort: c.h.Flow.LocalPort}, p.Flow)
			require.Equal(t, c.h.Seq, p.Seq)
			require.Equal(t, c.h.Ack, p.Ack)
			require.Equal(t, c.h.Flags, p.Flags)
			require.Equal(t, c.h.Wnd, p.Wnd)
			require.Equal(t, c.h.Urg, p.Urg)
			require.Equal(t, c.h.TTL, p.TTL)
			require.Equal(t, macA, p.SrcMAC)
			require.Equal(t, macB, p.DstMAC)
			require.Equal(t, c.h.ECN, p.ECN)
			require.False(t, p.BadOptions)
			require.Equal(t, c.h.Len(), p.PayloadOff)
			require.Equal(t, len(c.payload), p.PayloadLen)
			opt := c.h.Opt
			if c.name == "a fourth has no room" {
				opt.NumSACK = 3
			}
			requireOptions(t, opt, p.Opt)
		})
	}
}

// requireOptions compares the fields that are valid.
func requireOptions(t testing.TB, want, got wire.Options) {
	t.Helper()
	require.Equal(t, want.Set, got.Set)
	if want.Set&wire.OptMSS != 0 {
		require.Equal(t, want.MSS, got.MSS)
	}
	if want.Set&wire.OptWindowScale != 0 {
		require.Equal(t, want.WScale, got.WScale)
	}
	if want.Set&wire.OptTimestamps != 0 {
		require.Equal(t, [2]uint32{want.TSVal, want.TSEcr}, [2]uint32{got.TSVal, got.TSEcr})
	}
	if want.Set&wire.OptSACK != 0 {
		require.Equal(t, want.SACK[:want.NumSACK], got.SACK[:got.NumSACK])
	}
	if want.Set&wire.OptFastOpen != 0 {
		require.Equal(t, want.Cookie[:want.CookieLen], got.Cookie[:got.CookieLen])
	}
}

// valid returns a sound segment of gopacket's making, for spoiling.
func valid(t testing.TB, change func(eth *layers.Ethernet, ip *layers.IPv4, tcp *layers.TCP)) []byte {
	eth := &layers.Ethernet{SrcMAC: macB[:], DstMAC: macA[:], EthernetType: layers.EthernetTypeIPv4}
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP,
		SrcIP: net.IP{10, 99, 0, 2}, DstIP: net.IP{10, 99, 0, 1}}
	tcp := &layers.TCP{SrcPort: 40000, DstPort: 80, Seq: 1, Ack: 2, ACK: true, Window: 3}
	if change != nil {
		change(eth, ip, tcp)
	}
	require.NoError(t, tcp.SetNetworkLayerForChecksum(ip))
	return build(t, eth, ip, tcp, gopacket.Payload("0123456789abcdefghi"))
}

// valid6 is the same over IPv6, with extension headers between, the first of which is destination
// options.
func valid6(t testing.TB, src, dst string, extensions ...byte) []byte {
	ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolTCP,
		SrcIP: net.ParseIP(src).To16(), DstIP: net.ParseIP(dst).To16()}
	tcp := &layers.TCP{SrcPort: 40000, DstPort: 80, Seq: 1, Ack: 2, ACK: true, Window: 3}
	require.NoError(t, tcp.SetNetworkLayerForChecksum(ip))
	segment := build(t, tcp, gopacket.Payload("0123456789"))
	if len(extensions) > 0 {
		ip.NextHeader = layers.IPProtocolIPv6Destination
	}
	eth := &layers.Ethernet{SrcMAC: macB[:], DstMAC: macA[:], EthernetType: layers.EthernetTypeIPv6}
	return build(t, eth, ip, gopacket.Payload(append(extensions, segment...)))
}

func build(t testing.TB, l ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	require.NoError(t, gopacket.SerializeLayers(buf,
		gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, l...))
	return bytes.Clone(buf.Bytes())
}

// fixIP makes the IPv4 header checksum right again.
func fixIP(b []byte) []byte {
	b[24], b[25] = 0, 0
	sum := wire.Checksum(b[14:14+int(b[14]&0xf)*4], 0)
	b[24], b[25] = byte(sum>>8), byte(sum)
	return b
}

func TestVerdicts(t *testing.T) {
	set := func(b []byte, at int, v ...byte) []byte { copy(b[at:], v); return b }
	plain := func() []byte { return valid(t, nil) }
	v6 := func() []byte { return valid6(t, "fd99::2", "fd99::1") }
	from := func(src, dst string) []byte {
		return valid(t, func(_ *layers.Ethernet, ip *layers.IPv4, _ *layers.TCP) {
			ip.SrcIP, ip.DstIP = net.ParseIP(src).To4(), net.ParseIP(dst).To4()
		})
	}
	for _, c := range []struct {
		name string
		b    []byte
		want wire.Verdict
	}{
		{"sound", plain(), wire.VerdictTCP},
		{"sound IPv6", v6(), wire.VerdictTCP},
		{"empty", nil, wire.VerdictShort},
		{"no Ethernet header", make([]byte, 13), wire.VerdictShort},
		{"ARP", set(plain(), 12, 8, 6), wire.VerdictOther},
		{"length field instead of a type", set(plain(), 12, 0, 60), wire.VerdictOther},
		{"no IPv4 header", plain()[:33], wire.VerdictShort},
		{"IPv4 version 5", set(plain(), 14, 0x55), wire.VerdictBadIPVersion},
		{"IPv4 header length 16", set(plain(), 14, 0x44), wire.VerdictBadIPHeader},
		{"IPv4 header beyond the packet", set(plain(), 14, 0x4f, 0, 0, 40), wire.VerdictBadIPLength},
		{"IPv4 length below header", fixIP(set(plain(), 16, 0, 19)), wire.VerdictBadIPLength},
		{"IPv4 length above frame", fixIP(set(plain(), 16, 9, 0)), wire.VerdictBadIPLength},
		{"IPv4 checksum", set(plain(), 24, 1, 2), wire.VerdictBadIPChecksum},
		{"UDP", fixIP(set(plain(), 23, 17)), wire.VerdictOther},
		{"first fragment", fixIP(set(plain(), 20, 0x20, 0)), wire.VerdictFragment},
		{"last fragment", fixIP(set(plain(), 20, 0, 9)), wire.VerdictFragment},
		{"UDP fragment", fixIP(set(set(plain(), 20, 0, 9), 23, 17)), wire.VerdictOther},
		{"reserved fragment bit", fixIP(set(plain(), 20, 0x80, 0)), wire.VerdictTCP},
		{"from broadcast", from("255.255.255.255", "10.99.0.1"), wire.VerdictBadAddress},
		{"from multicast", from("224.0.0.1", "10.99.0.1"), wire.VerdictBadAddress},
		{"from loopback", from("127.0.0.1", "10.99.0.1"), wire.VerdictBadAddress},
		{"from nobody", from("0.0.0.0", "10.99.0.1"), wire.VerdictBadAddress},
		{"to multicast", from("10.99.0.2", "239.1.2.3"), wire.VerdictBadAddress},
		{"to itself", from("10.99.0.1", "10.99.0.1"), wire.VerdictBadAddress},
		{"TCP header cut", fixIP(set(plain(), 16, 0, 39)), wire.VerdictShort},
		{"TCP data offset 16", set(plain(), 46, 0x40), wire.VerdictBadTCPHeader},
		{"TCP data offset beyond the segment", set(plain(), 46, 0xf0), wire.VerdictBadTCPHeader},
		{"TCP checksum", set(plain(), 50, 1, 2), wire.VerdictBadTCPChecksum},
		{"TCP payload changed", set(plain(), 60, 'X'), wire.VerdictBadTCPChecksum},
		{"no IPv6 header", v6()[:53], wire.VerdictShort},
		{"IPv6 version", set(v6(), 14, 0x40), wire.VerdictBadIPVersion},
		{"IPv6 length above frame", set(v6(), 18, 9, 0), wire.VerdictBadIPLength},
		{"IPv6 checksum", set(v6(), 70, 1, 2), wire.VerdictBadTCPChecksum},
		{"IPv6 no next header", set(v6(), 20, 59), wire.VerdictOther},
		{"IPv6 AH", set(v6(), 20, 51), wire.VerdictOther},
		{"IPv6 chain", valid6(t, "fd99::2", "fd99::1", chain(7, 0)...), wire.VerdictTCP},
		{"IPv6 endless chain", valid6(t, "fd99::2", "fd99::1", chain(9, 0)...), wire.VerdictBadIPHeader},
		{"IPv6 chain beyond the packet", valid6(t, "fd99::2", "fd99::1", chain(1, 200)...), wire.VerdictBadIPHeader},
		{"IPv6 from multicast", valid6(t, "ff02::1", "fd99::1"), wire.VerdictBadAddress},
		{"IPv6 from nobody", valid6(t, "::", "fd99::1"), wire.VerdictBadAddress},
		{"IPv6 from loopback", valid6(t, "::1", "fd99::1"), wire.VerdictBadAddress},
		{"IPv6 from mapped", set(v6(), 22, mapped()...), wire.VerdictBadAddress},
		{"IPv6 to mapped", set(v6(), 38, mapped()...), wire.VerdictBadAddress},
		{"IPv6 to multicast", valid6(t, "fd99::2", "ff02::1"), wire.VerdictBadAddress},
		{"IPv6 to itself", valid6(t, "fd99::1", "fd99::1"), wire.VerdictBadAddress},
	} {
		t.Run(c.name, func(t *testing.T) {
			var p wire.Packet
			before := bytes.Clone(c.b)
			require.Equal(t, c.want, wire.Parse(c.b, false, false, &p))
			require.Equal(t, before, c.b)
		})
	}
	for v := range wire.NumVerdicts {
		require.NotEmpty(t, v.String())
		require.NotEqual(t, "unknown", v.String())
	}
	require.Equal(t, "unknown", wire.NumVerdicts.String())
}

func mapped() []byte { a := addr("10.0.0.1"); return a[:] }

// chain is n destination-options headers before TCP, the first announcing extra·8 more octets.
func chain(n int, extra uint8) (b []byte) {
	for i := range n {
		next := byte(60)
		if i == n-1 {
			next = 6
		}
		b = append(b, next, 0, 1, 4, 0, 0, 0, 0)
	}
	b[1] = extra
	return b
}

func TestVerifiedChecksumsAreTrusted(t *testing.T) {
	b := valid(t, nil)
	b[24] ^= 1
	b[50] ^= 1
	var p wire.Packet
	require.Equal(t, wire.VerdictBadIPChecksum, wire.Parse(b, false, true, &p))
	require.Equal(t, wire.VerdictBadTCPChecksum, wire.Parse(b, true, false, &p))
	require.Equal(t, wire.VerdictTCP, wire.Parse(b, true, true, &p))
}

func TestParseDetails(t *testing.T) {
	var p wire.Packet
	b := valid(t, func(eth *layers.Ethernet, ip *layers.IPv4, tcp *layers.TCP) {
		ip.TOS = 3
		ip.Options = []layers.IPv4Option{{OptionType: 7, OptionLength: 7, OptionData: make([]byte, 5)}}
	})
	require.Equal(t, wire.VerdictTCP, wire.Parse(b, false, false, &p), "IP options are passed over")
	require.Equal(t, wire.CE, p.ECN)
	require.Equal(t, "0123456789abcdefghi", string(b[p.PayloadOff:p.PayloadOff+p.PayloadLen]))

	plain := valid(t, nil)
	tagged := append(append(append([]byte{}, plain[:12]...), 0x81, 0, 0xe0, 0), plain[12:]...)
	require.Equal(t, wire.VerdictTCP, wire.Parse(tagged, false, false, &p), "a priority tag is no VLAN")
	require.Equal(t, "0123456789abcdefghi", string(tagged[p.PayloadOff:p.PayloadOff+p.PayloadLen]))
	tagged[15] = 5
	require.Equal(t, wire.VerdictOther, wire.Parse(tagged, false, false, &p))

	b = valid(t, func(_ *layers.Ethernet, _ *layers.IPv4, tcp *layers.TCP) {
		tcp.Options = []layers.TCPOption{{OptionType: 2, OptionLength: 4, OptionData: []byte{5, 0xb4}}, {OptionType: 1}, {OptionType: 1}}
	})
	b[58], b[59] = 3, 9 // an option that goes beyond the list
	require.Equal(t, wire.VerdictTCP, wire.Parse(b, true, true, &p))
	require.True(t, p.BadOptions)
	require.Equal(t, uint16(1460), p.Opt.MSS, "what came before is kept")
}

func TestIPv6Upper(t *testing.T) {
	header := func(next byte, rest ...byte) []byte {
		b := make([]byte, 40)
		b[0], b[5], b[6] = 0x60, byte(len(rest)), next
		return append(b, rest...)
	}
	pad8 := func(b ...byte) []byte { return append(b, make([]byte, 8-len(b))...) }
	for _, c := range []struct {
		name     string
		b        []byte
		proto    uint8
		off      int
		fragment bool
		ok       bool
	}{
		{"none", header(6), 6, 40, false, true},
		{"hop by hop", header(0, pad8(6)...), 6, 48, false, true},
		{"long options", header(60, append(pad8(6, 1), make([]byte, 8)...)...), 6, 56, false, true},
		{"routing done", header(43, pad8(6, 0, 0, 0)...), 6, 48, false, true},
		{"routing pending", header(43, pad8(6, 0, 0, 1)...), 43, 40, false, true},
		{"atomic fragment", header(44, pad8(6, 0, 0, 0, 1)...), 6, 48, false, true},
		{"first fragment", header(44, pad8(6, 0, 0, 1, 1)...), 6, 48, true, true},
		{"later fragment", header(44, pad8(17, 0, 0, 8, 1)...), 17, 48, true, true},
		{"cut", header(0, 6, 0, 0), 0, 40, false, false},
		{"cut options", header(0, pad8(6, 1)...), 0, 40, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, ok := wire.AsIPv6(c.b)
			require.True(t, ok)
			proto, off, fragment, ok := h.Upper()
			require.Equal(t, c.ok, ok)
			require.Equal(t, c.fragment, fragment)
			require.Equal(t, c.proto, proto)
			require.Equal(t, c.off, off)
		})
	}
}

func TestViews(t *testing.T) {
	b := valid(t, func(_ *layers.Ethernet, ip *layers.IPv4, tcp *layers.TCP) {
		ip.TOS, ip.Id, ip.Flags = 0x2a, 0x1234, layers.IPv4DontFragment
		tcp.Urgent, tcp.URG, tcp.PSH = 9, true, true
	})
	eth, ok := wire.AsEthernet(b)
	require.True(t, ok)
	require.Equal(t, macA, eth.Dst())
	require.Equal(t, macB, eth.Src())
	require.Equal(t, wire.TypeIPv4, eth.Type())
	ip, ok := wire.AsIPv4(append(bytes.Clone(eth.Payload()), 0, 0))
	require.True(t, ok)
	require.Equal(t, len(ip), ip.TotalLen())
	require.EqualValues(t, 0x2a, ip.TOS())
	require.EqualValues(t, 0x1234, ip.ID())
	require.True(t, ip.DF())
	require.False(t, ip.IsFragment())
	require.EqualValues(t, 64, ip.TTL())
	require.EqualValues(t, 6, ip.Protocol())
	require.True(t, ip.ChecksumOK())
	require.Equal(t, "10.99.0.2", ip.Src().String())
	require.Equal(t, "10.99.0.1", ip.Dst().String())
	tcp, ok := wire.AsTCP(ip.Payload())
	require.True(t, ok)
	src, dst := ip.Src(), ip.Dst()
	require.True(t, tcp.ChecksumOK(&src, &dst))
	require.EqualValues(t, 40000, tcp.SrcPort())
	require.EqualValues(t, 80, tcp.DstPort())
	require.Equal(t, wire.ACK|wire.PSH|wire.URG, tcp.Flags())
	require.EqualValues(t, 9, tcp.Urgent())
	require.Equal(t, "0123456789abcdefghi", string(tcp.Payload()))
	require.Empty(t, tcp.Options())

	tcp.SetSrcPort(1)
	tcp.SetDstPort(2)
	tcp.SetSeq(seq.Num(3))
	tcp.SetAck(seq.Num(4))
	tcp.SetFlags(wire.SYN)
	tcp.SetWindow(5)
	tcp.SetUrgent(6)
	tcp.SetChecksum(7)
	tcp.SetHeaderLen(24)
	p := gopacket.NewPacket(tcp, layers.LayerTypeTCP, gopacket.NoCopy)
	l := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
	require.EqualValues(t, []any{1, 2, 3, 4, 5, 6, 7, 6, true},
		[]any{int(l.SrcPort), int(l.DstPort), int(l.Seq), int(l.Ack), int(l.Window), int(l.Urgent), int(l.Checksum), int(l.DataOffset), l.SYN})

	var tag [4]byte
	v, ok := wire.AsVLAN(tag[:])
	require.True(t, ok)
	v.SetTag(0xabc, 5)
	v.SetType(wire.TypeIPv6)
	require.Equal(t, [4]byte{0xaa, 0xbc, 0x86, 0xdd}, tag)
	require.EqualValues(t, 0xabc, v.ID())
	require.EqualValues(t, 5, v.Priority())
	require.Equal(t, wire.TypeIPv6, v.Type())
}

func FuzzParse(f *testing.F) {
	for _, c := range samples() {
		f.Add(emit(&c.h, c.payload, wire.ChecksumSoftware), true)
	}
	f.Add(valid6(f, "fd99::2", "fd99::1", chain(3, 0)...), false)
	f.Fuzz(func(t *testing.T, b []byte, good bool) {
		var p wire.Packet
		v := wire.Parse(b, good, good, &p)
		require.Less(t, v, wire.NumVerdicts)
		if v != wire.VerdictTCP {
			return
		}
		require.GreaterOrEqual(t, p.PayloadOff, 54)
		require.GreaterOrEqual(t, p.PayloadLen, 0)
		require.LessOrEqual(t, p.PayloadOff+p.PayloadLen, len(b))
		require.Equal(t, p.Flow.Local.Is4(), p.Flow.Remote.Is4())
		require.LessOrEqual(t, p.Opt.NumSACK, uint8(wire.MaxSACKBlocks))
		// What was understood can be sent, and is understood the same.
		h := wire.Header{Flow: p.Flow, Seq: p.Seq, Ack: p.Ack, Flags: p.Flags, Wnd: p.Wnd, Urg: p.Urg, Opt: p.Opt, TTL: p.TTL}
		h.Flow.Local, h.Flow.Remote = p.Flow.Remote, p.Flow.Local
		h.Flow.LocalPort, h.Flow.RemotePort = p.Flow.RemotePort, p.Flow.LocalPort
		payload := b[p.PayloadOff : p.PayloadOff+p.PayloadLen]
		if h.Len()+len(payload) > 65535 {
			return
		}
		var q wire.Packet
		require.Equal(t, wire.VerdictTCP, wire.Parse(emit(&h, payload, wire.ChecksumSoftware), false, false, &q))
		require.Equal(t, p.Flow, q.Flow)
		require.Equal(t, p.Seq, q.Seq)
		require.False(t, q.BadOptions)
	})
}

func FuzzViews(f *testing.F) {
	f.Add(valid(f, nil))
	f.Add(valid6(f, "fd99::2", "fd99::1"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, ok := wire.AsEthernet(b); ok {
			h.Network()
		}
		if h, ok := wire.AsIPv4(b); ok {
			h.ChecksumOK()
			h.Payload()
		}
		if h, ok := wire.AsIPv6(b); ok {
			_, off, _, ok := h.Upper()
			require.True(t, !ok || off <= len(h))
		}
		if h, ok := wire.AsTCP(b); ok {
			h.Payload()
			var o wire.Options
			wire.ParseOptions(h.Options(), &o)
		}
		if h, ok := wire.AsARP(b); ok {
			h.TargetIP()
		}
		if h, ok := wire.AsICMP(b); ok {
			h.Body()
			if n, ok := wire.AsND(h); ok {
				n.LinkAddr(wire.NDSourceLink)
				n.LinkAddr(wire.NDTargetLink)
			}
		}
	})
}

func TestNoAllocation(t *testing.T) {
	h := samples()[4].h
	payload := make([]byte, 1448)
	b := emit(&h, payload, wire.ChecksumSoftware)
	var p wire.Packet
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		wire.Parse(b, false, false, &p)
		h.Put(b, len(payload), wire.Sum(payload, 0), wire.ChecksumSoftware)
	}))
}

func BenchmarkParse(b *testing.B) {
	h := samples()[4].h
	payload := make([]byte, 1448)
	f := emit(&h, payload, wire.ChecksumSoftware)
	var p wire.Packet
	for name, good := range map[string]bool{"verified": true, "unverified": false} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				wire.Parse(f, good, good, &p)
			}
		})
	}
}

func BenchmarkPut(b *testing.B) {
	for _, c := range samples() {
		if c.name != "data" && c.name != "three SACK blocks" && c.name != "FIN IPv6" {
			continue
		}
		b.Run(c.name, func(b *testing.B) {
			buf := make([]byte, 2048)
			for b.Loop() {
				c.h.Put(buf, 1448, 0x1234, wire.ChecksumSoftware)
			}
		})
	}
}
