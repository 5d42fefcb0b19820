package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Host is a network namespace with a name, or this machine itself.
type Host struct{ Namespace string }

// Command prepares a program to run on the host. It is killed when ctx ends.
func (h Host) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	if h.Namespace != "" {
		// ip replaces itself by the program, so the process is the program's.
		name, args = "ip", append([]string{"netns", "exec", h.Namespace, name}, args...)
	}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = ownGroup()
	cmd.Cancel = func() error { return killGroup(cmd.Process.Pid) }
	return cmd
}

// Output runs a program to its end and returns what it wrote on standard output.
func (h Host) Output(ctx context.Context, name string, args ...string) (string, error) {
	return output(h.Command(ctx, name, args...), name)
}

// Run is Output for a short command whose output does not matter.
func (h Host) Run(name string, args ...string) error {
	_, err := h.Output(context.Background(), name, args...)
	return err
}

// Inside calls f on the host: sockets that f makes are the host's, and stay so.
func (h Host) Inside(f func() error) error {
	if h.Namespace == "" {
		return f()
	}
	runtime.LockOSThread()
	home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(home)
	visit, err := unix.Open("/run/netns/"+h.Namespace, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(visit)
	if err := unix.Setns(visit, unix.CLONE_NEWNET); err != nil {
		return err
	}
	err = f()
	if back := unix.Setns(home, unix.CLONE_NEWNET); back != nil {
		return errors.Join(err, back) // the thread stays locked, and ends with its goroutine
	}
	runtime.UnlockOSThread()
	return err
}

// has reports whether the host has a network interface of that name.
func (h Host) has(iface string) bool { return h.Run("ip", "link", "show", iface) == nil }

func run(name string, args ...string) error { return Host{}.Run(name, args...) }

// output runs cmd; its error holds the last line that the program wrote on standard error.
func output(cmd *exec.Cmd, name string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s: %w%s", name, err, lastLine(stderr.String()))
	}
	return stdout.String(), nil
}

// lastLine returns what follows an error: the line that says how a Go program died, else the last
// line of text.
func lastLine(text string) string {
	text = strings.TrimSpace(text)
	if text == "" {
		return ""
	}
	for line := range strings.Lines(text) {
		for _, death := range []string{"panic: ", "fatal error: ", "SIGQUIT: ", "SIGSEGV: ", "WARNING: DATA RACE"} {
			if strings.HasPrefix(line, death) {
				return ": " + strings.TrimSpace(line)
			}
		}
	}
	return ": " + text[strings.LastIndexByte(text, '\n')+1:]
}

func lookPath(name string) (string, error) {
	if p, err := exec.LookPath(name); err == nil {
		return p, nil
	}
	return exec.LookPath("/usr/sbin/" + name) // not in the path of every root shell
}
