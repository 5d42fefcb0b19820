package softdev

import (
	"opentoe/tcpoffload"
	"opentoe/toe"
)

// A TID is the engine's handle with the worker in the top bits of the table index: generation in
// the upper 32 bits, worker in the next 8, index in the lower 24.
const (
	tidWorkerShift = 24
	tidWorkerBits  = 8
	tidWorkerMask  = (1<<tidWorkerBits - 1) << tidWorkerShift
)

// tid names connection h of this worker.
func (w *worker) tid(h tcpoffload.Handle) toe.TID {
	return toe.TID(h) | toe.TID(w.id)<<tidWorkerShift
}

// owner returns the worker and the handle that tid names; a TID that no device gave out names a
// handle that no engine knows.
func (d *Device) owner(tid toe.TID) (*worker, tcpoffload.Handle) {
	w := int(tid & tidWorkerMask >> tidWorkerShift)
	if w >= len(d.workers) {
		return d.workers[0], 0
	}
	return d.workers[w], tcpoffload.Handle(tid &^ tidWorkerMask)
}

// Connect starts an active open on worker i. [worker]
func (d *Device) Connect(i int, r *toe.ConnectRequest) (toe.TID, toe.Reason) {
	w, err := d.worker(i)
	switch {
	case err != nil || r.Sock == 0 || r.Flow.LocalPort == 0:
		return 0, toe.ReasonInvalid
	case w.stopping:
		return 0, toe.ReasonDraining
	}
	x, reason := d.egress(&r.Flow)
	if reason != toe.Offloaded {
		return 0, reason
	}
	l := &w.lanes[x.port]
	r.Flow.Local = x.src
	if !w.mayLeave(l, r) {
		return 0, toe.ReasonNetfilter
	}
	hop, ok := l.host.Towards(w.now, r.Flow.Remote, x.via)
	if !ok {
		return 0, toe.ReasonNoRoute
	}
	c := tcpoffload.Call{
		Kind: tcpoffload.CallOpen, Flow: r.Flow, NextHop: l.engineHop(hop), MTU: x.mtu, Cookie: uint64(r.Sock),
		Opt: engineOptions(&r.Opt),
	}
	if reason := reasonOf(w.call(&c)); reason != toe.Offloaded {
		return 0, reason
	}
	w.opened(c.Handle)
	w.unseen.hide(c.Handle, r.Opt.NoMirror)
	if r.Opt.FastOpenHold {
		r.SynRoom = uint32(c.Value)
	}
	return w.tid(c.Handle), toe.Offloaded
}

// Output says that tid's send stream now ends at position end. [worker]
func (d *Device) Output(tid toe.TID, end uint64, more bool) {
	w, h := d.owner(tid)
	w.call(&tcpoffload.Call{Kind: tcpoffload.CallSend, Handle: h, Pos: end, More: more})
}

// OutputUrgent says that tid's send stream now ends at position end with an urgent octet. [worker]
func (d *Device) OutputUrgent(tid toe.TID, end uint64) {
	w, h := d.owner(tid)
	w.call(&tcpoffload.Call{Kind: tcpoffload.CallSend, Handle: h, Pos: end, Urgent: true})
}

// OutputBorder says that tid's send stream now ends at position end, which is a border. [worker]
func (d *Device) OutputBorder(tid toe.TID, end uint64) {
	w, h := d.owner(tid)
	w.call(&tcpoffload.Call{Kind: tcpoffload.CallSend, Handle: h, Pos: end, Border: true})
}

// Received says that the program has read everything before pos. [worker]
func (d *Device) Received(tid toe.TID, pos uint64) {
	w, h := d.owner(tid)
	w.call(&tcpoffload.Call{Kind: tcpoffload.CallReceived, Handle: h, Pos: pos})
}

// SendFIN closes our direction after the send stream's last octet. [worker]
func (d *Device) SendFIN(tid toe.TID) {
	w, h := d.owner(tid)
	w.call(&tcpoffload.Call{Kind: tcpoffload.CallClose, Handle: h})
}

// SendRST resets the connection; no upcall for it comes any more. [worker]
func (d *Device) SendRST(tid toe.TID) {
	w, h := d.owner(tid)
	w.abort(h)
}

// Release says that nobody reads any more. [worker]
func (d *Device) Release(tid toe.TID) {
	w, h := d.owner(tid)
	w.call(&tcpoffload.Call{Kind: tcpoffload.CallDetach, Handle: h})
}

// SetOption changes a setting of an open connection. The errors are bare sentinels: a client can
// provoke them at any rate, and a worker does not allocate. [worker]
func (d *Device) SetOption(tid toe.TID, o toe.Option, value int64) error {
	if o == toe.OptionNoMirror {
		w, h := d.owner(tid)
		w.unseen.hide(h, value != 0)
		return nil
	}
	opt, value, ok := engineOption(o, value)
	if !ok {
		return toe.ErrNotSupported
	}
	w, h := d.owner(tid)
	c := tcpoffload.Call{Kind: tcpoffload.CallSetOption, Handle: h, Option: opt, Value: value}
	if w.call(&c) != tcpoffload.CallOK {
		return toe.ErrInvalid
	}
	return nil
}

