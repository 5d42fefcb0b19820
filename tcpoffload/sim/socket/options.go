package socket

// getsockopt and setsockopt.

import (
	"cmp"
	"encoding/binary"
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"opentoe/tcpoffload"
	"opentoe/tcpoffload/cc"
	"opentoe/tcpoffload/vtime"
)

// Options of Linux that golang.org/x/sys does not name.
const (
	soRcvTimeoNew = 66
	soSndTimeoNew = 67
	tcpTxDelay    = 37
	tcpFastOpenNC = 34 // TCP_FASTOPEN_NO_COOKIE
)

// option names a socket option.
type option struct{ level, name int }

// options are the values of a socket's options in the form in which getsockopt gives them, timeouts
// in microseconds. An option that is not there has its default.
type options map[option]int64

func (o options) get(level, name int) int64 { return o[option{level, name}] }
func (o options) clone() options            { return maps.Clone(o) }

// optionKind says what values an option takes.
type optionKind uint8

const (
	kindBool optionKind = iota + 1
	kindInt             // lo ≤ value ≤ hi
	kindReadOnly
)

// known are the options that are plain integers: what they take, and which option of an open connection
// they set, times unit.
var known = map[option]struct {
	kind   optionKind
	lo, hi int64
	engine tcpoffload.Option
	unit   int64
}{
	{unix.SOL_SOCKET, unix.SO_REUSEADDR}:    {kind: kindBool},
	{unix.SOL_SOCKET, unix.SO_REUSEPORT}:    {kind: kindBool},
	{unix.SOL_SOCKET, unix.SO_DONTROUTE}:    {kind: kindBool},
	{unix.SOL_SOCKET, unix.SO_OOBINLINE}:    {kind: kindBool},
	{unix.SOL_SOCKET, unix.SO_ZEROCOPY}:     {kind: kindBool},
	{unix.SOL_SOCKET, unix.SO_KEEPALIVE}:    {kind: kindBool, engine: tcpoffload.OptionKeepalive, unit: 1},
	{unix.SOL_SOCKET, unix.SO_PRIORITY}:     {kind: kindInt, lo: 0, hi: 6},
	{unix.SOL_SOCKET, unix.SO_MARK}:         {kind: kindInt, lo: 0, hi: 1<<32 - 1},
	{unix.SOL_SOCKET, unix.SO_RCVLOWAT}:     {kind: kindInt, lo: 0, hi: 1<<31 - 1},
	{unix.SOL_SOCKET, unix.SO_TIMESTAMPING}: {kind: kindInt, lo: 0, hi: 1<<18 - 1},
	{unix.SOL_SOCKET, unix.SO_BUSY_POLL}:    {kind: kindInt, lo: 0, hi: 1<<31 - 1},
	{unix.SOL_SOCKET, unix.SO_MAX_PACING_RATE}: {
		kind: kindInt, lo: 0, hi: 1<<63 - 1, engine: tcpoffload.OptionMaxPacingRate, unit: 1},
	{unix.SOL_SOCKET, unix.SO_TYPE}:       {kind: kindReadOnly},
	{unix.SOL_SOCKET, unix.SO_DOMAIN}:     {kind: kindReadOnly},
	{unix.SOL_SOCKET, unix.SO_PROTOCOL}:   {kind: kindReadOnly},
	{unix.SOL_SOCKET, unix.SO_ACCEPTCONN}: {kind: kindReadOnly},
	{unix.SOL_SOCKET, unix.SO_ERROR}:      {kind: kindReadOnly},

	{unix.IPPROTO_TCP, unix.TCP_NODELAY}:   {kind: kindBool, engine: tcpoffload.OptionNoDelay, unit: 1},
	{unix.IPPROTO_TCP, unix.TCP_CORK}:      {kind: kindBool, engine: tcpoffload.OptionCork, unit: 1},
	{unix.IPPROTO_TCP, unix.TCP_MAXSEG}:    {kind: kindInt, lo: 88, hi: 32767, engine: tcpoffload.OptionMaxSeg, unit: 1},
	{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE}:  {kind: kindInt, lo: 1, hi: 32767, engine: tcpoffload.OptionKeepIdle, unit: int64(vtime.Second)},
	{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL}: {kind: kindInt, lo: 1, hi: 32767, engine: tcpoffload.OptionKeepIntvl, unit: int64(vtime.Second)},
	{unix.IPPROTO_TCP, unix.TCP_KEEPCNT}:   {kind: kindInt, lo: 1, hi: 127, engine: tcpoffload.OptionKeepCnt, unit: 1},
	{unix.IPPROTO_TCP, unix.TCP_LINGER2}:   {kind: kindInt, lo: -1 << 31, hi: 120, engine: tcpoffload.OptionLinger2, unit: int64(vtime.Second)},
	{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT}: {
		kind: kindInt, lo: 0, hi: 1<<31 - 1, engine: tcpoffload.OptionUserTimeout, unit: int64(vtime.Millisecond)},
	{unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT}: {
		kind: kindInt, lo: -1 << 31, hi: 1<<32 - 1, engine: tcpoffload.OptionNotSentLowat, unit: 1},
	{unix.IPPROTO_TCP, unix.TCP_QUICKACK}:         {kind: kindBool, engine: tcpoffload.OptionQuickAck, unit: 1},
	{unix.IPPROTO_TCP, unix.TCP_FASTOPEN}:         {kind: kindInt, lo: 0, hi: 1<<31 - 1, engine: tcpoffload.OptionFastOpen, unit: 1},
	{unix.IPPROTO_TCP, unix.TCP_FASTOPEN_CONNECT}: {kind: kindInt, lo: 0, hi: 1},
	{unix.IPPROTO_TCP, tcpFastOpenNC}:             {kind: kindInt, lo: 0, hi: 1, engine: tcpoffload.OptionFastOpenBare, unit: 1},
	{unix.IPPROTO_TCP, unix.TCP_SYNCNT}:           {kind: kindInt, lo: 1, hi: 127, engine: tcpoffload.OptionSynRetries, unit: 1},
	{unix.IPPROTO_TCP, unix.TCP_INQ}:              {kind: kindBool},

	{unix.IPPROTO_IP, unix.IP_TOS}:              {kind: kindInt, lo: 0, hi: 255},
	{unix.IPPROTO_IP, unix.IP_TTL}:              {kind: kindInt, lo: 1, hi: 255},
	{unix.IPPROTO_IP, unix.IP_RECVERR}:          {kind: kindBool},
	{unix.IPPROTO_IP, unix.IP_FREEBIND}:         {kind: kindBool},
	{unix.IPPROTO_IP, unix.IP_MTU_DISCOVER}:     {kind: kindInt, lo: 0, hi: 5, engine: tcpoffload.OptionPMTUDiscover, unit: 1},
	{unix.IPPROTO_IP, unix.IP_MTU}:              {kind: kindReadOnly},
	{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY}:       {kind: kindBool},
	{unix.IPPROTO_IPV6, unix.IPV6_TCLASS}:       {kind: kindInt, lo: -1, hi: 255},
	{unix.IPPROTO_IPV6, unix.IPV6_RECVERR}:      {kind: kindBool},
	{unix.IPPROTO_IPV6, unix.IPV6_MTU}:          {kind: kindReadOnly},
	{unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER}: {kind: kindInt, lo: 0, hi: 5, engine: tcpoffload.OptionPMTUDiscover, unit: 1},
}

