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
			fmt.Fprintf(w, "    %s%s rtt %v±%v rto %v mss %d cwnd %d ssthresh %d wnd %d/%d wscale %d/%d sack %t ts %t "+
				"unacked %d lost %d retrans %d sent %d acked %d received %d pmtu %d%s\n",
				t.CC, ecnMark(t),
				micros(t.RTTNS), micros(t.RTTVarNS), micros(t.RTONS), t.MSS, t.Cwnd, t.Ssthresh, t.SndWnd, t.RcvWnd,
				t.SndWscale, t.RcvWscale, t.SACK, t.Timestamps, t.Unacked, t.Lost, t.Retrans,
				t.BytesSent, t.BytesAcked, t.BytesReceived, t.PathMTU, rates(t))
		}
	}
}

// ecnMark is " ecn" for a connection that uses it, " ecnseen" when marks can come.
func ecnMark(t *ctl.TCPInfo) string {
	switch {
	case t.ECNSeen:
		return " ecnseen"
	case t.ECN:
		return " ecn"
	}
	return ""
}

// rates shows the rates that are known, in bits per second.
func rates(t *ctl.TCPInfo) (s string) {
	if t.PacingRate != 0 {
		s += fmt.Sprintf(" pacing %d bit/s", t.PacingRate*8)
	}
	if t.DeliveryRate != 0 {
		s += fmt.Sprintf(" delivery %d bit/s", t.DeliveryRate*8)
		if t.AppLimited {
			s += " app_limited"
		}
	}
	return s
}

func micros(ns int64) time.Duration { return time.Duration(ns).Round(time.Microsecond) }
