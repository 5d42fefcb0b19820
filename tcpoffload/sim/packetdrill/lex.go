package packetdrill

// Words of the notation.

import (
	"fmt"
	"strconv"
	"strings"

	"opentoe/tcpoffload/vtime"
)

// Pos is a place in a script, both counted from 1.
type Pos struct{ Line, Col int }

// Error is what is wrong with a script, or what went otherwise than it says.
type Error struct {
	File string
	Pos
	Msg string
}

func (e *Error) Error() string { return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Col, e.Msg) }

type tokenKind uint8

const (
	tokEnd tokenKind = iota
	tokOption
	tokFloat
	tokInt
	tokHex
	tokWord
	tokString
	tokBackquote
	tokCode
	tokEllipsis
	tokSign // one character
)

// token is one word. text is what it stands for: a string without its quotes, an option without its
// dashes.
type token struct {
	kind tokenKind
	text string
	pos  Pos
}

// String describes t for an error message.
func (t token) String() string {
	switch t.kind {
	case tokEnd:
		return "the end of the script"
	case tokString:
		return strconv.Quote(t.text)
	case tokOption:
		return "--" + t.text
	case tokBackquote:
		return "a command"
	case tokCode:
		return "%{ }%"
	case tokEllipsis:
		return "..."
	}
	return "'" + t.text + "'"
}

// lexer cuts a script into tokens.
type lexer struct {
	file string
	src  string
	at   int
	pos  Pos
	code bool // inside %{ }%: comments are Python's
}

func (l *lexer) fail(p Pos, format string, args ...any) *Error {
	return &Error{File: l.file, Pos: p, Msg: fmt.Sprintf(format, args...)}
}

// step passes over n octets.
func (l *lexer) step(n int) {
	for _, c := range []byte(l.src[l.at : l.at+n]) {
		if c == '\n' {
			l.pos.Line++
			l.pos.Col = 1
		} else {
			l.pos.Col++
		}
	}
	l.at += n
}

// enclosed returns what stands between opening and closing, and passes over it.
func (l *lexer) enclosed(opening, closing string) (string, error) {
	start := l.pos
	rest := l.src[l.at+len(opening):]
	end := strings.Index(rest, closing)
	if end < 0 {
		return "", l.fail(start, "%s is never closed: expected %s", opening, closing)
	}
	l.step(len(opening) + end + len(closing))
	return rest[:end], nil
}

// space passes over white space and comments.
func (l *lexer) space() error {
	for l.at < len(l.src) {
		rest := l.src[l.at:]
		switch {
		case strings.IndexByte(" \t\r\n", rest[0]) >= 0:
			l.step(1)
		case !l.code && strings.HasPrefix(rest, "//"), l.code && rest[0] == '#':
			if n := strings.IndexByte(rest, '\n'); n >= 0 {
				l.step(n + 1)
			} else {
				l.step(len(rest))
			}
		case !l.code && strings.HasPrefix(rest, "/*"):
			if _, err := l.enclosed("/*", "*/"); err != nil {
				return err
			}
		default:
			return nil
		}
	}
	return nil
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
func isWord(c byte) bool {
	return isDigit(c) || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_'
}

// next returns the next token.
func (l *lexer) next() (token, error) {
	if err := l.space(); err != nil {
		return token{}, err
	}
	t := token{pos: l.pos}
	if l.at == len(l.src) {
		return t, nil
	}
	rest := l.src[l.at:]
	var err error
	switch c := rest[0]; {
	case strings.HasPrefix(rest, "%{"):
		t.kind = tokCode
		t.text, err = l.enclosed("%{", "}%")
	case strings.HasPrefix(rest, "..."):
		t.kind, t.text = tokEllipsis, "..."
		l.step(3)
	case strings.HasPrefix(rest, "--") && len(rest) > 2 && isWord(rest[2]):
		t.kind = tokOption
		n := 2 + run(rest[2:], isWord)
		t.text = rest[2:n]
		l.step(n)
	case c == '"':
		t.kind = tokString
		t.text, err = l.quoted()
	case l.code && c == '\'':
		t.kind = tokString
		t.text, err = l.enclosed("'", "'")
	case c == '`':
		t.kind = tokBackquote
		t.text, err = l.enclosed("`", "`")
	case isWord(c) || c == '.' && len(rest) > 1 && isDigit(rest[1]),
		c == '-' && len(rest) > 1 && (isDigit(rest[1]) || rest[1] == '.' && len(rest) > 2 && isDigit(rest[2])):
		t.kind, t.text = number(rest)
		l.step(len(t.text))
	default:
		t.kind, t.text = tokSign, rest[:1]
		l.step(1)
	}
	return t, err
}

// quoted reads a string with its escapes.
func (l *lexer) quoted() (string, error) {
	start := l.pos
	for i := l.at + 1; i < len(l.src) && l.src[i] != '\n'; i++ {
		switch l.src[i] {
		case '\\':
			i++
		case '"':
			s, err := strconv.Unquote(l.src[l.at : i+1])
			if err != nil {
				return "", l.fail(start, "a string that is not well formed")
			}
			l.step(i + 1 - l.at)
			return s, nil
		}
	}
	return "", l.fail(start, "a string is never closed: expected \"")
}

// run returns how many octets of s, from the first on, satisfy ok.
func run(s string, ok func(byte) bool) int {
	n := 0
	for n < len(s) && ok(s[n]) {
		n++
	}
	return n
}

// number cuts a number or a word, whichever is longer.
func number(s string) (tokenKind, string) {
	sign := 0
	if s[0] == '-' {
		sign = 1
	}
	w := run(s[sign:], isWord)
	digits := run(s[sign:], isDigit)
	rest := s[sign+digits:]
	if len(rest) > 1 && rest[0] == '.' && isDigit(rest[1]) && w == digits {
		return tokFloat, s[:sign+digits+1+run(rest[1:], isDigit)]
	}
	text := s[:sign+w]
	switch {
	case w == digits:
		return tokInt, text
	case strings.HasPrefix(text, "0x"):
		return tokHex, text
	}
	return tokWord, text
}

// rawValue reads the value of an option after its '=': up to white space, quotes kept together.
func (l *lexer) rawValue() string {
	start := l.at
	var quote byte
	n := 0
	for _, c := range []byte(l.src[start:]) {
		if quote == 0 && strings.IndexByte(" \t\r\n", c) >= 0 {
			break
		}
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '`'):
			quote = c
		}
		n++
	}
	l.step(n)
	return l.src[start : start+n]
}

// duration reads a number of seconds without loss.
func duration(text string) (vtime.Duration, bool) {
	whole, frac, _ := strings.Cut(text, ".")
	if len(frac) > 9 || len(whole) > 9 {
		return 0, false
	}
	var s, ns int64
	var err error
	if whole != "" {
		if s, err = strconv.ParseInt(whole, 10, 64); err != nil || s < 0 {
			return 0, false
		}
	}
	if frac != "" {
		if ns, err = strconv.ParseInt((frac + "000000000")[:9], 10, 64); err != nil {
			return 0, false
		}
	}
	return vtime.Duration(s)*vtime.Second + vtime.Duration(ns), true
}
