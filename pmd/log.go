package pmd

/*
#include "pmd_eal.h"
*/
import "C"

import (
	"errors"
	"strings"
)

// captured runs f while DPDK's log is kept instead of printed, and adds what it said to the Errno
// that f returns. Callers hold the lock that makes control operations take turns.
func captured(f func() error) error {
	C.pmd_log_capture(1)
	err := f()
	text := takeLog()
	C.pmd_log_capture(0)
	if e := (*Errno)(nil); errors.As(err, &e) && e.Detail == "" {
		e.Detail = summary(text)
	}
	return err
}

func takeLog() string {
	var buf [C.PMD_LOG_SIZE]C.char
	n := C.pmd_log_take(&buf[0], C.PMD_LOG_SIZE)
	return C.GoStringN(&buf[0], C.int(n))
}

// summary makes one line of DPDK's log: the first lines tell the cause, later ones repeat that
// something failed.
func summary(text string) string {
	var parts []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			parts = append(parts, line)
		}
		if len(parts) == 2 {
			break
		}
	}
	return strings.Join(parts, "; ")
}
