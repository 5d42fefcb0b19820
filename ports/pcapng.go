package ports

import (
	"encoding/binary"
	"io"
	"time"

	"opentoe/toe"
)

// Block types and options of the pcapng format (draft-ietf-opsawg-pcapng), of one section with an
// Ethernet interface for each port, in little-endian order.
const (
	blockSection    = 0x0a0d0d0a
	blockInterface  = 1
	blockStatistics = 5
	blockPacket     = 6

	byteOrderMagic = 0x1a2b3c4d
	linkEthernet   = 1
	lenUnknown     = ^uint64(0)

	optEnd         = 0
	optComment     = 1
	optUserAppl    = 4 // of the section
	optIfName      = 2 // of the interface
	optIfTSResol   = 9
	optFlags       = 2 // of a packet: direction in the two lowest bits
	optDropCount   = 4
	optStart       = 2 // of the statistics
	optEndTime     = 3
	optReceived    = 4
	optDropped     = 5
	optAccepted    = 6
	optDelivered   = 8
	dirIn, dirOut  = 1, 2
	resolutionNano = 9
)

// packetOverhead is the most that a packet block has besides the packet: header, lengths, padding,
// and the options for direction and drops with their end.
const packetOverhead = 28 + 4 + 3 + 8 + 12 + 4

// pcapng encodes frames as a pcapng section and writes it to w.
type pcapng struct {
	w       io.Writer
	ports   []string // names
	snap    int
	comment string
	began   time.Time
}

func newPcapng(w io.Writer, ports []string, s *Sink) *pcapng {
	return &pcapng{w: w, ports: ports, snap: s.snap, comment: s.opt.Comment, began: s.began}
}

// head appends the section header and the interface descriptions.
func (p *pcapng) head(b []byte) []byte {
	at := len(b)
	b = beginBlock(b, blockSection)
	b = le32(b, byteOrderMagic)
	b = le16(b, 1) // version 1.0
	b = le16(b, 0)
	b = le64(b, lenUnknown)
	b = textOption(b, optUserAppl, "opentoe")
	if p.comment != "" {
		b = textOption(b, optComment, p.comment)
	}
	b = le32(b, optEnd)
	b = endBlock(b, at)

	for _, name := range p.ports {
		at = len(b)
		b = beginBlock(b, blockInterface)
		b = le16(b, linkEthernet)
		b = le16(b, 0)
		b = le32(b, uint32(p.snap))
		b = textOption(b, optIfName, name)
		b = append(le16(le16(b, optIfTSResol), 1), resolutionNano, 0, 0, 0)
		b = le32(b, optEnd)
		b = endBlock(b, at)
	}
	return b
}

// room is the length of a packet block for n octets of packet, at most.
func (p *pcapng) room(n int) int { return n + packetOverhead }

// frame appends an enhanced packet block.
func (p *pcapng) frame(b []byte, r *record, epoch int64, dropped uint64) []byte {
	at := len(b)
	b = beginBlock(b, blockPacket)
	b = le32(b, uint32(r.port)) // interface
	ts := uint64(int64(r.now) + epoch)
	b = le32(b, uint32(ts>>32))
	b = le32(b, uint32(ts))
	b = le32(b, uint32(len(r.data)))
	b = le32(b, uint32(r.origLen))
	b = pad(append(b, r.data...), len(r.data))
	dir := uint32(dirIn)
	if r.dir == toe.Transmit {
		dir = dirOut
	}
	b = le32(le16(le16(b, optFlags), 4), dir)
	if dropped > 0 {
		b = le64(le16(le16(b, optDropCount), 8), dropped)
	}
	b = le32(b, optEnd)
	return endBlock(b, at)
}

// tail appends the statistics of each interface.
func (p *pcapng) tail(b []byte, ports []SinkStats) []byte {
	now := time.Now()
	for i := range ports {
		b = p.statistics(b, uint32(i), now, &ports[i])
	}
	return b
}

func (p *pcapng) statistics(b []byte, iface uint32, now time.Time, s *SinkStats) []byte {
	at := len(b)
	b = beginBlock(b, blockStatistics)
	b = le32(b, iface)
	b = timestamp(b, now)
	b = timestamp(le16(le16(b, optStart), 8), p.began)
	b = timestamp(le16(le16(b, optEndTime), 8), now)
	for _, c := range []struct {
		option uint16
		value  uint64
	}{
		{optReceived, s.Seen + s.Lost},
		{optDropped, s.Lost + s.Dropped},
		{optAccepted, s.Accepted},
		{optDelivered, s.Written},
	} {
		b = le64(le16(le16(b, c.option), 8), c.value)
	}
	b = le32(b, optEnd)
	return endBlock(b, at)
}

func (p *pcapng) write(b []byte) error {
	_, err := p.w.Write(b)
	return err
}

// beginBlock appends a block's type and a place for its length; endBlock fills that in and repeats
// it at the end, as the format wants. at is where the block began.
func beginBlock(b []byte, blockType uint32) []byte { return le32(le32(b, blockType), 0) }

func endBlock(b []byte, at int) []byte {
	n := uint32(len(b) - at + 4)
	binary.LittleEndian.PutUint32(b[at+4:], n)
	return le32(b, n)
}

func textOption(b []byte, option uint16, text string) []byte {
	text = text[:min(len(text), 0xfffc)]
	b = le16(le16(b, option), uint16(len(text)))
	return pad(append(b, text...), len(text))
}

// timestamp appends t as the format writes it: the upper half first.
func timestamp(b []byte, t time.Time) []byte {
	ns := uint64(t.UnixNano())
	return le32(le32(b, uint32(ns>>32)), uint32(ns))
}

// pad fills a field of n octets up to a multiple of 4.
func pad(b []byte, n int) []byte { return append(b, make([]byte, -n&3)...) }

func le16(b []byte, v uint16) []byte { return binary.LittleEndian.AppendUint16(b, v) }
func le32(b []byte, v uint32) []byte { return binary.LittleEndian.AppendUint32(b, v) }
func le64(b []byte, v uint64) []byte { return binary.LittleEndian.AppendUint64(b, v) }
