package pmd_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
	"github.com/stretchr/testify/require"

	"opentoe/pmd"
	"opentoe/pmd/frame"
)

// writePcap makes a file of frames with the given lengths, each filled with its number.
func writePcap(t *testing.T, lengths ...int) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "in.pcap")
	f, err := os.Create(name)
	require.NoError(t, err)
	defer f.Close()
	w := pcapgo.NewWriter(f)
	require.NoError(t, w.WriteFileHeader(65536, layers.LinkTypeEthernet))
	for i, n := range lengths {
		ci := gopacket.CaptureInfo{Timestamp: time.Unix(1, 0), CaptureLength: n, Length: n}
		require.NoError(t, w.WritePacket(ci, bytes.Repeat([]byte{byte(i + 1)}, n)))
	}
	return name
}

// TestPcap receives from a file and sends to one, which gopacket reads back. A frame too long for
// one buffer arrives in segments and is dropped, by name.
func TestPcap(t *testing.T) {
	in := writePcap(t, 60, 1514, 5000, 61)
	out := filepath.Join(t.TempDir(), "out.pcap")
	p, err := eal.OpenPort(pmd.PortConfig{Device: fmt.Sprintf("net_pcap0,rx_pcap=%s,tx_pcap=%s", in, out)})
	require.NoError(t, err)
	q := p.Queue(0)
	var b frame.Burst
	require.Equal(t, 3, q.Receive(&b))
	require.EqualValues(t, 1, q.Counters().RxDropped)
	require.Equal(t, 3, q.Transmit(&b))
	require.NoError(t, p.Close())

	f, err := os.Open(out)
	require.NoError(t, err)
	defer f.Close()
	r, err := pcapgo.NewReader(f)
	require.NoError(t, err)
	for _, want := range []struct{ number, length int }{{1, 60}, {2, 1514}, {4, 61}} {
		data, _, err := r.ReadPacketData()
		require.NoError(t, err)
		require.Equal(t, bytes.Repeat([]byte{byte(want.number)}, want.length), data)
	}
	_, _, err = r.ReadPacketData()
	require.ErrorIs(t, err, io.EOF)
}

// TestJumboBuffers asks for an MTU that makes the same frame fit.
func TestJumboBuffers(t *testing.T) {
	q := open(t, pmd.PortConfig{
		Device: "net_pcap0,rx_pcap=" + writePcap(t, 5000), MTU: 5000 - 14,
	}).Queue(0)
	var b frame.Burst
	require.Equal(t, 1, q.Receive(&b))
	require.Len(t, b.At(0).Data, 5000)
	q.Free(&b)
}

func TestQueuesOfAPortAreSeparate(t *testing.T) {
	p := open(t, pmd.PortConfig{Device: "net_ring0", RxQueues: 2})
	require.Equal(t, 2, p.Queues())
	var b frame.Burst
	for i := range 2 {
		fill(t, p.Queue(i), &b, i+1)
		require.Equal(t, i+1, p.Queue(i).Transmit(&b))
	}
	for i := range 2 {
		require.Equal(t, i, p.Queue(i).Index())
		require.Equal(t, i+1, p.Queue(i).Receive(&b))
		p.Queue(i).Free(&b)
	}
}

// TestOffloadsAreWhatDeviceAndUserAgreeOn uses net_null, which claims receive-side scaling.
func TestOffloadsAreWhatDeviceAndUserAgreeOn(t *testing.T) {
	all := pmd.Offloads{RxChecksum: true, TxChecksum: true, TSO: true, RSS: true}
	p := open(t, pmd.PortConfig{Device: "net_null0", RxQueues: 2, Offloads: all})
	require.Equal(t, pmd.Offloads{RSS: true}, p.Capabilities())
	require.Equal(t, p.Capabilities(), p.Enabled())
	rss, ok := p.RSS()
	require.True(t, ok)
	require.EqualValues(t, 0x6d, rss.Key[0])
	require.EqualValues(t, 0xfa, rss.Key[39])
	require.NotEmpty(t, rss.Table)
	for _, q := range rss.Table {
		require.Less(t, q, uint16(2))
	}
	require.Equal(t, "net_null", p.Driver())
	require.Empty(t, p.WaitFDs())
	require.True(t, p.Link().Up)

	var b frame.Burst
	require.Equal(t, frame.MaxBurst, p.Queue(1).Receive(&b)) // net_null never runs dry
	require.Equal(t, frame.MaxBurst, p.Queue(1).Transmit(&b))
	require.EqualValues(t, frame.MaxBurst, p.Stats().RxFrames)
	named := map[string]uint64{}
	for _, x := range p.XStats() {
		named[x.Name] = x.Value
	}
	require.EqualValues(t, frame.MaxBurst, named["tx_q1_packets"])

	one := open(t, pmd.PortConfig{Device: "net_null1", Offloads: all})
	require.False(t, one.Enabled().RSS, "one queue needs no spreading")
	_, ok = one.RSS()
	require.False(t, ok)
}

func TestPortsComeAndGo(t *testing.T) {
	for range 10 {
		p, err := eal.OpenPort(pmd.PortConfig{Device: "net_ring0"})
		require.NoError(t, err)
		require.NoError(t, p.Close())
	}
}
