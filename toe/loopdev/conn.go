package loopdev

import (
	"opentoe/tcpoffload/wire"
	"opentoe/toe"
)

// conn is one end of a connection.
type conn struct {
	tid  toe.TID
	sock toe.SockID
	flow wire.Flow
	peer *conn // nil while opening and after either end was reset

	end      uint64 // the send stream ends here
	moved    uint64 // and was copied to the peer up to here
	urgent   uint64 // the octet before is urgent and the peer was not told; 0 none
	cc       toe.CC // without effect
	received uint64 // the program read up to here
	rcvBuf   uint64 // octets that may be unread

	opening  bool
	held     bool // opening, and it waits for Output
	fin      bool // SendFIN was called
	finDone  bool // the peer was told
	released bool // nobody reads any more
	reset    bool // SendRST was called and the peer has not heard of it
	gone     bool // Finished was told, or SendRST was called: no more upcalls
	queued   bool // in Device.active
}

func (w *worker) newConn(flow wire.Flow, o *toe.SocketOptions) *conn {
	rcvBuf := o.RcvBuf
	if rcvBuf == 0 {
		rcvBuf = w.dev.cfg.RcvBuf
	}
	w.last++
	c := &conn{tid: w.last*maxWorkers + toe.TID(w.id), flow: flow, rcvBuf: uint64(rcvBuf), cc: o.CC}
	w.conns[c.tid], w.flows[flow] = c, c.tid
	return c
}

// activate has c looked at in this iteration.
func (w *worker) activate(c *conn) {
	if !c.queued {
		c.queued = true
		w.active = append(w.active, c)
	}
}

// owner returns the worker of a TID.
func (d *Device) owner(tid toe.TID) *worker { return d.workers[tid%maxWorkers%toe.TID(len(d.workers))] }

// Output moves the end of the send stream.
func (d *Device) Output(tid toe.TID, end uint64, _ bool) {
	w := d.owner(tid)
	if c := w.conns[tid]; c != nil && !c.fin && (end > c.end || c.held) {
		c.end, c.held = max(c.end, end), false
		w.activate(c)
	}
}

// OutputUrgent moves the end of the send stream and marks the octet before it.
func (d *Device) OutputUrgent(tid toe.TID, end uint64) {
	w := d.owner(tid)
	if c := w.conns[tid]; c != nil && !c.fin && end > c.moved {
		c.urgent = end
		d.Output(tid, end, false)
	}
}

// OutputBorder is Output: there are no segments.
func (d *Device) OutputBorder(tid toe.TID, end uint64) { d.Output(tid, end, false) }

// Received opens the window for the peer.
func (d *Device) Received(tid toe.TID, pos uint64) {
	w := d.owner(tid)
	if c := w.conns[tid]; c != nil && pos > c.received {
		c.received = pos
		if c.peer != nil {
			w.activate(c.peer)
		}
	}
}

// SendFIN ends our stream.
func (d *Device) SendFIN(tid toe.TID) {
	w := d.owner(tid)
	if c := w.conns[tid]; c != nil {
		c.fin = true
		w.activate(c)
	}
}

// SendRST resets the peer and forgets tid.
func (d *Device) SendRST(tid toe.TID) {
	w := d.owner(tid)
	if c := w.conns[tid]; c != nil {
		c.gone, c.reset = true, true
		w.drop(c)
		w.activate(c) // the peer hears of it in pump
	}
}

// Release says that nobody reads tid any more.
func (d *Device) Release(tid toe.TID) {
	w := d.owner(tid)
	if c := w.conns[tid]; c != nil {
		c.released = true
		w.activate(c)
		if c.peer != nil {
			w.activate(c.peer)
		}
	}
}

// ListenOption takes every option without effect.
func (d *Device) ListenOption(toe.ListenID, toe.Option, int64) error { return nil }

// SetOption knows OptionRcvBuf and the name of OptionCC, and takes the others without effect.
func (d *Device) SetOption(tid toe.TID, o toe.Option, value int64) error {
	w := d.owner(tid)
	c := w.conns[tid]
	if c == nil {
		return toe.ErrNotFound
	}
	if o == toe.OptionCC {
		c.cc = toe.CC(value)
	}
	if o == toe.OptionRcvBuf && value > 0 {
		c.rcvBuf = uint64(value)
		if c.peer != nil {
			w.activate(c.peer)
		}
	}
	return nil
}

// ConnInfo tells the little that there is.
func (d *Device) ConnInfo(tid toe.TID, info *toe.ConnInfo) bool {
	c := d.owner(tid).conns[tid]
	if c == nil {
		return false
	}
	*info = toe.ConnInfo{
		Flow: c.flow, Sock: c.sock, SndMSS: uint32(d.cfg.MTU - 40), RcvMSS: uint32(d.cfg.MTU - 40),
		Cwnd: uint32(c.rcvBuf), PathMTU: uint32(d.cfg.MTU), RcvLimit: uint32(c.rcvBuf), CC: c.cc.String(),
		BytesSent: c.moved, BytesAcked: c.moved, SndBufUsed: c.end - c.moved,
	}
	info.State = c.state()
	if c.peer != nil {
		info.BytesReceived = c.peer.moved
		info.RcvBufUsed = c.peer.moved - c.received
	}
	return true
}

