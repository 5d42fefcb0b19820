package ports_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/bpf"

	"opentoe/pmd/frame"
	"opentoe/ports"
	"opentoe/tcpoffload/vtime"
	"opentoe/toe"
)

const epoch = 1_700_000_000_000_000_000

// tcpFrame is a TCP segment over IPv4 built by gopacket.
func tcpFrame(t testing.TB, dstPort uint16, payload []byte) []byte {
	t.Helper()
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP,
		SrcIP: []byte{10, 99, 0, 2}, DstIP: []byte{10, 99, 0, 1}}
	tcp := &layers.TCP{SrcPort: 40000, DstPort: layers.TCPPort(dstPort), Seq: 7, ACK: true, Window: 512}
	require.NoError(t, tcp.SetNetworkLayerForChecksum(ip))
	buf := gopacket.NewSerializeBuffer()
	require.NoError(t, gopacket.SerializeLayers(buf,
		gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{SrcMAC: peerMAC[:], DstMAC: ourMAC[:], EthernetType: layers.EthernetTypeIPv4},
		ip, tcp, gopacket.Payload(payload)))
	return bytes.Clone(buf.Bytes())
}

func frames(data ...[]byte) []frame.Frame {
	list := make([]frame.Frame, len(data))
	for i := range data {
		list[i].Data = data[i]
	}
	return list
}

// captured is one packet as gopacket reads it back.
type captured struct {
	info gopacket.CaptureInfo
	data []byte
}

func readPcapng(t testing.TB, b []byte) (list []captured, iface pcapgo.NgInterface) {
	t.Helper()
	r, err := pcapgo.NewNgReader(bytes.NewReader(b), pcapgo.NgReaderOptions{})
	require.NoError(t, err)
	for {
		data, info, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) {
			iface, err = r.Interface(0)
			require.NoError(t, err)
			return list, iface
		}
		require.NoError(t, err)
		list = append(list, captured{info, data})
	}
}

func newMirror(t testing.TB, cfg ports.MirrorConfig) *ports.Mirror {
	t.Helper()
	m, err := ports.NewMirror(cfg)
	require.NoError(t, err)
	t.Cleanup(m.Close)
	return m
}

func TestMirrorStreamIsReadByGopacket(t *testing.T) {
	m := newMirror(t, ports.MirrorConfig{Ports: []string{"toe0"}, Workers: 2, Epoch: epoch})
	var out bytes.Buffer
	s, err := m.AddSink(&out, ports.SinkOptions{SnapLen: 100, Comment: "port 80"})
	require.NoError(t, err)
	a, b, c := tcpFrame(t, 80, nil), tcpFrame(t, 81, make([]byte, 1000)), tcpFrame(t, 82, []byte("x"))
	// The workers' rings are merged by time, whatever the order of the calls.
	m.Tap(1, 0, toe.Transmit, 2000, frames(b))
	m.Tap(0, 0, toe.Receive, 1001, frames(a, c))
	require.NoError(t, s.Close())

	list, iface := readPcapng(t, out.Bytes())
	require.Len(t, list, 3)
	require.Equal(t, "toe0", iface.Name)
	want := []struct {
		at   int64
		data []byte
	}{{1001, a}, {1001, c}, {2000, b}}
	for i, w := range want {
		require.Equal(t, w.at+epoch, list[i].info.Timestamp.UnixNano())
		require.Equal(t, len(w.data), list[i].info.Length)
		require.Equal(t, w.data[:min(100, len(w.data))], list[i].data)
	}
	require.Equal(t, ports.SinkStats{Seen: 3, Accepted: 3, Written: 3}, s.Stats())
	require.Equal(t, ports.MirrorStats{Seen: 3}, m.Stats())
	require.EqualValues(t, 3, iface.Statistics.PacketsReceived)
	require.EqualValues(t, 0, iface.Statistics.PacketsDropped)
}