// ConnInfo fills info with the connection's state. [worker]
func (d *Device) ConnInfo(tid toe.TID, info *toe.ConnInfo) bool {
	w, h := d.owner(tid)
	if !w.eng.Info(h, w.now, &w.info) {
		return false
	}
	fillInfo(info, &w.info)
	return true
}

// EachConn shows some connections of worker i to f, and says where to go on. [worker]
func (d *Device) EachConn(i int, from uint32, f func(tid toe.TID, info *toe.ConnInfo)) (next uint32) {
	w, err := d.worker(i)
	if err != nil {
		return 0
	}
	next, _ = w.walk(from, walkBatch, func(h tcpoffload.Handle) {
		fillInfo(&w.conn, &w.info)
		f(w.tid(h), &w.conn)
	})
	return next
}

// fillInfo translates the engine's snapshot.
func fillInfo(c *toe.ConnInfo, e *tcpoffload.Info) {
	*c = toe.ConnInfo{
		Flow: e.Flow, Sock: toe.SockID(e.Cookie), State: e.State.String(),
		SndUna: uint32(e.SndUna), SndNxt: uint32(e.SndNxt), SndMax: uint32(e.SndMax),
		RcvNxt: uint32(e.RcvNxt), SndWnd: e.SndWnd, RcvWnd: e.RcvWnd,
		SndWscale: e.SndWscale, RcvWscale: e.RcvWscale, SndMSS: e.SndMSS, RcvMSS: e.RcvMSS,
		Cwnd: e.Cwnd, Ssthresh: e.Ssthresh,
		SRTT: e.SRTT, RTTVar: e.RTTVar, RTO: e.RTO, MinRTT: e.MinRTT,
		SACK: e.SACK, Timestamps: e.Timestamps, ECN: e.ECN, CAState: e.CAState, Backoff: e.Backoff,
		Unacked: e.Unacked, Sacked: e.Sacked, Lost: e.Lost,
		Retrans: e.Retrans, TotalRetrans: e.TotalRetrans,
		BytesSent: e.BytesSent, BytesAcked: e.BytesAcked, BytesReceived: e.BytesReceived,
		BytesRetrans: e.BytesRetrans, SegsIn: e.SegsIn, SegsOut: e.SegsOut,
		SndBufUsed: e.SndBufUsed, RcvBufUsed: e.RcvBufUsed,
		CC: e.CC, PathMTU: uint32(e.PathMTU), RcvLimit: e.RcvLimit, ECNSeen: e.ECNSeen, SynData: e.SynData,
		PacingRate: e.PacingRate, DataSegsIn: e.DataSegsIn, DataSegsOut: e.DataSegsOut, RcvOOO: e.RcvOOO,
		DeliveredCE: e.DeliveredCE, Probes: e.Probes, RcvSpace: e.RcvSpace, RcvRTT: e.RcvRTT, ATO: e.ATO,
		LastDataSent: e.LastDataSent, LastDataRecv: e.LastDataRecv, LastAckRecv: e.LastAckRecv,
		BusyTime: e.BusyTime, RwndLimited: e.RwndLimited, SndbufLimited: e.SndbufLimited,
		MaxPacingRate: e.MaxPacingRate, DeliveryRate: e.DeliveryRate, AppLimited: e.AppLimited,
		Reordering: e.Reordering, ReordSeen: e.ReordSeen, DSACKDups: e.DSACKDups, TotalRTO: e.TotalRTO,
		Delivered: e.Delivered, AdvMSS: e.AdvMSS,
		BBR:   toe.BBRInfo(e.BBR),
		DCTCP: toe.DCTCPInfo{Alpha: e.DCTCP.Alpha, MarkedOctets: e.DCTCP.Marked, AckedOctets: e.DCTCP.Delivered},
	}
	if c.Timer = timerName(e.Timer); c.Timer != "" {
		c.TimerLeft = e.TimerLeft
	}
}

// timerName returns what ss calls the timer. It does not show delayed ACKs.
func timerName(t tcpoffload.TimerKind) string {
	switch t {
	case tcpoffload.TimerRexmt, tcpoffload.TimerReo:
		return "on"
	case tcpoffload.TimerPersist:
		return "persist"
	case tcpoffload.TimerKeep:
		return "keepalive"
	case tcpoffload.Timer2MSL:
		return "timewait"
	case tcpoffload.TimerDelack, tcpoffload.TimerMTU, tcpoffload.TimerPace, tcpoffload.TimerNone:
		return ""
	}
	return ""
}

// reasonOf translates the engine's answer to an open.
func reasonOf(r tcpoffload.CallResult) toe.Reason {
	switch r {
	case tcpoffload.CallOK:
		return toe.Offloaded
	case tcpoffload.CallTableFull:
		return toe.ReasonTableFull
	case tcpoffload.CallInUse:
		return toe.ReasonInUse
	case tcpoffload.CallNoConnection, tcpoffload.CallInvalid:
		return toe.ReasonInvalid
	}
	return toe.ReasonInvalid
}
