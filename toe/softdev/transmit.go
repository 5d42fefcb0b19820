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
		room := min(w.blanks(), cap(w.out.Segs)-len(w.out.Segs), txBudget-sent)
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

// blanks fills up the stock of empty frames and returns how many there are.
func (w *worker) blanks() int {
	if room := w.blank.Room(); room > frame.MaxBurst/2 {
		w.queue.Alloc(&w.blank, room)
	}
	return w.blank.Len()
}

// makeSegRoom builds frames when the engine's next entry might not find room for its segments.
func (w *worker) makeSegRoom() {
	if cap(w.out.Segs)-len(w.out.Segs) < max(tcpoffload.MaxArriveSegs, tcpoffload.MaxCallSegs) {
		w.emit()
	}
}

// makeRoom flushes when the burst to send has room for fewer than n frames.
func (w *worker) makeRoom(n int) {
	if w.tx.Room() < n {
		w.flush()
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
	if w.blanks() == 0 {
		w.drop(DropNoFrame)
		return
	}
	last := w.blank.Len() - 1
	f := w.blank.At(last)
	if !w.build(f, s) {
		f.Data, f.Flags = f.Data[:0], 0
		return
	}
	w.makeRoom(1)
	ready := *f
	w.blank.Truncate(last)
	w.host.Send(w.now, s.NextHop, &ready, w.queue, &w.tx)
}

// build writes the segment s to the empty frame f. The Ethernet addresses are left to the next hop.
func (w *worker) build(f *frame.Frame, s *tcpoffload.TxSegment) bool {
	h := &w.hdr
	h.Flow, h.Seq, h.Ack = s.Flow, s.Seq, s.Ack
	h.Flags, h.Wnd, h.Urg, h.ECT = s.Flags, s.Wnd, s.Urg, s.ECT
	h.Opt = s.Opt
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
	if w.dev.cfg.TxChecksum {
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

// flush shows the burst to the sniffers and sends it. What the port refuses it frees; TCP sends it
// again.
func (w *worker) flush() {
	n := w.tx.Len()
	if n == 0 {
		return
	}
	w.tap(toe.Transmit, &w.tx)
	for i := range n {
		w.count.TxOctets += uint64(len(w.tx.At(i).Data))
	}
	w.count.TxFrames += uint64(n)
	w.count.TxRefused += uint64(n - w.queue.Transmit(&w.tx))
}
