package ports_test

import (
	"bytes"
	"net"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/stretchr/testify/require"

	"opentoe/pmd/frame"
	"opentoe/ports"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// bench is one worker's host with a queue and a clock.
type bench struct {
	testing.TB
	port *ports.Port
	host *ports.Host
	q    *heap
	tx   frame.Burst
	now  vtime.Time
}

func newBench(t testing.TB, change func(*ports.Config)) *bench {
	p := newPort(t, change)
	b := &bench{TB: t, port: p, host: p.Host(0), q: newHeap(), now: vtime.Time(100 * vtime.Second)}
	t.Cleanup(func() {
		b.host.Close(b.q)
		b.q.Free(&b.tx)
		require.Zero(t, b.q.out, "buffers that were never given back")
	})
	return b
}

// input gives the host a frame and returns what it sent.
func (b *bench) input(data []byte) (understood bool, sent [][]byte) {
	b.Helper()
	understood = b.host.Input(b.now, &frame.Frame{Data: data}, b.q, &b.tx)
	return understood, b.sent()
}

// expire advances the clock and returns what the host sent and gave up.
func (b *bench) expire(d vtime.Duration) (sent [][]byte, failed []uint32) {
	b.Helper()
	b.now = b.now.Add(d)
	failed = b.host.Expire(b.now, b.q, &b.tx)
	return b.sent(), failed
}

// send makes an IPv4 or IPv6 frame with the payload and sends it to the next hop.
func (b *bench) send(idx uint32, dst wire.Addr, payload string) [][]byte {
	b.Helper()
	src := our4
	if !dst.Is4() {
		src = our6
	}
	var one frame.Burst
	require.Equal(b, 1, b.q.Alloc(&one, 1))
	f := *one.At(0)
	h := wire.IPHeader{Src: src, Dst: dst, Proto: 253, TTL: 64, Payload: len(payload)}
	f.Data = f.Data[:wire.EthernetLen+h.Len()+len(payload)]
	wire.PutEthernet(f.Data, wire.MAC{}, wire.MAC{}, h.Type())
	copy(f.Data[wire.EthernetLen+h.Put(f.Data[wire.EthernetLen:]):], payload)
	b.host.Send(b.now, idx, &f, b.q, &b.tx)
	return b.sent()
}

func (b *bench) sent() (list [][]byte) {
	for _, f := range b.tx.Frames() {
		list = append(list, bytes.Clone(f.Data))
	}
	b.q.Transmit(&b.tx)
	return list
}

func (b *bench) count(c ports.Counter) uint64 { return b.host.Counters()[c] }

func (b *bench) hop(a wire.Addr) uint32 {
	b.Helper()
	idx, ok := b.host.NextHop(a)
	require.True(b, ok)
	return idx
}

func (b *bench) state(a wire.Addr) ports.State {
	for _, n := range b.port.Neighbours(b.now) {
		if n.Addr == a {
			return n.State
		}
	}
	return ports.StateNone
}

// build serialises layers with right lengths and checksums.
func build(t testing.TB, l ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	require.NoError(t, gopacket.SerializeLayers(buf,
		gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, l...))
	return bytes.Clone(buf.Bytes())
}

func ether(src, dst wire.MAC, t layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: src[:], DstMAC: dst[:], EthernetType: t}
}

func arp(t testing.TB, dst wire.MAC, op uint16, senderMAC wire.MAC, sender wire.Addr, targetMAC wire.MAC,
	target wire.Addr) []byte {
	return build(t, ether(senderMAC, dst, layers.EthernetTypeARP), &layers.ARP{
		AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6,
		ProtAddressSize: 4, Operation: op, SourceHwAddress: senderMAC[:],
		SourceProtAddress: ip(sender), DstHwAddress: targetMAC[:], DstProtAddress: ip(target)})
}

func ip(a wire.Addr) net.IP { return a.Netip().AsSlice() }

