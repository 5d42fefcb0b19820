package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// patience is how long a program may take to end after SIGTERM before it is killed.
const patience = 20 * time.Second

// Process is a program that runs in the background, with all its children in one process group.
type Process struct {
	Name string
	Log  string // file with its standard output and error
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // valid after done
}

func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func killGroup(pid int) error {
	if err := syscall.Kill(-pid, syscall.SIGKILL); !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}

// Start runs a program in the background on h until [Process.Stop] or the end of the lab. Its
// output goes to a file in the lab's folder.
func (l *Lab) Start(h Host, name string, args ...string) (*Process, error) {
	log, err := os.CreateTemp(l.Dir, filepath.Base(name)+"-*.log")
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p := &Process{Name: filepath.Base(name), Log: log.Name(), done: make(chan struct{})}
	p.cmd = h.Command(context.Background(), name, args...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	l.running = append(l.running, p)
	l.Cleanup(func() error { p.Stop(); return nil })
	return p, nil
}

// PID returns the process and process group.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Stop asks the process to end, kills its group if it does not, and returns how it ended.
func (p *Process) Stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	select {
	case <-p.done:
	case <-time.After(patience):
	}
	return p.Kill()
}

// Kill ends the whole process group at once.
func (p *Process) Kill() error {
	_ = killGroup(p.PID())
	<-p.done
	return p.err
}

// LastLine returns the last line that the process wrote, for error messages.
func (p *Process) LastLine() string {
	return lastLine(p.Text())
}

// WaitFor returns when ready does without an error, or with an error when the process ends first
// or ctx does.
func (p *Process) WaitFor(ctx context.Context, ready func() error) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ready()
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended early%s", p.Name, p.LastLine())
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w", p.Name, errors.Join(err, ctx.Err()))
		case <-tick.C:
		}
	}
}

// Text returns what the process has written so far.
func (p *Process) Text() string {
	text, _ := os.ReadFile(p.Log)
	return string(text)
}

// Said reports whether the process has written text.
func (p *Process) Said(text string) bool { return strings.Contains(p.Text(), text) }
