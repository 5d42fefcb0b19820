package packetdrill

// Assertions about TCP_INFO: the part of Python that scripts use.
//
//	statements = statement { (newline | ";") statement }
//	statement  = "assert" expr [ "," string ] | "print" "(" expr { "," expr } ")"
//	expr       = or-, and-, not-expressions over chained comparisons of integers
//	integers   = | ^ & << >> + - * / // % unary - ~, abs, min, max, names of TCP_INFO

import (
	"fmt"
	"strings"
)

// statement is one assertion, or a print.
type statement struct {
	pos    Pos
	text   string
	assert bool
	exprs  []expr
}

// expr computes a number; comparisons give 0 or 1.
type expr func(names func(string) (int64, bool)) (int64, error)

// codeParser reads the inside of %{ }%.
type codeParser struct {
	lex   *lexer
	tok   token
	line  int // of the token before
	err   error
	depth int
}

// parseCode reads the statements of code token t of outer.
func parseCode(outer *lexer, t token) ([]statement, error) {
	inner := lexer{file: outer.file, src: t.text, pos: Pos{t.pos.Line, t.pos.Col + 2}, code: true}
	p := &codeParser{lex: &inner}
	p.advance()
	list := []statement{} // code may hold comments only, and is code all the same
	for p.err == nil && p.tok.kind != tokEnd {
		s := statement{pos: p.tok.pos}
		from := inner.at - len(p.tok.text)
		switch {
		case p.got("assert"):
			s.assert = true
			s.exprs = append(s.exprs, p.or())
			if p.got(",") {
				p.or()
			}
		case p.got("print"):
			p.want("(")
			s.exprs = append(s.exprs, p.or())
			for p.got(",") {
				s.exprs = append(s.exprs, p.or())
			}
			p.want(")")
		default:
			p.expected("assert or print")
		}
		to := inner.at
		if p.tok.kind != tokEnd {
			to -= len(p.tok.text)
		}
		switch {
		case p.got(";"):
		case p.tok.kind != tokEnd && p.tok.pos.Line == p.line:
			p.expected("a new line, ';' or '}%'")
		}
		if p.err == nil {
			s.text = strings.Join(strings.Fields(strings.TrimRight(inner.src[from:to], " \t\n;")), " ")
			list = append(list, s)
		}
	}
	return list, p.err
}

func (p *codeParser) advance() {
	if p.err != nil {
		return
	}
	p.line = p.tok.pos.Line
	t, err := p.lex.next()
	if err != nil {
		p.err = err
	}
	p.tok = t
}

func (p *codeParser) expected(what string) {
	if p.err == nil {
		p.err = p.lex.fail(p.tok.pos, "expected %s, found %v", what, p.tok)
	}
	p.tok = token{kind: tokEnd, pos: p.tok.pos}
}

func (p *codeParser) got(s string) bool {
	if p.tok.kind != tokSign && p.tok.kind != tokWord || p.tok.text != s {
		return false
	}
	p.advance()
	return true
}

func (p *codeParser) want(s string) {
	if !p.got(s) {
		p.expected("'" + s + "'")
	}
}

// sign passes over an operator of one or two characters, and not over a longer one that begins alike.
func (p *codeParser) sign(s string) bool {
	if p.tok.kind != tokSign || p.tok.text != s[:1] {
		return false
	}
	rest := p.lex.src[p.lex.at:]
	if len(s) == 2 {
		if !strings.HasPrefix(rest, s[1:]) {
			return false
		}
		p.lex.step(1)
	} else if rest != "" && (rest[0] == '=' && strings.Contains("<>=!", s) || rest[0] == s[0] && strings.Contains("<>/", s)) {
		return false
	}
	p.advance()
	return true
}

