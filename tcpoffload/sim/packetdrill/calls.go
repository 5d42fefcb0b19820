package packetdrill

// System calls of scripts.

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"opentoe/tcpoffload/sim/socket"
	"opentoe/tcpoffload/vtime"
)

// makesFD are the calls that return a descriptor.
var makesFD = map[string]bool{
	"socket": true, "accept": true, "accept4": true, "epoll_create": true, "epoll_create1": true,
}

// checker compares results that stand in arguments.
type checker func(socket.Result) error

// maker builds a call from its arguments. The checker may be nil.
type maker func(r *runner, c *call) (socket.Call, checker, error)

// calls are the system calls that scripts may make.
var calls = map[string]maker{
	"socket":        makeSocket,
	"bind":          makeBind,
	"listen":        makeListen,
	"accept":        makeAccept,
	"accept4":       makeAccept,
	"connect":       makeConnect,
	"getsockname":   makeName,
	"getpeername":   makeName,
	"read":          makeRead,
	"recv":          makeRead,
	"recvfrom":      makeRead,
	"readv":         makeReadv,
	"recvmsg":       makeRecvmsg,
	"write":         makeWrite,
	"send":          makeWrite,
	"sendto":        makeWrite,
	"writev":        makeWritev,
	"sendmsg":       makeSendmsg,
	"close":         makeClose,
	"shutdown":      makeShutdown,
	"fcntl":         makeFcntl,
	"ioctl":         makeIoctl,
	"setsockopt":    makeSetsockopt,
	"getsockopt":    makeGetsockopt,
	"poll":          makePoll,
	"epoll_create":  makeEpollCreate,
	"epoll_create1": makeEpollCreate,
	"epoll_ctl":     makeEpollCtl,
	"epoll_wait":    makeEpollWait,
}

// arguments reads the arguments of a call one by one. The first error stays.
type arguments struct {
	r    *runner
	c    *call
	next int
	err  error
}

func (a *arguments) fail(v value, format string, args ...any) {
	if a.err == nil {
		a.err = &Error{a.r.s.File, v.pos, fmt.Sprintf(format, args...)}
	}
}

// need demands between lo and hi arguments.
func (r *runner) need(c *call, lo, hi int) *arguments {
	a := &arguments{r: r, c: c}
	if len(c.args) < lo || len(c.args) > hi {
		a.err = fmt.Errorf("%s has %d arguments: expected %d to %d", c.name, len(c.args), lo, hi)
	}
	return a
}

func (a *arguments) take() value {
	if a.err != nil || a.next >= len(a.c.args) {
		return value{}
	}
	a.next++
	return a.c.args[a.next-1]
}

// num takes a number; ... stands for def.
func (a *arguments) num(def int) int {
	v := a.take()
	if v.kind == valAny {
		return def
	}
	return int(a.number(v))
}

func (a *arguments) number(v value) int64 {
	switch v.kind {
	case valInt:
		return v.num
	case valFunc:
		if len(v.list) == 1 && v.text != "inet_addr" {
			return a.number(v.list[0])
		}
	}
	a.fail(v, "expected a number")
	return 0
}

// fd takes a descriptor, by the script's number.
func (a *arguments) fd() int { return a.live(int64(a.num(-1))) }

func (a *arguments) live(n int64) int {
	if fd, ok := a.r.fds[n]; ok {
		return fd
	}
	return -1
}

// one returns the only element of an array.
func (a *arguments) one(v value) value {
	if v.kind == valArray && len(v.list) == 1 {
		return v.list[0]
	}
	a.fail(v, "expected one value in brackets")
	return value{}
}

// field returns the field of a struct that is called name.
func (a *arguments) field(v value, name string) (value, bool) {
	if v.kind != valStruct {
		a.fail(v, "expected a struct in braces")
		return value{}, false
	}
	for i, n := range v.names {
		if n == name {
			return v.list[i], true
		}
	}
	return value{}, false
}

