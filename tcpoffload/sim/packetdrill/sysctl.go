package packetdrill

// Commands in backquotes: settings by their names in sysctl(8), and a few of the engine's own.

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"opentoe/tcpoffload"
	"opentoe/tcpoffload/cc"
	"opentoe/tcpoffload/vtime"
)

// setting changes a tunable.
type setting struct {
	pos   Pos
	text  string // name=value
	apply func(t *tcpoffload.Tunables) error
}

// errSetting is wrapped by what is wrong with a setting's value.
var errSetting = errors.New("not a value of this setting")

// setters take the value of a setting.
var setters = map[string]func(t *tcpoffload.Tunables, v string) error{
	"net.ipv4.tcp_sack":           boolSetter(func(t *tcpoffload.Tunables, v bool) { t.SACK = v }),
	"net.ipv4.tcp_timestamps":     boolSetter(func(t *tcpoffload.Tunables, v bool) { t.Timestamps = v }),
	"net.ipv4.tcp_window_scaling": boolSetter(func(t *tcpoffload.Tunables, v bool) { t.WindowScale = v }),
	"net.ipv4.tcp_ecn": func(t *tcpoffload.Tunables, v string) error {
		m, ok := map[string]tcpoffload.ECNMode{
			"0": tcpoffload.ECNOff, "1": tcpoffload.ECNOn, "2": tcpoffload.ECNPassive,
		}[v]
		if !ok {
			return fmt.Errorf("%s: expected 0, 1 or 2: %w", v, errSetting)
		}
		t.ECN = m
		return nil
	},
	"net.ipv4.tcp_congestion_control": func(t *tcpoffload.Tunables, v string) error {
		for a := range cc.Algorithm(cc.NumAlgorithms) {
			if a.String() == v {
				t.CC = a
				return nil
			}
		}
		return fmt.Errorf("%s: no such algorithm: %w", v, errSetting)
	},
	"net.ipv4.tcp_rmem": func(t *tcpoffload.Tunables, v string) error {
		var least, first, most uint32
		if n, err := fmt.Sscan(v, &least, &first, &most); n != 3 || err != nil {
			return fmt.Errorf("%s: expected three numbers: %w", v, errSetting)
		}
		t.DefaultRcvBuf, t.MaxRcvBuf = first, most
		return nil
	},
	"net.ipv4.tcp_syncookies": func(t *tcpoffload.Tunables, v string) error {
		m, ok := map[string]tcpoffload.SynCookieMode{
			"0": tcpoffload.SynCookiesOff, "1": tcpoffload.SynCookiesOverflow, "2": tcpoffload.SynCookiesAlways,
		}[v]
		if !ok {
			return fmt.Errorf("%s: expected 0, 1 or 2: %w", v, errSetting)
		}
		t.SynCookies = m
		return nil
	},
	"net.ipv4.tcp_mtu_probing": func(t *tcpoffload.Tunables, v string) error {
		m, ok := map[string]tcpoffload.MTUProbing{
			"0": tcpoffload.MTUProbingOff, "1": tcpoffload.MTUProbingBlackHole, "2": tcpoffload.MTUProbingAlways,
		}[v]
		if !ok {
			return fmt.Errorf("%s: expected 0, 1 or 2: %w", v, errSetting)
		}
		t.MTUProbing = m
		return nil
	},
	"net.ipv4.tcp_fastopen": func(t *tcpoffload.Tunables, v string) error {
		n, err := strconv.ParseUint(v, 0, 32)
		if err != nil {
			return fmt.Errorf("%s: expected a number: %w", v, errSetting)
		}
		t.FastOpen = 0
		for bit, m := range map[uint64]tcpoffload.FastOpenMode{
			1: tcpoffload.FastOpenClient, 2: tcpoffload.FastOpenServer,
			4: tcpoffload.FastOpenClientBare, 0x200: tcpoffload.FastOpenServerBare,
		} {
			if n&bit != 0 {
				t.FastOpen |= m
			}
		}
		return nil
	},
	"net.ipv4.tcp_slow_start_after_idle": boolSetter(func(t *tcpoffload.Tunables, v bool) { t.IdleRestart = v }),
	"net.ipv4.tcp_abort_on_overflow":     boolSetter(func(t *tcpoffload.Tunables, v bool) { t.AbortOnOverflow = v }),
	"toe.pacing":                         boolSetter(func(t *tcpoffload.Tunables, v bool) { t.Pacing = v }),
	"net.ipv4.tcp_syn_retries":           byteSetter(func(t *tcpoffload.Tunables, v uint8) { t.SynRetries = v }),
	"net.ipv4.tcp_synack_retries":        byteSetter(func(t *tcpoffload.Tunables, v uint8) { t.SynAckRetries = v }),
	"net.ipv4.tcp_retries2":              byteSetter(func(t *tcpoffload.Tunables, v uint8) { t.Retries2 = v }),
	"net.ipv4.tcp_keepalive_probes":      byteSetter(func(t *tcpoffload.Tunables, v uint8) { t.KeepCnt = v }),
	"net.ipv4.tcp_keepalive_time": timeSetter(vtime.Second,
		func(t *tcpoffload.Tunables, v vtime.Duration) { t.KeepIdle = v }),
	"net.ipv4.tcp_keepalive_intvl": timeSetter(vtime.Second,
		func(t *tcpoffload.Tunables, v vtime.Duration) { t.KeepIntvl = v }),
	"net.ipv4.tcp_fin_timeout": timeSetter(vtime.Second,
		func(t *tcpoffload.Tunables, v vtime.Duration) { t.FinWait2 = v }),
	"net.ipv4.tcp_rto_max_ms": timeSetter(vtime.Millisecond,
		func(t *tcpoffload.Tunables, v vtime.Duration) { t.RTOMax = v }),
	"net.ipv4.tcp_rto_min_us": timeSetter(vtime.Microsecond,
		func(t *tcpoffload.Tunables, v vtime.Duration) { t.RTOMin = v }),

	"toe.init_cwnd":      byteSetter(func(t *tcpoffload.Tunables, v uint8) { t.InitCwnd = v }),
	"toe.delack_segs":    byteSetter(func(t *tcpoffload.Tunables, v uint8) { t.DelAckSegs = v }),
	"toe.challenge_acks": byteSetter(func(t *tcpoffload.Tunables, v uint8) { t.ChallengeAcks = v }),
	"toe.delack_ms": timeSetter(vtime.Millisecond,
		func(t *tcpoffload.Tunables, v vtime.Duration) { t.DelAck = v }),
	"toe.rto_init_ms": timeSetter(vtime.Millisecond,
		func(t *tcpoffload.Tunables, v vtime.Duration) { t.RTOInit = v }),
	"toe.msl_ms": timeSetter(vtime.Millisecond,
		func(t *tcpoffload.Tunables, v vtime.Duration) { t.MSL = v }),
	"toe.persist_max_ms": timeSetter(vtime.Millisecond,
		func(t *tcpoffload.Tunables, v vtime.Duration) { t.PersMax = v }),
}

