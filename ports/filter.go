package ports

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"

	"golang.org/x/net/bpf"
)

// CompileFilter translates an expression in tcpdump's syntax (pcap-filter(7)), for Ethernet frames.
// It asks tcpdump itself, so the language is exactly the one that the user knows; without tcpdump
// on the machine the error says so. The empty expression takes every frame and gives nil.
func CompileFilter(ctx context.Context, expr string) ([]bpf.RawInstruction, error) {
	if strings.TrimSpace(expr) == "" {
		return nil, nil
	}
	// Without an interface or a file tcpdump compiles for the link type and touches no device.
	cmd := exec.CommandContext(ctx, "tcpdump", "-ddd", "-y", "EN10MB", "--", expr)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return nil, fmt.Errorf(
				"ports: filter %q: tcpdump is needed to compile it and is not installed: %w",
				expr, ErrBadFilter)
		}
		return nil, fmt.Errorf("ports: filter %q: %s: %w", expr, lastLine(complaint.String(), err),
			ErrBadFilter)
	}
	prog, err := parseFilter(out.String())
	if err != nil {
		return nil, fmt.Errorf("ports: filter %q: %w", expr, err)
	}
	return prog, nil
}

// parseFilter reads what tcpdump -ddd prints: the number of instructions, then one a line.
func parseFilter(text string) ([]bpf.RawInstruction, error) {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	n, err := strconv.Atoi(lines[0])
	if err != nil || n != len(lines)-1 || n > maxFilter {
		return nil, fmt.Errorf("unexpected output of tcpdump -ddd: %w", ErrBadFilter)
	}
	prog := make([]bpf.RawInstruction, n)
	for i, line := range lines[1:] {
		in := &prog[i]
		if _, err := fmt.Sscan(line, &in.Op, &in.Jt, &in.Jf, &in.K); err != nil {
			return nil, fmt.Errorf("unexpected output of tcpdump -ddd, line %d: %w", i+2, ErrBadFilter)
		}
	}
	return prog, nil
}

// newFilter checks a program, which may come from a stranger, and returns the machine for it.
func newFilter(raw []bpf.RawInstruction) (*bpf.VM, error) {
	if len(raw) > maxFilter {
		return nil, fmt.Errorf("filter of %d instructions, at most %d: %w", len(raw), maxFilter,
			ErrBadFilter)
	}
	prog, ok := bpf.Disassemble(raw)
	if !ok {
		return nil, fmt.Errorf("unknown filter instruction: %w", ErrBadFilter)
	}
	vm, err := bpf.NewVM(prog)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadFilter, err)
	}
	return vm, nil
}

// lastLine returns the last line of text that says something, or err's text.
func lastLine(text string, err error) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if last := strings.TrimSpace(lines[len(lines)-1]); last != "" {
		return strings.TrimPrefix(last, "tcpdump: ")
	}
	return err.Error()
}
