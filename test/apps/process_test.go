//go:build apps

package apps

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/stretchr/testify/require"

	"opentoe/test/lab"
)

// daemon starts a server on the TOE that goes into the background by itself, and returns the process that its pid file
// names.
func (b *bench) daemon(port int, pidFile string, words ...string) int {
	b.Helper()
	b.near(words...)
	var pid int
	b.until(func() (err error) {
		if pid, err = readPID(pidFile); err == nil {
			err = b.toed.Listening(b.ctx, port)
		}
		return err
	})
	group, err := syscall.Getpgid(pid)
	b.ok(err)
	b.groups = append(b.groups, group)
	b.Cleanup(func() error { return killGroup(group) })
	return pid
}

func killGroup(group int) error {
	if err := syscall.Kill(-group, syscall.SIGKILL); err != syscall.ESRCH {
		return err
	}
	return nil
}

// stopAll ends every program but toed, the latest first.
func (b *bench) stopAll() {
	b.Helper()
	for _, p := range b.Running() {
		if p != b.toed.Process {
			_ = p.Stop() // killed, some of them
		}
	}
	for _, group := range b.groups {
		b.ok(killGroup(group))
	}
}

func readPID(file string) (int, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// children returns the processes that pid has started.
func (b *bench) children(pid int) (list []int) {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	b.ok(err)
	for _, word := range strings.Fields(string(text)) {
		child, err := strconv.Atoi(word)
		b.ok(err)
		list = append(list, child)
	}
	return list
}

// ends waits until a program that runs in the background has ended by itself.
func (b *bench) ends(p *lab.Process) {
	b.Helper()
	select {
	case <-p.Done():
	case <-b.ctx.Done():
		require.FailNow(b, p.Name+" goes on")
	}
}

// gone waits until a process has ended.
func (b *bench) gone(pid int) {
	b.Helper()
	b.until(func() error {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(stat), ") Z ") { // nobody may be there to take its status
			return nil
		}
		return fmt.Errorf("process %d goes on", pid)
	})
}

// signal sends a signal to a process.
func (b *bench) signal(pid int, sig syscall.Signal) {
	b.Helper()
	b.ok(syscall.Kill(pid, sig))
}

// as returns the words that run a program as another user.
func as(name string, words ...string) []string {
	return append([]string{"setpriv", "--reuid=" + name, "--regid=" + name, "--init-groups", "--"}, words...)
}

// onTOE returns the words that run a program on the TOE.
func (b *bench) onTOE(words ...string) []string { return b.Toerun(b.toed.Socket(), words...) }

// start starts a program in the background on the near host, without the TOE.
func (b *bench) start(words ...string) *lab.Process {
	b.Helper()
	p, err := b.Start(b.NearHost, words[0], words[1:]...)
	b.ok(err)
	return p
}

// serve starts a server on the TOE and waits until it listens there.
func (b *bench) serve(port int, words ...string) *lab.Process {
	b.Helper()
	p := b.start(b.onTOE(words...)...)
	b.listens(p, port)
	return p
}

func (b *bench) listens(p *lab.Process, port int) {
	b.Helper()
	b.ok(p.WaitFor(b.ctx, func() error { return b.toed.Listening(b.ctx, port) }))
}

// silent waits until toed knows of nobody who listens on a port.
func (b *bench) silent(port int) {
	b.Helper()
	b.until(func() error {
		if b.toed.Listening(b.ctx, port) == nil {
			return fmt.Errorf("somebody listens on port %d", port)
		}
		return nil
	})
}

// serveFar starts a server on the far kernel.
func (b *bench) serveFar(port int, words ...string) *lab.Process {
	b.Helper()
	p, err := b.Start(b.FarHost, words[0], words[1:]...)
	b.ok(err)
	b.ok(p.WaitFor(b.ctx, func() error { return b.FarHost.Listening(port) }))
	return p
}

// startFar starts a program in the background on the far kernel.
func (b *bench) startFar(words ...string) *lab.Process {
	b.Helper()
	p, err := b.Start(b.FarHost, words[0], words[1:]...)
	b.ok(err)
	return p
}
