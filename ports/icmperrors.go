package ports

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"opentoe/tcpoffload/wire"
)

// ICMPErrors hears the ICMP and ICMPv6 errors and redirects that the kernel receives by an interface, for a port whose
// interface the kernel keeps. The kernel gets them as well, and makes of them what it can.
type ICMPErrors struct {
	sockets []*net.IPConn // IPv4, IPv6
	done    sync.WaitGroup
	limit   perSecond
	heard   atomic.Uint64
	limited atomic.Uint64
}

// NewICMPErrors calls tell, on goroutines of its own, with each error about a TCP segment, at most
// maxICMPErrors times a second. The error is valid during the call; whether the segment was ours is for tell
// to find out. Needs CAP_NET_RAW.
func NewICMPErrors(iface string, tell func(e *wire.ICMPError)) (*ICMPErrors, error) {
	l := &ICMPErrors{}
	for _, open := range []func() (int, error){rawICMPv4, rawICMPv6} {
		c, err := rawConn(open, iface)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("ports: ICMP errors of interface %q: %w", iface, err), l.Close())
		}
		l.sockets = append(l.sockets, c)
	}
	for i, parse := range []parser{parseICMPv4, parseICMPv6} {
		l.done.Go(func() { l.hear(l.sockets[i], parse, tell) })
	}
	return l, nil
}

// rawConn returns a socket of the interface that the runtime waits for, and whose Close ends the wait.
func rawConn(open func() (int, error), iface string) (*net.IPConn, error) {
	fd, err := open()
	if fd < 0 {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "raw ICMP socket of "+iface)
	defer f.Close()
	if err = errors.Join(err, unix.BindToDevice(fd, iface)); err != nil {
		return nil, err
	}
	c, err := net.FilePacketConn(f)
	if err != nil {
		return nil, err
	}
	return c.(*net.IPConn), nil
}

// parser parses what a raw socket delivers: a message that came from src, with the control messages oob.
type parser func(b, oob []byte, src *net.IPAddr, e *wire.ICMPError) bool

// parseICMPv4 is for whole packets.
func parseICMPv4(b, _ []byte, _ *net.IPAddr, e *wire.ICMPError) bool {
	return wire.ParseICMPv4Error(b, e)
}

// parseICMPv6 is for messages whose checksum the kernel has verified.
func parseICMPv6(b, oob []byte, src *net.IPAddr, e *wire.ICMPError) bool {
	from, ok := netip.AddrFromSlice(src.IP)
	hops, err := unix.ParseSocketControlMessage(oob)
	if !ok || err != nil {
		return false
	}
	limit := uint8(0)
	for _, m := range hops {
		if m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_HOPLIMIT && len(m.Data) >= 4 {
			limit = uint8(binary.NativeEndian.Uint32(m.Data))
		}
	}
	return wire.ParseICMPv6Error(b, wire.AddrFrom(from), limit, e)
}

// rawICMPv4 returns a socket that has the errors and redirects of RFC 792, each as a whole IPv4 packet.
func rawICMPv4() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
	if err != nil {
		return -1, err
	}
	const icmpFilter = 1 // ICMP_FILTER of linux/icmp.h: a bit for each type that is not wanted
	wanted := 1<<wire.ICMPUnreachable | 1<<wire.ICMPRedirect | 1<<wire.ICMPTimeExceeded | 1<<wire.ICMPParamProblem
	return fd, unix.SetsockoptInt(fd, unix.SOL_RAW, icmpFilter, int(int32(^wanted)))
}

// rawICMPv6 returns a socket that has the errors of RFC 4443 and the redirects of RFC 4861, each as an ICMPv6
// message with its hop limit.
func rawICMPv6() (int, error) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6)
	if err != nil {
		return -1, err
	}
	filter := unix.ICMPv6Filter{} // a bit for each type that is not wanted
	for i := range filter.Data {
		filter.Data[i] = ^uint32(0)
	}
	for t := wire.ICMPv6Unreachable; t <= wire.ICMPv6ParamProblem; t++ {
		filter.Data[t/32] &^= 1 << (t % 32)
	}
	filter.Data[wire.ICMPv6Redirect/32] &^= 1 << (wire.ICMPv6Redirect % 32)
	return fd, errors.Join(unix.SetsockoptICMPv6Filter(fd, unix.IPPROTO_ICMPV6, unix.ICMPV6_FILTER, &filter),
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, 1))
}

// hear reads c until it is closed.
func (l *ICMPErrors) hear(c *net.IPConn, parse parser, tell func(*wire.ICMPError)) {
	buf, oob := make([]byte, maxICMPError), make([]byte, 64) // of control messages there is only the hop limit
	var e wire.ICMPError
	for {
		n, oobn, _, src, err := c.ReadMsgIP(buf, oob)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			l.limited.Add(1) // the interface is down, or away: nothing comes until it is back
			time.Sleep(icmpErrorPause)
		case !parse(buf[:n], oob[:oobn], src, &e):
		case !l.limit.allow(time.Now()):
			l.limited.Add(1)
		default:
			l.heard.Add(1)
			tell(&e)
		}
	}
}

// Counters returns how many errors were told, and how many were not, for their rate.
func (l *ICMPErrors) Counters() (told, limited uint64) { return l.heard.Load(), l.limited.Load() }

// Close ends it. No call of tell is under way any more when it returns.
func (l *ICMPErrors) Close() error {
	var errs []error
	for _, c := range l.sockets {
		errs = append(errs, c.Close())
	}
	l.sockets = nil
	l.done.Wait()
	return errors.Join(errs...)
}

// perSecond allows so many events in each second.
type perSecond struct {
	mu    sync.Mutex
	since time.Time
	n     int
}

func (p *perSecond) allow(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.since) >= time.Second {
		p.since, p.n = now, 0
	}
	p.n++
	return p.n <= maxICMPErrors
}
