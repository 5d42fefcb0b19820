package stack

// Settings: scripts change the kernel's, in the network namespace in which packetdrill runs. They are
// read again before everything that packetdrill does, and become the engine's.

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"opentoe/tcpoffload"
	"opentoe/tcpoffload/vtime"
)

// settings are what the engine and the socket layer take from the kernel's settings.
type settings struct {
	tun    tcpoffload.Tunables
	sndBuf int // send buffer at first, octets
	lowat  uint32
	// Keys of Fast Open cookies, the text of tcp_fastopen_key; empty: the engine's own.
	fastOpenKey string
	// fastOpenListen: every listener takes Fast Open.
	fastOpenListen bool
}

// sysctl is one of the kernel's settings. v holds its numbers, at least one.
type sysctl struct {
	name string
	set  func(s *settings, v []int64)
}

// Command sees a shell command before it runs. Those that flush the kernel's metrics of peers flush
// ours: Fast Open cookies are among them.
func (s *Stack) Command(command string) {
	if !strings.Contains(command, "ip tcp_metrics flush") {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.host.Engine.ForgetFastOpen()
}

// sysctls are the settings that are mapped; others have no counterpart, or scripts do not change them.
var sysctls = []sysctl{
	{"tcp_timestamps", func(s *settings, v []int64) { s.tun.Timestamps = v[0] != 0 }},
	{"tcp_sack", func(s *settings, v []int64) { s.tun.SACK = v[0] != 0 }},
	{"tcp_window_scaling", func(s *settings, v []int64) { s.tun.WindowScale = v[0] != 0 }},
	{"tcp_ecn", func(s *settings, v []int64) { s.tun.ECN = ecnMode(v[0]) }},
	{"tcp_rmem", func(s *settings, v []int64) {
		if len(v) == 3 {
			// Of what the kernel accounts, half is for payload (tcp_adv_win_scale = 1).
			s.tun.DefaultRcvBuf, s.tun.MaxRcvBuf = uint32(min(v[1]/2, 65535)), uint32(v[2])
		}
	}},
	{"tcp_wmem", func(s *settings, v []int64) {
		if len(v) == 3 {
			s.sndBuf = int(v[1])
		}
	}},
	{"tcp_notsent_lowat", func(s *settings, v []int64) {
		if s.lowat = uint32(v[0]); s.lowat == 1<<32-1 {
			s.lowat = 0 // none
		}
	}},
	{"tcp_fastopen", func(s *settings, v []int64) {
		s.tun.FastOpen = fastOpenMode(v[0])
		s.fastOpenListen = v[0]&0x402 == 0x402
	}},
	{"tcp_slow_start_after_idle", func(s *settings, v []int64) { s.tun.IdleRestart = v[0] != 0 }},
	{"tcp_syncookies", func(s *settings, v []int64) { s.tun.SynCookies = synCookieMode(v[0]) }},
	// At the low rates of scripts Linux gives the least to a device.
	{"tcp_min_tso_segs", func(s *settings, v []int64) { s.tun.BurstSegs = uint8(min(v[0], 255)) }},
	{"tcp_mtu_probing", func(s *settings, v []int64) { s.tun.MTUProbing = mtuProbing(v[0]) }},
	{"tcp_syn_retries", func(s *settings, v []int64) { s.tun.SynRetries = uint8(v[0]) }},
	{"tcp_synack_retries", func(s *settings, v []int64) { s.tun.SynAckRetries = uint8(v[0]) }},
	{"tcp_retries2", func(s *settings, v []int64) { s.tun.Retries2 = uint8(v[0]) }},
	{"tcp_fin_timeout", func(s *settings, v []int64) { s.tun.FinWait2 = seconds(v[0]) }},
	{"tcp_keepalive_time", func(s *settings, v []int64) { s.tun.KeepIdle = seconds(v[0]) }},
	{"tcp_keepalive_intvl", func(s *settings, v []int64) { s.tun.KeepIntvl = seconds(v[0]) }},
	{"tcp_keepalive_probes", func(s *settings, v []int64) { s.tun.KeepCnt = uint8(v[0]) }},
}

// fastOpenMode translates tcp_fastopen.
func fastOpenMode(v int64) (m tcpoffload.FastOpenMode) {
	for bit, side := range map[int64]tcpoffload.FastOpenMode{
		1: tcpoffload.FastOpenClient, 2: tcpoffload.FastOpenServer,
		4: tcpoffload.FastOpenClientBare, 0x200: tcpoffload.FastOpenServerBare,
	} {
		if v&bit != 0 {
			m |= side
		}
	}
	return m
}

// ecnMode translates tcp_ecn.
func ecnMode(v int64) tcpoffload.ECNMode {
	switch v {
	case 1:
		return tcpoffload.ECNOn
	case 2:
		return tcpoffload.ECNPassive
	}
	return tcpoffload.ECNOff
}

// synCookieMode translates tcp_syncookies.
func synCookieMode(v int64) tcpoffload.SynCookieMode {
	switch v {
	case 0:
		return tcpoffload.SynCookiesOff
	case 2:
		return tcpoffload.SynCookiesAlways
	}
	return tcpoffload.SynCookiesOverflow
}

// mtuProbing translates tcp_mtu_probing.
func mtuProbing(v int64) tcpoffload.MTUProbing {
	switch v {
	case 1:
		return tcpoffload.MTUProbingBlackHole
	case 2:
		return tcpoffload.MTUProbingAlways
	}
	return tcpoffload.MTUProbingOff
}

func seconds(n int64) vtime.Duration { return vtime.Duration(n) * vtime.Second }

// readSettings returns the engine's defaults as changed by the files in dir. A file that is missing or
// not understood changes nothing.
func readSettings(dir string) settings {
	s := settings{tun: tcpoffload.DefaultTunables(), sndBuf: 256 << 10}
	s.tun.BurstSegs = 2
	s.tun.Pacing = false // scripts replace the queueing discipline that would pace
	for _, c := range sysctls {
		text, err := os.ReadFile(filepath.Join(dir, c.name))
		if err != nil {
			continue
		}
		if v, ok := numbers(string(text)); ok {
			c.set(&s, v)
		}
	}
	if text, err := os.ReadFile(filepath.Join(dir, "tcp_fastopen_key")); err == nil {
		s.fastOpenKey = strings.TrimSpace(string(text))
	}
	return s
}

// fastOpenKeys parses one key or two, each four words in hexadecimal: "1-2-3-4,5-6-7-8".
func fastOpenKeys(text string) (keys [2][16]byte, ok bool) {
	list := strings.Split(text, ",")
	if len(list) > len(keys) {
		return keys, false
	}
	for i, key := range list {
		words := strings.Split(key, "-")
		if len(words) != 4 {
			return keys, false
		}
		for k, w := range words {
			v, err := strconv.ParseUint(w, 16, 32)
			if err != nil {
				return keys, false
			}
			binary.LittleEndian.PutUint32(keys[i][4*k:], uint32(v))
		}
	}
	return keys, true
}

// numbers parses numbers between blanks.
func numbers(text string) (v []int64, ok bool) {
	for _, f := range strings.Fields(text) {
		n, err := strconv.ParseInt(f, 0, 64)
		if err != nil {
			return nil, false
		}
		v = append(v, n)
	}
	return v, len(v) > 0
}
