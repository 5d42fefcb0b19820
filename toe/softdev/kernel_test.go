package softdev

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"opentoe/pmd/frame"
	"opentoe/ports"
	"opentoe/tcpoffload"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
	"opentoe/toe"
)

// fakeKernel is the kernel's end of an exception path.
type fakeKernel struct {
	up       [][]byte // frames that came up
	down     [][]byte // frames to go down
	sleeping bool
	slept    int
	fd       int
	mute     bool // do not keep what comes up
}

func (k *fakeKernel) Up(_ vtime.Time, f *frame.Frame) {
	if !k.mute {
		k.up = append(k.up, slices.Clone(f.Data))
	}
}

func (k *fakeKernel) Down(blank, tx *frame.Burst) (n int) {
	for tx.Room() > 0 && blank.Len() > 0 && len(k.down) > 0 {
		f := *blank.At(blank.Len() - 1)
		blank.Truncate(blank.Len() - 1)
		f.Data = append(f.Data, k.down[0]...)
		*tx.Push() = f
		k.down = k.down[1:]
		n++
	}
	return n
}

func (k *fakeKernel) Waiting() bool { return len(k.down) > 0 }
func (k *fakeKernel) Sleep()        { k.sleeping = true; k.slept++ }
func (k *fakeKernel) Awake()        { k.sleeping = false }
func (k *fakeKernel) WaitFD() int   { return k.fd }