// Frames of several ports stand under an interface each, with statistics of its own.
func TestMirrorTellsPortsApart(t *testing.T) {
	m := newMirror(t, ports.MirrorConfig{Ports: []string{"toe0", "toe1"}, Workers: 2, Epoch: epoch})
	var out bytes.Buffer
	s, err := m.AddSink(&out, ports.SinkOptions{})
	require.NoError(t, err)
	m.Tap(0, 0, toe.Receive, 1, frames(tcpFrame(t, 80, nil)))
	m.Tap(0, 1, toe.Receive, 2, frames(tcpFrame(t, 81, nil), tcpFrame(t, 81, nil)))
	m.Tap(1, 1, toe.Transmit, 3, frames(tcpFrame(t, 82, make([]byte, 1400))))
	require.NoError(t, s.Close())

	r, err := pcapgo.NewNgReader(&out, pcapgo.NgReaderOptions{})
	require.NoError(t, err)
	for _, want := range []int{0, 1, 1, 1} {
		_, info, err := r.ReadPacketData()
		require.NoError(t, err)
		require.Equal(t, want, info.InterfaceIndex)
	}
	_, _, err = r.ReadPacketData()
	require.ErrorIs(t, err, io.EOF)
	for i, want := range []uint64{1, 3} {
		iface, err := r.Interface(i)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("toe%d", i), iface.Name)
		require.Equal(t, want, iface.Statistics.PacketsReceived)
	}
	require.Equal(t, ports.MirrorStats{Seen: 4}, m.Stats())
	require.Equal(t, ports.SinkStats{Seen: 4, Accepted: 4, Written: 4}, s.Stats())
	_, err = ports.NewMirror(ports.MirrorConfig{Workers: 1})
	require.ErrorIs(t, err, ports.ErrInvalid)
}

func TestMirrorFileIsReadByTcpdump(t *testing.T) {
	m := newMirror(t, ports.MirrorConfig{Ports: []string{"toe0"}, Workers: 1, Epoch: epoch})
	path := filepath.Join(t.TempDir(), "x.pcapng")
	f, err := os.Create(path)
	require.NoError(t, err)
	s, err := m.AddSink(f, ports.SinkOptions{})
	require.NoError(t, err)
	m.Tap(0, 0, toe.Receive, 123456789, frames(tcpFrame(t, 80, []byte("hello"))))
	m.Tap(0, 0, toe.Transmit, 123456790, frames(tcpFrame(t, 81, nil)))
	require.NoError(t, s.Close())
	require.NoError(t, f.Close())
	text, err := exec.Command("tcpdump", "-nn", "-tt", "--nano", "-r", path).CombinedOutput()
	require.NoError(t, err, "%s", text)
	require.Contains(t, string(text), "1700000000.123456789")
	require.Contains(t, string(text), "IP 10.99.0.2.40000 > 10.99.0.1.80: Flags [.], seq 7:12")
	require.Contains(t, string(text), "10.99.0.1.81")
}

func TestMirrorDirectionIsReadByTshark(t *testing.T) {
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("tshark is not installed")
	}
	m := newMirror(t, ports.MirrorConfig{Ports: []string{"toe0"}, Workers: 1, Epoch: epoch})
	var out bytes.Buffer
	s, err := m.AddSink(&out, ports.SinkOptions{})
	require.NoError(t, err)
	m.Tap(0, 0, toe.Receive, 1, frames(tcpFrame(t, 80, nil)))
	m.Tap(0, 0, toe.Transmit, 2, frames(tcpFrame(t, 80, nil)))
	require.NoError(t, s.Close())
	cmd := exec.Command(tshark, "-r", "-", "-T", "fields", "-e", "frame.packet_flags_direction",
		"-e", "frame.interface_name")
	cmd.Stdin = &out
	text, err := cmd.Output()
	require.NoError(t, err)
	require.Equal(t, "0x00000001\ttoe0\n0x00000002\ttoe0\n",
		strings.ReplaceAll(string(text), "\r", ""))
}

func TestMirrorFilter(t *testing.T) {
	prog, err := ports.CompileFilter(context.Background(), "tcp dst port 81 and greater 200")
	require.NoError(t, err)
	m := newMirror(t, ports.MirrorConfig{Ports: []string{"toe0"}, Workers: 1, Epoch: epoch})
	var all, some bytes.Buffer
	s1, err := m.AddSink(&all, ports.SinkOptions{SnapLen: 60})
	require.NoError(t, err)
	// The filter sees the whole frame though both sinks keep little of it.
	s2, err := m.AddSink(&some, ports.SinkOptions{SnapLen: 70, Filter: prog})
	require.NoError(t, err)
	m.Tap(0, 0, toe.Receive, 1, frames(tcpFrame(t, 80, make([]byte, 300)), tcpFrame(t, 81, nil),
		tcpFrame(t, 81, make([]byte, 300))))
	require.NoError(t, s1.Close())
	require.NoError(t, s2.Close())
	list, _ := readPcapng(t, all.Bytes())
	require.Len(t, list, 3)
	list, _ = readPcapng(t, some.Bytes())
	require.Len(t, list, 1)
	require.Len(t, list[0].data, 70)
	require.Equal(t, 354, list[0].info.Length)
	require.Equal(t, ports.SinkStats{Seen: 3, Accepted: 1, Written: 1}, s2.Stats())
}

