package socket

// Linux's settings of TCP, by their names in sysctl(8).

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"opentoe/tcpoffload"
	"opentoe/tcpoffload/cc"
	"opentoe/tcpoffload/vtime"
)

// Settings are what sysctls change, of the engine and of the socket layer.
type Settings struct {
	Tunables     tcpoffload.Tunables
	SndBuf       int    // send buffer of new sockets, octets with the overhead of buffers
	NotSentLowat uint32 // TCP_NOTSENT_LOWAT of sockets that have none, octets; 0: none
	// FastOpenListen: every listener takes Fast Open, for as many as its backlog.
	FastOpenListen bool
	// FastOpenKeys are those of Fast Open cookies, the one in use and the one before; zero: the engine's own.
	FastOpenKeys [2][16]byte
}

// Settings returns what is in force.
func (h *Host) Settings() Settings {
	s := h.set
	s.Tunables = h.Engine.Tunables()
	return s
}

// Configure puts s into force, or says why not and changes nothing.
func (h *Host) Configure(s *Settings) error {
	if err := h.Engine.SetTunables(s.Tunables); err != nil {
		return err
	}
	if s.FastOpenKeys != h.set.FastOpenKeys {
		h.Engine.SetFastOpenKeys(s.FastOpenKeys[0], s.FastOpenKeys[1])
	}
	h.set = *s
	return nil
}

// Errors of [Settings.Set].
var (
	ErrNoSetting = errors.New("no such setting")
	ErrSetting   = errors.New("not a value of this setting")
)

// Set gives the sysctl name, "net.ipv4.tcp_sack", the value text, written as sysctl(8) takes it. The error
// wraps [ErrNoSetting] or [ErrSetting]; nothing is changed then.
func (s *Settings) Set(name, text string) error {
	for i := range sysctls {
		if c := &sysctls[i]; c.name == name {
			return c.set(s, strings.TrimSpace(text))
		}
	}
	return fmt.Errorf("%s: %w", name, ErrNoSetting)
}

// SettingNames returns the names that [Settings.Set] knows.
func SettingNames() []string {
	names := make([]string, len(sysctls))
	for i := range sysctls {
		names[i] = sysctls[i].name
	}
	return names
}

// sysctl is one setting; set takes its value, and changes nothing if it fails.
type sysctl struct {
	name string
	set  func(s *Settings, text string) error
}

var sysctls = []sysctl{
	{"net.ipv4.tcp_timestamps", choice(func(s *Settings, v int) { s.Tunables.Timestamps = v != 0 }, 0, 1, 2)},
	{"net.ipv4.tcp_sack", choice(func(s *Settings, v int) { s.Tunables.SACK = v != 0 }, 0, 1)},
	{"net.ipv4.tcp_window_scaling", choice(func(s *Settings, v int) { s.Tunables.WindowScale = v != 0 }, 0, 1)},
	{"net.ipv4.tcp_ecn", choice(func(s *Settings, v int) {
		s.Tunables.ECN = [...]tcpoffload.ECNMode{tcpoffload.ECNOff, tcpoffload.ECNOn, tcpoffload.ECNPassive}[v]
	}, 0, 1, 2)},
	{"net.ipv4.tcp_syncookies", choice(func(s *Settings, v int) {
		s.Tunables.SynCookies = [...]tcpoffload.SynCookieMode{
			tcpoffload.SynCookiesOff, tcpoffload.SynCookiesOverflow, tcpoffload.SynCookiesAlways,
		}[v]
	}, 0, 1, 2)},
	{"net.ipv4.tcp_mtu_probing", choice(func(s *Settings, v int) {
		s.Tunables.MTUProbing = [...]tcpoffload.MTUProbing{
			tcpoffload.MTUProbingOff, tcpoffload.MTUProbingBlackHole, tcpoffload.MTUProbingAlways,
		}[v]
	}, 0, 1, 2)},
	{"net.ipv4.tcp_slow_start_after_idle", choice(func(s *Settings, v int) { s.Tunables.IdleRestart = v != 0 }, 0, 1)},
	{"net.ipv4.tcp_abort_on_overflow", choice(func(s *Settings, v int) { s.Tunables.AbortOnOverflow = v != 0 }, 0, 1)},
	{"net.ipv4.tcp_congestion_control", setCongestion},
	{"net.ipv4.tcp_fastopen", number(func(s *Settings, v int64) { s.setFastOpen(v) })},
	{"net.ipv4.tcp_fastopen_key", setFastOpenKey},
	{"net.ipv4.tcp_rmem", three(func(s *Settings, v [3]int64) {
		// Of what Linux accounts, half is for payload (tcp_adv_win_scale = 1).
		s.Tunables.DefaultRcvBuf, s.Tunables.MaxRcvBuf = uint32(min(v[1]/2, 65535)), uint32(v[2])
	})},
	{"net.ipv4.tcp_wmem", three(func(s *Settings, v [3]int64) { s.SndBuf = int(v[1]) })},
	{"net.ipv4.tcp_notsent_lowat", number(func(s *Settings, v int64) {
		if s.NotSentLowat = uint32(v); v == 1<<32-1 {
			s.NotSentLowat = 0 // none
		}
	})},
	// At the low rates of scripts Linux gives the least to a device.
	{"net.ipv4.tcp_min_tso_segs", number(func(s *Settings, v int64) { s.Tunables.BurstSegs = uint8(min(v, 255)) })},
	{"net.ipv4.tcp_syn_retries", count(func(s *Settings, v uint8) { s.Tunables.SynRetries = v })},
	{"net.ipv4.tcp_synack_retries", count(func(s *Settings, v uint8) { s.Tunables.SynAckRetries = v })},
	{"net.ipv4.tcp_retries2", count(func(s *Settings, v uint8) { s.Tunables.Retries2 = v })},
	{"net.ipv4.tcp_keepalive_probes", count(func(s *Settings, v uint8) { s.Tunables.KeepCnt = v })},
	{"net.ipv4.tcp_keepalive_time", span(vtime.Second, func(s *Settings, v vtime.Duration) { s.Tunables.KeepIdle = v })},
	{"net.ipv4.tcp_keepalive_intvl", span(vtime.Second, func(s *Settings, v vtime.Duration) { s.Tunables.KeepIntvl = v })},
	{"net.ipv4.tcp_fin_timeout", span(vtime.Second, func(s *Settings, v vtime.Duration) { s.Tunables.FinWait2 = v })},
	{"net.ipv4.tcp_rto_max_ms", span(vtime.Millisecond, func(s *Settings, v vtime.Duration) { s.Tunables.RTOMax = v })},
	{"net.ipv4.tcp_rto_min_us", span(vtime.Microsecond, func(s *Settings, v vtime.Duration) { s.Tunables.RTOMin = v })},
}