func boolSetter(set func(*tcpoffload.Tunables, bool)) func(*tcpoffload.Tunables, string) error {
	return func(t *tcpoffload.Tunables, v string) error {
		if v != "0" && v != "1" {
			return fmt.Errorf("%s: expected 0 or 1: %w", v, errSetting)
		}
		set(t, v == "1")
		return nil
	}
}

func byteSetter(set func(*tcpoffload.Tunables, uint8)) func(*tcpoffload.Tunables, string) error {
	return func(t *tcpoffload.Tunables, v string) error {
		n, err := strconv.ParseUint(v, 10, 8)
		if err != nil {
			return fmt.Errorf("%s: expected a number up to 255: %w", v, errSetting)
		}
		set(t, uint8(n))
		return nil
	}
}

func timeSetter(unit vtime.Duration, set func(*tcpoffload.Tunables, vtime.Duration)) func(*tcpoffload.Tunables, string) error {
	return func(t *tcpoffload.Tunables, v string) error {
		n, err := strconv.ParseUint(v, 10, 32)
		if err != nil {
			return fmt.Errorf("%s: expected a number: %w", v, errSetting)
		}
		set(t, vtime.Duration(n)*unit)
		return nil
	}
}

// parseCommand reads the settings of the command src, whose opening backquote stands at pos: lines
// "sysctl -q name=value …", separated by new lines, ';' or '&&'.
func parseCommand(file, src string, pos Pos) ([]setting, error) {
	l := lexer{file: file, src: src, pos: Pos{pos.Line, pos.Col + 1}}
	var list []setting
	first := true
	for {
		line := l.pos.Line
		if err := l.space(); err != nil {
			return nil, err
		}
		if l.pos.Line != line {
			first = true
		}
		switch rest := src[l.at:]; {
		case rest == "":
			return list, nil
		case rest[0] == ';':
			l.step(1)
			first = true
			continue
		case strings.HasPrefix(rest, "&&"):
			l.step(2)
			first = true
			continue
		}
		at := l.pos
		word := commandWord(&l)
		if first {
			if word != "sysctl" {
				return nil, l.fail(at, "command '%s': only 'sysctl -q name=value' is understood", word)
			}
			first = false
			continue
		}
		if word == "-q" || word == "-w" {
			continue
		}
		name, v, ok := strings.Cut(word, "=")
		set := setters[name]
		if !ok || set == nil {
			return nil, l.fail(at, "setting '%s': expected name=value with a name out of %s", word, sortedNames(setters))
		}
		v = strings.Trim(v, `"'`)
		t := tcpoffload.DefaultTunables()
		if err := set(&t, v); err != nil {
			return nil, l.fail(at, "%s=%v", name, err)
		}
		list = append(list, setting{at, name + "=" + v, func(t *tcpoffload.Tunables) error { return set(t, v) }})
	}
}

// commandWord reads up to white space or a separator, quotes kept together.
func commandWord(l *lexer) string {
	var quote byte
	n := 0
	for _, c := range []byte(l.src[l.at:]) {
		if quote == 0 && strings.IndexByte(" \t\r\n;", c) >= 0 {
			break
		}
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		}
		n++
	}
	w := l.src[l.at : l.at+n]
	l.step(n)
	return w
}
