package softdev

import (
	"opentoe/pmd/frame"
	"opentoe/tcpoffload"
	"opentoe/tcpoffload/wire"
	"opentoe/toe"
)

// transmit lets the engine send within the iteration's budget and the frames at hand, and returns
// how many segments it sent. Frames come first: without one the engine must not believe that it
// has sent something.
func (w *worker) transmit() int {
	sent := 0
	for sent < txBudget && w.eng.Pending() {
		room := min(w.frames(), cap(w.out.Segs)-len(w.out.Segs), txBudget-sent)
		if room == 0 {
			w.count.TxStalls++
			break
		}
		n := w.eng.Transmit(w.now, room, &w.out)
		w.settle()
		if n == 0 {
			break
		}
		sent += n
	}
	return sent
}

// frames returns how many segments may be sent now, those for which every port has frames. A port that
// has none at all does not hold up the others: what leaves by it is dropped and sent again.
func (w *worker) frames() (least int) {
	for i := range w.lanes {
		if n := w.lanes[i].blanks(); n > 0 && (least == 0 || n < least) {
			least = n
		}
	}
	return least
}

// makeSegRoom builds frames when the engine's next entry might not find room for its segments.
func (w *worker) makeSegRoom() {
	if cap(w.out.Segs)-len(w.out.Segs) < max(tcpoffload.MaxArriveSegs, tcpoffload.MaxCallSegs) {
		w.emit()
	}
}

// emit builds frames of the engine's segments and empties the list.
func (w *worker) emit() {
	for i := range w.out.Segs {
		w.send(&w.out.Segs[i])
	}
	w.out.Segs = w.out.Segs[:0]
}

// send builds the frame of one segment and passes it on to its next hop.
func (w *worker) send(s *tcpoffload.TxSegment) {
	l := w.leaving(s)
	if l.blanks() == 0 {
		w.drop(DropNoFrame)
		return
	}
	last := l.blank.Len() - 1
	f := l.blank.At(last)
	if !w.build(f, s, l.checksum) {
		f.Data, f.Flags = f.Data[:0], 0
		return
	}
	w.makeRoom(l, 1)
	ready := *f
	l.blank.Truncate(last)
	l.host.Send(w.now, s.NextHop&hopMask, &ready, l.queue, &l.tx)
}

// build writes the segment s to the empty frame f. The Ethernet addresses are left to the next hop,
// and with checksum set the checksums to the port.
func (w *worker) build(f *frame.Frame, s *tcpoffload.TxSegment, checksum bool) bool {
	h := &w.hdr
	h.Flow, h.Seq, h.Ack = s.Flow, s.Seq, s.Ack
	h.Flags, h.Wnd, h.Urg, h.ECN, h.DF = s.Flags, s.Wnd, s.Urg, s.ECN, s.DF
	h.Opt = s.Opt
	h.TOS, h.TTL = s.TOS, s.TTL
	if s.TTL == 0 {
		h.TTL = defaultTTL
	}
	if !s.DF {
		h.IPID++ // fragments are put together by it
	}
	hlen := h.Len()
	if cap(f.Data) < hlen+int(s.Len) {
		w.drop(DropOversize)
		return false
	}
	f.Data = f.Data[:hlen+int(s.Len)]
	payload := f.Data[hlen:]
	if s.Len > 0 && !w.up.Fetch(toe.SockID(s.Cookie), s.Pos, payload) {
		w.drop(DropFetch)
		return false
	}
	if checksum {
		f.Flags = frame.TxIPCsum | frame.TxTCPCsum
		if !s.Flow.Is4() {
			f.Flags = frame.TxTCPCsum
		}
		f.L2Len, f.L3Len, f.L4Len = wire.EthernetLen, uint8(h.L3Len()), uint8(h.L4Len())
		h.Put(f.Data, len(payload), 0, wire.ChecksumOffload)
		return true
	}
	h.Put(f.Data, len(payload), wire.Sum(payload, 0), wire.ChecksumSoftware)
	return true
}
