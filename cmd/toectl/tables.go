package main

import (
	"cmp"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

func neighCommand(o *operator) *cobra.Command {
	return &cobra.Command{
		Use:   "neigh",
		Short: "next hops that the TOE uses, as ip neigh shows the kernel's",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := o.client().Neighbours(cmd.Context())
			if err != nil {
				return err
			}
			return o.print(list, func(w io.Writer) {
				fmt.Fprintln(w, "ADDRESS\tPORT\tMAC\tSTATE")
				for _, n := range list {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", n.Address, n.Port, cmp.Or(n.MAC, "-"), n.State)
				}
			})
		},
	}
}

func routeCommand(o *operator) *cobra.Command {
	return &cobra.Command{
		Use:   "route",
		Short: "routes that the TOE goes by",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := o.client().Routes(cmd.Context())
			if err != nil {
				return err
			}
			return o.print(list, func(w io.Writer) {
				fmt.Fprintln(w, "DESTINATION\tPORT\tLEAVES\tVIA\tSOURCE\tMTU")
				for _, r := range list {
					mtu := "-"
					if r.MTU != 0 {
						mtu = fmt.Sprint(r.MTU)
					}
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", r.Destination, r.Port, r.Kind, cmp.Or(r.Via, "-"), cmp.Or(r.Source, "-"), mtu)
				}
			})
		},
	}
}
