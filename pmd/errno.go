package pmd

import (
	"fmt"
	"syscall"
)

// Errno is a failure that C or DPDK reported.
type Errno struct {
	Op     string        // what was tried: "start EAL", "open port"
	Object string        // the port, device or queue; "" for the EAL itself
	Err    syscall.Errno // the cause; errors.Is matches it
	Detail string        // what DPDK's log said about it, in one line; may be empty
	Mend   string        // what the administrator can do; may be empty
}

// Error puts everything that is known on one line.
func (e *Errno) Error() string {
	s := e.Op
	if e.Object != "" {
		s += " " + e.Object
	}
	s += ": " + e.Err.Error()
	if e.Detail != "" {
		s += fmt.Sprintf(" (%s)", e.Detail)
	}
	if e.Mend != "" {
		s += "; " + e.Mend
	}
	return s
}

// Unwrap returns the errno.
func (e *Errno) Unwrap() error { return e.Err }

// check wraps rc, the result of a C function: nil for 0 and above.
func check[T ~int32](rc T, op, object string) error {
	if rc >= 0 {
		return nil
	}
	return &Errno{Op: op, Object: object, Err: syscall.Errno(-rc)}
}
