package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// stateFile describes the demo that runs or has run, so that a later run can end or clean up after
// it even if it was killed.
func stateFile() string { return filepath.Join(scratch(), "running.json") }

type state struct {
	Owner     process   `json:"owner"` // the demo itself
	Kept      bool      `json:"kept"`
	Processes []process `json:"processes"` // in the order in which to end them
}

// process names a process for later: a number alone may come to mean another one.
type process struct {
	PID     int    `json:"pid"`
	Started string `json:"started"` // field 22 of /proc/PID/stat
}

// record writes down what runs now.
func (d *demo) record(kept bool) error {
	s := state{Owner: processOf(os.Getpid()), Kept: kept}
	for _, p := range d.lab.Running() {
		s.Processes = append(s.Processes, processOf(p.PID()))
	}
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return os.WriteFile(stateFile(), text, 0o644)
}

// leaveRunning ends the demo but not what it has started, and says how to play with that.
func (d *demo) leaveRunning() error {
	if err := d.record(true); err != nil {
		return err
	}
	d.lab.Abandon()
	fmt.Printf(`── it goes on running; try
   ip netns exec %[1]s curl -o /dev/null http://%[2]s:%[3]d/big
   bin/toerun curl -o /dev/null http://%[4]s:%[5]d/big & bin/toectl ss -i
   ip netns exec %[1]s ping %[2]s   # the kernel answers
   tcpdump -n -i %[6]s; tcpdump -n -i %[7]s   # the TOE's frames; the kernel's
   bin/toectl stats                             # who got what: xdp-to-toe, xdp-pass-…
   and end it with: make demo-stop
`, peerName, toeAddr, d.port, peerAddr, peerPort, mirrorIf, nearIf)
	return nil
}

// stopKept ends a kept demo.
func stopKept() error {
	s, err := lastState()
	if err != nil {
		return err
	}
	if s == nil || !s.Kept {
		return errors.New("no demo was kept running")
	}
	return s.remove()
}

// sweep removes what a killed demo has left behind, and refuses when another one runs or is kept.
func sweep() error {
	s, err := lastState()
	switch {
	case err != nil:
		return err
	case s == nil:
		s = &state{}
	case s.Kept && s.anyRuns():
		return errors.New("a demo is kept running: make demo-stop ends it")
	case s.Owner.runs():
		return fmt.Errorf("another demo runs (pid %d)", s.Owner.PID)
	}
	return s.remove()
}

// lastState returns what the last demo wrote down, nil if there is nothing.
func lastState() (*state, error) {
	text, err := os.ReadFile(stateFile())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s := &state{}
	if err := json.Unmarshal(text, s); err != nil {
		return nil, fmt.Errorf("%s: %w", stateFile(), err)
	}
	return s, nil
}

func (s *state) anyRuns() bool {
	for _, p := range s.Processes {
		if p.runs() {
			return true
		}
	}
	return false
}

// remove ends the processes and removes the namespace, the wire and the files.
func (s *state) remove() error {
	for _, p := range s.Processes {
		p.end()
	}
	if exec.Command("ip", "netns", "pids", peerName).Run() == nil {
		if out, err := exec.Command("ip", "netns", "del", peerName).CombinedOutput(); err != nil {
			return fmt.Errorf("remove namespace %s: %w: %s", peerName, err, out)
		}
	}
	_ = exec.Command("ip", "link", "del", nearIf, "type", "veth").Run() // usually gone with the namespace
	return os.RemoveAll(scratch())
}

func processOf(pid int) process {
	started, _ := startTime(pid)
	return process{pid, started}
}

func (p process) runs() bool {
	started, ok := startTime(p.PID)
	return ok && started == p.Started
}

// end asks the process to end, waits, and kills its group if it does not.
func (p process) end() {
	if !p.runs() {
		return
	}
	_ = syscall.Kill(p.PID, syscall.SIGTERM) // it may have ended just now
	for range 250 {
		if !p.runs() {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	_ = syscall.Kill(-p.PID, syscall.SIGKILL)
}

// startTime returns when a process was started, in the kernel's units; ok is false for none and
// for a zombie.
func startTime(pid int) (started string, ok bool) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return "", false
	}
	// The second field, the name in parentheses, may hold anything.
	f := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	return f[19], f[0] != "Z"
}
