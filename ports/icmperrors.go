package ports

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"opentoe/tcpoffload/wire"
)

// ICMPErrors hears the ICMP and ICMPv6 errors that the kernel receives by an interface, for a port whose
// interface the kernel keeps. The kernel gets them as well, and makes of them what it can.
type ICMPErrors struct {
	sockets []*os.File // IPv4, IPv6
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
		fd, err := open()
		if err == nil {
			// Non-blocking, so that the runtime waits for it, and Close ends the wait.
			err = errors.Join(unix.BindToDevice(fd, iface), unix.SetNonblock(fd, true))
		}
		if fd >= 0 {
			l.sockets = append(l.sockets, os.NewFile(uintptr(fd), "raw ICMP socket of "+iface))
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("ports: ICMP errors of interface %q: %w", iface, err), l.Close())
		}
	}
	for i, parse := range []func([]byte, *wire.ICMPError) bool{wire.ParseICMPv4Error, parseICMPv6} {
		l.done.Go(func() { l.hear(l.sockets[i], parse, tell) })
	}
	return l, nil
}

// parseICMPv6 parses what a raw ICMPv6 socket delivers: the message, whose checksum it has verified.
func parseICMPv6(b []byte, e *wire.ICMPError) bool { return wire.ParseICMPv6Error(b, e) }

// rawICMPv4 returns a socket that has the errors of RFC 792, each as a whole IPv4 packet.
func rawICMPv4() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
	if err != nil {
		return -1, err
	}
	const icmpFilter = 1 // ICMP_FILTER of linux/icmp.h: a bit for each type that is not wanted
	wanted := 1<<wire.ICMPUnreachable | 1<<wire.ICMPTimeExceeded | 1<<wire.ICMPParamProblem
	return fd, unix.SetsockoptInt(fd, unix.SOL_RAW, icmpFilter, int(int32(^wanted)))
}

// rawICMPv6 returns a socket that has the errors of RFC 4443, each as an ICMPv6 message.
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
	return fd, unix.SetsockoptICMPv6Filter(fd, unix.IPPROTO_ICMPV6, unix.ICMPV6_FILTER, &filter)
}

// hear reads f until it is closed.
func (l *ICMPErrors) hear(f *os.File, parse func([]byte, *wire.ICMPError) bool, tell func(*wire.ICMPError)) {
	buf := make([]byte, maxICMPError)
	var e wire.ICMPError
	for {
		n, err := f.Read(buf)
		switch {
		case errors.Is(err, os.ErrClosed):
			return
		case err != nil:
			l.limited.Add(1) // the interface is down, or away: nothing comes until it is back
			time.Sleep(icmpErrorPause)
		case !parse(buf[:n], &e):
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
	for _, f := range l.sockets {
		errs = append(errs, f.Close())
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