// SetOption is setsockopt(2).
type SetOption struct {
	FD, Level, Name int
	Val             []byte
}

func (c *SetOption) do(h *Host) Result {
	s, e := h.sock(c.FD)
	if e != 0 {
		return failed(e)
	}
	switch (option{c.Level, c.Name}) {
	case option{unix.SOL_SOCKET, unix.SO_LINGER}:
		if len(c.Val) < 8 {
			return failed(unix.EINVAL)
		}
		v := int64(-1)
		if int32(binary.NativeEndian.Uint32(c.Val)) != 0 {
			v = int64(binary.NativeEndian.Uint32(c.Val[4:]))
		}
		s.opts[option{c.Level, c.Name}] = v + 1
		return value(0)
	case option{unix.SOL_SOCKET, unix.SO_RCVTIMEO}, option{unix.SOL_SOCKET, unix.SO_SNDTIMEO},
		option{unix.SOL_SOCKET, soRcvTimeoNew}, option{unix.SOL_SOCKET, soSndTimeoNew}:
		return s.setTimeout(c)
	case option{unix.IPPROTO_TCP, unix.TCP_CONGESTION}:
		return done(s.setCongestion(string(c.Val)))
	}
	k, ok := known[option{c.Level, c.Name}]
	buffer := c.Level == unix.SOL_SOCKET && (c.Name == unix.SO_SNDBUF || c.Name == unix.SO_RCVBUF)
	if !ok && !buffer || k.kind == kindReadOnly {
		return failed(unix.ENOPROTOOPT)
	}
	val := c.Val
	if c.Level == unix.IPPROTO_IP && len(val) > 0 && len(val) < 4 {
		val = binary.NativeEndian.AppendUint32(nil, uint32(val[0])) // IPv4's options may be a single octet
	}
	v, ok := intValue(val, k.hi > 1<<31-1)
	if !ok {
		return failed(unix.EINVAL)
	}
	if buffer {
		s.setBuffer(c.Name, v)
		return value(0)
	}
	switch {
	case k.kind == kindBool && v != 0:
		v = 1
	case k.kind == kindInt && (v < k.lo || v > k.hi):
		return failed(unix.EINVAL)
	}
	return done(s.set(option{c.Level, c.Name}, v))
}