// newShared is a pair whose end 1 shares its port with the kernel returned.
func newShared(t testing.TB, static bool) (*pair, *fakeKernel) {
	p := newPair(t, static)
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	require.NoError(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	k := &fakeKernel{fd: fd}
	d, err := New(Config{
		Name: "toe0", MaxConns: 64, MaxListeners: 4, Tunables: tcpoffload.DefaultTunables(),
		Ports: []PortQueues{{Port: testPort(t, 1, static), Queues: []ports.Queue{p.q[1]}, Kernel: []ports.KernelEnd{k}}},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	p.dev[1], p.w[1] = d, d.workers[0]
	p.up[1] = &fakeUpper{dev: d, rcvbuf: 64 << 10, sndbuf: 256 << 10}
	w := p.w[1]
	w.up, w.now = p.up[1], p.now
	w.clock = func() vtime.Time { return p.now }
	w.mail.start()
	return p, k
}

// What is neither a connection's nor a listener's reaches the kernel as it came, and nobody else answers.
func TestWhatTheKernelGets(t *testing.T) {
	change := func(f func(s *segment)) segment { s := synTo80(); f(&s); return s }
	spoil := func(f func(b []byte) []byte) segment { return change(func(s *segment) { s.spoil = f }) }
	other := wire.MAC{2, 0, 0, 0, 0, 9}
	for _, c := range []struct {
		name string
		s    segment
		up   bool
		drop Drop
	}{
		{"SYN to the listener", synTo80(), false, NumDrops},
		{"SYN to nobody", change(func(s *segment) { s.tcp.DstPort = 81 }), true, NumDrops},
		{"ACK to the listener", change(func(s *segment) { s.tcp.SYN, s.tcp.ACK = false, true }), true, NumDrops},
		{"RST to the listener", change(func(s *segment) { s.tcp.SYN, s.tcp.RST = false, true }), true, NumDrops},
		{"text to the listener", change(func(s *segment) { s.tcp.SYN, s.tcp.ACK, s.payload = false, true, []byte("text") }), true, NumDrops},
		{"SYN from where no route leads", change(func(s *segment) { s.src = netip.MustParseAddr("192.0.2.7") }), true, NumDrops},
		{"another address of the host", change(func(s *segment) { s.dst = netip.MustParseAddr("10.9.0.3") }), true, NumDrops},
		{"broadcast", change(func(s *segment) { s.dstMAC = wire.BroadcastMAC() }), true, NumDrops},
		{"multicast", change(func(s *segment) { s.dstMAC = wire.MAC{1, 0, 0x5e, 0, 0, 1} }), true, NumDrops},
		{"another station", change(func(s *segment) { s.dstMAC = other }), false, DropNotOurMAC},
		{"unknown protocol", spoil(func(b []byte) []byte { b[12], b[13] = 0x88, 0xcc; return b }), true, NumDrops},
		{"unknown protocol for another station", change(func(s *segment) {
			s.dstMAC, s.spoil = other, func(b []byte) []byte { b[12], b[13] = 0x88, 0xcc; return b }
		}), false, DropNotOurMAC},
		{"a VLAN", spoil(func(b []byte) []byte { return slices.Insert(b, 12, 0x81, 0, 0, 5) }), true, NumDrops},
		{"UDP", spoil(func(b []byte) []byte { b[23] = 17; return b }), true, NumDrops},
		{"IP checksum", spoil(func(b []byte) []byte { b[24] ^= 1; return b }), true, NumDrops},
		{"TCP checksum", spoil(func(b []byte) []byte { b[50] ^= 1; return b }), true, NumDrops},
		{"cut in the TCP header", spoil(func(b []byte) []byte { return b[:40] }), true, NumDrops},
		{"cut in the Ethernet header", spoil(func(b []byte) []byte { return b[:10] }), false, DropUnknownProtocol},
		{"a fragment", spoil(func(b []byte) []byte { return fragment(b, 0x2000) }), true, NumDrops},
		{"a later fragment", spoil(func(b []byte) []byte { return fragment(b, 7) }), true, NumDrops},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, k := newShared(t, true)
			p.listen(1)
			b := buildFrame(t, c.s)
			p.q[1].in.put(slices.Clone(b))
			p.turn(1)
			if c.up {
				require.Equal(t, [][]byte{b}, k.up)
				require.Zero(t, p.q[1].sent, "somebody answered")
			} else {
				require.Empty(t, k.up)
			}
			var drops [NumDrops]uint64
			if c.drop != NumDrops {
				drops[c.drop] = 1
			}
			require.Equal(t, drops, p.w[1].count.Drops)
			require.Equal(t, [tcpoffload.NumDropReasons]uint64{}, *p.w[1].eng.Drops())
		})
	}
}

// fragment makes an IPv4 frame a fragment, its checksum right.
func fragment(b []byte, field uint16) []byte {
	ip := b[14:34]
	ip[6], ip[7], ip[10], ip[11] = byte(field>>8), byte(field), 0, 0
	sum := ^wire.Fold(wire.Sum(ip, 0))
	ip[10], ip[11] = byte(sum>>8), byte(sum)
	return b
}

// A frame whose checksum the device found wrong is the kernel's to judge.
func TestDeviceChecksumGoesUp(t *testing.T) {
	p, k := newShared(t, true)
	b := buildFrame(t, synTo80())
	w := p.w[1]
	w.in = &w.lanes[0]
	w.input(w.in, &frame.Frame{Data: b, Flags: frame.RxL4CsumBad})
	require.Len(t, k.up, 1)
	require.Zero(t, w.count.Drops[DropDeviceChecksum])
}

// A connection lives beside the kernel; once it is gone its segments are the kernel's. A first fragment of
// it is not: the kernel would refuse it.
func TestConnectionBesideTheKernel(t *testing.T) {
	p, k := newShared(t, true)
	p.listen(1)
	client, server := p.open(100_000, 100_000)
	p.run(vtime.Minute, func() bool { return client.done(100_000) && server.done(100_000) })
	require.Empty(t, k.up)

	s := synTo80()
	s.tcp.SYN, s.tcp.ACK = false, true
	s.tcp.SrcPort = layers.TCPPort(client.flow.LocalPort)
	s.spoil = func(b []byte) []byte { return fragment(b, 0x2000) }
	b := buildFrame(t, s)
	p.q[1].in.put(slices.Clone(b))
	p.turn(1)
	require.Empty(t, k.up)
	require.EqualValues(t, 1, p.w[1].count.Verdicts[wire.VerdictFragment])

	p.finish(vtime.Minute, client, server)
	require.Empty(t, k.up)
	p.run(5*vtime.Minute, func() bool { return p.w[1].eng.TimeWaits() == 0 && p.w[0].eng.TimeWaits() == 0 })
	p.q[1].in.put(slices.Clone(b))
	p.turn(1)
	require.Len(t, k.up, 1, "the connection is gone")
}

// Segments that were merged go up one by one, each as it came.
func TestTrainGoesUpInPieces(t *testing.T) {
	p, k := newShared(t, true)
	p.listen(1)
	var want [][]byte
	for i := range 10 {
		s := synTo80()
		s.tcp.SYN, s.tcp.ACK, s.tcp.Seq, s.payload = false, true, uint32(1000+100*i), make([]byte, 100)
		s.payload[0] = byte(i)
		b := buildFrame(t, s)
		want = append(want, slices.Clone(b))
		p.q[1].in.put(b)
	}
	p.turn(1)
	require.Equal(t, want, k.up)
	require.Zero(t, p.w[1].count.Merged, "none reached the engine")
	require.Zero(t, p.q[1].sent)
}

// An ICMP error about a connection reaches the engine and the kernel; one about the kernel's own traffic
// is no drop.
func TestICMPErrorGoesBothWays(t *testing.T) {
	p, k := newShared(t, true)
	p.listen(1)
	client, server := p.open(1, 1)
	p.run(vtime.Second, func() bool { return client.done(1) && server.done(1) })
	k.up = nil
	p.q[1].in.put(tooBig(t, server.flow, 1400))
	p.turn(1)
	require.Len(t, k.up, 1)
	require.EqualValues(t, 1, p.w[1].count.Drops[DropICMPUnknown], "the engine saw that it quotes nothing in flight")
	nobody := server.flow
	nobody.LocalPort++
	p.q[1].in.put(tooBig(t, nobody, 1400))
	p.turn(1)
	require.Len(t, k.up, 2)
	require.EqualValues(t, 1, p.w[1].count.Drops[DropICMPUnknown])
}

// tooBig is an ICMP error to end 1 that quotes a segment of flow f.
func tooBig(t *testing.T, f wire.Flow, mtu uint16) []byte {
	quoted := buildFrame(t, segment{src: f.Local.Netip(), dst: f.Remote.Netip(), srcMAC: macs[1], dstMAC: macs[0],
		tcp: layers.TCP{SrcPort: layers.TCPPort(f.LocalPort), DstPort: layers.TCPPort(f.RemotePort), ACK: true}})
	eth := layers.Ethernet{SrcMAC: macs[0][:], DstMAC: macs[1][:], EthernetType: layers.EthernetTypeIPv4}
	ip := layers.IPv4{Version: 4, IHL: 5, TTL: 64, Protocol: layers.IPProtocolICMPv4, SrcIP: addr4[0].AsSlice(), DstIP: addr4[1].AsSlice()}
	msg := layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 4), Seq: mtu}
	buf := gopacket.NewSerializeBuffer()
	require.NoError(t, gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&eth, &ip, &msg, gopacket.Payload(quoted[14:])))
	return buf.Bytes()
}

