package sockets

import (
	"slices"
	"strings"
)

// difference is what cases print on the TOE otherwise than on the kernel, and why that is to stay.
type difference struct {
	cases  []string // topic/case
	reason string
	lines  []change // all that is different; none: the whole output may be
}

// change is the end of a line: as the kernel has it, and as the TOE has it.
type change struct{ kernel, toe string }

// differences are all that are known. docs/SOCKETS.md lists them. A case that differs no more fails until it
// is taken out.
var differences = []difference{
	{
		cases: []string{"states/refused", "states/refused_after_io", "states/refused_after_shutdown"},
		reason: "A socket that asks toed is bound to a port first. It keeps that when the connection is refused, " +
			"so that it cannot be bound to another.",
		lines: []change{{"bind: 0", "bind: EINVAL"}},
	},
	{
		cases: []string{"states/refused_after_shutdown"},
		reason: "A socket whose connection was refused can be connected again although it was shut down meanwhile, " +
			"which gave ENOTCONN.",
		lines: []change{{"connect: EINVAL", "connect: ECONNREFUSED"}},
	},
	{
		cases: []string{"stdio/wide_characters"},
		reason: "A stream on a socket (fdopen) is one of octets: fputws and its like fail as they do on every " +
			"such stream.",
	},
	{
		cases:  []string{"connecting/dissolve_leaves_an_error"},
		reason: "A connection that connect to AF_UNSPEC ends leaves no ECONNRESET behind for the next call.",
	},
	{
		cases: []string{"numbers/no_number_left_and_nobody_to_accept"},
		reason: "accept of an empty queue by a process that has no descriptor left says EAGAIN, or waits; Linux " +
			"looks for a descriptor first.",
		lines: []change{{"accept: EMFILE", "accept: EAGAIN"}},
	},
	{
		cases: []string{"handing/epoll_set_in_a_message"},
		reason: "An epoll descriptor that came by SCM_RIGHTS or exec tells of the kernel's descriptors in the set, " +
			"but not of its sockets of the TOE: those are in the sender's.",
	},
}

// known returns what is different in a case, and whether anything is.
func known(id string) (lines []change, any bool) {
	for _, d := range differences {
		if slices.Contains(d.cases, id) {
			lines, any = append(lines, d.lines...), true
		}
	}
	return lines, any
}

// changed returns the kernel's output with what is known to be different on the TOE.
func changed(output string, lines []change) string {
	var b strings.Builder
	for line := range strings.Lines(output) {
		text := strings.TrimSuffix(line, "\n")
		for _, c := range lines {
			if start, ok := strings.CutSuffix(text, c.kernel); ok && (start == "" || strings.HasSuffix(start, " ")) {
				text = start + c.toe
				break
			}
		}
		b.WriteString(text + "\n")
	}
	return b.String()
}
