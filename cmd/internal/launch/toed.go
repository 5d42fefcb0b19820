package launch

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Answers returns nil if a toed listens on its control socket, and else an error that says why
// not and what to do.
func Answers(socket string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%s: %w", socket, err)
	}
	defer unix.Close(fd)
	switch err := unix.Connect(fd, &unix.SockaddrUnix{Name: socket}); {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("toed does not run (no %s): start it with toed --config FILE", socket)
	case errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("toed does not answer on %s: it has died, start it again", socket)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return fmt.Errorf("no permission for %s: see clients.socket_mode in toed's configuration", socket)
	default:
		return fmt.Errorf("%s: %w", socket, err)
	}
}
