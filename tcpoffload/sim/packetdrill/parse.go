package packetdrill

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"opentoe/tcpoffload/vtime"
	"opentoe/tcpoffload/wire"
)

// Defaults of the options.
const (
	defaultTolerance = 4 * vtime.Millisecond
	defaultMTU       = 1500
)

// maxEvents and maxNesting bound a script.
const (
	maxEvents  = 10_000
	maxNesting = 16
)

// Parse reads a script. The error is an *Error.
func Parse(file, src string) (*Script, error) {
	p := &parser{lex: lexer{file: file, src: src, pos: Pos{1, 1}}, s: &Script{File: file}}
	p.s.Options = Options{Tolerance: defaultTolerance, MTU: defaultMTU, defines: make(map[string]string)}
	if err := p.script(); err != nil {
		return nil, err
	}
	return p.s, nil
}

// parser reads by recursive descent with one token of foresight. The first error ends it: it is kept,
// and every token after it is the end.
type parser struct {
	lex   lexer
	tok   token
	err   error
	s     *Script
	depth int
}

func (p *parser) script() error {
	p.options()
	p.advance()
	for p.err == nil && p.tok.kind != tokEnd {
		if len(p.s.events) == maxEvents {
			p.fail(p.tok.pos, "more than %d events", maxEvents)
			break
		}
		p.event()
	}
	if p.err == nil && len(p.s.events) == 0 {
		p.fail(p.tok.pos, "a script without events")
	}
	return p.err
}

func (p *parser) fail(pos Pos, format string, args ...any) {
	if p.err == nil {
		p.err = p.lex.fail(pos, format, args...)
	}
	p.tok = token{kind: tokEnd, pos: pos}
}

// expected fails because tok is not what.
func (p *parser) expected(what string) { p.fail(p.tok.pos, "expected %s, found %v", what, p.tok) }

// advance reads the next token, with names defined by --define replaced.
func (p *parser) advance() {
	if p.err != nil {
		return
	}
	t, err := p.lex.next()
	if err != nil {
		p.err = err
		p.tok = token{kind: tokEnd, pos: p.lex.pos}
		return
	}
	if t.kind == tokWord {
		if v, ok := p.s.Options.defines[t.text]; ok {
			t = defined(v, t.pos)
		}
	}
	p.tok = t
}

// defined returns the token that a definition stands for.
func defined(v string, pos Pos) token {
	switch {
	case len(v) > 1 && v[0] == '"' && v[len(v)-1] == '"':
		return token{tokString, v[1 : len(v)-1], pos}
	case len(v) > 1 && v[0] == '`' && v[len(v)-1] == '`':
		return token{tokBackquote, v[1 : len(v)-1], pos}
	case strings.HasPrefix(v, "0x"):
		return token{tokHex, v, pos}
	case v != "" && run(v, isDigit) == len(v):
		return token{tokInt, v, pos}
	}
	return token{tokWord, v, pos}
}

// is reports whether the token is the sign or word s.
func (p *parser) is(s string) bool {
	return (p.tok.kind == tokSign || p.tok.kind == tokWord) && p.tok.text == s
}

// got passes over the sign or word s if it is there.
func (p *parser) got(s string) bool {
	if !p.is(s) {
		return false
	}
	p.advance()
	return true
}

func (p *parser) want(s string) {
	if !p.got(s) {
		p.expected("'" + s + "'")
	}
}

// word passes over any word.
func (p *parser) word(what string) string {
	if p.tok.kind != tokWord {
		p.expected(what)
		return ""
	}
	s := p.tok.text
	p.advance()
	return s
}

// integer passes over a decimal number between lo and hi.
func (p *parser) integer(what string, lo, hi int64) int64 {
	if p.tok.kind != tokInt && p.tok.kind != tokHex {
		p.expected(what)
		return 0
	}
	v, err := strconv.ParseInt(p.tok.text, 0, 64)
	if p.tok.kind == tokInt {
		v, err = strconv.ParseInt(p.tok.text, 10, 64)
	}
	if err != nil || v < lo || v > hi {
		p.fail(p.tok.pos, "%s is %s: must be %d to %d", what, p.tok.text, lo, hi)
		return 0
	}
	p.advance()
	return v
}

