package tcpoffload

// Errors of the control path.

import "errors"

var (
	// ErrTunable: a setting is out of range; the text says which and what is allowed.
	ErrTunable = errors.New("tunable out of range")
	// ErrConfig: New cannot build an engine from its Config.
	ErrConfig = errors.New("bad engine configuration")
)