// What the kernel sends leaves by the port, sniffers see it, and a flood of it does not starve
// connections.
func TestKernelSends(t *testing.T) {
	p, k := newShared(t, true)
	var seen recorder
	p.dev[1].SetTaps(&seen)
	hello := buildFrame(t, segment{srcMAC: macs[1], dstMAC: macs[0], src: addr4[1], dst: addr4[0], tcp: layers.TCP{SrcPort: 9, DstPort: 9, ACK: true}})
	k.down = [][]byte{hello}
	p.turn(1)
	require.Equal(t, 1, p.q[1].sent)
	require.Len(t, seen.list, 1)
	require.Equal(t, toe.Transmit, seen.list[0].dir)
	require.Equal(t, hello, seen.list[0].packet)
	p.dev[1].SetTaps()

	p.listen(1)
	client, server := p.open(200_000, 200_000)
	flood := 0
	p.run(vtime.Minute, func() bool {
		for len(k.down) < 200 {
			k.down = append(k.down, hello)
			flood++
		}
		return client.done(200_000) && server.done(200_000)
	})
	require.Greater(t, flood, 1000)
	before := p.q[1].sent
	p.turn(1)
	require.LessOrEqual(t, p.q[1].sent-before, frame.MaxBurst, "an iteration takes a burst at most")
}

// A worker does not fall asleep over frames of the kernel, and says so before it sleeps.
func TestKernelKeepsAwake(t *testing.T) {
	p, k := newShared(t, true)
	w := p.w[1]
	w.clock = func() vtime.Time { return p.now }
	w.waiter.deaf, w.waiter.interval = true, 1 // ns: returns at once
	w.sleep()
	require.Equal(t, [2]any{1, false}, [2]any{k.slept, k.sleeping})
	require.EqualValues(t, 1, w.count.Sleeps)
	k.down = [][]byte{make([]byte, 60)}
	w.sleep()
	require.Equal(t, [2]any{2, false}, [2]any{k.slept, k.sleeping})
	require.EqualValues(t, 1, w.count.Sleeps, "it did not block")
}

