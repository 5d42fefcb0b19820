package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"opentoe/cmd/internal/ctl"
)

func ssCommand(o *operator) *cobra.Command {
	var info bool
	cmd := &cobra.Command{
		Use:   "ss",
		Short: "offloaded connections and listeners",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			sockets, err := o.client().Sockets(cmd.Context())
			if err != nil {
				return err
			}
			return o.print(sockets, func(w io.Writer) { printSockets(w, sockets, info) })
		},
	}
	cmd.Flags().BoolVarP(&info, "info", "i", false, "show each connection's TCP state")
	return cmd
}

func printSockets(w io.Writer, sockets []ctl.Socket, info bool) {
	fmt.Fprintln(w, "State\tRecv-Q\tSend-Q\tLocal\tPeer\tProgram")
	for _, s := range sockets {
		program := "-"
		if s.PID != 0 {
			program = fmt.Sprintf("%s/%d", s.Program, s.PID)
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%s\t%s\n", s.State, s.RecvQ, s.SendQ, s.Local, s.Remote, program)
		if t := s.TCP; info && t != nil {
			fmt.Fprintf(w, "    rtt %v±%v rto %v mss %d cwnd %d ssthresh %d wnd %d/%d wscale %d/%d sack %t ts %t "+
				"unacked %d lost %d retrans %d sent %d acked %d received %d\n",
				micros(t.RTTNS), micros(t.RTTVarNS), micros(t.RTONS), t.MSS, t.Cwnd, t.Ssthresh, t.SndWnd, t.RcvWnd,
				t.SndWscale, t.RcvWscale, t.SACK, t.Timestamps, t.Unacked, t.Lost, t.Retrans,
				t.BytesSent, t.BytesAcked, t.BytesReceived)
		}
	}
}

func micros(ns int64) time.Duration { return time.Duration(ns).Round(time.Microsecond) }
