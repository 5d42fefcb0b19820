// Command toerun runs an unmodified program on the TOE.
//
//	toerun [--require] [--socket PATH | --config FILE] PROGRAM [ARGUMENT]...
//
// It preloads the socket library and then becomes the program: same process, same descriptors.
// What stands in the way of the TOE (toed is absent, the program is static or changes privileges)
// is said in one line on standard error and the program runs on the kernel; --require makes
// toerun refuse instead, with status 125.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"opentoe/cmd/internal/config"
	"opentoe/cmd/internal/launch"
	"opentoe/cmd/internal/version"
)

// refused is the status of toerun's own failures, as with env, nice and timeout.
const refused = 125

func main() {
	var o options
	cmd := &cobra.Command{
		Use:     "toerun [flags] PROGRAM [ARGUMENT]...",
		Short:   "Run a program with its TCP connections on the TOE",
		Version: version.String(),
		Args:    cobra.MinimumNArgs(1),
		RunE:    func(_ *cobra.Command, args []string) error { return run(o, args) },

		SilenceErrors: true,
		SilenceUsage:  true,
	}
	f := cmd.Flags()
	f.SetInterspersed(false) // flags after the program's name are the program's
	f.BoolVar(&o.require, "require", false, "refuse to run the program when the TOE cannot have its connections")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "do not say when the program runs on the kernel")
	f.StringVar(&o.socket, "socket", "", "toed's control socket (default: $TOE_SOCKET, or /run/opentoe/toed.sock)")
	f.StringVar(&o.config, "config", "", "toed's configuration file, to find its control socket")
	cmd.MarkFlagsMutuallyExclusive("socket", "config")

	err := cmd.Execute()
	if err == nil {
		return // --help or --version: a program that runs has replaced us
	}
	fmt.Fprintln(os.Stderr, "toerun:", err)
	status := refused
	if e := (*execError)(nil); errors.As(err, &e) {
		status = launch.ExecErrorStatus(e.err)
	}
	os.Exit(status)
}

type options struct {
	require, quiet bool
	socket, config string
}

// execError tells the failure of the program's start from toerun's own.
type execError struct {
	program string
	err     error
}

func (e *execError) Error() string { return fmt.Sprintf("cannot run %s: %v", e.program, e.err) }

// run replaces the process by the program in args; it returns only if that fails.
func run(o options, args []string) error {
	program, err := exec.LookPath(args[0])
	if errors.Is(err, exec.ErrNotFound) {
		err = syscall.ENOENT
	}
	if err != nil {
		return &execError{args[0], err}
	}
	env, err := offloaded(o, program)
	switch {
	case err == nil:
	case o.require:
		return err
	default:
		if !o.quiet {
			fmt.Fprintf(os.Stderr, "toerun: %v; %s runs on the kernel\n", err, args[0])
		}
		env = os.Environ()
	}
	return &execError{program, syscall.Exec(program, args, env)}
}

// offloaded returns the environment that puts program's connections on the TOE, or what prevents it.
func offloaded(o options, program string) ([]string, error) {
	socket, err := o.controlSocket()
	if err != nil {
		return nil, err
	}
	if err := launch.Answers(socket); err != nil {
		return nil, err
	}
	if err := launch.Preloadable(program); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	shim, err := launch.FindShim(self)
	if err != nil {
		return nil, err
	}
	return launch.Environment(os.Environ(), shim, socket), nil
}

func (o options) controlSocket() (string, error) {
	if o.config != "" {
		cfg, err := config.Load(o.config)
		if err != nil {
			return "", err
		}
		return filepath.Join(cfg.RuntimeDir, config.ControlSocket), nil
	}
	if o.socket != "" {
		return filepath.Abs(o.socket)
	}
	if s := os.Getenv("TOE_SOCKET"); s != "" {
		return s, nil
	}
	return filepath.Join(config.Default().RuntimeDir, config.ControlSocket), nil
}
