package sim_test

import (
	"os"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"opentoe/tcpoffload/sim"
	"opentoe/tcpoffload/wire"
)

// pcap writes the segments that hosts send to a file, on the virtual clock.
type pcap struct {
	f *os.File
	w *pcapgo.Writer
}

func newPcap(name string) (*pcap, error) {
	f, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	w := pcapgo.NewWriterNanos(f)
	return &pcap{f, w}, w.WriteFileHeader(65535, layers.LinkTypeEthernet)
}

func (p *pcap) write(e sim.Trace) {
	if e.Seg == nil || e.What != "sent" {
		return
	}
	s := e.Seg
	h := wire.Header{
		TTL: 64, Flags: s.Flags, ECN: s.ECN, Seq: s.Seq, Ack: s.Ack, Wnd: s.Wnd, Urg: s.Urg, Opt: s.Opt,
		Flow: wire.Flow{
			Local: s.Flow.Remote, LocalPort: s.Flow.RemotePort, Remote: s.Flow.Local, RemotePort: s.Flow.LocalPort,
		},
	}
	b := make([]byte, h.Len()+int(s.Len))
	h.Put(b, int(s.Len), 0, wire.ChecksumSoftware)
	_ = p.w.WritePacket(gopacket.CaptureInfo{Timestamp: time.Unix(0, int64(e.At)).UTC(), CaptureLength: len(b), Length: len(b)}, b)
}

func (p *pcap) close() { _ = p.f.Close() }
