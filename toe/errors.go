package toe

import "errors"

// Errors of the control path. They come wrapped, with the operation and the device in the text.
var (
	ErrNotSupported  = errors.New("not supported by this device")
	ErrDetached      = errors.New("device is not attached")
	ErrBusy          = errors.New("device is active")
	ErrExists        = errors.New("name is taken")
	ErrNotFound      = errors.New("no such device")
	ErrNoSocketLayer = errors.New("no socket layer is registered")
	ErrInvalid       = errors.New("invalid argument")
)