func TestCompileFilterComplaints(t *testing.T) {
	_, err := ports.CompileFilter(context.Background(), "tcp dst port (")
	require.ErrorIs(t, err, ports.ErrBadFilter)
	require.Contains(t, err.Error(), "syntax error")
	_, err = ports.CompileFilter(context.Background(), "-w /tmp/x")
	require.ErrorIs(t, err, ports.ErrBadFilter, "an expression must not be taken for an option")
	prog, err := ports.CompileFilter(context.Background(), "  ")
	require.NoError(t, err)
	require.Nil(t, prog)
	t.Setenv("PATH", t.TempDir())
	_, err = ports.CompileFilter(context.Background(), "tcp")
	require.ErrorContains(t, err, "tcpdump is needed")

	m := newMirror(t, ports.MirrorConfig{Ports: []string{"toe0"}, Workers: 1})
	for name, prog := range map[string][]bpf.RawInstruction{
		"empty":    {},
		"no end":   {{Op: 0x28, K: 12}},
		"far jump": {{Op: 0x05, K: 100}, {Op: 0x06}},
		"nonsense": {{Op: 0xe1}, {Op: 0x06}},
		"too long": make([]bpf.RawInstruction, 5000),
	} {
		_, err := m.AddSink(io.Discard, ports.SinkOptions{Filter: prog})
		require.ErrorIs(t, err, ports.ErrBadFilter, name)
	}
	_, err = m.AddSink(io.Discard, ports.SinkOptions{SnapLen: -1})
	require.ErrorIs(t, err, ports.ErrInvalid)
}

// stuckWriter takes nothing until it is released.
type stuckWriter struct {
	entered, release chan struct{}
	once             sync.Once
	buf              bytes.Buffer
}

func (w *stuckWriter) Write(b []byte) (int, error) {
	w.once.Do(func() { close(w.entered) })
	<-w.release
	return w.buf.Write(b)
}

func TestSlowSinkLosesItsOwnFramesOnly(t *testing.T) {
	m := newMirror(t, ports.MirrorConfig{Ports: []string{"toe0"}, Workers: 1, Epoch: epoch})
	w := &stuckWriter{entered: make(chan struct{}), release: make(chan struct{})}
	slow, err := m.AddSink(w, ports.SinkOptions{})
	require.NoError(t, err)
	<-w.entered // it has taken the header and blocks
	var quickOut bytes.Buffer
	quick, err := m.AddSink(&quickOut, ports.SinkOptions{SnapLen: 64})
	require.NoError(t, err)
	// More than the slow sink's buffer takes, in portions that the ring takes.
	burst := frames(tcpFrame(t, 80, make([]byte, 1400)))
	const rounds = 8000
	for i := range rounds {
		m.Tap(0, 0, toe.Receive, vtime.Time(i), burst)
		if i%1000 == 0 {
			waitFor(t, func() bool { return quick.Stats().Seen == uint64(i+1) })
		}
	}
	require.NoError(t, quick.Close())
	require.Equal(t, ports.SinkStats{Seen: rounds, Accepted: rounds, Written: rounds}, quick.Stats())
	close(w.release)
	require.NoError(t, slow.Close())
	st := slow.Stats()
	require.EqualValues(t, rounds, st.Accepted)
	require.Positive(t, st.Dropped)
	require.Equal(t, st.Accepted, st.Written+st.Dropped)
	list, iface := readPcapng(t, w.buf.Bytes())
	require.Len(t, list, int(st.Written))
	require.Equal(t, st.Dropped, iface.Statistics.PacketsDropped)
	require.EqualValues(t, rounds, iface.Statistics.PacketsReceived)
}

// waitFor yields until cond holds.
func waitFor(t testing.TB, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		require.True(t, time.Now().Before(end), "gave up waiting")
	}
}

func TestFullRingLosesAndCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, err := ports.NewMirror(ports.MirrorConfig{Ports: []string{"toe0"}, Workers: 1, Epoch: epoch, Ring: 256 << 10})
		require.NoError(t, err)
		defer m.Close()
		var out bytes.Buffer
		s, err := m.AddSink(&out, ports.SinkOptions{})
		require.NoError(t, err)
		// One call offers more than the ring holds, so the mirror cannot have emptied it meanwhile.
		many := make([]frame.Frame, 400)
		for i := range many {
			many[i].Data = make([]byte, 1500)
		}
		m.Tap(0, 0, toe.Receive, 1, many)
		require.NoError(t, s.Close())
		st := s.Stats()
		require.EqualValues(t, 400, st.Written+st.Lost)
		require.EqualValues(t, (256<<10)/1520, st.Written)
		require.Equal(t, ports.MirrorStats{Seen: 400, Lost: st.Lost}, m.Stats())
		_, iface := readPcapng(t, out.Bytes())
		require.Equal(t, st.Lost, iface.Statistics.PacketsDropped)
		require.EqualValues(t, 400, iface.Statistics.PacketsReceived)
	})
}

