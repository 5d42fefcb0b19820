package sim

import (
	"fmt"

	"opentoe/tcpoffload"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// Trace is one thing that happened to a segment, or one end of a connection.
type Trace struct {
	At   vtime.Time
	What string              // "sent", "arrives", why it was lost, why the engine dropped it, or another event
	Seg  *tcpoffload.Segment // valid only during the call; nil: What says all
}

// OnTrace has f told of everything that happens.
func (w *World) OnTrace(f func(Trace)) { w.trace = f }

// Hash returns a hash of everything that happened so far: two runs of a seed agree in it.
func (w *World) Hash() uint64 { return w.hash }

const (
	hashStart = 0xcbf29ce484222325
	hashPrime = 0x100000001b3
)

// note takes p's fate into the hash and tells the tracer.
func (w *World) note(p *packet, what string) {
	s := &p.seg
	for _, v := range [...]uint64{
		uint64(w.now), uint64(s.Seq)<<32 | uint64(s.Ack), uint64(s.Len)<<32 | uint64(s.Wnd)<<16 | uint64(s.Flags)<<8 | uint64(len(what)),
	} {
		w.hash = (w.hash ^ v) * hashPrime
	}
	if w.trace != nil {
		w.trace(Trace{At: w.now, What: what, Seg: s})
	}
}

// event notes what happens beside segments.
func (w *World) event(format string, args ...any) {
	w.hash = (w.hash ^ uint64(w.now)) * hashPrime
	if w.trace != nil {
		w.trace(Trace{At: w.now, What: fmt.Sprintf(format, args...)})
	}
}

// String formats t as tcpdump would, with absolute numbers.
func (t Trace) String() string {
	at := fmt.Sprintf("%12.6f ", seconds(t.At))
	if t.Seg == nil {
		return at + t.What
	}
	s := t.Seg
	line := fmt.Sprintf("%s%-10s %v > %v: [%v] seq %d", at, t.What, s.Flow.RemoteAddrPort(), s.Flow.LocalAddrPort(), s.Flags, s.Seq)
	if s.Len > 0 {
		line += fmt.Sprintf(":%d", s.Seq.Add(s.Len))
	}
	if s.Flags.Has(wire.ACK) {
		line += fmt.Sprintf(" ack %d", s.Ack)
	}
	line += fmt.Sprintf(" win %d", s.Wnd)
	if s.Flags.Has(wire.URG) {
		line += fmt.Sprintf(" urg %d", s.Urg)
	}
	if s.ECN != wire.NotECT {
		line += fmt.Sprintf(" ecn %d", s.ECN)
	}
	o := &s.Opt
	if o.Set&wire.OptMSS != 0 {
		line += fmt.Sprintf(" mss %d", o.MSS)
	}
	if o.Set&wire.OptWindowScale != 0 {
		line += fmt.Sprintf(" wscale %d", o.WScale)
	}
	if o.Set&wire.OptSACKPermitted != 0 {
		line += " sackOK"
	}
	if o.Set&wire.OptTimestamps != 0 {
		line += fmt.Sprintf(" TS %d/%d", o.TSVal, o.TSEcr)
	}
	if o.Set&wire.OptSACK != 0 {
		for _, b := range o.SACK[:o.NumSACK] {
			line += fmt.Sprintf(" {%d:%d}", b.Left, b.Right)
		}
	}
	return line + fmt.Sprintf(" len %d", s.Len)
}

func seconds(t vtime.Time) float64 { return float64(t) / float64(vtime.Second) }
