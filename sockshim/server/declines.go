package server

import (
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"opentoe/sockshim/shm"
	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
	"opentoe/toe"
)

// Decline is an open that was left to the kernel.
type Decline struct {
	Time          time.Time
	Reason        toe.Reason
	Listen        bool
	Local, Remote netip.AddrPort // an unspecified local address: the kernel's choice; Remote only of active opens
	Cookie        uint64         // SO_COOKIE of the socket, as its client says
	PID           int32
	UID           uint32
	Program       string
	Gone          bool // the client has ended
}

// declines are the last ones of a client on one worker, oldest at next. They belong to the worker.
type declines struct {
	ring [declinesKept]decline
	next int
}

type decline struct {
	at            vtime.Time
	reason        toe.Reason // Offloaded: no entry
	listen        bool
	local, remote wire.Addr
	ports         [2]uint16 // local, remote
	cookie        uint64
}

// add remembers the open that slot p asks for.
func (d *declines) add(now vtime.Time, p *shm.Slot, r toe.Reason) {
	local, _ := reqAddr(p.ReqLocalAddr, p.ReqFamily)
	remote, _ := reqAddr(p.ReqRemoteAddr, p.ReqFamily)
	if p.ReqFamily == 4 && local.IsUnspecified() {
		local = wire.AddrFrom4([4]byte{})
	}
	d.put(decline{
		at: now, reason: r, listen: p.ReqRemotePort == 0, local: local, remote: remote,
		ports: [2]uint16{p.ReqLocalPort, p.ReqRemotePort}, cookie: slotCookie(p),
	})
}

func (d *declines) put(k decline) {
	d.ring[d.next] = k
	d.next = (d.next + 1) % len(d.ring)
}

// noSlot counts and remembers a socket that its client has left to the kernel, because it has no slot to ask
// with. What it says of the socket, besides the kernel, is for people.
func (c *client) noSlot(m *shm.Msg, fds []int) unix.Errno {
	if len(fds) != 1 {
		return unix.EINVAL
	}
	cookie, err := unix.GetsockoptUint64(fds[0], unix.SOL_SOCKET, unix.SO_COOKIE)
	local, err2 := unix.Getsockname(fds[0])
	if err != nil || err2 != nil {
		return unix.EINVAL
	}
	k := decline{reason: toe.ReasonNoMemory, listen: m.Slot == 0, cookie: cookie}
	switch name := local.(type) {
	case *unix.SockaddrInet4:
		k.local, k.ports[0] = wire.AddrFrom4(name.Addr), uint16(name.Port)
	case *unix.SockaddrInet6:
		k.local, k.ports[0] = wire.Addr(name.Addr), uint16(name.Port)
	default:
		return unix.EINVAL
	}
	if !k.listen {
		list, err := m.Addrs()
		if err != nil || len(list) != 1 {
			return unix.EINVAL
		}
		k.remote, k.ports[1] = wire.Addr(list[0].Addr), uint16(m.Slot)
	}
	w := c.l.workers[0]
	_ = c.l.dev.Do(w.id, func(now vtime.Time) {
		if sh := w.share(c.own); sh != nil {
			k.at = now
			sh.declines.put(k)
			w.stats.Declined[k.reason]++
		}
	})
	return 0
}

// list appends what is remembered to list, the oldest first, for client c. now and wall are the same
// instant.
func (d *declines) list(list []Decline, now vtime.Time, wall time.Time, c *client) []Decline {
	for i := range d.ring {
		k := &d.ring[(d.next+i)%len(d.ring)]
		if k.reason == toe.Offloaded {
			continue
		}
		e := Decline{
			Time: wall.Add(-time.Duration(now.Sub(k.at))), Reason: k.reason, Listen: k.listen, Cookie: k.cookie,
			Local: netip.AddrPortFrom(k.local.Netip(), k.ports[0]),
			PID:   c.cred.Pid, UID: c.cred.Uid, Program: c.program,
		}
		if !k.listen {
			e.Remote = netip.AddrPortFrom(k.remote.Netip(), k.ports[1])
		}
		list = append(list, e)
	}
	return list
}

// Declines lists the opens that were left to the kernel and are remembered, the earliest first.
func (s *Server) Declines() []Decline {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := slices.Clone(s.past)
	for _, r := range s.regions {
		list = append(list, s.declinesOf(r)...)
	}
	slices.SortStableFunc(list, func(a, b Decline) int { return a.Time.Compare(b.Time) })
	return list
}

// declinesOf lists those of r's owner. Precondition: mu is held.
func (s *Server) declinesOf(r *region) (list []Decline) {
	for _, w := range r.l.workers {
		_ = r.l.dev.Do(w.id, func(now vtime.Time) { // a worker that has ended has nothing to tell
			if sh := w.share(r); sh != nil {
				list = sh.declines.list(list, now, time.Now(), r.owner)
			}
		})
	}
	for i := range list {
		list[i].Gone = r.owner.ended.Load()
	}
	return list
}

// keepDeclines keeps what is remembered of r's owner, whose region is going. Precondition: mu is held.
func (s *Server) keepDeclines(r *region) {
	for _, d := range s.declinesOf(r) {
		d.Gone = true
		s.past = append(s.past, d)
	}
	s.past = s.past[max(0, len(s.past)-pastDeclines):]
}
