package lab

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/google/gopacket/afpacket"
	"golang.org/x/sys/unix"
)

// Impairment is what a relay does to the TCP segments of one direction, in segments per million.
type Impairment struct {
	Lose, Duplicate, Reorder uint32
	Depth                    int           // a reordered segment lets up to this many others pass
	Delay                    time.Duration // of every frame
}

// Relay is a wire that runs through this process: frames are taken off one veth and put on another, and on
// the way impaired. The kernel here has no netem.
type Relay struct {
	Forwarded, Lost, Doubled, Late atomic.Uint64 // segments, both directions

	rules atomic.Pointer[[2]Impairment] // near to far, far to near
	near  *afpacket.TPacket
	stop  context.CancelFunc
	done  chan error
}

// Impair replaces what happens to segments towards the far and towards the near end.
func (r *Relay) Impair(toFar, toNear Impairment) { r.rules.Store(&[2]Impairment{toFar, toNear}) }

// Inject puts a frame on the wire towards the near end, as an attacker on the path or elsewhere would. It may be lost
// like any other when the near end is too slow.
func (r *Relay) Inject(frame []byte) error { return r.near.WritePacketData(frame) }

// relayPoll bounds how long a reader waits, and so how long held segments stay on a silent wire.
const relayPoll = 5 * time.Millisecond

// AddRelayedWire is AddWire with a relay in the middle that takes frames of up to mtu octets of IP.
func (l *Lab) AddRelayedWire(w Wire, mtu int, seed uint64) (*Relay, error) {
	middle := Host{l.Near + "-relay"}
	if err := run("ip", "netns", "add", middle.Namespace); err != nil {
		return nil, err
	}
	l.Cleanup(func() error { return run("ip", "netns", "del", middle.Namespace) })
	// Nobody but the two ends speaks on this wire.
	if err := middle.Run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1"); err != nil {
		return nil, err
	}
	for _, v := range []struct {
		end  Host
		name string
		in   string
	}{{l.NearHost, w.NearIf, "near"}, {l.FarHost, w.FarIf, "far"}} {
		if err := errors.Join(
			run("ip", "link", "add", v.name, "netns", v.end.Namespace, "type", "veth", "peer", "name", v.in, "netns", middle.Namespace),
			v.end.ready(v.name, mtu), middle.ready(v.in, mtu),
		); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(
		l.NearHost.Run("sysctl", "-qw", "net.ipv6.conf."+w.NearIf+".disable_ipv6=1"),
		l.FarHost.Run("ip", "address", "add", w.Address, "dev", w.FarIf),
		l.FarHost.Run("ip", "address", "add", w.Address6, "dev", w.FarIf, "nodad"),
	); err != nil {
		return nil, err
	}
	near, far, err := openIn(middle.Namespace, "near", "far")
	if err != nil {
		return nil, err
	}
	r := &Relay{near: near, done: make(chan error, 2)}
	r.Impair(Impairment{}, Impairment{})
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	go func() { r.done <- r.carry(ctx, near, far, 0, seed) }()
	go func() { r.done <- r.carry(ctx, far, near, 1, seed) }()
	l.Cleanup(func() error {
		r.stop()
		err := errors.Join(<-r.done, <-r.done)
		near.Close()
		far.Close()
		return err
	})
	return r, nil
}

// ready makes an interface carry frames as a real wire does, silent by itself.
func (h Host) ready(name string, mtu int) error {
	return errors.Join(
		h.Run("ethtool", "-K", name, "tx", "off", "tso", "off", "gso", "off", "gro", "off"),
		h.Run("ip", "link", "set", name, "mtu", fmt.Sprint(mtu), "up"),
	)
}

// openIn opens a packet socket on each of two interfaces of a namespace.
func openIn(ns, a, b string) (near, far *afpacket.TPacket, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	defer unix.Close(home)
	visit, err := unix.Open("/run/netns/"+ns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	defer unix.Close(visit)
	if err := unix.Setns(visit, unix.CLONE_NEWNET); err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, unix.Setns(home, unix.CLONE_NEWNET)) }()
	open := func(name string) (*afpacket.TPacket, error) {
		return afpacket.NewTPacket(afpacket.OptInterface(name), afpacket.TPacketVersion2,
			afpacket.OptFrameSize(16<<10), afpacket.OptBlockSize(256<<10), afpacket.OptNumBlocks(64),
			afpacket.OptPollTimeout(relayPoll))
	}
	near, err1 := open(a)
	far, err2 := open(b)
	return near, far, errors.Join(err1, err2)
}

// held is a frame that waits: until others have passed, or until it is due.
type held struct {
	frame []byte
	left  int
	due   time.Time
}

// carry moves frames from one socket to the other until ctx ends.
func (r *Relay) carry(ctx context.Context, from, to *afpacket.TPacket, dir int, seed uint64) error {
	rng := rand.New(rand.NewPCG(seed, uint64(dir)))
	chance := func(ppm uint32) bool { return ppm > 0 && rng.Uint32N(1_000_000) < ppm }
	late := make(chan held, 1<<16) // frames on their way over a long wire
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for h := range late {
			time.Sleep(time.Until(h.due))
			_ = to.WritePacketData(h.frame) // a full queue loses it, as on any wire
		}
	}()
	defer func() { close(late); <-sent }()
	forward := func(frame []byte, delay time.Duration, keep bool) {
		r.Forwarded.Add(1)
		if delay == 0 {
			_ = to.WritePacketData(frame)
			return
		}
		if keep {
			frame = append([]byte(nil), frame...)
		}
		select {
		case late <- held{frame: frame, due: time.Now().Add(delay)}:
		default: // more than the wire holds
		}
	}
	var waiting []held
	for ctx.Err() == nil {
		frame, _, err := from.ZeroCopyReadPacketData()
		rule := r.rules.Load()[dir]
		if errors.Is(err, afpacket.ErrTimeout) {
			for _, h := range waiting {
				forward(h.frame, rule.Delay, false)
			}
			waiting = waiting[:0]
			continue
		}
		if err != nil {
			return err
		}
		switch {
		case !isTCP(frame):
			forward(frame, rule.Delay, true)
			continue
		case chance(rule.Lose):
			r.Lost.Add(1)
			continue
		case chance(rule.Reorder):
			r.Late.Add(1)
			waiting = append(waiting, held{frame: append([]byte(nil), frame...), left: 1 + rng.IntN(max(rule.Depth, 1))})
			continue
		case chance(rule.Duplicate):
			r.Doubled.Add(1)
			forward(frame, rule.Delay, true)
		}
		forward(frame, rule.Delay, true)
		rest := waiting[:0]
		for _, h := range waiting {
			if h.left--; h.left == 0 {
				forward(h.frame, rule.Delay, false)
			} else {
				rest = append(rest, h)
			}
		}
		waiting = rest
	}
	return nil
}

// isTCP reports whether an untagged frame carries TCP without IPv6 extensions.
func isTCP(b []byte) bool {
	if len(b) < 34 {
		return false
	}
	switch {
	case b[12] == 0x08 && b[13] == 0x00:
		return b[23] == unix.IPPROTO_TCP
	case b[12] == 0x86 && b[13] == 0xdd:
		return b[20] == unix.IPPROTO_TCP
	}
	return false
}
