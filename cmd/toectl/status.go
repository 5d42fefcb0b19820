package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"opentoe/cmd/internal/ctl"
)

func statusCommand(o *operator) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "toed in a few lines",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := o.client().Status(cmd.Context())
			if err != nil {
				return err
			}
			return o.print(s, func(w io.Writer) { printStatus(w, s) })
		},
	}
}

func printStatus(w io.Writer, s ctl.Status) {
	fmt.Fprintf(w, "toed %s, pid %d, up %v, %s\n", s.Version, s.PID, s.UptimeNS.Round(time.Second), s.RuntimeDir)
	for _, p := range s.Ports {
		link := "down"
		if p.LinkUp {
			link = "up"
		}
		fmt.Fprintf(w, "port %s: %s (%s), %s, mtu %d, link %s\n", p.Name, p.Device, p.Driver, p.MAC, p.MTU, link)
		fmt.Fprintf(w, "  addresses %s\n", strings.Join(p.Addresses, " "))
		if p.KernelInterface != "" {
			fmt.Fprintf(w, "  kernel    %s (%s)\n", p.KernelInterface, p.Kernel)
		}
		fmt.Fprintf(w, "  netfilter %s\n", netfilterMeans(p.Netfilter))
		if len(p.Offloads) > 0 {
			fmt.Fprintf(w, "  offloads  %s\n", strings.Join(p.Offloads, " "))
		}
	}
	for _, d := range s.Devices {
		state := "inactive"
		if d.Active {
			state = "active"
		}
		fmt.Fprintf(w, "device %s: %s, %s, workers %d, %d of %d connections, %d listeners\n",
			d.Name, d.Type, state, d.Workers, s.Connections, d.MaxConns, s.Listeners)
	}
	fmt.Fprintf(w, "clients %d, memory in use %s\n", s.Clients, octets(s.MemoryBytes))
	for _, u := range s.Users {
		fmt.Fprintf(w, "  uid %d: programs %d%s, sockets %d%s, memory files %s%s\n", u.UID,
			u.Clients, atMost(u.ClientsMax), u.Sockets, atMost(u.SocketsMax), octets(uint64(u.MemoryBytes)), atMostOctets(u.MemoryMax))
	}
	fmt.Fprintf(w, "offloaded %d", s.Offloaded)
	for _, reason := range slices.Sorted(maps.Keys(s.Refused)) {
		if n := s.Refused[reason]; n > 0 {
			fmt.Fprintf(w, ", refused for %s %d", reason, n)
		}
	}
	fmt.Fprintf(w, "\npolicy %d rules\n", s.PolicyRules)
	if s.Draining {
		fmt.Fprintln(w, "draining: nothing new is offloaded")
	}
}

// atMost says what a limit is, if there is one.
func atMost(limit int) string {
	if limit == 0 {
		return ""
	}
	return fmt.Sprintf(" of %d", limit)
}

func atMostOctets(limit int64) string {
	if limit == 0 {
		return ""
	}
	return " of " + octets(uint64(limit))
}

// netfilterMeans says what the setting does.
func netfilterMeans(s string) string {
	if s == "respect" {
		return "respected: the host's rules judge each connection's first segment"
	}
	return "bypassed: the host's rules do not see offloaded connections"
}

// octets writes n in the largest binary unit that leaves at least 1.
func octets(n uint64) string {
	const units = "KMGT"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, i := float64(n)/1024, 0
	for v >= 1024 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	return fmt.Sprintf("%.1f %ciB", v, units[i])
}
