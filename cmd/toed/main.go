// Command toed is OpenTOE's data-plane daemon.
//
//	toed --config FILE   serve programs until SIGTERM or SIGINT; a second one ends at once what the first
//	                     would let finish (shutdown_grace); SIGHUP loads the policy of FILE again
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
	"time"

	"github.com/spf13/cobra"

	"opentoe/cmd/internal/config"
	"opentoe/cmd/internal/daemon"
	"opentoe/cmd/internal/version"
)

func main() {
	// From the very start: a signal that comes early ends what it finds.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt, syscall.SIGHUP)
	if err := root(signals).Execute(); err != nil {
		report(err)
		os.Exit(status(err))
	}
}

func root(signals <-chan os.Signal) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:     "toed --config FILE",
		Short:   "Terminate TCP on DPDK ports for programs on this machine",
		Version: version.String(),
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if file == "" {
				return errors.New("no configuration: toed --config FILE, for example configs/quickstart.yaml")
			}
			cfg, err := config.Load(file)
			if err != nil {
				return err
			}
			return serve(file, cfg, signals)
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

// serve runs the daemon until a signal ends it.
func serve(file string, cfg *config.Config, signals <-chan os.Signal) error {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.Log.Level)); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	d, err := daemon.Start(cfg, log)
	if err != nil {
		return failure{err}
	}
	ctx, end := context.WithCancel(context.Background())
	defer end()
	go attend(ctx, end, d, file, time.Duration(cfg.Grace), signals, log)
	err = d.Run(ctx)
	log.Info("ending")
	if err = errors.Join(err, d.Close()); err != nil {
		return failure{err}
	}
	return nil
}

// attended is what signals are for.
type attended interface {
	Finish(ctx context.Context, grace time.Duration)
	ReloadPolicy(file string) error
}

// attend acts on signals until ctx ends, which the last of them does by calling end.
func attend(ctx context.Context, end func(), d attended, file string, grace time.Duration,
	signals <-chan os.Signal, log *slog.Logger) {
	finishing := false
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-signals:
			switch {
			case s == syscall.SIGHUP:
				if err := d.ReloadPolicy(file); err != nil {
					log.Error("the policy stays as it is", "cause", err)
				}
			case grace == 0 || finishing:
				end()
			default:
				finishing = true
				go func() {
					d.Finish(ctx, grace)
					end()
				}()
			}
		}
	}
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
