package tcpoffload

// Settings that may change while the engine runs.

import (
	"fmt"

	"opentoe/tcpoffload/cc"
	"opentoe/tcpoffload/vtime"
)

// Tunables are the engine's settings. A change takes effect at the next use of the value; running
// timers keep their deadlines. Windows and options of open connections stay as negotiated.
type Tunables struct {
	RTOMin, RTOMax vtime.Duration // bounds of the retransmission timeout (RFC 6298 2.4, 2.5)
	RTOInit        vtime.Duration // before the first measurement (RFC 6298 2.1)
	MSL            vtime.Duration // TIME-WAIT lasts 2 MSL (RFC 9293 §3.4.2)
	DelAck         vtime.Duration // longest delay of an ACK, below 500 ms (RFC 9293 §3.8.6.3)
	DelAckSegs     uint8          // full segments that may wait for one ACK
	KeepIdle       vtime.Duration // silence before the first keepalive probe
	KeepIntvl      vtime.Duration // between keepalive probes
	KeepCnt        uint8          // unanswered probes that end the connection
	PersMin        vtime.Duration // bounds of the persist timer
	PersMax        vtime.Duration
	FinWait2       vtime.Duration // FIN-WAIT-2 of a connection whose program is gone
	SynRetries     uint8          // SYN retransmissions of an active open
	SynAckRetries  uint8          // SYN-ACK retransmissions of a passive open
	Retries2       uint8          // retransmissions or unanswered probes that end a connection (RFC 9293 §3.8.3, R2)
	InitCwnd       uint8          // initial congestion window, segments (RFC 6928)
	DefaultRcvBuf  uint32         // receive-stream limit at first, octets
	MaxRcvBuf      uint32         // limit that auto-tuning may reach, octets; chooses the window scale
	ChallengeAcks  uint8          // challenge ACKs per second and connection (RFC 5961 §7)
	Pacing         bool           // spread windows over the round trip, where it is long; BBR always does
	IdleRestart    bool           // slow start again after idle (RFC 5681 §4.1); else keep the window (RFC 7661)
	CC             cc.Algorithm   // of connections opened from now on
	ECN            ECNMode        // of connections that do not say (RFC 3168)
	SACK           bool           // offer and accept SACK (RFC 2018)
	Timestamps     bool           // offer and accept timestamps (RFC 7323)
	WindowScale    bool           // offer and accept window scaling (RFC 7323)
	SynCookies     SynCookieMode  // when to answer SYNs with SYN cookies (RFC 4987 §3.6)
	FastOpen       FastOpenMode   // sides of Fast Open that are allowed (RFC 7413)
	// AbortOnOverflow: a handshake that ends while the accept queue is full is reset. Otherwise its last
	// ACK is ignored, and the peer tries again.
	AbortOnOverflow bool
	DefaultSndBuf   uint32         // send buffer that a connection is taken to begin with, octets
	MaxSndBuf       uint32         // that auto-tuning may recommend, octets
	UTO             bool           // send and adopt the user timeout option (RFC 5482)
	UTOMin, UTOMax  vtime.Duration // bounds of what is adopted: L_LIMIT and U_LIMIT (RFC 5482 §3.1)
	MTUProbing      MTUProbing     // RFC 4821
	MinPMTU         uint16         // IPv4: smallest path MTU that an ICMP error can make us use, octets
	BurstSegs       uint8          // full segments that the device gets to cut at once; 0: as many as it takes
}

// DefaultTunables returns the defaults, those of Linux where it has the knob.
func DefaultTunables() Tunables {
	return Tunables{
		RTOMin:        200 * vtime.Millisecond,
		RTOMax:        120 * vtime.Second,
		RTOInit:       vtime.Second,
		MSL:           30 * vtime.Second,
		DelAck:        40 * vtime.Millisecond,
		DelAckSegs:    2,
		KeepIdle:      2 * 60 * vtime.Minute,
		KeepIntvl:     75 * vtime.Second,
		KeepCnt:       9,
		PersMin:       200 * vtime.Millisecond,
		PersMax:       60 * vtime.Second,
		FinWait2:      60 * vtime.Second,
		SynRetries:    6,
		SynAckRetries: 5,
		Retries2:      15,
		InitCwnd:      10,
		DefaultRcvBuf: 256 << 10,
		MaxRcvBuf:     6 << 20,
		ChallengeAcks: 10,
		IdleRestart:   true,
		CC:            cc.Cubic,
		ECN:           ECNPassive,
		SACK:          true,
		Timestamps:    true,
		WindowScale:   true,
		SynCookies:    SynCookiesOverflow,
		DefaultSndBuf: 256 << 10,
		MaxSndBuf:     4 << 20,
		UTOMin:        100 * vtime.Second,
		UTOMax:        60 * vtime.Minute,
		MTUProbing:    MTUProbingBlackHole,
		MinPMTU:       552,
		FastOpen:      FastOpenClient | FastOpenServer,
	}
}