// only demands that a struct has no other fields than names.
func (a *arguments) only(v value, names ...string) {
	for i, n := range v.names {
		known := false
		for _, k := range names {
			known = known || k == n
		}
		if !known {
			a.fail(v.list[i], "field '%s': expected one of %v", n, names)
		}
	}
}

// address takes a socket address; ... stands for def.
func (a *arguments) address(def netip.AddrPort) netip.AddrPort {
	v := a.take()
	if v.kind == valAny {
		return def
	}
	a.only(v, "sa_family", "sin_port", "sin_addr")
	if fam, ok := a.field(v, "sa_family"); ok && fam.kind == valInt && fam.num == unix.AF_UNSPEC {
		return netip.AddrPort{}
	}
	port, ip := def.Port(), def.Addr()
	if p, ok := a.field(v, "sin_port"); ok && p.kind != valAny {
		port = uint16(a.number(p))
	}
	if h, ok := a.field(v, "sin_addr"); ok && h.kind != valAny {
		if h.kind != valFunc || h.text != "inet_addr" || len(h.list) != 1 {
			a.fail(h, "expected inet_addr(\"…\")")
			return def
		}
		got, err := netip.ParseAddr(h.list[0].text)
		if err != nil {
			a.fail(h, "%s is not an address", h.list[0].text)
			return def
		}
		ip = got
	}
	return netip.AddrPortFrom(ip, port)
}

func makeSocket(r *runner, c *call) (socket.Call, checker, error) {
	a := r.need(c, 3, 3)
	dom := unix.AF_INET
	if r.v6 {
		dom = unix.AF_INET6
	}
	return &socket.Socket{Domain: a.num(dom), Type: a.num(unix.SOCK_STREAM), Protocol: a.num(0)}, nil, a.err
}

func makeBind(r *runner, c *call) (socket.Call, checker, error) {
	a := r.need(c, 3, 3)
	local, _ := addresses(r.v6)
	k := &socket.Bind{FD: a.fd(), Addr: a.address(netip.AddrPortFrom(local, bindPort))}
	r.bound = k.Addr.Port()
	return k, nil, a.err
}

func makeListen(r *runner, c *call) (socket.Call, checker, error) {
	a := r.need(c, 2, 2)
	return &socket.Listen{FD: a.fd(), Backlog: a.num(1)}, nil, a.err
}

func makeAccept(r *runner, c *call) (socket.Call, checker, error) {
	a := r.need(c, 3, 4)
	k := &socket.Accept{FD: a.fd()}
	a.take()
	a.take()
	k.Flags = a.num(0)
	return k, func(res socket.Result) error {
		r.infoFD = res.Ret
		return nil
	}, a.err
}

func makeConnect(r *runner, c *call) (socket.Call, checker, error) {
	a := r.need(c, 3, 3)
	_, remote := addresses(r.v6)
	k := &socket.Connect{FD: a.fd(), Addr: a.address(netip.AddrPortFrom(remote, bindPort))}
	r.infoFD = k.FD
	return k, nil, a.err
}

func makeName(r *runner, c *call) (socket.Call, checker, error) {
	a := r.need(c, 3, 3)
	fd := a.fd()
	local, remote := addresses(r.v6)
	if c.name == "getsockname" {
		k := &socket.GetSockName{FD: fd}
		want := a.address(netip.AddrPort{})
		return k, func(socket.Result) error { return sameAddr(c.name, k.Addr, want, local) }, a.err
	}
	k := &socket.GetPeerName{FD: fd}
	want := a.address(netip.AddrPort{})
	return k, func(socket.Result) error { return sameAddr(c.name, k.Addr, want, remote) }, a.err
}

func sameAddr(call string, got, want netip.AddrPort, def netip.Addr) error {
	if !want.IsValid() && want.Port() == 0 {
		return nil
	}
	if !want.IsValid() {
		want = netip.AddrPortFrom(def, want.Port())
	}
	if got != want {
		return fmt.Errorf("%s gave %v: expected %v", call, got, want)
	}
	return nil
}

