package config

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Problem is one thing wrong with a configuration file.
type Problem struct {
	File  string
	Line  int    // 0 when the file has no such line: the key is missing
	Col   int    // in the line, from 1; 0: not said
	Key   string // dotted path, "ports[0].mtu"
	Value string // as written, empty when the key itself is the problem
	Cause string
	Mend  string
}

// Error puts everything on one line.
func (p *Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	if p.Col > 0 {
		fmt.Fprintf(&b, ":%d", p.Col)
	}
	b.WriteString(": ")
	if p.Key != "" {
		b.WriteString(p.Key + ": ")
	}
	if p.Value != "" {
		fmt.Fprintf(&b, "%q: ", p.Value)
	}
	b.WriteString(p.Cause)
	if p.Mend != "" {
		b.WriteString(": " + p.Mend)
	}
	return b.String()
}

// Problems are all the things wrong with a file, in its order.
type Problems []*Problem

// Error writes one line for each problem.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// lineOf finds the line in what the YAML parser says.
var lineOf = regexp.MustCompile(`^yaml: line (\d+): (.*)`)

// syntax is the problem of a text that is no YAML.
func syntax(file string, err error) *Problem {
	p := &Problem{File: file, Cause: err.Error()}
	if m := lineOf.FindStringSubmatch(err.Error()); m != nil {
		p.Line, _ = strconv.Atoi(m[1])
		p.Cause = "not YAML: " + m[2]
	}
	return p
}