// options reads the lines --name=value at the top. It leaves tok unset.
func (p *parser) options() {
	for p.err == nil {
		save := p.lex
		t, err := p.lex.next()
		if err != nil {
			p.err = err
			return
		}
		if t.kind != tokOption {
			p.lex = save
			return
		}
		val := ""
		if p.lex.at < len(p.lex.src) && p.lex.src[p.lex.at] == '=' {
			p.lex.step(1)
			val = p.lex.rawValue()
		}
		p.option(t, val)
	}
}

func (p *parser) option(t token, val string) {
	o := &p.s.Options
	number := func(lo, hi int) int {
		n, err := strconv.Atoi(val)
		if err != nil || n < lo || n > hi {
			p.fail(t.pos, "--%s=%s: expected a number from %d to %d", t.text, val, lo, hi)
		}
		return n
	}
	switch t.text {
	case "tolerance_usecs":
		o.Tolerance = vtime.Duration(number(0, 10_000_000)) * vtime.Microsecond
	case "mtu":
		o.MTU = number(576, 9000)
	case "ip_version":
		switch val {
		case "ipv4":
			o.IPVersion = 4
		case "ipv6":
			o.IPVersion = 6
		default:
			p.fail(t.pos, "--ip_version=%s: expected ipv4 or ipv6", val)
		}
	case "define":
		name, v, ok := strings.Cut(val, "=")
		if !ok || name == "" || run(name, isWord) != len(name) {
			p.fail(t.pos, "--define=%s: expected NAME=VALUE", val)
			return
		}
		o.defines[name] = v
	case "mss", "tcp_ts_tick_usecs", "local_ip", "remote_ip", "gateway_ip", "netmask_ip":
		p.fail(t.pos, "--%s: not understood here, see docs/PACKETSCRIPTS.md", t.text)
	default:
		p.fail(t.pos, "--%s: expected one of --tolerance_usecs, --mtu, --ip_version, --define", t.text)
	}
}

// time reads a number of seconds.
func (p *parser) time() vtime.Duration {
	if p.tok.kind != tokFloat && p.tok.kind != tokInt {
		p.expected("a time in seconds")
		return 0
	}
	d, ok := duration(p.tok.text)
	if !ok {
		p.fail(p.tok.pos, "time %s: must be 0 to 999999999 seconds with at most nine decimals", p.tok.text)
		return 0
	}
	p.advance()
	return d
}

func (p *parser) event() {
	e := event{pos: p.tok.pos}
	if p.tok.kind == tokBackquote && len(p.s.events) == 0 { // the set-up command has no time
		p.command(&e)
		return
	}
	switch {
	case p.got("*"):
		e.kind = timeAny
	case p.got("+"):
		e.kind = timeRelative
		e.at = p.time()
		if p.got("~") {
			p.want("+")
			e.ranged, e.until = true, p.time()
		}
	case p.tok.kind == tokFloat || p.tok.kind == tokInt:
		e.at = p.time()
		if p.got("~") {
			e.ranged, e.until = true, p.time()
		}
	default:
		p.expected("a time: seconds, +seconds, a range with ~, or *")
		return
	}
	if e.ranged && e.until < e.at {
		p.fail(e.pos, "a time range that runs backwards")
		return
	}
	switch {
	case p.is("<") || p.is(">"):
		e.packet = p.packet()
	case p.tok.kind == tokBackquote:
		p.command(&e)
		return
	case p.tok.kind == tokCode:
		code, err := parseCode(&p.lex, p.tok)
		if err != nil {
			p.err = err
			p.tok = token{kind: tokEnd}
			return
		}
		e.code = code
		p.advance()
	default:
		e.call = p.call()
	}
	if (e.ranged || e.kind == timeAny) && (e.packet == nil || !e.packet.outbound) {
		p.fail(e.pos, "ranges and * are for outbound packets only")
		return
	}
	if p.err == nil {
		p.s.events = append(p.s.events, e)
	}
}

