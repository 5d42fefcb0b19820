package client

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"opentoe/sockshim/shm"
)

// setting is an integer option that both kernel and toed have.
type setting struct {
	level, name int
	option      uint32 // of shm
	factor      uint64 // to toed's unit
}

// settings are what a kernel socket is asked for when it is opened on the TOE: all of them are 0 in a
// socket that was never told otherwise, or of no consequence.
var settings = [...]setting{
	{unix.IPPROTO_TCP, unix.TCP_NODELAY, shm.OptNoDelay, 1},
	{unix.IPPROTO_TCP, unix.TCP_CORK, shm.OptCork, 1},
	{unix.SOL_SOCKET, unix.SO_KEEPALIVE, shm.OptKeepalive, 1},
	{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, shm.OptKeepIdle, 1e9},
	{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, shm.OptKeepIntvl, 1e9},
	{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, shm.OptKeepCnt, 1},
	{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, shm.OptUserTimeout, 1e6},
	{unix.IPPROTO_TCP, unix.TCP_MAXSEG, shm.OptMaxSeg, 1},
	{unix.SOL_SOCKET, unix.SO_RCVBUF, shm.OptRcvBuf, 1},
	{unix.SOL_SOCKET, unix.SO_SNDBUF, shm.OptSndBuf, 1},
	{unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, shm.OptNotSentLowat, 1},
	{unix.IPPROTO_TCP, unix.TCP_WINDOW_CLAMP, shm.OptRcvClamp, 1},
	{unix.IPPROTO_TCP, unix.TCP_QUICKACK, shm.OptQuickAck, 1},
	{unix.IPPROTO_TCP, unix.TCP_LINGER2, shm.OptLinger2, 1e9},
	{unix.IPPROTO_IP, unix.IP_TOS, shm.OptTOS, 1},
	{unix.IPPROTO_IPV6, unix.IPV6_TCLASS, shm.OptTOS, 1},
	{unix.IPPROTO_IP, unix.IP_TTL, shm.OptTTL, 1},
	{unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, shm.OptTTL, 1},
}

// settingOf returns the setting that an option of the kernel is to toed, nil if it is none.
func settingOf(level, name int) *setting {
	for i := range settings {
		if settings[i].level == level && settings[i].name == name {
			return &settings[i]
		}
	}
	return nil
}

// soBufLock is SO_BUF_LOCK (Linux 5.14): whose buffers were sized by the program; bits sndLock, rcvLock.
const (
	soBufLock = 72
	sndLock   = 1
	rcvLock   = 2
)

// request fills in what an open asks for, as the kernel socket fd has been told.
func request(p *shm.Slot, fd int) {
	p.ReqCc = shm.CCDefault
	if cc, usual := congestionOf(fd), usualCongestion(); cc != usual {
		p.ReqCc = uint8(congestion[cc])
	}
	get := func(level, name int) int { v, _ := unix.GetsockoptInt(fd, level, name); return v }
	p.ReqNodelay = uint8(get(unix.IPPROTO_TCP, unix.TCP_NODELAY))
	p.ReqKeepalive = uint8(get(unix.SOL_SOCKET, unix.SO_KEEPALIVE))
	p.ReqReuseport = uint8(get(unix.SOL_SOCKET, unix.SO_REUSEPORT))
	p.ReqDeferAccept = uint32(get(unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT))
	p.ReqUserTimeout = uint32(get(unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT))
	p.ReqLowat = uint32(max(get(unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT), 0))
	p.ReqDeferAccept = uint32(max(get(unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT), 0))
	p.ReqRcvbuf, p.ReqSndbuf = 0, 0
	locked := get(unix.SOL_SOCKET, soBufLock)
	if locked&rcvLock != 0 { // the kernel says twice of what it was asked for
		p.ReqRcvbuf = uint32(get(unix.SOL_SOCKET, unix.SO_RCVBUF) / 2)
	}
	if locked&sndLock != 0 {
		p.ReqSndbuf = uint32(get(unix.SOL_SOCKET, unix.SO_SNDBUF) / 2)
	}
	p.ReqTos, p.ReqTtl, p.ReqV6only = uint8(get(unix.IPPROTO_IP, unix.IP_TOS)), 0, 0
	if domain, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN); domain == unix.AF_INET6 {
		p.ReqV6only = uint8(get(unix.IPPROTO_IPV6, unix.IPV6_V6ONLY))
		p.ReqTos = uint8(get(unix.IPPROTO_IPV6, unix.IPV6_TCLASS))
	}
}

