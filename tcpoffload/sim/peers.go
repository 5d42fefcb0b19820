package sim

import (
	"fmt"
	"math/rand/v2"

	"opentoe/tcpoffload"
	"opentoe/tcpoffload/vtime"
)

// Peers without an engine in a scenario.

// Addresses of the peers without an engine.
const (
	refAddr     = 100
	hostileAddr = 101
)

// drawPeers adds a reference peer and a hostile one.
func (sc *Scenario) drawPeers() {
	w := sc.World
	if r, ok := sc.draw(FeatRefPeer, 4); ok {
		link := sc.ups[0].LinkConfig
		link.Trains, link.GhostBy, link.Down = false, 0, false
		link.Loss, link.Burst = min(link.Loss, 30_000), Gilbert{}
		p := w.RefPeer(sc.addr(refAddr), sc.star, link, LinkConfig{Delay: upTo(r, 20*vtime.Millisecond)})
		p.MSS = oneOf[uint32](r, 1, 100, 536, 536)
		p.Window = oneOf[uint32](r, 500, 4000, 8000, 65535)
		p.Octets = uint64(r.IntN(int(p.MSS) * 200))
		sc.ref = p
		n := 1 + r.IntN(3)
		sc.say("reference peer %v: MSS %d, window %d, %d octets each, %d connections, link (%s)", p.Addr, p.MSS, p.Window, p.Octets, n, brief(link))
		for i := range n {
			h, passive, local := oneOf(r, sc.hosts...), r.IntN(2) == 0, uint16(3000+i)
			sc.expected++
			w.At(w.now.Add(upTo(r, vtime.Second)), func() {
				if passive {
					p.Connect(h, local, port)
					return
				}
				s, res := h.ConnectAddr(p.Addr, local, port, tcpoffload.SocketOptions{})
				if res == tcpoffload.CallOK {
					sc.serveRef(s)
				} else {
					sc.expected--
				}
			})
		}
	}
	if r, ok := sc.draw(FeatHostile, 4); ok {
		until := w.now.Add(upTo(r, 2*vtime.Second))
		x := w.Hostile(sc.addr(hostileAddr), sc.star, LinkConfig{Delay: vtime.Millisecond}, LinkConfig{}, until)
		sc.hostile = x
		sc.until = until.Add(upTo(r, vtime.Second))
		n := 1 + r.IntN(3)
		sc.say("hostile peer %v until %.6f, %d connections", x.Addr, seconds(until), n)
		for i := range n {
			h, passive, local := oneOf(r, sc.hosts...), r.IntN(2) == 0, uint16(4000+i)
			w.At(w.now.Add(upTo(r, vtime.Second/2)), func() {
				if passive {
					x.Connect(h, local, port)
				} else if s, res := h.ConnectAddr(x.Addr, local, port, tcpoffload.SocketOptions{}); res == tcpoffload.CallOK {
					sc.serveHostile(s)
				}
			})
		}
	}
}

// serveRef gives a connection to the reference peer a program.
func (sc *Scenario) serveRef(s *Sock) {
	r := rand.New(rand.NewPCG(sc.seed, s.id))
	o := role{total: uint64(r.IntN(30_000)), chunk: 10_000, gap: vtime.Millisecond}
	sc.refSocks = append(sc.refSocks, s)
	start(sc.World, s, o, s.id).event()
}

// serveHostile gives a connection to the hostile peer a program that gives up in the end.
func (sc *Scenario) serveHostile(s *Sock) {
	s.Hostile = true
	o := role{total: 1 << 20, chunk: 100_000, gap: 20 * vtime.Millisecond}
	g := start(sc.World, s, o, s.id)
	g.spoiled = true
	sc.World.At(sc.until, func() {
		if !s.Finished {
			s.Abort()
		}
	})
	g.event()
}

// peersDone reports whether nothing is to be expected any more of peers without an engine.
func (sc *Scenario) peersDone() bool {
	if sc.hostile != nil && sc.World.now < sc.until {
		return false
	}
	if sc.ref == nil {
		return true
	}
	if len(sc.ref.Conns) < sc.expected {
		return false
	}
	for _, c := range sc.ref.Conns {
		if !c.Finished && !c.Reset {
			return false
		}
	}
	for _, s := range sc.refSocks {
		if !s.Finished {
			return false
		}
	}
	return true
}

// peersVerdict checks how the connections of the reference peer ended.
func (sc *Scenario) peersVerdict() error {
	if sc.ref == nil || sc.trouble {
		return nil
	}
	for _, s := range sc.refSocks {
		var c *RefConn
		for _, x := range sc.ref.Conns {
			if x.Flow.LocalPort == s.Flow.RemotePort && x.Flow.RemotePort == s.Flow.LocalPort && x.Flow.Remote == s.Host.Addr {
				c = x
			}
		}
		if c == nil || s.Reason != tcpoffload.ReasonNone || s.EOF != sc.ref.Octets || c.Got != s.Sent {
			return fmt.Errorf("with the reference peer: %+v and %s", c, describe(s))
		}
	}
	return nil
}
