package tcpoffload

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// recorder keeps the segments that an engine under test received and sent. When the test fails they become a
// .pcap, so that a crash can be looked at with tcpdump or Wireshark.
type recorder struct {
	segs []recorded
}

// recorded is one segment, as it goes over the wire to or from the engine.
type recorded struct {
	at      vtime.Time
	h       wire.Header
	payload uint32
}

// recordCap bounds what is kept, segments; the last ones count.
const recordCap = 4096

// received and sent note one segment each.
func (r *recorder) received(now vtime.Time, s *Segment) {
	p := r.next()
	p.at, p.payload = now, s.Len
	p.h = wire.Header{
		Flow: wire.Flow{Local: s.Flow.Remote, Remote: s.Flow.Local, LocalPort: s.Flow.RemotePort, RemotePort: s.Flow.LocalPort},
		Seq:  s.Seq, Ack: s.Ack, Flags: s.Flags, Wnd: s.Wnd, Urg: s.Urg, ECN: s.ECN, Opt: s.Opt,
		SrcMAC: wire.MAC{2, 0, 0, 0, 0, 2}, DstMAC: wire.MAC{2, 0, 0, 0, 0, 1},
	}
}

func (r *recorder) sent(now vtime.Time, s *TxSegment) {
	p := r.next()
	p.at, p.payload = now, s.Len
	p.h = wire.Header{
		Flow: s.Flow, Seq: s.Seq, Ack: s.Ack, Flags: s.Flags, Wnd: s.Wnd, Urg: s.Urg, ECN: s.ECN, Opt: s.Opt,
		SrcMAC: wire.MAC{2, 0, 0, 0, 0, 1}, DstMAC: wire.MAC{2, 0, 0, 0, 0, 2},
	}
}

func (r *recorder) next() *recorded {
	if len(r.segs) == recordCap {
		r.segs = r.segs[:copy(r.segs, r.segs[recordCap/2:])]
	}
	r.segs = append(r.segs, recorded{})
	return &r.segs[len(r.segs)-1]
}

// frame returns the segment as a frame. The octets of its text, which the engine does not see, are zero.
func (p *recorded) frame() []byte {
	p.h.TTL, p.h.DF = 64, true
	n := int(min(p.payload, 60_000))
	b := make([]byte, p.h.Len()+n)
	p.h.Put(b, n, 0, wire.ChecksumSoftware)
	return b
}

// save writes the frames to build/crash and returns the name of the file.
func (r *recorder) save(test string) (string, error) {
	dir := filepath.Join("..", "build", "crash")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	sum := sha256.New()
	frames := make([][]byte, len(r.segs))
	for i := range r.segs {
		frames[i] = r.segs[i].frame()
		sum.Write(frames[i])
	}
	name := filepath.Join(dir, test+"-"+hex.EncodeToString(sum.Sum(nil)[:4])+".pcap")
	f, err := os.Create(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	w := pcapgo.NewWriterNanos(f)
	if err := w.WriteFileHeader(65535, layers.LinkTypeEthernet); err != nil {
		return "", err
	}
	for i, b := range frames {
		ci := gopacket.CaptureInfo{Timestamp: time.Unix(0, int64(r.segs[i].at)).UTC(), CaptureLength: len(b), Length: len(b)}
		if err := w.WritePacket(ci, b); err != nil {
			return "", err
		}
	}
	return name, f.Close()
}

// watch runs f and saves the recording if it panics or fails the test.
func (r *recorder) watch(t *testing.T, f func()) {
	keep := func() string {
		name, err := r.save(filepath.Base(t.Name()))
		if err != nil {
			return fmt.Sprintf("the segments could not be saved: %v", err)
		}
		return "the segments are in " + name
	}
	defer func() {
		if p := recover(); p != nil {
			panic(fmt.Sprintf("%v\n%s", p, keep()))
		}
		if t.Failed() {
			t.Log(keep())
		}
	}()
	f()
}

// TestCrashLeavesPcap checks that what a crash leaves behind can be read.
func TestCrashLeavesPcap(t *testing.T) {
	var r recorder
	seg := Segment{Flow: wire.Flow{Local: wire.AddrFrom4([4]byte{10, 0, 0, 1}), Remote: wire.AddrFrom4([4]byte{10, 0, 0, 2}), LocalPort: 80, RemotePort: 9},
		Seq: 7, Len: 100, Flags: wire.ACK}
	r.received(vtime.Time(vtime.Second), &seg)
	var said any
	func() {
		defer func() { said = recover() }()
		r.watch(t, func() { panic("broken") })
	}()
	require.Contains(t, said, "broken\nthe segments are in ")
	_, name, _ := strings.Cut(said.(string), "are in ")
	defer os.Remove(name)
	f, err := os.Open(name)
	require.NoError(t, err)
	defer f.Close()
	rd, err := pcapgo.NewReader(f)
	require.NoError(t, err)
	b, ci, err := rd.ReadPacketData()
	require.NoError(t, err)
	require.Equal(t, int64(1), ci.Timestamp.Unix())
	tcp := gopacket.NewPacket(b, layers.LinkTypeEthernet, gopacket.Default).Layer(layers.LayerTypeTCP).(*layers.TCP)
	require.Equal(t, uint32(7), tcp.Seq)
	require.Len(t, tcp.Payload, 100)
}
