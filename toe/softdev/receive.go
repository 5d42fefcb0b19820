package softdev

import (
	"opentoe/pmd/frame"
	"opentoe/tcpoffload"
	"opentoe/tcpoffload/wire"
	"opentoe/toe"
)

// receive takes a burst off every queue and returns how many frames they had.
func (w *worker) receive() (n int) {
	for i := range w.lanes {
		l := &w.lanes[i]
		got := l.queue.Receive(&w.rx)
		if got == 0 {
			l.gate.dry()
			continue
		}
		w.inputBurst(l)
		n += got
	}
	return n
}

// inputBurst processes the frames in w.rx, which came by lane l.
func (w *worker) inputBurst(l *lane) {
	w.in = l
	w.tap(l, toe.Receive, &w.rx)
	l.count.RxFrames += uint64(w.rx.Len())
	guarded := l.gate.begin(w.now, w.rx.Len(), l.count.TxOctets)
	for i := range w.rx.Len() {
		f := w.rx.At(i)
		l.count.RxOctets += uint64(len(f.Data))
		if guarded && wire.IsSyn(f.Data) && !l.gate.admits() {
			w.drop(DropSynFlood)
			continue
		}
		w.input(l, f)
	}
	w.depart()
	w.announce()
	l.queue.Free(&w.rx)
	w.emit()
}

// tap shows a burst of lane l to the sniffers.
func (w *worker) tap(l *lane, dir toe.Direction, b *frame.Burst) {
	taps := w.dev.taps.Load()
	if taps == nil {
		return
	}
	frames := b.Frames()
	if w.unseen.any {
		frames = w.visible(dir, frames)
	}
	for _, t := range *taps {
		t.Tap(w.id, l.id, dir, w.now, frames)
	}
}

// input gives one frame of lane l to the engine, to the responder or the kernel, or to a drop counter.
func (w *worker) input(l *lane, f *frame.Frame) {
	if f.Flags&(frame.RxIPCsumBad|frame.RxL4CsumBad) != 0 {
		w.decline(l, f, DropDeviceChecksum)
		return
	}
	p := &w.pkt
	v := wire.Parse(f.Data, f.Flags&frame.RxIPCsumGood != 0, f.Flags&frame.RxL4CsumGood != 0, p)
	if v != wire.VerdictTCP && l.kernel != nil {
		w.otherShared(l, f, v)
		return
	}
	w.count.Verdicts[v]++
	if v != wire.VerdictTCP {
		if v == wire.VerdictOther {
			w.other(l, f)
		}
		return
	}
	if p.BadOptions {
		w.count.BadOptions++
	}
	if p.DstMAC != l.port.MAC() {
		w.decline(l, f, DropNotOurMAC)
		return
	}
	if !l.port.Owns(p.Flow.Local) {
		w.foreign(l, f, &p.Flow)
		return
	}
	b := f.Data[p.PayloadOff : p.PayloadOff+p.PayloadLen]
	if w.rx.Len() > 1 && !w.dev.cfg.NoMerge {
		w.merge(l, f, p, b)
		return
	}
	w.single.begin(l, f, p, b)
	w.arrive(&w.single)
}

// other hands a frame that is not for the engine to the built-in responder (ARP, ND, ICMP); an ICMP
// error may be about a segment of ours.
func (w *worker) other(l *lane, f *frame.Frame) {
	if w.icmpError(l, f) {
		return
	}
	w.makeRoom(l, 1)
	if !l.host.Input(w.now, f, l.queue, &l.tx) {
		w.drop(DropUnknownProtocol)
	}
}

// arrive gives a sound segment for us, of one frame or of several, to the engine. Space for its payload is reserved first: what
// the engine accepts it also acknowledges, and then it must be in place.
func (w *worker) arrive(t *train) {
	s := &t.seg
	w.seg = s
	h, known := w.eng.Lookup(&s.Flow)
	if !known {
		if t.lane.kernel != nil && w.unjudged(t) {
			w.hand(t)
			return
		}
		w.admit(s)
		if t.lane.kernel != nil && !w.eng.Claims(w.now, s) {
			w.hand(t)
			return
		}
		hop, mtu, ok := t.lane.host.Exit(w.now, s.Flow.Local, s.Flow.Remote, false)
		if !ok {
			w.unroutable(t)
			return
		}
		s.NextHop, s.MTU = t.lane.engineHop(hop), uint16(mtu)
	}
	if s.Len > 0 && (known || w.eng.Opens(&s.Flow)) && !w.reserve(h) {
		return
	}
	w.present(s, t)
}

// admit marks s, if it is a SYN that asks a listener for a connection for which there is no room. Before the
// handshake that connection may still be somebody else's; at its end it could only be reset.
func (w *worker) admit(s *tcpoffload.Segment) {
	id, handshakes, asks := w.eng.Asks(s)
	switch {
	case !asks:
	case w.eng.Full():
		w.count.LeftTableFull++ // of the engine's own accord
	case w.up.Admits(w.id, toe.ListenID(id), handshakes) != toe.Offloaded:
		s.NoRoom = true
		w.count.LeftNoRoom++
	}
}

// reserve makes sure that the payload of w.seg can be placed in the stream of connection h, or of the
// connection that the segment makes. When it cannot, the payload is dropped, which the peer takes for
// a loss, and the rest of the segment is presented to the engine: what it acknowledges is true all the
// same.
func (w *worker) reserve(h tcpoffload.Handle) bool {
	bare := *w.seg
	bare.Len = 0
	bare.Flags &^= wire.FIN | wire.PSH | wire.URG
	cookie, _ := w.eng.Cookie(h)
	if cookie == 0 {
		// Before the handshake is complete there is no socket and so no space. The acknowledgement
		// in the same segment may end it and give the connection both.
		w.present(&bare, nil)
		w.seg.Again = true
		h, _ = w.eng.Lookup(&w.seg.Flow)
		if cookie, _ = w.eng.Cookie(h); cookie == 0 {
			w.drop(DropNoSocket)
			return false
		}
	}
	if !w.up.Reserve(toe.SockID(cookie), w.seg.Len) {
		w.drop(DropNoSpace)
		if !w.seg.Again {
			w.present(&bare, nil)
		}
		return false
	}
	return true
}

// present lets the engine process s, whose payload t has, and carries out what it asks for.
func (w *worker) present(s *tcpoffload.Segment, t *train) {
	w.eng.Arrive(w.now, s, &w.out)
	if len(w.out.Actions) > 0 {
		w.act(t)
	}
	w.makeSegRoom()
}
