// Command demo shows unmodified nginx and curl exchanging data through OpenTOE, over DPDK, with the
// Linux kernel's TCP on the other end of the wire. It makes everything it needs and removes it
// again, whatever happens; `make demo` runs it from the project's folder.
//
//	demo          run the show
//	demo --keep   and leave it running to play with
//	demo --stop   end what --keep left running
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// limit is the longest that a run may take; it takes a fraction.
const limit = 3 * time.Minute

func main() {
	keep := flag.Bool("keep", false, "leave everything running at the end")
	stop := flag.Bool("stop", false, "end what --keep left running")
	flag.Parse()

	// From the first signal on only the clean-up runs, undisturbed by further ones.
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer cancel()

	var err error
	switch {
	case *stop:
		err = stopKept()
	default:
		err = show(ctx, *keep)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", oneLine(err))
		os.Exit(1)
	}
}

// show runs the demo and cleans up.
func show(ctx context.Context, keep bool) (err error) {
	if err := sweep(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done within %v", limit))
	defer cancel()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	d, err := newDemo(fail)
	if err != nil {
		return err
	}
	defer func() {
		if interrupted := context.Cause(ctx); interrupted != nil {
			err = interrupted
		}
		if err != nil || !keep {
			err = errors.Join(err, d.lab.Close())
		}
	}()
	for _, s := range d.steps() {
		fmt.Printf("── %s\n", s.title)
		if err := s.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", s.title, err)
		}
		if err := d.record(false); err != nil {
			return err
		}
	}
	if keep {
		return d.leaveRunning()
	}
	return nil
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