// The kernel's wake-up ends a sleep.
func TestKernelWakes(t *testing.T) {
	p, k := newShared(t, true)
	w := p.w[1]
	w.waiter.deaf = false
	_, err := unix.Write(k.fd, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	require.NoError(t, err)
	require.True(t, w.waiter.block(vtime.Duration(vtime.Minute)))
}

func TestNoAllocationsBesideTheKernel(t *testing.T) {
	p, k := newShared(t, true)
	k.mute = true
	p.listen(1)
	stray := buildFrame(t, func() segment { s := synTo80(); s.tcp.DstPort = 81; return s }())
	f := frame.Frame{Data: stray}
	w := p.w[1]
	w.in = &w.lanes[0]
	require.Zero(t, testing.AllocsPerRun(100, func() { w.input(w.in, &f) }))
}

// A SYN for which the socket layer has no room is the kernel's; where there is none it is dropped, and finds
// room when it comes again. The connection table counts for itself.
func TestNoRoomForASyn(t *testing.T) {
	b := buildFrame(t, synTo80())
	t.Run("shared", func(t *testing.T) {
		p, k := newShared(t, true)
		p.listen(1)
		p.up[1].noRoom = toe.ReasonNoMemory
		p.q[1].in.put(slices.Clone(b))
		p.turn(1)
		require.Equal(t, [][]byte{b}, k.up)
		require.Zero(t, p.q[1].sent)
		require.Equal(t, []int{0}, p.up[1].asked)
		require.EqualValues(t, 1, p.w[1].count.LeftNoRoom)
		p.up[1].noRoom = toe.Offloaded
		p.q[1].in.put(slices.Clone(b))
		p.turn(1)
		require.Len(t, k.up, 1)
		require.Equal(t, 1, p.w[1].eng.HalfOpens())
	})
	t.Run("alone", func(t *testing.T) {
		p := newPair(t, true)
		p.listen(1)
		p.up[1].noRoom = toe.ReasonNoMemory
		p.connect(0, addr4[0], addr4[1], 100)
		p.run(vtime.Second, func() bool { return p.w[1].count.LeftNoRoom > 0 })
		require.Equal(t, p.w[1].count.LeftNoRoom, p.w[1].eng.Drops()[tcpoffload.DropNoRoom])
		p.up[1].noRoom = toe.Offloaded
		p.run(10*vtime.Second, func() bool { return p.up[1].accepted == 1 })
	})
	t.Run("table", func(t *testing.T) {
		p, k := newShared(t, true)
		p.listen(1)
		for p.w[1].eng.Conns() < 64 {
			p.connect(1, addr4[1], addr4[0], 0)
		}
		p.q[1].in.put(slices.Clone(b))
		p.turn(1)
		require.Len(t, k.up, 1)
		require.EqualValues(t, 1, p.w[1].count.LeftTableFull)
		require.Empty(t, p.up[1].asked)
	})
}

// While the kernel has taken an address away, segments of connections from it are nobody's: the kernel may have
// the address again a moment before the port, and would reset them. Others are the kernel's.
func TestForeignSegmentsOfConnections(t *testing.T) {
	p, k := newShared(t, true)
	p.listen(1)
	client, server := p.open(10, 10)
	p.run(vtime.Second, func() bool { return client.done(10) && server.done(10) })
	v := p.dev[1].cfg.Ports[0].Port.View()
	addresses := v.Addresses
	v.Addresses = nil
	require.NoError(t, p.dev[1].cfg.Ports[0].Port.Apply(v))
	s := synTo80()
	s.tcp.SrcPort, s.tcp.SYN, s.tcp.ACK = layers.TCPPort(client.flow.LocalPort), false, true
	p.q[1].in.put(buildFrame(t, s))
	p.turn(1)
	require.Empty(t, k.up)
	require.EqualValues(t, 1, p.w[1].count.Drops[DropNotOurAddress])
	s.tcp.SrcPort = 9
	p.q[1].in.put(buildFrame(t, s))
	p.turn(1)
	require.Len(t, k.up, 1)
	v.Addresses = addresses
	require.NoError(t, p.dev[1].cfg.Ports[0].Port.Apply(v))
}
