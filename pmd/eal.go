package pmd

/*
#cgo pkg-config: libdpdk
#cgo CFLAGS: -std=gnu11 -Wall -Wextra -Werror -Wno-unused-parameter
#include "pmd_eal.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// EALConfig says how to start DPDK's environment abstraction layer. The zero value will do.
type EALConfig struct {
	// CPUs on which EAL's own main thread may run; empty means those of the process. It does
	// no work. Poll threads are the caller's, see [RegisterThread].
	CPUs       []int
	HugePages  HugePageMode
	MemoryMB   int      // MiB for buffers and queues of all ports; 0 means 256
	PCI        []string // PCI addresses to open; empty means that the PCI bus is not looked at
	FilePrefix string   // distinguishes DPDK processes; empty means "opentoe-" and the process id
	LogLevel   string   // DPDK's level names; empty means "error"
	ExtraArgs  []string // appended to EAL's command line as they are
}

// ErrStarted is returned by [Start] when the process has started EAL before: DPDK allows it once,
// even after Close.
var ErrStarted = errors.New("DPDK was already started in this process, and can be only once")

// EAL is the running environment. There is one in a process.
type EAL struct {
	huge bool
	stop chan chan error // asks the main thread to clean up

	// control makes control operations take turns: DPDK does not lock its lists of devices, and
	// capturing the log and finding a driver's sockets need quiet.
	control sync.Mutex

	ledger ledger
}

const (
	defaultMemoryMB = 256
	defaultLogLevel = "error"
)

// Start brings EAL up. It uses huge pages if cfg wants them and enough are free; otherwise normal
// pages, for which neither privileges nor preparation are needed. It leaves no files behind, even
// when the process is killed.
func Start(cfg EALConfig) (*EAL, error) {
	if cfg.MemoryMB == 0 {
		cfg.MemoryMB = defaultMemoryMB
	}
	if cfg.MemoryMB < 0 {
		return nil, fmt.Errorf("start EAL: memory of %d MiB is not possible", cfg.MemoryMB)
	}
	huge, err := chooseHugePages(cfg.HugePages, cfg.MemoryMB, freeHugePages())
	if err != nil {
		return nil, err
	}
	args, err := ealArgs(&cfg, huge)
	if err != nil {
		return nil, err
	}
	e := &EAL{huge: huge, stop: make(chan chan error)}
	ready := make(chan error)
	go e.mainThread(args, verboseLevel(cfg.LogLevel), ready)
	err = <-ready
	if errors.Is(err, syscall.EALREADY) {
		return nil, fmt.Errorf("start EAL: %w", ErrStarted)
	}
	if err != nil {
		return nil, err
	}
	return e, nil
}

// mainThread is EAL's main lcore: it starts EAL, waits and cleans up. rte_eal_init changes the
// thread it runs on (affinity, lcore id), so the thread stays locked and dies with the goroutine
// instead of going back to the Go scheduler.
func (e *EAL) mainThread(args []string, verbose bool, ready chan<- error) {
	runtime.LockOSThread()
	err := initEAL(args, verbose)
	ready <- err
	if err != nil {
		return
	}
	done := <-e.stop
	done <- check(C.pmd_eal_cleanup(), "clean up EAL", "")
}

// HugePages reports whether EAL's memory is in huge pages.
func (e *EAL) HugePages() bool { return e.huge }

// Close ends EAL. Ports must be closed and poll threads finished.
func (e *EAL) Close() error {
	done := make(chan error)
	e.control.Lock()
	defer e.control.Unlock()
	e.stop <- done
	err := <-done
	removeRuntimeDir()
	return err
}

// RegisterThread makes the calling OS thread known to DPDK, which gives it a cache of buffers. The
// caller has locked its goroutine to the thread. Registering twice is no error.
func RegisterThread() error { return check(C.pmd_thread_register(), "register thread", "") }

// UnregisterThread gives the thread's lcore id back; a registered thread that ends without it
// wastes one of 128.
func UnregisterThread() { C.pmd_thread_unregister() }

func chooseHugePages(mode HugePageMode, wantMB, freeMB int) (bool, error) {
	enough := freeMB >= wantMB
	if mode == HugePagesRequire && !enough {
		return false, &Errno{
			Op:     "start EAL",
			Err:    syscall.ENOMEM,
			Detail: fmt.Sprintf("huge pages are required: %d MiB are needed, %d MiB are free", wantMB, freeMB),
			Mend:   fmt.Sprintf("reserve some with: sysctl vm.nr_hugepages=%d", (wantMB+1)/2),
		}
	}
	return mode != HugePagesOff && enough, nil
}

// ealArgs composes EAL's command line.
func ealArgs(cfg *EALConfig, huge bool) ([]string, error) {
	cpus := cfg.CPUs
	if len(cpus) == 0 {
		var set unix.CPUSet
		if err := unix.SchedGetaffinity(0, &set); err != nil {
			return nil, fmt.Errorf("start EAL: read CPU affinity: %w", err)
		}
		for i := range len(set) * 64 {
			if set.IsSet(i) {
				cpus = append(cpus, i)
			}
		}
	}
	level, prefix := cfg.LogLevel, cfg.FilePrefix
	if level == "" {
		level = defaultLogLevel
	}
	if prefix == "" {
		prefix = fmt.Sprintf("opentoe-%d", os.Getpid())
	}
	args := []string{
		"opentoe",
		"--lcores", "0@(" + joinInts(cpus) + ")", // one lcore that may float over all of them
		"-m", strconv.Itoa(cfg.MemoryMB),
		"--file-prefix", prefix,
		"--log-level", level,
		"--no-telemetry",
	}
	if huge {
		args = append(args, "--in-memory")
	} else {
		args = append(args, "--no-huge", "--no-shconf") // DPDK refuses --in-memory here
	}
	if len(cfg.PCI) == 0 {
		args = append(args, "--no-pci")
	}
	for _, addr := range cfg.PCI {
		args = append(args, "-a", addr)
	}
	return append(args, cfg.ExtraArgs...), nil
}

func initEAL(args []string, verbose bool) error {
	v := C.int(0)
	if verbose {
		v = 1
	}
	if err := check(C.pmd_log_open(v), "start EAL", ""); err != nil {
		return err
	}
	argv := C.pmd_args_new(C.int(len(args)))
	defer C.pmd_args_free(argv, C.int(len(args)))
	for i, a := range args {
		C.pmd_args_set(argv, C.int(i), C.CString(a))
	}
	err := captured(func() error {
		return check(C.pmd_eal_init(C.int(len(args)), argv), "start EAL", "")
	})
	removeRuntimeDir()
	return err
}

// removeRuntimeDir removes the directory that EAL makes even if it has no file to put there, and
// its parent when that was the last. Other DPDK processes' directories are not empty and stay.
func removeRuntimeDir() {
	if dir := C.GoString(C.pmd_eal_runtime_dir()); dir != "" {
		if os.Remove(dir) == nil {
			_ = os.Remove(filepath.Dir(dir)) // fails, rightly, if others use it
		}
	}
}

// verboseLevel reports whether the operator asked DPDK to be chatty.
func verboseLevel(level string) bool {
	return strings.Contains(level, "info") || strings.Contains(level, "debug")
}

func joinInts(v []int) string {
	s := make([]string, len(v))
	for i, n := range v {
		s[i] = strconv.Itoa(n)
	}
	return strings.Join(s, ",")
}