// intValue reads an int, or where wide is allowed and given, an unsigned 64-bit number.
func intValue(b []byte, wide bool) (int64, bool) {
	switch {
	case len(b) >= 8 && wide:
		return int64(binary.NativeEndian.Uint64(b)), true
	case len(b) >= 4:
		v := binary.NativeEndian.Uint32(b)
		if wide {
			return int64(v), true
		}
		return int64(int32(v)), true
	}
	return 0, false
}

// set stores an integer option and puts it into force.
func (s *sock) set(o option, v int64) unix.Errno {
	switch o {
	case option{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY}:
		if s.bound {
			return unix.EINVAL
		}
		s.v6only = v != 0
	case option{unix.IPPROTO_IP, unix.IP_TOS}, option{unix.IPPROTO_IPV6, unix.IPV6_TCLASS}:
		s.tos = uint8(max(v, 0))
	case option{unix.IPPROTO_TCP, unix.TCP_FASTOPEN_CONNECT}:
		if s.h.Engine.Tunables().FastOpen&tcpoffload.FastOpenClient == 0 {
			return unix.EOPNOTSUPP
		}
		if s.state != sockNew {
			return unix.EINVAL
		}
	case option{unix.IPPROTO_TCP, unix.TCP_FASTOPEN}, option{unix.IPPROTO_TCP, tcpFastOpenNC}:
		if s.state != sockNew && s.state != sockListening {
			return unix.EINVAL
		}
	case option{unix.SOL_SOCKET, unix.SO_TIMESTAMPING}:
		if e := s.setStamps(v); e != 0 {
			return e
		}
	case option{unix.SOL_SOCKET, unix.SO_MAX_PACING_RATE}:
		if uint64(v) == 1<<32-1 {
			v = 0 // no bound
		}
	case option{unix.IPPROTO_TCP, unix.TCP_LINGER2}:
		if v < 0 {
			s.opts[o] = -1
			return 0
		}
	case option{unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT}:
		v = int64(uint32(v))
		if v == 1<<32-1 {
			v = 0
		}
	}
	s.opts[o] = v
	if k := known[o]; k.engine != 0 {
		s.engineOption(k.engine, engineValue(k.engine, v*k.unit))
		s.writeSpace()
	}
	return 0
}

// engineValue returns the engine's value of an option whose Linux value, in the engine's unit, is v.
func engineValue(o tcpoffload.Option, v int64) int64 {
	if o == tcpoffload.OptionPMTUDiscover {
		return min(v, 1) // IP_PMTUDISC_DONT is 0
	}
	return v
}

// engineOption sets an option of the connection or the listener, if there is one.
func (s *sock) engineOption(o tcpoffload.Option, v int64) {
	k := tcpoffload.Call{Kind: tcpoffload.CallSetOption, Handle: s.handle, Listener: s.listener, Option: o, Value: v}
	if s.handle != 0 || s.listener != 0 {
		s.h.call(&k)
	}
}

// Sizes of buffers, octets, as net.core.wmem_max and rmem_max with tcp's minimum.
const (
	minBuffer = 2304
	maxBuffer = 64 << 20
)

// setBuffer is SO_SNDBUF and SO_RCVBUF. The option shows twice what was asked for, as Linux counts
// overhead; the limit of what is received is on octets of payload.
func (s *sock) setBuffer(name int, v int64) {
	v = max(min(v, maxBuffer), minBuffer/2)
	if name == unix.SO_SNDBUF {
		v = max(v, minSndBuf/2)
	}
	s.opts[option{unix.SOL_SOCKET, name}] = 2 * v
	if name == unix.SO_SNDBUF {
		s.sndBuf, s.fixedSnd = int(2*v), true
		s.engineOption(tcpoffload.OptionSndBuf, v)
		s.writeSpace()
		return
	}
	s.engineOption(tcpoffload.OptionRcvBuf, v)
}

