package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"opentoe/cmd/internal/ctl"
)

func statsCommand(o *operator) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "stats",
		Short: "counters since the start, drop reasons among them",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := o.client().Stats(cmd.Context())
			if err != nil {
				return err
			}
			return o.print(s, func(w io.Writer) { printStats(w, s, all) })
		},
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "show counters that are zero, too")
	return cmd
}

func printStats(w io.Writer, s ctl.Stats, all bool) {
	for _, name := range slices.Sorted(maps.Keys(s.Ports)) {
		printCounters(w, name, s.Ports[name], all)
	}
	printCounters(w, "kernel", s.Kernel, all)
	printCounters(w, "tcp", s.TCP, all)
	printCounters(w, "drop", s.Drops, all)
	printCounters(w, "device", s.Device, all)
	printCounters(w, "sockets", s.Sockets, all)
	for _, name := range slices.Sorted(maps.Keys(s.Meanings)) {
		if s.Sockets[name] != 0 || all {
			fmt.Fprintf(w, "meaning\t%s\t%s\n", name, s.Meanings[name])
		}
	}
	printCounters(w, "mirror", s.Mirror, all)
	for i, wk := range s.Workers {
		fmt.Fprintf(w, "worker %d\tbusy %v, idle %v, asleep %v\t%d iterations, %d sleeps\n", i,
			round(wk.BusyNS), round(wk.IdleNS), round(wk.AsleepNS), wk.Iterations, wk.Sleeps)
	}
}

func round(ns int64) time.Duration { return time.Duration(ns).Round(time.Millisecond) }