// congestionOf returns the name of a kernel socket's congestion control.
func congestionOf(fd int) string {
	name, _ := unix.GetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION)
	return name
}

// usualCongestion returns the kernel's, which stands for a socket that was not told: toed has its own.
func usualCongestion() string {
	text, _ := os.ReadFile("/proc/sys/net/ipv4/tcp_congestion_control") // unreadable: every socket was told
	return strings.TrimSpace(string(text))
}

// later are the settings that an open has no place for: they are sent when it is decided, unless they are
// the kernel's default, which is toed's own affair.
var later = [...]struct{ name, usual int }{
	{unix.TCP_KEEPIDLE, 7200}, {unix.TCP_KEEPINTVL, 75}, {unix.TCP_KEEPCNT, 9}, {unix.TCP_CORK, 0},
}

func (s *sock) requestLater(fd int) {
	for _, l := range later {
		v, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, l.name)
		if err != nil || v == l.usual {
			continue
		}
		f := settingOf(unix.IPPROTO_TCP, l.name)
		_ = s.option(f.option, uint64(v)*f.factor) // the next use of the socket tells of its end
	}
}

// Set tells toed of an option that the kernel socket beneath was given: the value of an integer option as
// setsockopt takes it. Options that toed does not have are ignored.
func (c *Conn) Set(level, name, value int) error {
	f := settingOf(level, name)
	if f == nil {
		return nil
	}
	return c.wrap("set", c.s.option(f.option, uint64(max(value, 0))*f.factor))
}

// congestion are the algorithms that toed has, by their names.
var congestion = map[string]uint64{"reno": shm.CCReno, "cubic": shm.CCCubic, "dctcp": shm.CCDCTCP, "bbr": shm.CCBBR}

// SetCongestion chooses the congestion control by name.
func (c *Conn) SetCongestion(name string) error {
	cc, ok := congestion[name]
	if !ok {
		return c.wrap("set", unix.ENOENT)
	}
	return c.wrap("set", c.s.option(shm.OptCC, cc))
}

// Info is what toed tells of a connection.
type Info struct {
	TCP        []byte // struct tcp_info, as of linux/tcp.h
	Congestion string
	Memory     [9]uint32 // SO_MEMINFO
	PathMTU    uint32    // octets; 0: unknown
	Unsent     uint32    // octets that were written and never sent
}

// Info asks toed about the connection.
func (c *Conn) Info() (Info, error) {
	m := shm.Msg{Type: shm.MsgInfo, RegionId: c.s.c.region.Header.RegionId, Slot: c.s.slot, Gen: c.s.gen}
	if err := c.s.c.call(&m, -1); err != nil {
		return Info{}, c.wrap("info", err)
	}
	i := Info{
		TCP: m.U[:min(int(m.InfoLen), len(m.U))], Memory: m.More.Meminfo, PathMTU: m.More.PathMtu, Unsent: m.More.Unsent,
	}
	for _, b := range m.More.Cc {
		if b == 0 {
			break
		}
		i.Congestion += string(rune(b))
	}
	return i, nil
}

// told is an option that a kernel socket was given.
type told struct{ level, name, value int }

// estate is what a listener's connections inherit.
type estate struct {
	told []told
	cc   string // the congestion control; "": none
}

// Inherit has the listener's connections inherit what its kernel socket, as of now, has been told. The kernel's
// own accept would see to that.
func (l *Listener) Inherit() {
	domain := unix.AF_INET6
	if l.is4 {
		domain = unix.AF_INET
	}
	fresh, err := unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return // what was inherited before still is
	}
	defer unix.Close(fresh)
	var list []told
	for i := range settings {
		f := &settings[i]
		v, err := unix.GetsockoptInt(l.held, f.level, f.name)
		usual, _ := unix.GetsockoptInt(fresh, f.level, f.name)
		if err != nil || v == usual || f.option == shm.OptMaxSeg {
			continue
		}
		if f.option == shm.OptRcvBuf || f.option == shm.OptSndBuf {
			v /= 2 // the kernel says twice of what it was told
		}
		list = append(list, told{f.level, f.name, v})
	}
	cc := congestionOf(l.held)
	if cc == congestionOf(fresh) {
		cc = ""
	}
	l.estate.Store(&estate{list, cc})
}

// inherit gives the kernel socket of an accepted connection what the listener's was told.
func (l *Listener) inherit(fd int) {
	e := l.estate.Load()
	if e == nil {
		return
	}
	if e.cc != "" {
		_ = unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, e.cc)
	}
	for _, o := range e.told {
		_ = unix.SetsockoptInt(fd, o.level, o.name, o.value) // the listener's was accepted
	}
}