// state is the name that RFC 9293 has for what c is in. A FIN is acknowledged when the peer is told.
func (c *conn) state() string {
	ended := c.peer != nil && c.peer.finDone
	switch {
	case c.opening:
		return "SYN-SENT"
	case c.fin && ended:
		return "LAST-ACK"
	case c.finDone:
		return "FIN-WAIT-2"
	case c.fin:
		return "FIN-WAIT-1"
	case ended:
		return "CLOSE-WAIT"
	}
	return "ESTABLISHED"
}

// EachConn calls f for every connection end of worker i, at once.
func (d *Device) EachConn(i int, _ uint32, f func(toe.TID, *toe.ConnInfo)) uint32 {
	w := d.worker(i)
	if w == nil {
		return 0
	}
	var info toe.ConnInfo
	for tid := range w.conns {
		if d.ConnInfo(tid, &info) {
			f(tid, &info)
		}
	}
	return 0
}

// pump lets every active connection take a step and returns how many did something.
func (w *worker) pump() int {
	list := w.active
	w.active, w.spare = w.spare[:0], list
	n := 0
	for _, c := range list {
		c.queued = false
		if w.step(c) {
			n++
		}
	}
	clear(list)
	return n
}

// step does what c has to do and reports whether that was anything.
func (w *worker) step(c *conn) bool {
	switch {
	case c.reset:
		c.reset = false
		w.resetPeer(c)
		return true
	case c.gone:
		return false
	case c.opening && c.held:
		return false
	case c.opening:
		w.open(c)
		return !c.opening
	case c.peer == nil:
		return false
	}
	busy := w.move(c)
	if c.gone {
		return true
	}
	if c.fin && c.moved == c.end && !c.finDone {
		c.finDone, busy = true, true
		if !c.peer.released {
			w.notify(c.peer, toe.Event{Kind: toe.EventPeerClose, Pos: c.moved})
		}
	}
	if c.finDone && c.peer != nil && (c.peer.finDone || c.released) {
		busy = true
		p := c.peer
		w.finish(c, toe.EndClosed)
		if p.finDone {
			w.finish(p, toe.EndClosed)
		}
	}
	return busy
}

// move copies one buffer of c's stream to the peer, as far as its window allows.
func (w *worker) move(c *conn) bool {
	p := c.peer
	if c.moved < c.end && (p.released || p.gone) {
		w.resetPeer(p) // data that nobody will read
		w.finish(p, toe.EndAborted)
		return true
	}
	if c.urgent != 0 {
		w.notify(p, toe.Event{Kind: toe.EventUrgent, Pos: c.urgent}) // as a header, it needs no window
		c.urgent = 0
	}
	window := p.received + p.rcvBuf
	n := min(c.end-c.moved, uint64(len(w.buf)))
	if c.moved+n > window {
		n = window - min(window, c.moved)
	}
	if n == 0 {
		return false
	}
	if !w.up.Reserve(p.sock, uint32(n)) {
		w.activate(c)
		return false
	}
	b := w.buf[:n]
	if !w.up.Fetch(c.sock, c.moved, b) {
		w.resetPeer(c)
		w.finish(c, toe.EndAborted)
		return true
	}
	w.up.Place(p.sock, c.moved, b)
	c.moved += n
	w.notify(p, toe.Event{Kind: toe.EventReadable, Pos: c.moved})
	w.notify(c, toe.Event{Kind: toe.EventAcked, Pos: c.moved})
	if c.moved < c.end {
		w.activate(c)
	}
	return true
}

// resetPeer tells c's peer, if there is one, that the connection was reset.
func (w *worker) resetPeer(c *conn) {
	p := c.peer
	c.peer = nil
	if p == nil {
		return
	}
	p.peer = nil
	w.finish(p, toe.EndReset)
}

// finish tells c that it is over.
func (w *worker) finish(c *conn, end toe.End) {
	if c.gone {
		w.drop(c)
		return
	}
	c.gone = true
	w.drop(c)
	w.notify(c, toe.Event{Kind: toe.EventFinished, End: end})
	// An end that lingers in order stays the peer's peer, so that late data is answered.
	if end == toe.EndClosed && c.peer != nil && !c.peer.gone {
		return
	}
	c.peer = nil
}

// drop forgets c's TID.
func (w *worker) drop(c *conn) {
	delete(w.conns, c.tid)
	if w.flows[c.flow] == c.tid {
		delete(w.flows, c.flow)
	}
}

func (w *worker) notify(c *conn, e toe.Event) { w.up.Notify(c.sock, e) }

// resetAll ends every connection because the device goes away.
func (w *worker) resetAll() {
	for _, c := range w.conns {
		if !c.gone {
			w.finish(c, toe.EndDeviceGone)
		}
	}
}