// command ends e with what a command sets.
func (p *parser) command(e *event) {
	list, err := parseCommand(p.lex.file, p.tok.text, p.tok.pos)
	if err != nil {
		p.err = err
		p.tok = token{kind: tokEnd}
		return
	}
	if len(list) == 0 {
		p.fail(p.tok.pos, "a command that sets nothing")
		return
	}
	e.settings = list
	if e.ranged || e.kind == timeAny {
		p.fail(e.pos, "ranges and * are for outbound packets only")
		return
	}
	p.s.events = append(p.s.events, *e)
	p.advance()
}

func (p *parser) packet() *packet {
	start := p.tok.pos
	from := p.lex.at - 1
	k := &packet{outbound: p.is(">"), win: -1}
	p.advance()
	if p.got("[") || p.is("(") {
		closing := "]"
		if p.got("(") {
			closing = ")"
		}
		p.ipInfo(k)
		p.want(closing)
	}
	to := p.lex.at
	if p.got("icmp") {
		if k.outbound {
			p.fail(start, "ICMP packets can only be inbound")
		}
		p.icmp(k)
		return k
	}
	if p.tok.kind == tokInt { // ports
		k.src = uint16(p.integer("source port", 1, 65535))
		p.want(">")
		k.dst = uint16(p.integer("destination port", 1, 65535))
	}
	p.flags(k)
	k.seq = uint32(p.integer("sequence number", 0, 1<<32-1))
	p.want(":")
	end := p.integer("end of the sequence numbers", 0, 1<<32-1)
	p.want("(")
	lenPos := p.tok.pos
	k.len = int(p.integer("payload length", 0, 65535))
	to = p.lex.at
	p.want(")")
	if p.err == nil && uint32(end) != k.seq+uint32(k.len) {
		p.fail(lenPos, "%d:%d does not span %d octets", k.seq, end, k.len)
	}
	if p.is("ack") {
		p.advance()
		k.flags |= wire.ACK
		to = p.lex.at
		k.ack = uint32(p.integer("acknowledgment number", 0, 1<<32-1))
	}
	if p.is("win") {
		p.advance()
		to = p.lex.at
		k.win = int(p.integer("window", 0, 65535))
	}
	if p.is("urg") {
		p.advance()
		to = p.lex.at
		k.urg = uint16(p.integer("urgent pointer", 0, 65535))
	}
	if p.got("<") {
		p.tcpOptions(k)
		to = p.lex.at
		p.want(">")
	}
	if !k.outbound && k.win < 0 {
		p.fail(start, "an inbound packet needs a window: expected 'win'")
	}
	if p.err == nil {
		k.text = strings.Join(strings.Fields(p.lex.src[from:to]), " ")
	}
	return k
}

func (p *parser) ipInfo(k *packet) {
	pos := p.tok.pos
	switch w := p.word("noecn, ect0, ect1, ect01, ce or tos"); w {
	case "noecn", "ect0", "ect1", "ce":
		k.ecn = ecnExact
		k.tos = map[string]uint8{"noecn": 0, "ect1": 1, "ect0": 2, "ce": 3}[w]
	case "ect01":
		k.ecn = ecnAnyECT
		if !k.outbound {
			p.fail(pos, "[ect01] is for outbound packets only")
		}
	case "tos":
		k.ecn = ecnTOS
		k.tos = uint8(p.integer("tos", 0, 255))
	case "":
	default:
		p.fail(pos, "expected noecn, ect0, ect1, ect01, ce or tos, found '%s'", w)
	}
}

// flags reads the control bits: letters, then '.' for ACK; '-' for none.
func (p *parser) flags(k *packet) {
	pos := p.tok.pos
	if p.got("-") {
		return
	}
	if p.tok.kind == tokWord {
		for _, c := range p.tok.text {
			f, ok := map[rune]wire.Flags{
				'F': wire.FIN, 'S': wire.SYN, 'R': wire.RST, 'P': wire.PSH, 'U': wire.URG, 'E': wire.ECE, 'W': wire.CWR,
			}[c]
			if !ok {
				p.fail(pos, "expected flags out of F S R P U E W, found '%c'", c)
				return
			}
			k.flags |= f
		}
		p.advance()
		if p.got(".") {
			k.flags |= wire.ACK
		}
		return
	}
	if !p.got(".") {
		p.expected("the flags of a packet")
	}
	k.flags |= wire.ACK
}