// decode judges a frame that the host sent: every length and checksum has to be right.
func decode(t testing.TB, data []byte) gopacket.Packet {
	t.Helper()
	p := gopacket.NewPacket(data, layers.LayerTypeEthernet, gopacket.Default)
	require.Nil(t, p.ErrorLayer(), "%v", p)
	again := gopacket.NewSerializeBuffer()
	var l []gopacket.SerializableLayer
	for _, layer := range p.Layers() {
		l = append(l, layer.(gopacket.SerializableLayer))
		if c, ok := layer.(*layers.ICMPv6); ok {
			require.NoError(t, c.SetNetworkLayerForChecksum(p.NetworkLayer()))
			l = append(l, gopacket.Payload(c.Payload))
			break
		}
	}
	require.NoError(t, gopacket.SerializeLayers(again,
		gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, l...))
	// gopacket pads to the Ethernet minimum.
	require.Equal(t, again.Bytes()[:len(data)], data, "gopacket would write other octets for\n%v", p)
	return p
}

func TestARPRequestIsAnsweredAndTeachesTheSender(t *testing.T) {
	b := newBench(t, nil)
	ok, sent := b.input(arp(t, wire.BroadcastMAC(), 1, peerMAC, peer4, wire.MAC{}, our4))
	require.True(t, ok)
	require.Len(t, sent, 1)
	p := decode(t, sent[0])
	eth := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	require.Equal(t, peerMAC[:], []byte(eth.DstMAC))
	require.Equal(t, ourMAC[:], []byte(eth.SrcMAC))
	a := p.Layer(layers.LayerTypeARP).(*layers.ARP)
	require.EqualValues(t, 2, a.Operation)
	require.Equal(t, ourMAC[:], a.SourceHwAddress)
	require.EqualValues(t, ip(our4), a.SourceProtAddress)
	require.Equal(t, peerMAC[:], a.DstHwAddress)
	require.EqualValues(t, ip(peer4), a.DstProtAddress)

	require.Equal(t, ports.StateStale, b.state(peer4), "what it says is known but not proved")
	sent = b.send(b.hop(peer4), peer4, "x")
	require.Len(t, sent, 1, "so a frame goes at once")
	require.Equal(t, peerMAC[:], sent[0][:6])
	require.Equal(t, ourMAC[:], sent[0][6:12])
	require.Equal(t, ports.StateDelay, b.state(peer4))
}

func TestARPNotForUs(t *testing.T) {
	b := newBench(t, nil)
	ok, sent := b.input(arp(t, wire.BroadcastMAC(), 1, peerMAC, peer4, wire.MAC{}, addr("10.99.0.9")))
	require.True(t, ok)
	require.Empty(t, sent)
	require.Empty(t, b.port.Neighbours(b.now), "strangers' talk makes no entries")

	ok, sent = b.input(arp(t, ourMAC, 2, peerMAC, peer4, ourMAC, our4))
	require.True(t, ok)
	require.Empty(t, sent)
	require.Empty(t, b.port.Neighbours(b.now), "nor do answers to questions never asked")

	// A sender off our prefixes is answered, as by the kernel, but not entered.
	_, sent = b.input(arp(t, wire.BroadcastMAC(), 1, peerMAC, addr("172.16.0.1"), wire.MAC{}, our4))
	require.Len(t, sent, 1)
	require.Empty(t, b.port.Neighbours(b.now))

	ok, sent = b.input(arp(t, wire.BroadcastMAC(), 1, otherMAC, our4, wire.MAC{}, our4))
	require.True(t, ok)
	require.Empty(t, sent)
	require.EqualValues(t, 1, b.count(ports.CountAddressConflict))

	// A probe for our address (RFC 5227) has no sender address yet, and is answered.
	_, sent = b.input(arp(t, wire.BroadcastMAC(), 1, otherMAC, addr("0.0.0.0"), wire.MAC{}, our4))
	require.Len(t, sent, 1)

	for name, data := range map[string][]byte{
		"group sender": arp(t, ourMAC, 1, wire.BroadcastMAC(), peer4, wire.MAC{}, our4),
		"operation":    arp(t, ourMAC, 9, peerMAC, peer4, wire.MAC{}, our4),
		"cut":          arp(t, ourMAC, 1, peerMAC, peer4, wire.MAC{}, our4)[:41],
		"hardware":     append(arp(t, ourMAC, 1, peerMAC, peer4, wire.MAC{}, our4)[:14], make([]byte, 28)...),
	} {
		before := b.count(ports.CountBadARP)
		ok, sent = b.input(data)
		require.False(t, ok, name)
		require.Empty(t, sent, name)
		require.Equal(t, before+1, b.count(ports.CountBadARP), name)
	}
}

