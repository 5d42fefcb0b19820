package softdev

import (
	"opentoe/pmd/frame"
	"opentoe/tcpoffload/wire"
)

// The exception path: on a port that the kernel shares, what the device does not take goes to the kernel
// as it came, and the kernel's frames leave between our own.

// decline passes f, which is not for the engine, on to the kernel, if the port has one and the frame is
// for this station; else it is dropped for reason. The kernel judges malformed frames for itself.
func (w *worker) decline(l *lane, f *frame.Frame, reason Drop) {
	eth, ok := wire.AsEthernet(f.Data)
	switch {
	case l.kernel == nil || w.judging || !ok:
		w.drop(reason)
	case eth.Dst() != l.port.MAC() && !eth.Dst().IsMulticast():
		w.drop(DropNotOurMAC)
	default:
		l.kernel.Up(w.now, f)
	}
}

// foreign disposes of f, a segment of flow for an address that the port does not have. When that is because the
// kernel has taken the address away, it may give it back a moment before the port hears of it: then it would
// reset a connection of ours, whose peer sends the segment again.
func (w *worker) foreign(l *lane, f *frame.Frame, flow *wire.Flow) {
	if l.kernel != nil && w.eng.Knows(flow) {
		w.drop(DropNotOurAddress)
		return
	}
	w.decline(l, f, DropNotOurAddress)
}

// otherShared is for frames that are no sound TCP segment, on a lane with a kernel: the kernel gets them
// all, but the first fragment of a segment of ours. It would put the segment together and then refuse
// it, for it does not know the connection.
func (w *worker) otherShared(l *lane, f *frame.Frame, v wire.Verdict) {
	switch v {
	case wire.VerdictOther:
		w.icmpError(l, f)
	case wire.VerdictFragment:
		var flow wire.Flow
		if wire.FragmentFlow(f.Data, &flow) && w.eng.Knows(&flow) {
			w.count.Verdicts[v]++
			return
		}
	}
	w.count.Verdicts[wire.VerdictOther]++
	w.decline(l, f, DropUnknownProtocol)
}

// hand gives the kernel every frame of t, as it came.
func (w *worker) hand(t *train) {
	if w.judging {
		w.turnDown(t)
		return
	}
	w.count.Merged -= uint64(t.n - 1)
	for _, f := range t.from[:t.n] {
		t.lane.kernel.Up(w.now, f)
	}
}

// unroutable disposes of t, which is the engine's, but from where its port has no route to. The kernel
// may have one by another interface.
func (w *worker) unroutable(t *train) {
	if t.lane.kernel == nil || w.judging || w.eng.Knows(&t.seg.Flow) {
		w.drop(DropNoRoute)
		return
	}
	w.hand(t)
}

// fromKernel puts what the kernel sends behind what is about to leave, one burst a lane at most, and
// returns how many frames it were.
func (w *worker) fromKernel() (n int) {
	for i := range w.lanes {
		l := &w.lanes[i]
		if l.kernel == nil || !l.kernel.Waiting() {
			continue
		}
		w.makeRoom(l, frame.MaxBurst/2)
		l.blanks()
		n += l.kernel.Down(&l.blank, &l.tx)
	}
	return n
}

// kernelsWait declares to the kernel's ends that the worker is about to block, and reports whether one
// has something.
func (w *worker) kernelsWait() (some bool) {
	for i := range w.lanes {
		if k := w.lanes[i].kernel; k != nil {
			k.Sleep()
			some = some || k.Waiting()
		}
	}
	return some
}

// kernelsAwake takes the declaration back.
func (w *worker) kernelsAwake() {
	for i := range w.lanes {
		if k := w.lanes[i].kernel; k != nil {
			k.Awake()
		}
	}
}
