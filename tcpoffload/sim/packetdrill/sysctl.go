package packetdrill

// Commands in backquotes: Linux's settings by their names in sysctl(8), and a few of the engine's own.

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"opentoe/tcpoffload"
	"opentoe/tcpoffload/sim/socket"
	"opentoe/tcpoffload/vtime"
)

// setting is a name and its value.
type setting struct {
	pos         Pos
	name, value string
}

// apply makes the setting part of s.
func (c *setting) apply(s *socket.Settings) error {
	if set := ownSetters[c.name]; set != nil {
		return set(&s.Tunables, c.value)
	}
	return s.Set(c.name, c.value)
}

// ownSetters take the values of the engine's own settings.
var ownSetters = map[string]func(t *tcpoffload.Tunables, v string) error{
	"toe.pacing": func(t *tcpoffload.Tunables, v string) error {
		if v != "0" && v != "1" {
			return fmt.Errorf("%s: expected 0 or 1: %w", v, socket.ErrSetting)
		}
		t.Pacing = v == "1"
		return nil
	},
	"toe.init_cwnd":      byteSetter(func(t *tcpoffload.Tunables, v uint8) { t.InitCwnd = v }),
	"toe.delack_segs":    byteSetter(func(t *tcpoffload.Tunables, v uint8) { t.DelAckSegs = v }),
	"toe.challenge_acks": byteSetter(func(t *tcpoffload.Tunables, v uint8) { t.ChallengeAcks = v }),
	"toe.delack_ms":      msSetter(func(t *tcpoffload.Tunables, v vtime.Duration) { t.DelAck = v }),
	"toe.rto_init_ms":    msSetter(func(t *tcpoffload.Tunables, v vtime.Duration) { t.RTOInit = v }),
	"toe.msl_ms":         msSetter(func(t *tcpoffload.Tunables, v vtime.Duration) { t.MSL = v }),
	"toe.persist_max_ms": msSetter(func(t *tcpoffload.Tunables, v vtime.Duration) { t.PersMax = v }),
}

// settingNames returns every name, joined by commas.
func settingNames() string {
	return strings.Join(socket.SettingNames(), ", ") + ", " + sortedNames(ownSetters)
}

func byteSetter(set func(*tcpoffload.Tunables, uint8)) func(*tcpoffload.Tunables, string) error {
	return func(t *tcpoffload.Tunables, v string) error {
		n, err := strconv.ParseUint(v, 10, 8)
		if err != nil {
			return fmt.Errorf("%s: expected a number up to 255: %w", v, socket.ErrSetting)
		}
		set(t, uint8(n))
		return nil
	}
}

func msSetter(set func(*tcpoffload.Tunables, vtime.Duration)) func(*tcpoffload.Tunables, string) error {
	return func(t *tcpoffload.Tunables, v string) error {
		n, err := strconv.ParseUint(v, 10, 32)
		if err != nil {
			return fmt.Errorf("%s: expected a number: %w", v, socket.ErrSetting)
		}
		set(t, vtime.Duration(n)*vtime.Millisecond)
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
		c := setting{at, name, strings.Trim(v, `"'`)}
		var s socket.Settings
		switch err := c.apply(&s); {
		case !ok, errors.Is(err, socket.ErrNoSetting):
			return nil, l.fail(at, "setting '%s': expected name=value with a name out of %s", word, settingNames())
		case err != nil:
			return nil, l.fail(at, "%s=%v", name, err)
		}
		list = append(list, c)
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