// durationBound is the range of one duration among the tunables.
type durationBound struct {
	name     string
	v        vtime.Duration
	min, max vtime.Duration
}

// validate returns an error that names the first setting out of range.
func (t *Tunables) validate() error {
	for _, b := range [...]durationBound{
		{"RTOMin", t.RTOMin, vtime.Millisecond, vtime.Minute},
		{"RTOMax", t.RTOMax, vtime.Second, 60 * vtime.Minute},
		{"RTOInit", t.RTOInit, vtime.Millisecond, vtime.Minute},
		{"MSL", t.MSL, vtime.Millisecond, 10 * vtime.Minute},
		{"DelAck", t.DelAck, vtime.Millisecond, 500 * vtime.Millisecond},
		{"KeepIdle", t.KeepIdle, vtime.Second, 1 << 15 * vtime.Second},
		{"KeepIntvl", t.KeepIntvl, vtime.Second, 1 << 15 * vtime.Second},
		{"PersMin", t.PersMin, vtime.Millisecond, vtime.Minute},
		{"PersMax", t.PersMax, vtime.Second, 60 * vtime.Minute},
		{"UTOMin", t.UTOMin, vtime.Second, t.UTOMax},
		{"UTOMax", t.UTOMax, t.UTOMin, 24 * 60 * vtime.Minute},
		{"FinWait2", t.FinWait2, vtime.Millisecond, 60 * vtime.Minute},
	} {
		if b.v < b.min || b.v > b.max {
			return fmt.Errorf("tunable %s = %v: must be %v to %v: %w", b.name, b.v, b.min, b.max, ErrTunable)
		}
	}
	for _, b := range [...]struct {
		name        string
		v, min, max uint32
	}{
		{"DelAckSegs", uint32(t.DelAckSegs), 1, 64},
		{"KeepCnt", uint32(t.KeepCnt), 1, 127},
		{"SynRetries", uint32(t.SynRetries), 0, 127},
		{"SynAckRetries", uint32(t.SynAckRetries), 0, 127},
		{"Retries2", uint32(t.Retries2), 1, 127},
		{"InitCwnd", uint32(t.InitCwnd), 1, 64},
		{"DefaultRcvBuf", t.DefaultRcvBuf, minRcvBuf, t.MaxRcvBuf},
		{"MaxRcvBuf", t.MaxRcvBuf, minRcvBuf, maxRcvBuf},
		{"ChallengeAcks", uint32(t.ChallengeAcks), 1, 255},
		{"CC", uint32(t.CC), 0, cc.NumAlgorithms - 1},
		{"ECN", uint32(t.ECN), uint32(ECNOff), uint32(ECNOn)},
		{"FastOpen", uint32(t.FastOpen), 0, uint32(fastOpenModes)},
		{"SynCookies", uint32(t.SynCookies), 0, uint32(SynCookiesAlways)},
		{"DefaultSndBuf", t.DefaultSndBuf, minRcvBuf, t.MaxSndBuf},
		{"MaxSndBuf", t.MaxSndBuf, minRcvBuf, maxSndAhead},
		{"MTUProbing", uint32(t.MTUProbing), 0, uint32(MTUProbingAlways)},
		{"MinPMTU", uint32(t.MinPMTU), 256, 1280},
	} {
		if b.v < b.min || b.v > b.max {
			return fmt.Errorf("tunable %s = %d: must be %d to %d: %w", b.name, b.v, b.min, b.max, ErrTunable)
		}
	}
	if t.RTOMin > t.RTOMax {
		return fmt.Errorf("tunable RTOMin = %v: above RTOMax = %v: %w", t.RTOMin, t.RTOMax, ErrTunable)
	}
	if t.PersMin > t.PersMax {
		return fmt.Errorf("tunable PersMin = %v: above PersMax = %v: %w", t.PersMin, t.PersMax, ErrTunable)
	}
	return nil
}