func makeRead(r *runner, c *call) (socket.Call, checker, error) {
	a := r.need(c, 3, 6)
	k := &socket.Recv{FD: a.fd()}
	a.take()
	k.Buf = a.buffer(a.num(0))
	k.Flags = a.num(0)
	return k, nil, a.err
}

// maxBuffer bounds what a script reads or writes at once, octets.
const maxBuffer = 16 << 20

func (a *arguments) buffer(n int) []byte {
	if n < 0 || n > maxBuffer {
		if a.err == nil {
			a.err = fmt.Errorf("%s of %d octets: at most %d", a.c.name, n, maxBuffer)
		}
		return nil
	}
	return make([]byte, n)
}

// vector returns how many octets the elements of an iovec have together.
func (a *arguments) vector(v value) []byte {
	if v.kind != valArray {
		a.fail(v, "expected an array of {..., length}")
		return nil
	}
	n := 0
	for _, e := range v.list {
		if e.kind != valStruct || len(e.list) != 2 {
			a.fail(e, "expected {..., length}")
			return nil
		}
		n += int(a.number(e.list[1]))
	}
	return a.buffer(n)
}

func makeReadv(r *runner, c *call) (socket.Call, checker, error) {
	a := r.need(c, 3, 3)
	return &socket.Recv{FD: a.fd(), Buf: a.vector(a.take())}, nil, a.err
}

func makeRecvmsg(r *runner, c *call) (socket.Call, checker, error) {
	a := r.need(c, 3, 3)
	k := &socket.Recv{FD: a.fd()}
	msg := a.take()
	k.Flags = a.num(0)
	a.only(msg, "msg_name", "msg_iov", "msg_flags", "msg_control")
	if iov, ok := a.field(msg, "msg_iov"); ok && iov.kind != valAny {
		k.Buf = a.vector(iov)
	}
	flags, hasFlags := a.field(msg, "msg_flags")
	control, hasControl := a.field(msg, "msg_control")
	return k, func(socket.Result) error {
		if hasFlags && flags.kind == valInt && flags.num != int64(k.OutFlags) {
			return fmt.Errorf("msg_flags are %#x: expected %#x", k.OutFlags, flags.num)
		}
		if hasControl && control.kind != valAny {
			return a.extendedErr(control, k.Err)
		}
		return nil
	}, a.err
}

// extendedErr compares the control message of MSG_ERRQUEUE.
func (a *arguments) extendedErr(v value, got *socket.ExtendedErr) error {
	msg := a.one(v)
	data, _ := a.field(msg, "cmsg_data")
	a.only(data, "ee_errno", "ee_origin", "ee_type", "ee_code", "ee_info", "ee_data")
	switch {
	case a.err != nil:
		return a.err
	case got == nil:
		return fmt.Errorf("no extended error came")
	}
	for name, have := range map[string]int64{
		"ee_errno": int64(got.Errno), "ee_origin": int64(got.Origin), "ee_type": int64(got.Type),
		"ee_info": int64(got.Info), "ee_data": int64(got.Data),
	} {
		if f, ok := a.field(data, name); ok && f.kind == valInt && f.num != have {
			return &Error{a.r.s.File, f.pos, fmt.Sprintf("%s is %d: expected %d", name, have, f.num)}
		}
	}
	return nil
}

func makeWrite(r *runner, c *call) (socket.Call, checker, error) {
	a := r.need(c, 3, 6)
	k := &socket.Send{FD: a.fd()}
	a.take()
	k.Buf = a.buffer(a.num(0))
	k.Flags = a.num(0)
	if c.name == "sendto" {
		_, remote := addresses(r.v6)
		def := netip.AddrPort{}
		if k.Flags&unix.MSG_FASTOPEN != 0 {
			def = netip.AddrPortFrom(remote, bindPort)
			r.infoFD = k.FD
		}
		k.To = a.address(def)
	}
	return k, nil, a.err
}

func makeWritev(r *runner, c *call) (socket.Call, checker, error) {
	a := r.need(c, 3, 3)
	return &socket.Send{FD: a.fd(), Buf: a.vector(a.take())}, nil, a.err
}

