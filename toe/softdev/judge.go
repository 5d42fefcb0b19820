package softdev

import (
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
	"opentoe/toe"
)

// The packet filter of a port that respects it: a SYN goes to the kernel first, and those that its rules let
// through come back; before an active open the rules are asked with a copy of the SYN. Segments of connections
// that are open are not shown to it.

// unjudged reports whether t is a SYN that the packet filter has to see first. The engine does not know its
// connection.
func (w *worker) unjudged(t *train) bool {
	const control = wire.SYN | wire.ACK | wire.RST | wire.FIN
	return t.lane.judge != nil && !w.judging && t.seg.Flags&control == wire.SYN
}

// turnDown disposes of t, a SYN that the kernel has let through and will not have again. The peer sends
// another one; when the table is full, that is to be the kernel's.
func (w *worker) turnDown(t *train) {
	w.drop(DropJudged)
	if w.eng.Opens(&t.seg.Flow) {
		t.lane.judge.Rest()
	}
}

// Judged takes in a SYN that the packet filter of port number i has let through, an IP packet, which it
// copies. It does not wait; ok is false when the SYN is lost.
func (d *Device) Judged(i int, packet []byte) (ok bool) {
	kind := wire.TypeIPv4
	if len(packet) > 0 && packet[0]>>4 == 6 {
		kind = wire.TypeIPv6
	}
	b := make([]byte, wire.EthernetLen+len(packet))
	wire.PutEthernet(b, d.cfg.Ports[i].Port.MAC(), wire.MAC{}, kind)
	copy(b[wire.EthernetLen:], packet)
	var p wire.Packet
	if wire.Parse(b, false, false, &p) != wire.VerdictTCP {
		return false
	}
	w := d.workers[d.SteerConnect(&p.Flow)]
	if w.judgements.Add(1) > maxJudgements {
		w.judgements.Add(-1)
		return false
	}
	err := d.Post(w.id, func(vtime.Time) {
		w.judgements.Add(-1)
		w.judged(&w.lanes[i], b)
	})
	if err != nil {
		w.judgements.Add(-1) // it does not run
	}
	return err == nil
}

// judged gives a SYN that came back by lane l, as a frame, to the engine.
func (w *worker) judged(l *lane, b []byte) {
	w.in = l
	f := w.rx.Push() // empty between two bursts
	f.Data = b       // sniffers have seen it come
	w.judging = true
	w.input(l, f)
	w.judging = false
	w.announce()
	w.rx.Truncate(0)
	w.emit()
}

// mayLeave asks the packet filter of lane l about an active open.
func (w *worker) mayLeave(l *lane, r *toe.ConnectRequest) bool {
	if l.judge == nil {
		return true
	}
	var uid, gid uint32
	if r.Client != nil {
		uid, gid = r.Client.UID, r.Client.GID
	}
	return l.judge.Leaves(w.id, &r.Flow, uid, gid)
}
