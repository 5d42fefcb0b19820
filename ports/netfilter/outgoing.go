package netfilter

import (
	"errors"
	"fmt"
	"runtime"
	"slices"

	"golang.org/x/sys/unix"

	"opentoe/tcpoffload/seq"
	"opentoe/tcpoffload/wire"
)

// outgoing asks about one worker's active opens. Nothing of it waits: the kernel carries a packet through its
// rules before the system call that sends it returns, and by then the report is there.
type outgoing struct {
	reports *socket // does not block
	index   uint32  // of the interface by which SYNs must leave
	token   token
	users   []user // those who asked last stand last
	to4     unix.SockaddrInet4
	to6     unix.SockaddrInet6
	frame   [wire.EthernetLen + wire.IPv6Len + wire.TCPLen + wire.MaxOptionsLen]byte
}

// user is a raw socket that belongs to a user and group of programs, as rules see it.
type user struct {
	uid, gid uint32
	v4       bool
	fd       int
}

func (o *outgoing) close() error {
	errs := []error{o.reports.close()}
	for i := range o.users {
		errs = append(errs, unix.Close(o.users[i].fd))
	}
	o.users = nil
	return errors.Join(errs...)
}

// leaves reports whether the kernel would send a SYN of flow f by our interface as it is.
func (o *outgoing) leaves(f *wire.Flow, uid, gid uint32) bool {
	fd, err := o.socketOf(uid, gid, f.Is4())
	if err != nil {
		return false
	}
	o.drain()
	var to unix.Sockaddr = &o.to6
	if o.to6.Addr = f.Remote; f.Is4() {
		o.to4.Addr, to = [4]byte(f.Remote[12:]), &o.to4
	}
	// The error says nothing: our own rule drops the copy, too.
	_ = unix.Sendto(fd, o.syn(f), unix.MSG_DONTWAIT, to)
	for range maxStale {
		n, err := unix.Read(o.reports.fd, o.reports.in)
		if err != nil {
			return false
		}
		same := false
		reported(o.reports.in[:n], func(packet []byte, out uint32) { same = out == o.index && flowOf(packet) == *f })
		if same {
			return true
		}
	}
	return false
}

// drain forgets reports that came too late.
func (o *outgoing) drain() {
	for range maxStale {
		if _, err := unix.Read(o.reports.fd, o.reports.in); err != nil {
			return
		}
	}
}

// syn returns the copy: a SYN such as the kernel's, but for its sequence number and window.
func (o *outgoing) syn(f *wire.Flow) []byte {
	h := wire.Header{
		Flow: *f, Flags: wire.SYN, TTL: defaultTTL, DF: true, Seq: seq.Num(o.token.seq), Wnd: o.token.wnd,
		Opt: wire.Options{Set: wire.OptMSS, MSS: defaultMSS},
	}
	h.Put(o.frame[:], 0, 0, wire.ChecksumSoftware)
	return o.frame[wire.EthernetLen:h.Len()]
}

// What copies have, for rules that look.
const defaultTTL, defaultMSS = 64, 1460

// flowOf returns the flow of an outgoing TCP packet; zero when it is none.
func flowOf(packet []byte) (f wire.Flow) {
	var tcp []byte
	if h, ok := wire.AsIPv4(packet); ok {
		f.Local, f.Remote, tcp = h.Src(), h.Dst(), h.Payload()
	} else if h, ok := wire.AsIPv6(packet); ok {
		f.Local, f.Remote, tcp = h.Src(), h.Dst(), h.Payload()
	}
	if h, ok := wire.AsTCP(tcp); ok {
		f.LocalPort, f.RemotePort = h.SrcPort(), h.DstPort()
	}
	return f
}

// socketOf returns the raw socket of a user and group for an address family.
func (o *outgoing) socketOf(uid, gid uint32, v4 bool) (fd int, err error) {
	last := len(o.users) - 1
	for i := last; i >= 0; i-- {
		if u := o.users[i]; u.uid == uid && u.gid == gid && u.v4 == v4 {
			if i != last {
				o.users = append(slices.Delete(o.users, i, i+1), u)
			}
			return u.fd, nil
		}
	}
	family := unix.AF_INET6
	if v4 {
		family = unix.AF_INET
	}
	if fd, err = rawSocketAs(uid, gid, family); err != nil {
		return -1, err
	}
	if len(o.users) == maxUsers {
		_ = unix.Close(o.users[0].fd) // nothing is lost with it
		o.users = slices.Delete(o.users, 0, 1)
	}
	o.users = append(o.users, user{uid, gid, v4, fd})
	return fd, nil
}

// rawSocketAs opens a socket for whole packets, to send only, as somebody: whom rules call the owner of a
// socket is who the thread was, as to files, when it opened the socket.
func rawSocketAs(uid, gid uint32, family int) (fd int, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ownUID, _ := unix.SetfsuidRetUid(int(uid))
	defer unix.Setfsuid(ownUID)
	ownGID, _ := unix.SetfsgidRetGid(int(gid))
	defer unix.Setfsgid(ownGID)
	// The calls do not say whether they were obeyed; in vain ones tell how things are.
	isUID, _ := unix.SetfsuidRetUid(-1)
	isGID, _ := unix.SetfsgidRetGid(-1)
	if uint32(isUID) != uid || uint32(isGID) != gid {
		return -1, fmt.Errorf("netfilter: become user %d of group %d: %w", uid, gid, unix.EPERM)
	}
	fd, err = unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_RAW)
	if err != nil {
		return -1, fmt.Errorf("netfilter: raw socket: %w", err)
	}
	return fd, nil
}
