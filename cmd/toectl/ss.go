package main

import (
	"fmt"
	"io"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"opentoe/cmd/internal/ctl"
)

// view says which sockets `toectl ss` shows, and what of them: the flags of ss.
type view struct {
	all, listening      bool
	v4, v6              bool
	info, timers, users bool
	noHeader, kernel    bool
	oneLine             bool
	tcp, numeric        bool // what ss calls -t and -n: always so
}

func ssCommand(o *operator) *cobra.Command {
	var v view
	cmd := &cobra.Command{
		Use:   "ss [FILTER]",
		Short: "offloaded sockets, with the flags and columns of ss",
		Long: `Offloaded sockets, with the flags and columns of ss: connections, listeners with -l, both with -a.

FILTER is "state NAME" or "exclude NAME", any number of them, with ss's names: established, syn-sent,
syn-recv, fin-wait-1, fin-wait-2, time-wait, closed, close-wait, last-ack, listening, closing; all,
connected, synchronized, bucket, big.`,
		Example: "  toectl ss -tanip\n  toectl ss -i state established\n  toectl ss --kernel",
		RunE: func(cmd *cobra.Command, args []string) error {
			if v.kernel {
				return o.declines(cmd, args)
			}
			keep, err := v.filter(args)
			if err != nil {
				return err
			}
			all, err := o.client().Sockets(cmd.Context(), v.users)
			if err != nil {
				return err
			}
			sockets := []ctl.Socket{}
			for i := range all {
				if keep(&all[i]) {
					sockets = append(sockets, all[i])
				}
			}
			return o.print(sockets, func(w io.Writer) { v.print(w, sockets) })
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&v.all, "all", "a", false, "listeners, too")
	f.BoolVarP(&v.listening, "listening", "l", false, "listeners only")
	f.BoolVarP(&v.v4, "ipv4", "4", false, "IPv4 only")
	f.BoolVarP(&v.v6, "ipv6", "6", false, "IPv6 only")
	f.BoolVarP(&v.info, "info", "i", false, "each connection's TCP state")
	f.BoolVarP(&v.timers, "options", "o", false, "each connection's timer")
	f.BoolVarP(&v.users, "processes", "p", false, "who holds the socket")
	f.BoolVarP(&v.noHeader, "no-header", "H", false, "no header line")
	f.BoolVar(&v.kernel, "kernel", false, "sockets of attached programs that were left to the kernel, and why")
	f.BoolVarP(&v.tcp, "tcp", "t", true, "TCP: always so")
	f.BoolVarP(&v.numeric, "numeric", "n", true, "numbers, not names: always so")
	f.BoolVarP(&v.oneLine, "oneline", "O", false, "each socket on one line")
	return cmd
}

// print writes the table. Its columns are aligned here: what -i shows stands between the rows.
func (v *view) print(w io.Writer, sockets []ctl.Socket) {
	rows := make([][]string, 0, 1+len(sockets))
	if !v.noHeader {
		rows = append(rows, []string{"State", "Recv-Q", "Send-Q", "Local Address:Port", "Peer Address:Port", ""})
		if v.users || v.timers {
			rows[0][5] = "Process"
		}
	}
	for i := range sockets {
		s := &sockets[i]
		local, peer := ends(s)
		rows = append(rows, []string{stateNames[s.State], fmt.Sprint(s.RecvQ), fmt.Sprint(s.SendQ), local, peer, v.process(s)})
	}
	var widths [6]int
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len(cell))
		}
	}
	for i, row := range rows {
		line := ""
		for i, cell := range row {
			line += fmt.Sprintf("%-*s ", widths[i], cell)
		}
		fmt.Fprint(w, strings.TrimRight(line, " "))
		if k := i - (len(rows) - len(sockets)); v.info && k >= 0 && sockets[k].TCP != nil {
			lead := "\n         "
			if v.oneLine {
				lead = " "
			}
			fmt.Fprint(w, lead+strings.Join(details(sockets[k].TCP), " "))
		}
		fmt.Fprintln(w)
	}
}

// process returns who holds the socket, and its timer, as far as they are wanted.
func (v *view) process(s *ctl.Socket) string {
	var list []string
	if v.users {
		list = append(list, users(s)...)
	}
	if v.timers && s.TCP != nil && s.TCP.Timer != "" {
		list = append(list, timer(s.TCP))
	}
	if s.Kernel != "" {
		list = append(list, "kernel:"+s.Kernel)
	}
	return strings.Join(list, " ")
}

// ends returns the addresses of a socket as ss writes them.
func ends(s *ctl.Socket) (local, peer string) {
	if s.State != "LISTEN" {
		return s.Local, s.Remote
	}
	addr, err := netip.ParseAddrPort(s.Local)
	switch {
	case err != nil:
		return s.Local, s.Remote
	case addr.Addr().Is4():
		return s.Local, "0.0.0.0:*"
	case addr.Addr().IsUnspecified() && !s.V6Only:
		return fmt.Sprintf("*:%d", addr.Port()), "*:*"
	}
	return s.Local, "[::]:*"
}

// users returns `users:(("nginx",pid=1,fd=3))`, or nothing when no program holds the socket.
func users(s *ctl.Socket) []string {
	var list []string
	for _, u := range s.Users {
		list = append(list, fmt.Sprintf("(%q,pid=%d,fd=%d)", u.Program, u.PID, u.FD))
	}
	if len(list) == 0 && s.PID != 0 && !s.Detached {
		list = append(list, fmt.Sprintf("(%q,pid=%d)", s.Program, s.PID))
	}
	if len(list) == 0 {
		return nil
	}
	return []string{"users:(" + strings.Join(list, ",") + ")"}
}