// setTimeout is SO_RCVTIMEO and SO_SNDTIMEO, a timeval of two 64-bit numbers.
func (s *sock) setTimeout(c *SetOption) Result {
	if len(c.Val) < 16 {
		return failed(unix.EINVAL)
	}
	name := c.Name
	switch name {
	case soRcvTimeoNew:
		name = unix.SO_RCVTIMEO
	case soSndTimeoNew:
		name = unix.SO_SNDTIMEO
	}
	sec, usec := int64(binary.NativeEndian.Uint64(c.Val)), int64(binary.NativeEndian.Uint64(c.Val[8:]))
	if usec < 0 || usec >= 1_000_000 {
		return failed(unix.EDOM)
	}
	s.opts[option{c.Level, name}] = max(sec, 0)*1_000_000 + usec
	return value(0)
}

// setCongestion is TCP_CONGESTION.
func (s *sock) setCongestion(name string) unix.Errno {
	for len(name) > 0 && name[len(name)-1] == 0 {
		name = name[:len(name)-1]
	}
	for a := range cc.Algorithm(cc.NumAlgorithms) {
		if a.String() == name {
			s.opts[option{unix.IPPROTO_TCP, unix.TCP_CONGESTION}] = int64(a) + 1
			s.engineOption(tcpoffload.OptionCC, int64(a))
			return 0
		}
	}
	return unix.ENOENT
}

// congestion returns the algorithm of s.
func (s *sock) congestion() cc.Algorithm {
	if v := s.opts.get(unix.IPPROTO_TCP, unix.TCP_CONGESTION); v != 0 {
		return cc.Algorithm(v - 1)
	}
	return s.h.Engine.Tunables().CC
}

// linger returns SO_LINGER.
func (s *sock) linger() (on bool, seconds int64) {
	v := s.opts.get(unix.SOL_SOCKET, unix.SO_LINGER)
	return v != 0, v - 1
}

// socketOptions returns what an open starts with.
func (s *sock) socketOptions() tcpoffload.SocketOptions {
	get := func(level, name int) int64 { return s.opts.get(level, name) }
	o := tcpoffload.SocketOptions{
		RcvBuf:        uint32(get(unix.SOL_SOCKET, unix.SO_RCVBUF) / 2),
		SndBuf:        uint32(get(unix.SOL_SOCKET, unix.SO_SNDBUF) / 2),
		MSS:           uint16(get(unix.IPPROTO_TCP, unix.TCP_MAXSEG)),
		NoDelay:       get(unix.IPPROTO_TCP, unix.TCP_NODELAY) != 0,
		Keepalive:     get(unix.SOL_SOCKET, unix.SO_KEEPALIVE) != 0,
		MaxPacingRate: uint64(get(unix.SOL_SOCKET, unix.SO_MAX_PACING_RATE)),
		NotSentLowat:  uint32(get(unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT)),
		FastOpen:      uint32(get(unix.IPPROTO_TCP, unix.TCP_FASTOPEN)),
		FastOpenBare:  get(unix.IPPROTO_TCP, tcpFastOpenNC) != 0,
		SynRetries:    uint8(get(unix.IPPROTO_TCP, unix.TCP_SYNCNT)),
	}
	if get(unix.IPPROTO_TCP, unix.TCP_CONGESTION) != 0 {
		o.CC = cc.Choose(s.congestion())
	}
	return o
}

// inherit puts the options of s into force on its new connection, except those that an open takes.
func (h *Host) inherit(s *sock) {
	order := slices.SortedFunc(maps.Keys(s.opts), func(a, b option) int {
		return cmp.Or(cmp.Compare(a.level, b.level), cmp.Compare(a.name, b.name))
	})
	for _, o := range order {
		v := s.opts[o]
		switch k := known[o]; {
		case k.engine == 0, k.engine == tcpoffload.OptionFastOpen, k.engine == tcpoffload.OptionFastOpenBare, k.engine == tcpoffload.OptionMaxSeg, v < 0:
		default:
			h.later = append(h.later, tcpoffload.Call{
				Kind: tcpoffload.CallSetOption, Handle: s.handle, Option: k.engine, Value: engineValue(k.engine, v*k.unit),
			})
		}
	}
}

