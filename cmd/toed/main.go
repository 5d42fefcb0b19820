// Command toed is OpenTOE's data-plane daemon.
//
//	toed --config FILE   serve programs until SIGTERM or SIGINT
//	toed check FILE      read a configuration and say what is wrong with it
//
// Exit status: 0 after an orderly end, 1 when something failed, 2 for a wrong command line or
// configuration. Failures are said in one line each on standard error.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"opentoe/cmd/internal/config"
	"opentoe/cmd/internal/daemon"
	"opentoe/cmd/internal/version"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := root().ExecuteContext(ctx); err != nil {
		report(err)
		os.Exit(status(err))
	}
}

func root() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:     "toed --config FILE",
		Short:   "Terminate TCP on DPDK ports for programs on this machine",
		Version: version.String(),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return errors.New("no configuration: toed --config FILE, for example configs/quickstart.yaml")
			}
			cfg, err := config.Load(file)
			if err != nil {
				return err
			}
			return serve(cmd.Context(), cfg)
		},
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	cmd.Flags().StringVarP(&file, "config", "c", "", "configuration file; configs/reference.yaml has every key")
	cmd.AddCommand(&cobra.Command{
		Use:   "check FILE",
		Short: "Read a configuration and say what is wrong with it",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if _, err := config.Load(args[0]); err != nil {
				return err
			}
			fmt.Println(args[0] + ": good")
			return nil
		},
	})
	return cmd
}

// failure is an error of the daemon, unlike one of its command line or configuration.
type failure struct{ error }

func (f failure) Unwrap() error { return f.error }

// serve runs the daemon until ctx ends.
func serve(ctx context.Context, cfg *config.Config) error {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.Log.Level)); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	d, err := daemon.Start(cfg, log)
	if err != nil {
		return failure{err}
	}
	err = d.Run(ctx)
	log.Info("ending")
	if err = errors.Join(err, d.Close()); err != nil {
		return failure{err}
	}
	return nil
}

func status(err error) int {
	if errors.As(err, new(failure)) {
		return 1
	}
	return 2
}

// report writes one line for every problem.
func report(err error) {
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintln(os.Stderr, "toed:", strings.TrimRight(line, "\n"))
	}
}