// Option kinds on the wire.
const (
	optEOL           = 0
	optNOP           = 1
	optMSS           = 2
	optWScale        = 3
	optSACKPermitted = 4
	optSACK          = 5
	optTimestamps    = 8
	optFastOpen      = 34
	optExperimental  = 254
)

// fastOpenMagic marks the experimental form of Fast Open (RFC 6994, RFC 7413 appendix).
const fastOpenMagic = 0xf989

func (p *parser) tcpOptions(k *packet) {
	if p.tok.kind == tokEllipsis {
		if !k.outbound {
			p.expected("the options of an inbound packet")
			return
		}
		k.anyOpts = true
		p.advance()
		return
	}
	for p.err == nil {
		k.options = append(k.options, p.tcpOption())
		if !p.got(",") {
			break
		}
	}
	if p.err == nil && len(appendOptions(nil, k.options)) > wire.MaxOptionsLen {
		p.fail(p.tok.pos, "the options take more than %d octets", wire.MaxOptionsLen)
	}
}

func (p *parser) tcpOption() (o tcpOption) {
	pos := p.tok.pos
	switch w := p.word("an option: mss, wscale, sackOK, sack, TS, FO, FOEXP, nop or eol"); w {
	case "nop":
		o.kind = optNOP
	case "eol":
		o.kind = optEOL
	case "mss":
		o.kind, o.val = optMSS, uint32(p.integer("mss", 0, 65535))
	case "wscale":
		o.kind, o.val = optWScale, uint32(p.integer("wscale", 0, 255))
	case "sackOK":
		o.kind = optSACKPermitted
	case "sack":
		o.kind = optSACK
		for p.err == nil && p.tok.kind == tokInt {
			left := uint32(p.integer("left edge", 0, 1<<32-1))
			p.want(":")
			o.blocks = append(o.blocks, [2]uint32{left, uint32(p.integer("right edge", 0, 1<<32-1))})
		}
	case "TS":
		o.kind = optTimestamps
		p.want("val")
		o.val = uint32(p.integer("TS val", 0, 1<<32-1))
		p.want("ecr")
		o.ecr = uint32(p.integer("TS ecr", 0, 1<<32-1))
	case "FO", "FOEXP":
		o.kind, o.exp = optFastOpen, w == "FOEXP"
		if p.tok.kind == tokWord || p.tok.kind == tokInt {
			b, err := hex.DecodeString(p.tok.text)
			if err != nil || len(b) > 16 {
				p.expected("a cookie of at most 16 octets in hexadecimal")
				return o
			}
			o.cookie = b
			p.advance()
		}
	case "":
	default:
		p.fail(pos, "expected an option: mss, wscale, sackOK, sack, TS, FO, FOEXP, nop or eol, found '%s'", w)
	}
	return o
}

// icmp reads "unreachable frag_needed mtu 1400 [1:1461(1460)]".
func (p *parser) icmp(k *packet) {
	k.icmp = &icmpError{}
	pos := p.tok.pos
	what := p.word("an ICMP error")
	if p.tok.kind == tokWord && p.tok.text != "mtu" {
		what += " " + p.word("an ICMP code")
	}
	if _, ok := icmpTypes[what]; !ok && p.err == nil {
		p.fail(pos, "no ICMP error is called '%s': expected one of %s", what, icmpNames())
		return
	}
	k.icmp.what = what
	k.text = "< icmp " + what
	if p.got("mtu") {
		k.icmp.mtu = int(p.integer("mtu", 0, 65535))
		k.text += fmt.Sprintf(" mtu %d", k.icmp.mtu)
	}
	if !p.got("[") {
		return
	}
	p.got("tcp")
	k.icmp.seq = uint32(p.integer("sequence number", 0, 1<<32-1))
	p.want(":")
	end := p.integer("end of the sequence numbers", 0, 1<<32-1)
	p.want("(")
	k.icmp.len = int(p.integer("payload length", 0, 65535))
	k.text += fmt.Sprintf(" [%d:%d(%d)]", k.icmp.seq, end, k.icmp.len)
	p.want(")")
	p.want("]")
}

