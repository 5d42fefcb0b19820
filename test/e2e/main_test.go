//go:build e2e

// Package e2e runs unmodified programs on the TOE against the Linux kernel's TCP, over a veth wire
// between two network namespaces. It needs root and the project built (make e2e does that).
package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"opentoe/test/lab"
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

// run demands that the tests leave the machine as they found it.
func run(m *testing.M) int {
	if os.Getuid() != 0 {
		fmt.Fprintln(os.Stderr, "e2e: root is needed to make network namespaces: run it as root")
		return 1
	}
	programs := []string{"ip", "ss", "sysctl", "ping", "ethtool", "nft", "nstat", "tcpdump", "nginx", "curl", "iperf3", "redis-server", "redis-benchmark"}
	if err := lab.CheckPrograms(programs...); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	before := traces()
	status := m.Run()
	for _, t := range traces() {
		if !slices.Contains(before, t) {
			fmt.Fprintln(os.Stderr, "e2e: left behind:", t)
			status = 1
		}
	}
	return status
}

// traces lists what our tests could leave behind: namespaces, interfaces, files and processes that
// carry their names.
func traces() []string {
	var list []string
	for _, pattern := range []string{"/run/netns/" + prefix() + "*", "/dev/shm/*toe*", "/run/dpdk*", "/var/run/dpdk*",
		filepath.Join(os.TempDir(), prefix()+"*")} {
		files, _ := filepath.Glob(pattern) // the patterns are well-formed
		list = append(list, files...)
	}
	links, _ := exec.Command("ip", "-o", "link", "show", "type", "veth").Output()
	for line := range strings.Lines(string(links)) {
		if strings.Contains(line, prefix()) {
			list = append(list, strings.TrimSpace(line))
		}
	}
	commands, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, c := range commands {
		text, _ := os.ReadFile(c) // the process may have ended
		if strings.Contains(string(text), prefix()) {
			list = append(list, filepath.Dir(c)+" "+strings.ReplaceAll(string(text), "\x00", " "))
		}
	}
	return list
}

// prefix is in the name of everything that this run of the tests makes.
func prefix() string { return fmt.Sprintf("toe%d", os.Getpid()%100000) }
