package rtnl

import (
	"encoding/binary"
	"errors"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"opentoe/ports"
	"opentoe/tcpoffload/wire"
)

// hint is what has to be read again.
type hint struct {
	views, routes, neighbours bool
}

func (h *hint) any() bool { return h.views || h.routes || h.neighbours }

// follow takes notifications until Close, and reads what they say has changed.
func (k *Kernel) follow() {
	var h hint
	var first, rest time.Time // of the changes that wait; until when reading has to pause
	for {
		wait := time.Duration(0) // for ever
		if h.any() {
			wait = min(settleTime, time.Until(first.Add(settleMax)))
			wait = max(wait, time.Until(rest), time.Microsecond)
		}
		got, err := k.receive(&h, wait)
		switch {
		case errors.Is(err, errQuiet):
		case err != nil:
			return // closed
		case h.any() && first.IsZero():
			first = time.Now()
		}
		now := time.Now()
		if !h.any() || got && now.Before(first.Add(settleMax)) || now.Before(rest) {
			continue
		}
		retry := k.readAgain(h)
		if h.neighbours && !errors.Is(err, errQuiet) {
			// After an overrun the kernel drops notifications until those that wait have been taken, without
			// saying so again; and those that wait are older than what was just read.
			retry = h
		}
		rest = now.Add(readShare * time.Since(now))
		h, first = hint{}, time.Time{}
		if retry.any() {
			h, first, rest = retry, now, time.Now().Add(settleMax)
		}
	}
}

// errQuiet says that nothing came in time.
var errQuiet = errors.New("no notification")

// receive takes the notifications that are there, waiting for the first of them (0: for ever), and adds to
// h what they concern. got is false when only others came.
func (k *Kernel) receive(h *hint, wait time.Duration) (got bool, err error) {
	tv := unix.NsecToTimeval(wait.Nanoseconds())
	if err := k.events.SetReceiveTimeout(&tv); err != nil {
		return false, err
	}
	messages, from, err := k.events.Receive()
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return false, errQuiet
	case errors.Is(err, unix.ENOBUFS):
		k.count(CountOverruns)
		k.generation.Add(1)
		*h = hint{true, true, true}
		return true, nil
	case err != nil:
		select {
		case <-k.closing:
			return false, err
		default:
		}
		// A message that cannot be understood: whatever it said is read again.
		k.count(CountReadErrors)
		*h = hint{true, true, true}
		return true, nil
	case from.Pid != nl.PidKernel:
		return false, errQuiet
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range messages {
		got = k.notice(h, &messages[i]) || got
	}
	return got, nil
}

// notice adds to h what a notification concerns and reports whether that is anything of ours.
// Precondition: mu is held.
func (k *Kernel) notice(h *hint, m *syscall.NetlinkMessage) bool {
	switch m.Header.Type {
	case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
		return k.noticeNeighbour(m)
	case unix.RTM_NEWLINK, unix.RTM_DELLINK, unix.RTM_NEWADDR, unix.RTM_DELADDR:
		// Both begin with four octets and the interface's index.
		if len(m.Data) < 8 || k.find(int(binary.NativeEndian.Uint32(m.Data[4:]))) == nil {
			return false
		}
		h.views = true
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE, unix.RTM_NEWRULE, unix.RTM_DELRULE, unix.RTM_NEWNEXTHOP, unix.RTM_DELNEXTHOP:
		h.views, h.routes = true, true
	default:
		return false
	}
	k.count(CountEvents)
	k.generation.Add(1) // already: who asks for a route now is not to get an old one
	return true
}

// noticeNeighbour applies a notification about a neighbour.
func (k *Kernel) noticeNeighbour(m *syscall.NetlinkMessage) bool {
	n, err := netlink.NeighDeserialize(m.Data)
	if err != nil {
		return false
	}
	f := k.find(n.LinkIndex)
	if f == nil || n.Family != unix.AF_INET && n.Family != unix.AF_INET6 {
		return false
	}
	k.count(CountEvents)
	a, mac, s := neighbour(n)
	if m.Header.Type == unix.RTM_DELNEIGH {
		s = ports.StateNone
	}
	if a != (wire.Addr{}) {
		f.port.FollowNeighbour(monotonic(), a, mac, s)
	}
	return false // nothing to read
}

// readAgain reads what h names, tells who wants to know if anything differs, and returns what could not be
// read.
func (k *Kernel) readAgain(h hint) (failed hint) {
	k.mu.Lock()
	changed := false
	k.routes.stale = k.routes.stale || h.routes
	for _, f := range k.followed {
		was := f.last
		if h.views || h.routes {
			if err := k.read(f); err != nil {
				failed.views = true
				k.cfg.Log.Warn("cannot read the kernel's tables, trying again", "interface", f.name, "cause", err)
			}
		}
		if h.neighbours {
			if err := k.readNeighbours(f); err != nil {
				failed.neighbours = true
				k.cfg.Log.Warn("cannot read the kernel's neighbours, trying again", "interface", f.name, "cause", err)
			}
		}
		changed = changed || !equal(&was, &f.last)
	}
	asked := h.routes && k.routes.asks // what the kernel says to those who ask may be different now
	k.mu.Unlock()
	if changed || asked {
		k.cfg.Changed()
	}
	return failed
}
