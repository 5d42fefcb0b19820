package toe

import "slices"

// SocketOptions are settings that a socket has when it is opened. Zero means the device's default.
type SocketOptions struct {
	RcvBuf, SndBuf uint32 // octets; set, they are not auto-tuned
	RcvClamp       uint32 // octets, upper bound of the receive buffer, auto-tuned or not; 0: none
	MSS            uint16 // octets, an upper bound
	NoDelay        bool
	Keepalive      bool
	NoSACK         bool // RFC 2018
	NoTimestamps   bool // RFC 7323 §3
	CC             CC
	ECN            ECN
	MaxPacingRate  uint64 // octets per second, 0: no bound
	NotSentLowat   uint32 // octets, 0: none
	FastOpen       uint32 // listener: connections that may wait for their handshake's end; 0: no Fast Open (RFC 7413)
	FastOpenConn   bool   // active open: use a Fast Open cookie, or ask for one
	FastOpenHold   bool   // with FastOpenConn: a SYN that can take octets waits for Output
	FastOpenBare   bool   // with FastOpenConn or FastOpen: without cookies
	SynRetries     uint8  // active open: SYN retransmissions; 0: the device's
	UserTimeout    uint32 // milliseconds that sent octets may stay unacknowledged; 0: the device's
	TOS            uint8  // DSCP in the upper six bits (RFC 2474)
	TTL            uint8  // or hop limit, 0: the device's
	NoMirror       bool   // sniffers do not see the connection's frames
}

// Option names a setting for [Device.SetOption]; the unit of its value is in the comment.
type Option uint8

// The options.
const (
	OptionNoDelay       Option = iota + 1 // 0 or 1
	OptionCork                            // 0 or 1
	OptionKeepalive                       // 0 or 1
	OptionKeepIdle                        // ns
	OptionKeepIntvl                       // ns
	OptionKeepCnt                         // probes
	OptionRcvBuf                          // octets
	OptionQuickAck                        // 0 or 1
	OptionUserTimeout                     // ns
	OptionMaxSeg                          // octets
	OptionLinger2                         // ns
	OptionSndBuf                          // octets; 0: auto-tuned
	OptionCC                              // a CC
	OptionMaxPacingRate                   // octets per second, 0: no bound
	OptionNotSentLowat                    // octets, 0: none
	OptionPMTUDiscover                    // 0 or 1: discover the path MTU (RFC 1191)
	OptionFastOpen                        // listeners only: as SocketOptions.FastOpen
	OptionTOS                             // as SocketOptions.TOS
	OptionTTL                             // as SocketOptions.TTL
	OptionNoMirror                        // as SocketOptions.NoMirror, 0 or 1
	OptionNoSACK                          // listeners only: as SocketOptions.NoSACK, 0 or 1
	OptionNoTimestamps                    // listeners only: as SocketOptions.NoTimestamps, 0 or 1
	OptionECN                             // listeners only: an ECN
	OptionPause                           // listeners only: 1: new SYNs are nobody's, handshakes under way go on
	OptionFastOpenBare                    // listeners only: 0 or 1
	OptionSynRetries                      // before the handshake is complete: as SocketOptions.SynRetries
	OptionRcvClamp                        // as SocketOptions.RcvClamp
)

// set changes the field that goes with option o, if there is one. The device has checked the value.
func (s *SocketOptions) set(o Option, value int64) {
	switch o {
	case OptionNoDelay:
		s.NoDelay = value != 0
	case OptionKeepalive:
		s.Keepalive = value != 0
	case OptionRcvBuf:
		s.RcvBuf = uint32(value)
	case OptionSndBuf:
		s.SndBuf = uint32(value)
	case OptionMaxSeg:
		s.MSS = uint16(value)
	case OptionCC:
		s.CC = CC(value)
	case OptionTOS:
		s.TOS = uint8(value)
	case OptionTTL:
		s.TTL = uint8(value)
	case OptionMaxPacingRate:
		s.MaxPacingRate = uint64(value)
	case OptionNotSentLowat:
		s.NotSentLowat = uint32(value)
	case OptionFastOpen:
		s.FastOpen = uint32(value)
	case OptionNoMirror:
		s.NoMirror = value != 0
	case OptionNoSACK:
		s.NoSACK = value != 0
	case OptionNoTimestamps:
		s.NoTimestamps = value != 0
	case OptionECN:
		s.ECN = ECN(value)
	case OptionFastOpenBare:
		s.FastOpenBare = value != 0
	case OptionSynRetries:
		s.SynRetries = uint8(value)
	case OptionRcvClamp:
		s.RcvClamp = uint32(value)
	}
}

// changed calls set for every option in which the connections of a listener with settings s differ from
// those of one with settings old.
func (s *SocketOptions) changed(old *SocketOptions, set func(o Option, value int64)) {
	number := func(b bool) int64 {
		if b {
			return 1
		}
		return 0
	}
	for _, c := range [...]struct {
		o        Option
		was, now int64
	}{
		{OptionNoDelay, number(old.NoDelay), number(s.NoDelay)},
		{OptionKeepalive, number(old.Keepalive), number(s.Keepalive)},
		{OptionMaxSeg, int64(old.MSS), int64(s.MSS)},
		{OptionCC, int64(old.CC), int64(s.CC)},
		{OptionECN, int64(old.ECN), int64(s.ECN)},
		{OptionMaxPacingRate, int64(old.MaxPacingRate), int64(s.MaxPacingRate)},
		{OptionFastOpen, int64(old.FastOpen), int64(s.FastOpen)},
		{OptionNoSACK, number(old.NoSACK), number(s.NoSACK)},
		{OptionNoTimestamps, number(old.NoTimestamps), number(s.NoTimestamps)},
		{OptionNoMirror, number(old.NoMirror), number(s.NoMirror)},
	} {
		if c.was != c.now {
			set(c.o, c.now)
		}
	}
}

// CC names a congestion control; a device need not have all of them.
type CC uint8

// The congestion controls.
const (
	CCDefault CC = iota // the device's
	CCReno
	CCCubic
	CCDCTCP
	CCBBR
	numCC
)

var ccNames = [numCC]string{"", "reno", "cubic", "dctcp", "bbr"}

// String returns the name that Linux' TCP_CONGESTION uses; "" for the default.
func (c CC) String() string {
	if c >= numCC {
		return "unknown"
	}
	return ccNames[c]
}

// ParseCC is the inverse of String.
func ParseCC(name string) (c CC, ok bool) {
	i := slices.Index(ccNames[:], name)
	return CC(max(i, 0)), i >= 0
}

// CCNames lists the congestion controls by name, without the default.
func CCNames() []string { return slices.Clone(ccNames[1:]) }

// ECN says what to do about explicit congestion notification (RFC 3168).
type ECN uint8

// The modes.
const (
	ECNDefault ECN = iota // the device's
	ECNOff
	ECNPassive // agree when the peer asks
	ECNOn      // ask
	numECN
)

var ecnNames = [numECN]string{"", "off", "passive", "on"}

// String returns the mode's name in the configuration; "" for the default.
func (e ECN) String() string {
	if e >= numECN {
		return "unknown"
	}
	return ecnNames[e]
}

// ParseECN is the inverse of String.
func ParseECN(name string) (e ECN, ok bool) {
	i := slices.Index(ecnNames[:], name)
	return ECN(max(i, 0)), i >= 0
}