// GetOption is getsockopt(2). N, a result, is how many octets of Val are valid.
type GetOption struct {
	FD, Level, Name int
	Val             []byte
	N               int
}

func (c *GetOption) do(h *Host) Result {
	s, e := h.sock(c.FD)
	if e != 0 {
		return failed(e)
	}
	switch (option{c.Level, c.Name}) {
	case option{unix.SOL_SOCKET, unix.SO_LINGER}:
		on, seconds := s.linger()
		v := uint64(0)
		if on {
			v = 1 | uint64(seconds)<<32
		}
		return c.give(binary.LittleEndian.AppendUint64(nil, v))
	case option{unix.SOL_SOCKET, unix.SO_RCVTIMEO}, option{unix.SOL_SOCKET, unix.SO_SNDTIMEO}:
		v := s.opts.get(c.Level, c.Name)
		b := binary.NativeEndian.AppendUint64(nil, uint64(v/1_000_000))
		return c.give(binary.NativeEndian.AppendUint64(b, uint64(v%1_000_000)))
	case option{unix.IPPROTO_TCP, unix.TCP_CONGESTION}:
		var name [16]byte
		copy(name[:], s.congestion().String())
		return c.give(name[:])
	case option{unix.IPPROTO_TCP, unix.TCP_INFO}:
		i := s.tcpInfo()
		return c.give(i.Bytes())
	}
	v, ok := s.intOption(option{c.Level, c.Name})
	if !ok {
		return failed(unix.ENOPROTOOPT)
	}
	return c.give(binary.NativeEndian.AppendUint32(nil, uint32(v)))
}

// give copies the value out.
func (c *GetOption) give(b []byte) Result {
	c.N = copy(c.Val, b)
	return value(0)
}

// intOption returns the value of an integer option.
func (s *sock) intOption(o option) (int64, bool) {
	t := s.h.Engine.Tunables()
	v, set := s.opts[o]
	switch o {
	case option{unix.SOL_SOCKET, unix.SO_TYPE}:
		return unix.SOCK_STREAM, true
	case option{unix.SOL_SOCKET, unix.SO_DOMAIN}:
		return int64(s.domain), true
	case option{unix.SOL_SOCKET, unix.SO_PROTOCOL}:
		return unix.IPPROTO_TCP, true
	case option{unix.SOL_SOCKET, unix.SO_ACCEPTCONN}:
		return boolInt(s.state == sockListening), true
	case option{unix.SOL_SOCKET, unix.SO_ERROR}:
		return int64(s.takeErr()), true
	case option{unix.SOL_SOCKET, unix.SO_SNDBUF}:
		return int64(s.sndBuf), true
	case option{unix.SOL_SOCKET, unix.SO_RCVBUF}:
		if !set {
			return 2 * int64(t.DefaultRcvBuf), true
		}
		return v, true
	case option{unix.SOL_SOCKET, unix.SO_RCVLOWAT}:
		return max(v, 1), true
	case option{unix.IPPROTO_TCP, unix.TCP_MAXSEG}:
		if i := s.h.sockInfo(s); i != nil {
			return int64(i.SndMSS), true
		}
		if !set {
			return 536, true
		}
	case option{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE}:
		return seconds(v, set, t.KeepIdle), true
	case option{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL}:
		return seconds(v, set, t.KeepIntvl), true
	case option{unix.IPPROTO_TCP, unix.TCP_KEEPCNT}:
		if !set {
			v = int64(t.KeepCnt)
		}
		return v, true
	case option{unix.IPPROTO_TCP, unix.TCP_LINGER2}:
		return seconds(v, set && v != 0, t.FinWait2), true
	case option{unix.IPPROTO_IP, unix.IP_MTU}, option{unix.IPPROTO_IPV6, unix.IPV6_MTU}:
		i := s.tcpInfo()
		return int64(i.Pmtu), s.state == sockOpen
	case option{unix.IPPROTO_IP, unix.IP_TTL}:
		if !set {
			v = defaultTTL
		}
		return v, true
	case option{unix.IPPROTO_IP, unix.IP_MTU_DISCOVER}, option{unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER}:
		if !set {
			v = unix.IP_PMTUDISC_WANT
		}
		return v, true
	}
	_, ok := known[o]
	return v, ok
}

// seconds returns v if it was set, else the default d.
func seconds(v int64, set bool, d vtime.Duration) int64 {
	if set {
		return v
	}
	return int64(d / vtime.Second)
}

func boolInt(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
