package rtnl

import (
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"opentoe/ports"
	"opentoe/tcpoffload/wire"
)

// request is something to tell the kernel about a neighbour.
type request struct {
	port    *ports.Port
	addr    wire.Addr
	confirm bool // it works; else: it is needed
}

// requests are what waits for the resolver, each once.
type requests struct {
	socket nl.SocketHandle // the resolver's
	queue  chan request

	mu      sync.Mutex
	waiting map[request]struct{}
}

func (r *requests) open() (err error) {
	r.queue = make(chan request, maxRequests)
	r.waiting = make(map[request]struct{}, maxRequests)
	if r.socket.Socket, err = nl.Subscribe(unix.NETLINK_ROUTE); err != nil {
		return err
	}
	tv := unix.NsecToTimeval(answerTime.Nanoseconds())
	return r.socket.Socket.SetReceiveTimeout(&tv)
}

func (r *requests) close() {
	if r.socket.Socket != nil {
		r.socket.Socket.Close()
	}
}

// put queues q unless it waits already; ok is false when there is no room.
func (r *requests) put(q request) (ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, waits := r.waiting[q]; waits {
		return true
	}
	select {
	case r.queue <- q:
		r.waiting[q] = struct{}{}
		return true
	default:
		return false
	}
}

// taken says that q waits no more: it may be asked again.
func (r *requests) taken(q request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.waiting, q)
}

// Resolve implements [ports.ControlPlane].
func (k *Kernel) Resolve(p *ports.Port, a wire.Addr) { k.put(request{p, a, false}) }

// Confirm implements [ports.ControlPlane].
func (k *Kernel) Confirm(p *ports.Port, a wire.Addr) { k.put(request{p, a, true}) }

func (k *Kernel) put(q request) {
	if !k.requests.put(q) {
		k.count(CountRequestsLost)
	}
}

// resolve carries out requests until Close.
func (k *Kernel) resolve() {
	for {
		select {
		case <-k.closing:
			return
		case q := <-k.requests.queue:
			k.requests.taken(q)
			if index := q.port.View().Index; index == 0 {
				continue
			} else if q.confirm {
				k.confirm(index, &q)
			} else {
				k.use(index, &q)
			}
		}
	}
}

// confirm makes a neighbour REACHABLE, with the address that the kernel has for it.
func (k *Kernel) confirm(index int, q *request) {
	k.count(CountConfirms)
	if _, err := k.exchange(unix.RTM_NEWNEIGH, 0, index, q.addr, netlink.NUD_REACHABLE, 0); err != nil {
		k.count(CountConfirmErrors)
	}
}

// use makes the kernel do about a neighbour what it does when it sends to it itself: resolve or probe it.
// The kernel does not tell what it has told before, so the neighbour is looked at as well: under the lock
// of the notifications, lest what was seen outlives what is told of later changes.
func (k *Kernel) use(index int, q *request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.count(CountResolves)
	n := k.look(index, q.addr)
	switch {
	case n != nil && n.State&(netlink.NUD_REACHABLE|netlink.NUD_DELAY|netlink.NUD_PROBE|netlink.NUD_PERMANENT|netlink.NUD_NOARP) != 0:
		// To use a permanent one would make it an ordinary one.
	case n != nil && n.State&netlink.NUD_INCOMPLETE != 0:
		return // under way
	default:
		if _, err := k.exchange(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE, index, q.addr, netlink.NUD_NONE, netlink.NTF_USE); err != nil {
			k.count(CountResolveErrors)
			q.port.FollowNeighbour(monotonic(), q.addr, wire.MAC{}, ports.StateFailed)
			return
		}
		n = k.look(index, q.addr)
	}
	if n != nil {
		_, mac, s := neighbour(n)
		q.port.OfferNeighbour(monotonic(), q.addr, mac, s)
	}
}

// look returns what the kernel knows of a neighbour, or nil.
func (k *Kernel) look(index int, a wire.Addr) *netlink.Neigh {
	messages, err := k.exchange(unix.RTM_GETNEIGH, 0, index, a, 0, 0)
	if err != nil || len(messages) == 0 {
		return nil
	}
	n, err := netlink.NeighDeserialize(messages[0])
	if err != nil {
		return nil
	}
	return n
}

// exchange sends one request about a neighbour and returns what came back.
func (k *Kernel) exchange(kind, flags, index int, a wire.Addr, state uint16, use uint8) ([][]byte, error) {
	resType := uint16(unix.RTM_NEWNEIGH)
	if kind == unix.RTM_NEWNEIGH {
		flags |= unix.NLM_F_ACK
		resType = 0
	}
	req := nl.NewNetlinkRequest(kind, flags)
	req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: &k.requests.socket}
	family := uint8(unix.AF_INET6)
	if a.Is4() {
		family = unix.AF_INET
	}
	req.AddData(&netlink.Ndmsg{Family: family, Index: uint32(index), State: state, Flags: use})
	req.AddData(nl.NewRtAttr(netlink.NDA_DST, a.Netip().AsSlice()))
	return req.Execute(unix.NETLINK_ROUTE, resType)
}

// neighbour translates the kernel's words; the address is zero for what is no neighbour of ours.
func neighbour(n *netlink.Neigh) (a wire.Addr, mac wire.MAC, s ports.State) {
	a = wireAddress(n.IP)
	if len(n.HardwareAddr) == len(mac) {
		mac = wire.MAC(n.HardwareAddr)
	}
	switch {
	case n.State&(netlink.NUD_PERMANENT|netlink.NUD_NOARP) != 0:
		s = ports.StatePermanent
	case n.State&netlink.NUD_REACHABLE != 0:
		s = ports.StateReachable
	case n.State&netlink.NUD_STALE != 0:
		s = ports.StateStale
	case n.State&netlink.NUD_DELAY != 0:
		s = ports.StateDelay
	case n.State&netlink.NUD_PROBE != 0:
		s = ports.StateProbe
	case n.State&netlink.NUD_INCOMPLETE != 0:
		s = ports.StateIncomplete
	case n.State&netlink.NUD_FAILED != 0:
		s = ports.StateFailed
	default:
		s = ports.StateNone
	}
	return a, mac, s
}

// readNeighbours makes the port's neighbours those of the kernel. Precondition: mu is held.
func (k *Kernel) readNeighbours(f *followed) error {
	k.count(CountReadings)
	known := map[wire.Addr]bool{}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		msg := netlink.Ndmsg{Family: uint8(family), Index: uint32(f.index)}
		list, err := repeat(func() ([]netlink.Neigh, error) { return k.tables.NeighListExecute(msg) })
		if err != nil {
			k.count(CountReadErrors)
			return err
		}
		for i := range list {
			if a, mac, s := neighbour(&list[i]); a != (wire.Addr{}) {
				known[a] = true
				f.port.FollowNeighbour(monotonic(), a, mac, s)
			}
		}
	}
	for _, n := range f.port.Neighbours(monotonic()) {
		if !known[n.Addr] {
			f.port.ForgetNeighbour(n.Addr)
		}
	}
	return nil
}
