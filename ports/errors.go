package ports

import "errors"

// Errors of the control path. They come wrapped, with the port and the value in the text.
var (
	ErrInvalid      = errors.New("invalid configuration")
	ErrNotOnLink    = errors.New("address is not on link")
	ErrTableFull    = errors.New("neighbour table is full")
	ErrClosed       = errors.New("mirror is closed")
	ErrTooManySinks = errors.New("too many mirror sinks")
	ErrBadFilter    = errors.New("bad capture filter")
)
