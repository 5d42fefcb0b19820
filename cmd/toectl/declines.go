package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"opentoe/cmd/internal/ctl"
)

// declines shows sockets that were left to the kernel.
func (o *operator) declines(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%q: --kernel takes no filter", args)
	}
	list, err := o.client().Declines(cmd.Context())
	if err != nil {
		return err
	}
	return o.print(list, func(w io.Writer) { printDeclines(w, list, time.Now()) })
}

func printDeclines(w io.Writer, list []ctl.Decline, now time.Time) {
	fmt.Fprintln(w, "When\tRole\tLocal Address:Port\tPeer Address:Port\tReason\tProcess\tMeaning")
	for i := range list {
		d := &list[i]
		held := ctl.Socket{Users: d.Users, Program: d.Program, PID: d.PID}
		process := users(&held)[0]
		if d.Gone {
			process += " ended"
		}
		fmt.Fprintf(w, "%v ago\t%s\t%s\t%s\t%s\t%s\t%s\n", now.Sub(d.Time).Round(time.Second), d.Role, d.Local, d.Remote,
			d.Reason, process, d.Meaning)
	}
}