func TestResolutionByARP(t *testing.T) {
	b := newBench(t, nil)
	require.Equal(t, vtime.Never, b.host.NextDeadline())
	idx := b.hop(peer4)
	require.NotZero(t, idx)
	require.Empty(t, b.send(idx, peer4, "one"))
	require.Empty(t, b.send(idx, peer4, "two"))
	require.Equal(t, ports.StateIncomplete, b.state(peer4))
	require.LessOrEqual(t, b.host.NextDeadline(), b.now, "the request is due")

	sent, failed := b.expire(0)
	require.Empty(t, failed)
	require.Len(t, sent, 1)
	p := decode(t, sent[0])
	require.Equal(t, "ff:ff:ff:ff:ff:ff", p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet).DstMAC.String())
	a := p.Layer(layers.LayerTypeARP).(*layers.ARP)
	require.EqualValues(t, 1, a.Operation)
	require.EqualValues(t, ip(our4), a.SourceProtAddress)
	require.EqualValues(t, ip(peer4), a.DstProtAddress)
	sent, _ = b.expire(0)
	require.Empty(t, sent, "one request a second")

	ok, _ := b.input(arp(t, ourMAC, 2, peerMAC, peer4, ourMAC, our4))
	require.True(t, ok)
	require.Equal(t, ports.StateReachable, b.state(peer4))
	require.LessOrEqual(t, b.host.NextDeadline(), b.now)
	sent, _ = b.expire(0)
	require.Len(t, sent, 2)
	require.Equal(t, "one", string(sent[0][34:]))
	require.Equal(t, "two", string(sent[1][34:]))
	for _, s := range sent {
		require.Equal(t, peerMAC[:], s[:6])
		require.Equal(t, ourMAC[:], s[6:12])
	}
	require.Equal(t, vtime.Never, b.host.NextDeadline())
	require.Len(t, b.send(idx, peer4, "three"), 1)
	require.EqualValues(t, 1, b.count(ports.CountResolved))
	require.EqualValues(t, 2, b.count(ports.CountHeldSent))
}

func TestResolutionFails(t *testing.T) {
	b := newBench(t, nil)
	idx := b.hop(peer4)
	b.send(idx, peer4, "x")
	for i := range 3 {
		sent, failed := b.expire(vtime.Duration(min(i, 1)) * vtime.Second)
		require.Len(t, sent, 1)
		require.Empty(t, failed)
	}
	sent, failed := b.expire(vtime.Second)
	require.Empty(t, sent)
	require.Equal(t, []uint32{idx}, failed)
	require.Equal(t, ports.StateFailed, b.state(peer4))
	require.EqualValues(t, 1, b.count(ports.CountHeldDropped))
	require.EqualValues(t, 1, b.count(ports.CountFailed))
	require.Equal(t, vtime.Never, b.host.NextDeadline())

	b.send(idx, peer4, "too soon")
	require.EqualValues(t, 1, b.count(ports.CountNegative))
	require.Equal(t, vtime.Never, b.host.NextDeadline())
	b.now = b.now.Add(3*vtime.Second + 1)
	b.send(idx, peer4, "again")
	sent, _ = b.expire(0)
	require.Len(t, sent, 1, "asked again after a while")
}

func TestHeldFramesAreBounded(t *testing.T) {
	b := newBench(t, nil)
	idx := b.hop(peer4)
	for _, s := range "0123456789" {
		b.send(idx, peer4, string(s))
	}
	require.EqualValues(t, 2, b.count(ports.CountHeldDropped))
	require.Equal(t, 8, b.q.out, "the others hold buffers")
	b.input(arp(t, ourMAC, 2, peerMAC, peer4, ourMAC, our4))
	sent, _ := b.expire(0)
	require.Len(t, sent, 8)
	require.Equal(t, "2", string(sent[0][34:]), "the oldest made room")

	// Too many neighbours at a time.
	for i := range 70 {
		a := wire.AddrFrom4([4]byte{10, 99, 0, byte(100 + i)})
		b.send(b.hop(a), a, "x")
	}
	require.EqualValues(t, 6, b.count(ports.CountHoldRefused))
}