func TestTapIsInstalledOnlyWithSinks(t *testing.T) {
	var log []bool
	m := newMirror(t, ports.MirrorConfig{Ports: []string{"toe0"}, Workers: 1, Install: func(on bool) { log = append(log, on) }})
	a, err := m.AddSink(io.Discard, ports.SinkOptions{})
	require.NoError(t, err)
	b, err := m.AddSink(io.Discard, ports.SinkOptions{})
	require.NoError(t, err)
	require.NoError(t, a.Close())
	require.NoError(t, a.Close(), "closing twice is harmless")
	require.Equal(t, []bool{true}, log)
	require.NoError(t, b.Close())
	require.Equal(t, []bool{true, false}, log)
	_, err = m.AddSink(io.Discard, ports.SinkOptions{})
	require.NoError(t, err)
	m.Close()
	require.Equal(t, []bool{true, false, true, false}, log)
	_, err = m.AddSink(io.Discard, ports.SinkOptions{})
	require.ErrorIs(t, err, ports.ErrClosed)
}

func TestTooManySinks(t *testing.T) {
	m := newMirror(t, ports.MirrorConfig{Ports: []string{"toe0"}, Workers: 1})
	for range 16 {
		_, err := m.AddSink(io.Discard, ports.SinkOptions{})
		require.NoError(t, err)
	}
	_, err := m.AddSink(io.Discard, ports.SinkOptions{})
	require.ErrorIs(t, err, ports.ErrTooManySinks)
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestBrokenSinkEndsItself(t *testing.T) {
	off := make(chan struct{})
	m := newMirror(t, ports.MirrorConfig{Ports: []string{"toe0"}, Workers: 1, Install: func(on bool) {
		if !on {
			close(off)
		}
	}})
	s, err := m.AddSink(brokenWriter{}, ports.SinkOptions{})
	require.NoError(t, err)
	<-s.Done()
	<-off
	require.ErrorIs(t, s.Close(), io.ErrClosedPipe)
}

func TestIdleMirrorIsWokenByAFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, err := ports.NewMirror(ports.MirrorConfig{Ports: []string{"toe0"}, Workers: 1, Epoch: epoch})
		require.NoError(t, err)
		defer m.Close()
		s, err := m.AddSink(io.Discard, ports.SinkOptions{})
		require.NoError(t, err)
		time.Sleep(time.Minute) // of virtual time: the mirror has gone to sleep
		synctest.Wait()
		m.Tap(0, 0, toe.Receive, 1, frames(make([]byte, 60)))
		synctest.Wait()
		require.EqualValues(t, 1, s.Stats().Written)
		require.NoError(t, s.Close())
	})
}

func TestTapDoesNotAllocate(t *testing.T) {
	m := newMirror(t, ports.MirrorConfig{Ports: []string{"toe0"}, Workers: 1})
	prog, err := ports.CompileFilter(context.Background(), "udp")
	require.NoError(t, err)
	_, err = m.AddSink(io.Discard, ports.SinkOptions{Filter: prog})
	require.NoError(t, err)
	burst := frames(tcpFrame(t, 80, nil), tcpFrame(t, 80, make([]byte, 1400)))
	require.Zero(t, testing.AllocsPerRun(1000, func() { m.Tap(0, 0, toe.Receive, 1, burst) }))
}

func BenchmarkTap(b *testing.B) {
	for name, sniffing := range map[string]bool{"installed": true, "idle": false} {
		b.Run(name, func(b *testing.B) {
			m := newMirror(b, ports.MirrorConfig{Ports: []string{"toe0"}, Workers: 1})
			if sniffing {
				_, err := m.AddSink(io.Discard, ports.SinkOptions{})
				require.NoError(b, err)
			}
			burst := make([]frame.Frame, 32)
			for i := range burst {
				burst[i].Data = make([]byte, 1514)
			}
			b.SetBytes(32 * 1514)
			for b.Loop() {
				m.Tap(0, 0, toe.Receive, 1, burst)
			}
			st := m.Stats()
			b.ReportMetric(100*float64(st.Lost)/max(1, float64(st.Seen)), "%lost")
		})
	}
}
