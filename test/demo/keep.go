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

// stateFile lists the processes of a kept demo, in the order in which to end them.
func stateFile() string { return filepath.Join(scratch(), "running.json") }

// process names a process for later: a number alone may come to mean another one.
type process struct {
	PID     int    `json:"pid"`
	Started string `json:"started"` // field 22 of /proc/PID/stat
}

// leaveRunning writes down what runs and says how to play with it.
func (d *demo) leaveRunning() error {
	var list []process
	for _, p := range d.lab.Running() {
		if started, ok := startTime(p.PID()); ok {
			list = append(list, process{p.PID(), started})
		}
	}
	text, err := json.Marshal(list)
	if err != nil {
		return err
	}
	if err := os.WriteFile(stateFile(), text, 0o644); err != nil {
		return err
	}
	d.lab.Abandon()
	fmt.Printf(`── it goes on running; try:
   ip netns exec %s curl -o /dev/null http://%s:%d/big
   bin/toerun curl http://%s:%d/small1 -o /dev/null & bin/toectl ss -i
   tcpdump -n -i %s
   make demo-stop ends it
`, peerName, toeAddr, toePort, peerAddr, peerPort, mirrorIf)
	return nil
}

// stopKept ends a kept demo.
func stopKept() error {
	list, err := keptProcesses()
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return errors.New("no demo is running")
	}
	for _, p := range list {
		p.end()
	}
	return removeLeftovers()
}

// sweep removes what a killed demo has left behind, and refuses when a kept one is running.
func sweep() error {
	list, err := keptProcesses()
	if err != nil {
		return err
	}
	if len(list) > 0 {
		return errors.New("a demo is still running: make demo-stop ends it")
	}
	return removeLeftovers()
}

// keptProcesses returns those processes of a kept demo that still run.
func keptProcesses() ([]process, error) {
	text, err := os.ReadFile(stateFile())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list, alive []process
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("%s: %w", stateFile(), err)
	}
	for _, p := range list {
		if p.runs() {
			alive = append(alive, p)
		}
	}
	return alive, nil
}

func (p process) runs() bool {
	started, ok := startTime(p.PID)
	return ok && started == p.Started
}

// end asks the process to end, waits, and kills its group if it does not.
func (p process) end() {
	_ = syscall.Kill(p.PID, syscall.SIGTERM) // it may have ended
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

// removeLeftovers removes the demo's namespace, wire and files, if they are there.
func removeLeftovers() error {
	if exec.Command("ip", "netns", "pids", peerName).Run() == nil {
		if out, err := exec.Command("ip", "netns", "del", peerName).CombinedOutput(); err != nil {
			return fmt.Errorf("remove namespace %s: %w: %s", peerName, err, out)
		}
	}
	_ = exec.Command("ip", "link", "del", nearIf, "type", "veth").Run() // usually gone with the namespace
	return os.RemoveAll(scratch())
}