// A flood from more neighbours than are resolved at a time leaves no entries behind that cannot be given up.
func TestTableOutlivesAFloodOfNeighbours(t *testing.T) {
	const table, jobs = 128, 64
	b := newBench(t, func(c *ports.Config) { c.MaxNeighbours = table })
	for i := range table {
		a := wire.AddrFrom4([4]byte{10, 99, 0, byte(100 + i)})
		b.send(b.hop(a), a, "x")
	}
	require.EqualValues(t, table-jobs, b.count(ports.CountHoldRefused))
	for range 10 {
		b.expire(vtime.Second)
	}
	for _, n := range b.port.Neighbours(b.now) {
		require.Equal(t, ports.StateFailed, n.State, "%v", n.Addr)
	}
}

func TestHeldFramesWaitForRoom(t *testing.T) {
	b := newBench(t, nil)
	idx := b.hop(peer4)
	b.send(idx, peer4, "1")
	b.send(idx, peer4, "2")
	b.expire(0)
	b.input(arp(t, ourMAC, 2, peerMAC, peer4, ourMAC, our4))
	b.q.Alloc(&b.tx, frame.MaxBurst-1)
	b.host.Expire(b.now, b.q, &b.tx)
	require.Zero(t, b.tx.Room())
	require.LessOrEqual(t, b.host.NextDeadline(), b.now)
	b.q.Transmit(&b.tx)
	sent, _ := b.expire(0)
	require.Len(t, sent, 1)
	require.Equal(t, "2", string(sent[0][34:]))
}

func TestRequestWaitsForABuffer(t *testing.T) {
	b := newBench(t, nil)
	b.send(b.hop(peer4), peer4, "x")
	b.q.limit = b.q.out
	sent, _ := b.expire(0)
	require.Empty(t, sent)
	require.EqualValues(t, 1, b.count(ports.CountNoBuffer))
	b.q.limit++
	sent, _ = b.expire(vtime.Millisecond)
	require.Len(t, sent, 1)
}

// resolve makes peer4 REACHABLE.
func (b *bench) resolve() uint32 {
	idx := b.hop(peer4)
	b.send(idx, peer4, "x")
	b.expire(0)
	b.input(arp(b, ourMAC, 2, peerMAC, peer4, ourMAC, our4))
	b.expire(0)
	require.Equal(b, ports.StateReachable, b.state(peer4))
	return idx
}

func TestUnreachabilityDetection(t *testing.T) {
	b := newBench(t, nil)
	idx := b.resolve()
	b.now = b.now.Add(31 * vtime.Second)
	require.Equal(t, ports.StateStale, b.state(peer4))
	require.Len(t, b.send(idx, peer4, "x"), 1)
	require.Equal(t, ports.StateDelay, b.state(peer4))
	sent, _ := b.expire(4 * vtime.Second)
	require.Empty(t, sent)

	// Forward progress is as good as an answer.
	b.host.Confirm(b.now, idx)
	require.Equal(t, ports.StateReachable, b.state(peer4))
	sent, _ = b.expire(vtime.Second)
	require.Empty(t, sent)
	require.Equal(t, vtime.Never, b.host.NextDeadline())

	// Confirmations keep it alive; without any it is probed, directly, and given up.
	b.now = b.now.Add(20 * vtime.Second)
	b.host.Confirm(b.now, idx)
	b.now = b.now.Add(20 * vtime.Second)
	require.Equal(t, ports.StateReachable, b.state(peer4))
	b.now = b.now.Add(20 * vtime.Second)
	require.Len(t, b.send(idx, peer4, "x"), 1)
	for i := range 3 {
		sent, failed := b.expire(5 * vtime.Second)
		require.Len(t, sent, 1, i)
		require.Equal(t, peerMAC[:], sent[0][:6])
		require.Empty(t, failed)
		require.Equal(t, ports.StateProbe, b.state(peer4))
		require.Len(t, b.send(idx, peer4, "x"), 1, "still in use")
	}
	_, failed := b.expire(vtime.Second)
	require.Equal(t, []uint32{idx}, failed)
	require.Equal(t, ports.StateFailed, b.state(peer4))
}

func TestProbeIsAnswered(t *testing.T) {
	b := newBench(t, nil)
	idx := b.resolve()
	b.now = b.now.Add(31 * vtime.Second)
	b.send(idx, peer4, "x")
	b.expire(5 * vtime.Second)
	require.Equal(t, ports.StateProbe, b.state(peer4))
	b.input(arp(t, ourMAC, 2, otherMAC, peer4, ourMAC, our4))
	require.Equal(t, ports.StateReachable, b.state(peer4))
	require.Equal(t, otherMAC[:], b.send(idx, peer4, "x")[0][:6], "one entry rewritten, same index")
}