func (p *parser) call() *call {
	c := &call{}
	if p.tok.kind == tokEllipsis {
		p.advance()
		c.blocks, c.end = true, p.time()
	}
	pos := p.tok.pos
	c.name = p.word("a packet (< or >), a system call, a command or %{ }%")
	if _, ok := calls[c.name]; !ok && p.err == nil {
		p.fail(pos, "no system call '%s' is known: expected one of %s", c.name, callNames())
		return c
	}
	p.want("(")
	if !p.is(")") {
		c.args = p.values(")")
	}
	p.want(")")
	p.want("=")
	c.result = p.value()
	if p.tok.kind == tokWord {
		c.errno = p.tok.text
		if _, ok := errnos[c.errno]; !ok {
			p.expected("an error name such as EAGAIN")
		}
		p.advance()
	}
	if p.is("(") { // strerror, for the reader
		for p.err == nil && !p.is(")") {
			if p.tok.kind == tokEnd {
				p.expected("')'")
			}
			p.advance()
		}
		p.want(")")
	}
	return c
}

// values reads a list up to, but not including, the closing sign.
func (p *parser) values(closing string) []value {
	var list []value
	for p.err == nil {
		list = append(list, p.value())
		if !p.got(",") {
			break
		}
	}
	if p.err == nil && !p.is(closing) {
		p.expected("',' or '" + closing + "'")
	}
	return list
}

// value reads one expression.
func (p *parser) value() value {
	v := value{pos: p.tok.pos}
	if p.depth++; p.depth > maxNesting {
		p.fail(p.tok.pos, "nested more than %d deep", maxNesting)
	}
	defer func() { p.depth-- }()
	switch {
	case p.tok.kind == tokEllipsis:
		p.advance()
	case p.tok.kind == tokString:
		v.kind, v.text = valString, p.tok.text
		p.advance()
		if p.tok.kind == tokEllipsis {
			p.advance()
		}
	case p.got("["):
		v.kind = valArray
		if !p.is("]") {
			v.list = p.values("]")
		}
		p.want("]")
	case p.got("{"):
		v.kind = valStruct
		p.fields(&v)
		p.want("}")
	default:
		p.number(&v)
	}
	return v
}

// fields reads name = value, name(n) = value or plain values up to the closing brace.
func (p *parser) fields(v *value) {
	for p.err == nil && !p.is("}") {
		name, size := "", int64(-1)
		save, tok := p.lex, p.tok
		if p.tok.kind == tokWord {
			name = p.tok.text
			p.advance()
			if p.got("(") {
				if p.tok.kind == tokEllipsis {
					p.advance()
				} else {
					size = p.integer("a length", 0, 65535)
				}
				p.want(")")
			}
			if !p.got("=") { // a plain value after all
				p.lex, p.tok, name = save, tok, ""
				if p.err != nil {
					return
				}
			}
		}
		v.list = append(v.list, p.value())
		v.names = append(v.names, name)
		v.sizeOf = append(v.sizeOf, size)
		if !p.got(",") {
			break
		}
	}
}

// number reads numbers and symbols joined by |, or a function.
func (p *parser) number(v *value) {
	v.kind = valInt
	for p.err == nil {
		switch p.tok.kind {
		case tokInt, tokHex:
			v.num |= p.integer("a number", -1<<63, 1<<63-1)
		case tokWord:
			name, pos := p.tok.text, p.tok.pos
			p.advance()
			if p.got("(") {
				v.kind, v.text = valFunc, name
				if name != "htons" && name != "inet_addr" && name != "htonl" {
					p.fail(pos, "expected htons, htonl or inet_addr, found '%s'", name)
					return
				}
				v.list = p.values(")")
				p.want(")")
				return
			}
			n, ok := symbols[name]
			if !ok {
				p.fail(pos, "the name '%s' is not known", name)
				return
			}
			v.num |= n
		default:
			p.expected("a value")
			return
		}
		if !p.got("|") {
			return
		}
	}
}