func truth(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// joined joins two expressions.
func joined(a, b expr, f func(x, y int64) (int64, error)) expr {
	return func(n func(string) (int64, bool)) (int64, error) {
		x, err := a(n)
		if err != nil {
			return 0, err
		}
		y, err := b(n)
		if err != nil {
			return 0, err
		}
		return f(x, y)
	}
}

func (p *codeParser) or() expr {
	if p.depth++; p.depth > maxNesting {
		p.expected("fewer parentheses")
	}
	defer func() { p.depth-- }()
	a := p.and()
	for p.got("or") {
		a = joined(a, p.and(), func(x, y int64) (int64, error) { return truth(x != 0 || y != 0), nil })
	}
	return a
}

func (p *codeParser) and() expr {
	a := p.not()
	for p.got("and") {
		a = joined(a, p.not(), func(x, y int64) (int64, error) { return truth(x != 0 && y != 0), nil })
	}
	return a
}

func (p *codeParser) not() expr {
	odd := false
	for p.got("not") {
		odd = !odd
	}
	a := p.comparison()
	if !odd {
		return a
	}
	return func(n func(string) (int64, bool)) (int64, error) {
		x, err := a(n)
		return truth(x == 0), err
	}
}

// comparisons by their operator; those of two characters first.
var comparisons = []struct {
	sign string
	f    func(x, y int64) bool
}{
	{"==", func(x, y int64) bool { return x == y }},
	{"!=", func(x, y int64) bool { return x != y }},
	{"<=", func(x, y int64) bool { return x <= y }},
	{">=", func(x, y int64) bool { return x >= y }},
	{"<", func(x, y int64) bool { return x < y }},
	{">", func(x, y int64) bool { return x > y }},
}

// comparison reads a chain: a < b <= c is a < b and b <= c.
func (p *codeParser) comparison() expr {
	left := p.arithmetic(0)
	var all expr
next:
	for {
		for _, c := range comparisons {
			if !p.sign(c.sign) {
				continue
			}
			right := p.arithmetic(0)
			one := joined(left, right, func(x, y int64) (int64, error) { return truth(c.f(x, y)), nil })
			if all != nil {
				one = joined(all, one, func(x, y int64) (int64, error) { return x & y, nil })
			}
			all, left = one, right
			continue next
		}
		if all != nil {
			return all
		}
		return left
	}
}

func divide(x, y int64) (int64, error) {
	if y == 0 || x == -1<<63 && y == -1 {
		return 0, fmt.Errorf("%d cannot be divided by %d", x, y)
	}
	q := x / y
	if x%y != 0 && (x < 0) != (y < 0) {
		q-- // towards minus infinity, as Python
	}
	return q, nil
}

func shift(y int64) error {
	if y < 0 || y > 62 {
		return fmt.Errorf("shift by %d", y)
	}
	return nil
}

// arithmetics are the operators by rising precedence.
var arithmetics = [][]struct {
	sign string
	f    func(x, y int64) (int64, error)
}{
	{{"|", func(x, y int64) (int64, error) { return x | y, nil }}},
	{{"^", func(x, y int64) (int64, error) { return x ^ y, nil }}},
	{{"&", func(x, y int64) (int64, error) { return x & y, nil }}},
	{
		{"<<", func(x, y int64) (int64, error) { return x << (y & 63), shift(y) }},
		{">>", func(x, y int64) (int64, error) { return x >> (y & 63), shift(y) }},
	},
	{
		{"+", func(x, y int64) (int64, error) { return x + y, nil }},
		{"-", func(x, y int64) (int64, error) { return x - y, nil }},
	},
	{
		{"*", func(x, y int64) (int64, error) { return x * y, nil }},
		{"//", divide},
		{"/", divide},
		{"%", func(x, y int64) (int64, error) {
			q, err := divide(x, y)
			return x - q*y, err
		}},
	},
}

func (p *codeParser) arithmetic(level int) expr {
	if level == len(arithmetics) {
		return p.unary()
	}
	a := p.arithmetic(level + 1)
next:
	for {
		for _, o := range arithmetics[level] {
			if p.sign(o.sign) {
				a = joined(a, p.arithmetic(level+1), o.f)
				continue next
			}
		}
		// "a -1" is read as a and the number −1.
		if level == 4 && (p.tok.kind == tokInt || p.tok.kind == tokFloat) && strings.HasPrefix(p.tok.text, "-") {
			a = joined(a, p.arithmetic(level+1), func(x, y int64) (int64, error) { return x + y, nil })
			continue
		}
		return a
	}
}

func (p *codeParser) unary() expr {
	if p.depth++; p.depth > 4*maxNesting {
		p.expected("fewer signs")
	}
	defer func() { p.depth-- }()
	switch {
	case p.sign("-"):
		a := p.unary()
		return func(n func(string) (int64, bool)) (int64, error) {
			x, err := a(n)
			return -x, err
		}
	case p.sign("~"):
		a := p.unary()
		return func(n func(string) (int64, bool)) (int64, error) {
			x, err := a(n)
			return ^x, err
		}
	case p.got("("):
		a := p.or()
		p.want(")")
		return a
	}
	return p.atom()
}

func constant(v int64) expr {
	return func(func(string) (int64, bool)) (int64, error) { return v, nil }
}

func (p *codeParser) atom() expr {
	t := p.tok
	switch t.kind {
	case tokInt, tokHex:
		var v int64
		if _, err := fmt.Sscan(t.text, &v); err != nil {
			p.expected("a number of 64 bits")
		}
		p.advance()
		return constant(v)
	case tokString: // the message of an assertion
		p.advance()
		return constant(0)
	case tokWord:
		p.advance()
		switch t.text {
		case "abs", "min", "max":
			return p.function(t.text)
		case "True", "False":
			return constant(truth(t.text == "True"))
		}
		if v, ok := infoSymbols[t.text]; ok {
			return constant(v)
		}
		if !knownInfo(t.text) {
			p.tok = t
			p.expected("a member of TCP_INFO, or a constant")
		}
		return func(names func(string) (int64, bool)) (int64, error) {
			v, ok := names(t.text)
			if !ok {
				return 0, fmt.Errorf("%s is not known", t.text)
			}
			return v, nil
		}
	}
	p.expected("a number or a name")
	return constant(0)
}

func (p *codeParser) function(name string) expr {
	p.want("(")
	a := p.or()
	if name == "abs" {
		p.want(")")
		return func(n func(string) (int64, bool)) (int64, error) {
			x, err := a(n)
			return max(x, -x), err
		}
	}
	for p.got(",") {
		a = joined(a, p.or(), func(x, y int64) (int64, error) {
			if name == "min" {
				return min(x, y), nil
			}
			return max(x, y), nil
		})
	}
	p.want(")")
	return a
}