func makeSendmsg(r *runner, c *call) (socket.Call, checker, error) {
	a := r.need(c, 3, 3)
	k := &socket.Send{FD: a.fd()}
	msg := a.take()
	k.Flags = a.num(0)
	a.only(msg, "msg_name", "msg_iov", "msg_flags", "msg_control")
	if iov, ok := a.field(msg, "msg_iov"); ok && iov.kind != valAny {
		k.Buf = a.vector(iov)
	}
	return k, nil, a.err
}

func makeClose(r *runner, c *call) (socket.Call, checker, error) {
	a := r.need(c, 1, 1)
	n := a.num(-1)
	k := &socket.Close{FD: a.live(int64(n))}
	delete(r.fds, int64(n))
	return k, nil, a.err
}

func makeShutdown(r *runner, c *call) (socket.Call, checker, error) {
	a := r.need(c, 2, 2)
	return &socket.Shutdown{FD: a.fd(), How: a.num(0)}, nil, a.err
}

func makeFcntl(r *runner, c *call) (socket.Call, checker, error) {
	a := r.need(c, 2, 3)
	return &socket.Fcntl{FD: a.fd(), Cmd: a.num(0), Arg: a.num(0)}, nil, a.err
}

func makeIoctl(r *runner, c *call) (socket.Call, checker, error) {
	a := r.need(c, 3, 3)
	k := &socket.Ioctl{FD: a.fd(), Request: a.num(0)}
	v := a.one(a.take())
	if v.kind == valInt {
		k.Arg = int(v.num)
	}
	return k, func(socket.Result) error {
		if v.kind == valInt && int64(k.Arg) != v.num {
			return &Error{r.s.File, v.pos, fmt.Sprintf("ioctl gave %d: expected %d", k.Arg, v.num)}
		}
		return nil
	}, a.err
}

// octets returns an option value: a string, a struct, or numbers in brackets. n is its length, which
// for a number says whether it has 4 or 8 octets.
func (a *arguments) octets(v value, n int) []byte {
	switch v.kind {
	case valString:
		return []byte(v.text)
	case valStruct:
		if on, ok := a.field(v, "onoff"); ok {
			sec, _ := a.field(v, "linger")
			b := binary.NativeEndian.AppendUint32(nil, uint32(a.number(on)))
			return binary.NativeEndian.AppendUint32(b, uint32(a.number(sec)))
		}
		sec, ok1 := a.field(v, "tv_sec")
		usec, ok2 := a.field(v, "tv_usec")
		if !ok1 || !ok2 {
			a.fail(v, "expected {onoff=, linger=} or {tv_sec=, tv_usec=}")
			return nil
		}
		b := binary.NativeEndian.AppendUint64(nil, uint64(a.number(sec)))
		return binary.NativeEndian.AppendUint64(b, uint64(a.number(usec)))
	}
	num := a.number(a.one(v))
	if n == 8 {
		return binary.NativeEndian.AppendUint64(nil, uint64(num))
	}
	return binary.NativeEndian.AppendUint32(nil, uint32(num))
}

func makeSetsockopt(r *runner, c *call) (socket.Call, checker, error) {
	a := r.need(c, 5, 5)
	k := &socket.SetOption{FD: a.fd(), Level: a.num(0), Name: a.num(0)}
	v := a.take()
	k.Val = a.octets(v, a.num(4))
	return k, nil, a.err
}

func makeGetsockopt(r *runner, c *call) (socket.Call, checker, error) {
	a := r.need(c, 5, 5)
	k := &socket.GetOption{FD: a.fd(), Level: a.num(0), Name: a.num(0)}
	v := a.take()
	n := a.one(a.take())
	size := int(a.number(n))
	var want []byte
	if v.kind != valAny {
		want = a.octets(v, size)
	}
	k.Val = make([]byte, max(size, len(want), 16))
	return k, func(socket.Result) error {
		got := k.Val[:min(k.N, len(want))]
		if string(got) != string(want) {
			if len(got) == 4 && len(want) == 4 {
				return &Error{r.s.File, v.pos, fmt.Sprintf("the option is %d: expected %d",
					int32(binary.NativeEndian.Uint32(got)), int32(binary.NativeEndian.Uint32(want)))}
			}
			return &Error{r.s.File, v.pos, fmt.Sprintf("the option is %q: expected %q", got, want)}
		}
		return nil
	}, a.err
}

