package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"opentoe/cmd/internal/ctl"
)

// drainPoll is how often --wait looks.
const drainPoll = time.Second

func drainCommand(o *operator) *cobra.Command {
	var wait, off bool
	cmd := &cobra.Command{
		Use:   "drain",
		Short: "offload nothing new, and say what remains; --off takes it back",
		Long: `Offload nothing new, and say what remains. New sockets, and new connections to listeners, are the
kernel's; connections that exist go on. Connections in TIME-WAIT do not count as remaining.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := o.client().Drain(cmd.Context(), !off)
			if err != nil {
				return err
			}
			if wait && !off {
				if d, err = o.awaitDrain(cmd, d); err != nil {
					return err
				}
			}
			return o.print(d, func(w io.Writer) { printDrain(w, d) })
		},
	}
	cmd.Flags().BoolVarP(&wait, "wait", "w", false, "return when no connection remains")
	cmd.Flags().BoolVar(&off, "off", false, "offload again")
	cmd.MarkFlagsMutuallyExclusive("wait", "off")
	return cmd
}

// awaitDrain returns when nothing remains, and says on standard error whenever something has gone.
func (o *operator) awaitDrain(cmd *cobra.Command, d ctl.Drain) (ctl.Drain, error) {
	for said := -1; d.Connections > 0; {
		if d.Connections != said {
			said = d.Connections
			fmt.Fprintf(os.Stderr, "%d connections remain\n", said)
		}
		select {
		case <-cmd.Context().Done():
			return d, cmd.Context().Err()
		case <-time.After(drainPoll):
		}
		var err error
		if d, err = o.client().Remaining(cmd.Context()); err != nil {
			return d, err
		}
		if !d.Draining {
			return d, fmt.Errorf("somebody has taken the drain back: %d connections", d.Connections)
		}
	}
	return d, nil
}

func printDrain(w io.Writer, d ctl.Drain) {
	if !d.Draining {
		fmt.Fprintln(w, "not draining")
	} else if d.Connections == 0 {
		fmt.Fprintln(w, "drained: no connection remains")
	} else {
		fmt.Fprintf(w, "draining: %d connections remain\n", d.Connections)
	}
	fmt.Fprintf(w, "listeners %d, in TIME-WAIT %d\n", d.Listeners, d.TimeWait)
	for _, p := range d.Programs {
		if p.PID == 0 {
			fmt.Fprintf(w, "%d\tof programs that have closed them\n", p.Connections)
		} else {
			fmt.Fprintf(w, "%d\t%s, pid %d\n", p.Connections, p.Program, p.PID)
		}
	}
}
