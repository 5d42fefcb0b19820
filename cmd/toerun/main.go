// Command toerun runs an unmodified program on the TOE.
//
//	toerun [--require] [--socket PATH | --config FILE] PROGRAM [ARGUMENT]...
//
// It preloads the socket library and then becomes the program: same process, same descriptors. For static
// programs and Go's, which no library reaches, it starts a supervisor that their socket calls are referred to.
// What stands in the way of the TOE (toed is absent, the program is another machine's or changes privileges)
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
	launch.Supervisor()
	var o options
	cmd := &cobra.Command{
		Use:   "toerun [flags] PROGRAM [ARGUMENT]...",
		Short: "Run a program with its TCP connections on the TOE",
		Long: `Run a program with its TCP connections on the TOE.

toerun preloads the socket library and becomes the program. Static programs, and
programs written in Go, which make their system calls themselves, are run under a
supervisor instead: a process toerun-supervisor that the kernel asks about their
socket calls (seccomp), and that carries their octets. All that they start is
under it, too. See docs/SOCKETS.md, "Static and Go programs".

Programs for another machine and programs that change privileges (set-user-ID,
set-group-ID, file capabilities) run on the kernel, which is said in one line;
with --require they do not run, and the status is 125.`,
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
	f.BoolVar(&o.supervise, "supervise", false, "run any program as a static one, under a supervisor")
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
	require, quiet, supervise bool
	socket, config            string
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
	case o.require, errors.Is(err, launch.ErrStranded):
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
	if os.Getenv(launch.Supervised) != "" {
		return os.Environ(), nil // by the supervisor of who has started us
	}
	socket, err := o.controlSocket()
	if err != nil {
		return nil, err
	}
	if err := launch.Answers(socket); err != nil {
		return nil, err
	}
	way, err := launch.Judge(program)
	if err != nil {
		return nil, err
	}
	if way == launch.Supervise || o.supervise {
		shim := os.Getenv("TOE_SHIM") // any other is known by its name
		return launch.SupervisedEnvironment(os.Environ(), shim, socket), launch.Attend(program, socket)
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