func TestGratuitousARPMovesANeighbour(t *testing.T) {
	b := newBench(t, nil)
	idx := b.resolve()
	b.input(arp(t, wire.BroadcastMAC(), 1, otherMAC, peer4, wire.MAC{}, peer4))
	require.Equal(t, ports.StateStale, b.state(peer4))
	require.Equal(t, otherMAC[:], b.send(idx, peer4, "x")[0][:6])
}

func TestUnaskedReplyDoesNotConfirmAChange(t *testing.T) {
	b := newBench(t, nil)
	b.resolve()
	b.input(arp(t, ourMAC, 2, otherMAC, peer4, ourMAC, our4))
	require.Equal(t, ports.StateStale, b.state(peer4))
}

func TestStaticNeighbour(t *testing.T) {
	b := newBench(t, func(c *ports.Config) {
		c.Neighbours = []ports.Neighbour{{Addr: netip.MustParseAddr("10.99.0.2"), MAC: peerMAC}}
	})
	idx := b.hop(peer4)
	require.Equal(t, ports.StatePermanent, b.state(peer4))
	b.input(arp(t, ourMAC, 2, otherMAC, peer4, ourMAC, our4))
	b.input(arp(t, wire.BroadcastMAC(), 1, otherMAC, peer4, wire.MAC{}, our4))
	require.NoError(t, b.port.SetNeighbour(b.now, peer4, otherMAC, false))
	b.now = b.now.Add(100 * vtime.Second)
	require.Equal(t, ports.StatePermanent, b.state(peer4))
	require.Equal(t, peerMAC[:], b.send(idx, peer4, "x")[0][:6])
	require.Equal(t, vtime.Never, b.host.NextDeadline())

	require.NoError(t, b.port.SetNeighbour(b.now, peer4, otherMAC, true))
	require.Equal(t, otherMAC[:], b.send(idx, peer4, "x")[0][:6])

	b.port.ForgetNeighbour(peer4)
	require.Equal(t, ports.StateNone, b.state(peer4))
	require.Empty(t, b.send(idx, peer4, "x"), "the old index finds the neighbour anew, unresolved")
	require.EqualValues(t, 1, b.count(ports.CountStaleIndex))
	require.Equal(t, ports.StateIncomplete, b.state(peer4))

	require.ErrorIs(t, b.port.SetNeighbour(b.now, addr("8.8.8.8"), otherMAC, true), ports.ErrNotOnLink)
	require.ErrorIs(t, b.port.SetNeighbour(b.now, our4, otherMAC, true), ports.ErrNotOnLink)
	require.ErrorIs(t, b.port.SetNeighbour(b.now, peer4, wire.BroadcastMAC(), true), ports.ErrInvalid)
}

func TestTableIsBoundedAndReused(t *testing.T) {
	b := newBench(t, func(c *ports.Config) { c.MaxNeighbours = 4 })
	at := func(i byte) wire.Addr { return wire.AddrFrom4([4]byte{10, 99, 0, i}) }
	first := b.hop(at(10))
	for i := byte(11); i < 30; i++ {
		b.hop(at(i)) // entries that nobody has used make room
	}
	require.Len(t, b.port.Neighbours(b.now), 4)
	// The first neighbour's slot has other occupants by now; the frame still finds its way.
	b.send(first, at(10), "x")
	require.EqualValues(t, 1, b.count(ports.CountStaleIndex))
	sent, _ := b.expire(0)
	require.Len(t, sent, 1)
	require.EqualValues(t, ip(at(10)), decode(t, sent[0]).Layer(layers.LayerTypeARP).(*layers.ARP).DstProtAddress)

	// Entries in use do not make room.
	for i := byte(40); i < 43; i++ {
		b.send(b.hop(at(i)), at(i), "x")
	}
	_, ok := b.host.NextHop(at(50))
	require.False(t, ok)
	require.EqualValues(t, 1, b.count(ports.CountTableFull))
	require.ErrorIs(t, b.port.SetNeighbour(b.now, at(51), peerMAC, true), ports.ErrTableFull)
}

