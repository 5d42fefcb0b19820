package sim

import "opentoe/tcpoffload/wire"

// Join connects a and b by two links.
func (w *World) Join(a, b *Host, ab, ba LinkConfig) (toB, toA *Link) {
	toB = &Link{LinkConfig: ab, w: w, to: b}
	toA = &Link{LinkConfig: ba, w: w, to: a}
	a.link, b.link = toB, toA
	return toB, toA
}

// Switch hands packets to the node that their destination address has behind it. Others are lost.
type Switch struct {
	w      *World
	addrs  []wire.Addr
	behind []node
	Lost   uint64
}

// NewSwitch returns a switch of w without ports.
func (w *World) NewSwitch() *Switch { return &Switch{w: w} }

// attach puts n behind addr: a host, or a link that leads to it.
func (s *Switch) attach(addr wire.Addr, n node) {
	s.addrs, s.behind = append(s.addrs, addr), append(s.behind, n)
}

func (s *Switch) take(p *packet) {
	for i := range s.addrs {
		if s.addrs[i] == p.seg.Flow.Local {
			s.behind[i].take(p)
			return
		}
	}
	s.Lost++
	s.w.note(p, "no route")
	s.w.drop(p)
}

// Star joins hosts by one switch; every host has a link up to it and one down from it.
func (w *World) Star(hosts []*Host, config func(i int) (up, down LinkConfig)) *Switch {
	s := w.NewSwitch()
	for i, h := range hosts {
		up, down := config(i)
		h.link = &Link{LinkConfig: up, w: w, to: s}
		s.attach(h.Addr, &Link{LinkConfig: down, w: w, to: h})
	}
	return s
}

// Dumbbell joins the hosts of two sides by one link each way that all share. Each host of the left side
// has an access link of its own, so that their round trips may differ; config gives that of host i.
func (w *World) Dumbbell(left, right []*Host, there, back LinkConfig, access func(i int) LinkConfig) (toRight, toLeft *Link) {
	l, r := w.NewSwitch(), w.NewSwitch()
	toRight = &Link{LinkConfig: there, w: w, to: r}
	toLeft = &Link{LinkConfig: back, w: w, to: l}
	for i, h := range left {
		h.link = &Link{LinkConfig: access(i), w: w, to: toRight}
		l.attach(h.Addr, h)
	}
	for _, h := range right {
		h.link = &Link{w: w, to: toLeft}
		r.attach(h.Addr, h)
	}
	return toRight, toLeft
}