// choice makes a setting whose value is one of values, each of one digit.
func choice(set func(*Settings, int), values ...int) func(*Settings, string) error {
	return func(s *Settings, text string) error {
		for _, v := range values {
			if strconv.Itoa(v) == text {
				set(s, v)
				return nil
			}
		}
		last := len(values) - 1
		list := strings.Trim(fmt.Sprint(values[:last]), "[]")
		return fmt.Errorf("%s: expected %s or %d: %w", text, strings.ReplaceAll(list, " ", ", "), values[last], ErrSetting)
	}
}

// number makes a setting of 32 bits.
func number(set func(*Settings, int64)) func(*Settings, string) error {
	return func(s *Settings, text string) error {
		n, err := strconv.ParseUint(text, 0, 32)
		if err != nil {
			return fmt.Errorf("%s: expected a number: %w", text, ErrSetting)
		}
		set(s, int64(n))
		return nil
	}
}

// count makes a setting of a number up to 255.
func count(set func(*Settings, uint8)) func(*Settings, string) error {
	return func(s *Settings, text string) error {
		n, err := strconv.ParseUint(text, 10, 8)
		if err != nil {
			return fmt.Errorf("%s: expected a number up to 255: %w", text, ErrSetting)
		}
		set(s, uint8(n))
		return nil
	}
}

// span makes a setting of a time in units.
func span(unit vtime.Duration, set func(*Settings, vtime.Duration)) func(*Settings, string) error {
	return number(func(s *Settings, v int64) { set(s, vtime.Duration(v)*unit) })
}

// three makes a setting of three numbers: least, first, most.
func three(set func(*Settings, [3]int64)) func(*Settings, string) error {
	return func(s *Settings, text string) error {
		f := strings.Fields(text)
		var v [3]int64
		if len(f) != len(v) {
			return fmt.Errorf("%s: expected three numbers: %w", text, ErrSetting)
		}
		for i := range f {
			n, err := strconv.ParseInt(f[i], 10, 32)
			if err != nil || n < 0 {
				return fmt.Errorf("%s: expected three numbers: %w", text, ErrSetting)
			}
			v[i] = n
		}
		set(s, v)
		return nil
	}
}

func setCongestion(s *Settings, text string) error {
	for a := range cc.Algorithm(cc.NumAlgorithms) {
		if a.String() == text {
			s.Tunables.CC = a
			return nil
		}
	}
	return fmt.Errorf("%s: no such algorithm: %w", text, ErrSetting)
}

// setFastOpen takes the bits of tcp_fastopen.
func (s *Settings) setFastOpen(v int64) {
	s.Tunables.FastOpen = 0
	for _, b := range [...]struct {
		bit  int64
		mode tcpoffload.FastOpenMode
	}{
		{1, tcpoffload.FastOpenClient}, {2, tcpoffload.FastOpenServer},
		{4, tcpoffload.FastOpenClientBare}, {0x200, tcpoffload.FastOpenServerBare},
	} {
		if v&b.bit != 0 {
			s.Tunables.FastOpen |= b.mode
		}
	}
	const all = 0x402 // a server, and every listener is one
	s.FastOpenListen = v&all == all
}

// setFastOpenKey takes one key or two, each four words in hexadecimal: "1-2-3-4,5-6-7-8".
func setFastOpenKey(s *Settings, text string) error {
	var keys [2][16]byte
	list := strings.Split(text, ",")
	if len(list) > len(keys) {
		return fmt.Errorf("%s: expected one key or two: %w", text, ErrSetting)
	}
	for i, key := range list {
		words := strings.Split(key, "-")
		if len(words) != 4 {
			return fmt.Errorf("%s: expected four words: %w", text, ErrSetting)
		}
		for k, w := range words {
			v, err := strconv.ParseUint(w, 16, 32)
			if err != nil {
				return fmt.Errorf("%s: expected words in hexadecimal: %w", text, ErrSetting)
			}
			binary.LittleEndian.PutUint32(keys[i][4*k:], uint32(v))
		}
	}
	s.FastOpenKeys = keys
	return nil
}