func TestAnswerSeenByOneWorkerServesAll(t *testing.T) {
	b := newBench(t, func(c *ports.Config) { c.Workers = 2 })
	b.send(b.hop(peer4), peer4, "x")
	b.expire(0)
	other := b.port.Host(1)
	require.True(t, other.Input(b.now, &frame.Frame{Data: arp(t, ourMAC, 2, peerMAC, peer4, ourMAC, our4)}, b.q, &b.tx))
	require.LessOrEqual(t, b.host.NextDeadline(), b.now.Add(vtime.Millisecond), "looks soon")
	sent, _ := b.expire(vtime.Millisecond)
	require.Len(t, sent, 1)
	require.Equal(t, peerMAC[:], sent[0][:6])
}

func TestRoutes(t *testing.T) {
	b := newBench(t, nil)
	for remote, hop := range map[string]string{
		"10.99.0.2":    "10.99.0.2",
		"8.8.8.8":      "10.99.0.254",
		"192.0.2.77":   "10.99.0.253",
		"192.0.3.77":   "10.99.0.254",
		"fd99::42":     "fd99::42",
		"2001:db8::42": "fd99::fe",
	} {
		require.Equal(t, b.hop(addr(hop)), b.hop(addr(remote)), remote)
	}
	src, ok := b.port.SourceFor(addr("8.8.8.8"))
	require.True(t, ok)
	require.Equal(t, our4, src)
	src, ok = b.port.SourceFor(addr("2001:db8::1"))
	require.True(t, ok)
	require.Equal(t, our6, src)
	_, ok = b.host.NextHop(our4)
	require.False(t, ok)
	require.True(t, b.port.Owns(our4))
	require.True(t, b.port.Owns(our6))
	require.False(t, b.port.Owns(peer4))
	require.False(t, b.port.Routed(our4))

	b = newBench(t, func(c *ports.Config) { c.Routes = nil })
	_, ok = b.host.NextHop(addr("8.8.8.8"))
	require.False(t, ok)
	_, ok = b.port.SourceFor(addr("8.8.8.8"))
	require.False(t, ok)
	require.EqualValues(t, 1, b.count(ports.CountNoRoute))

	// The longest prefix counts, and a default route of one family is none for the other.
	b = newBench(t, func(c *ports.Config) {
		c.Routes = []ports.Route{{Dst: netip.MustParsePrefix("::/0"), Via: netip.MustParseAddr("fd99::fe")},
			{Dst: netip.MustParsePrefix("192.0.2.0/24"), Via: netip.MustParseAddr("10.99.0.254")}}
	})
	for remote, want := range map[string]int{"2001:db8::1": 0, "fd99::42": 64, "10.99.0.7": 96 + 24, "192.0.2.1": 96 + 24, "8.8.8.8": -1} {
		bits, ok := b.port.Route(addr(remote))
		if !ok {
			bits = -1
		}
		require.Equal(t, want, bits, remote)
	}
	_, ok = b.port.Route(our4)
	require.False(t, ok)
}

func TestSendDoesNotAllocate(t *testing.T) {
	b := newBench(t, nil)
	idx := b.resolve()
	var one frame.Burst
	b.q.Alloc(&one, 1)
	f := *one.At(0)
	f.Data = f.Data[:100]
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		b.host.Send(b.now, idx, &f, b.q, &b.tx)
		b.tx.Truncate(0)
		b.host.Confirm(b.now, idx)
		b.host.Expire(b.now, b.q, &b.tx)
		b.host.NextHop(peer4)
	}))
	b.q.out--
	request := frame.Frame{Data: arp(t, wire.BroadcastMAC(), 1, peerMAC, peer4, wire.MAC{}, our4)}
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		b.host.Input(b.now, &request, b.q, &b.tx)
		b.q.Transmit(&b.tx)
	}))
}

func BenchmarkSend(b *testing.B) {
	bench := newBench(b, nil)
	idx := bench.resolve()
	f := frame.Frame{Data: make([]byte, 1514)}
	for b.Loop() {
		bench.host.Send(bench.now, idx, &f, bench.q, &bench.tx)
		bench.tx.Truncate(0)
	}
}

func BenchmarkNextHop(b *testing.B) {
	bench := newBench(b, nil)
	bench.resolve()
	for b.Loop() {
		bench.host.NextHop(peer4)
	}
}