// millis returns a timeout in milliseconds, negative for none.
func millis(n int) vtime.Duration { return vtime.Duration(n) * vtime.Millisecond }

func makePoll(r *runner, c *call) (socket.Call, checker, error) {
	a := r.need(c, 3, 3)
	list := a.take()
	a.num(0)
	k := &socket.Poll{Timeout: millis(a.num(0))}
	var want []value
	if list.kind != valArray {
		a.fail(list, "expected an array of {fd=, events=, revents=}")
	}
	for _, v := range list.list {
		a.only(v, "fd", "events", "revents")
		fd, _ := a.field(v, "fd")
		ev, _ := a.field(v, "events")
		rev, ok := a.field(v, "revents")
		if !ok {
			rev = value{kind: valAny}
		}
		k.FDs = append(k.FDs, socket.PollFD{FD: a.live(a.number(fd)), Events: uint32(a.number(ev))})
		want = append(want, rev)
	}
	return k, func(socket.Result) error {
		for i, w := range want {
			if w.kind == valInt && int64(k.FDs[i].Revents) != w.num {
				return &Error{r.s.File, w.pos, fmt.Sprintf("revents are %#x: expected %#x", k.FDs[i].Revents, w.num)}
			}
		}
		return nil
	}, a.err
}

func makeEpollCreate(r *runner, c *call) (socket.Call, checker, error) {
	return &socket.EpollCreate{}, nil, r.need(c, 1, 1).err
}

// epollEvent reads {events=, fd=}, where fd may also be ptr, u32 or u64.
func (a *arguments) epollEvent(v value) (events value, data uint64) {
	a.only(v, "events", "fd", "ptr", "u32", "u64")
	events, _ = a.field(v, "events")
	for _, name := range []string{"fd", "ptr", "u32", "u64"} {
		if d, ok := a.field(v, name); ok && d.kind != valAny {
			data = uint64(a.number(d))
		}
	}
	return events, data
}

func makeEpollCtl(r *runner, c *call) (socket.Call, checker, error) {
	a := r.need(c, 4, 4)
	k := &socket.EpollCtl{EFD: a.fd(), Op: a.num(0), FD: a.fd()}
	if v := a.take(); v.kind != valAny {
		ev, data := a.epollEvent(v)
		k.Events, k.Data = uint32(a.number(ev)), data
	}
	return k, nil, a.err
}

func makeEpollWait(r *runner, c *call) (socket.Call, checker, error) {
	a := r.need(c, 4, 4)
	k := &socket.EpollWait{EFD: a.fd()}
	v := a.take()
	n := a.num(1)
	if n < 0 || n > 1024 {
		a.fail(v, "epoll_wait for %d events: expected 1 to 1024", n)
		n = 0
	}
	k.Events = make([]socket.EpollEvent, n)
	k.Timeout = millis(a.num(0))
	list := v.list
	switch v.kind {
	case valStruct:
		list = []value{v}
	case valAny:
		list = nil
	}
	return k, func(res socket.Result) error {
		for i, w := range list {
			if i >= res.Ret {
				break
			}
			ev, data := a.epollEvent(w)
			switch {
			case a.err != nil:
				return a.err
			case ev.kind == valInt && uint32(ev.num) != k.Events[i].Events:
				return &Error{r.s.File, ev.pos, fmt.Sprintf("events are %#x: expected %#x", k.Events[i].Events, ev.num)}
			case data != k.Events[i].Data:
				return &Error{r.s.File, w.pos, fmt.Sprintf("the event's data are %d: expected %d", k.Events[i].Data, data)}
			}
		}
		return nil
	}, a.err
}
