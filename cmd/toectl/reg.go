package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"opentoe/hwregs"
)

func regCommand(o *operator) *cobra.Command {
	return &cobra.Command{
		Use:     "reg NAME[=VALUE]",
		Short:   "read a register or change it",
		Example: "  toectl reg TP_RXT_MIN\n  toectl reg TP_RXT_MIN=200ms",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ask := o.client().Registers
			if strings.Contains(args[0], "=") {
				ask = o.client().Assign
			}
			regs, err := ask(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return o.print(regs, func(w io.Writer) { printRegisters(w, regs, true) })
		},
	}
}

func regdumpCommand(o *operator) *cobra.Command {
	var fields bool
	cmd := &cobra.Command{
		Use:   "regdump [BLOCK]",
		Short: "all registers, or those of a block: TP, PL, XGM …",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			regs, err := o.client().Registers(cmd.Context(), "")
			if err != nil {
				return err
			}
			if len(args) == 1 {
				regs = block(regs, args[0])
				if len(regs) == 0 {
					return fmt.Errorf("no block %s", args[0])
				}
			}
			return o.print(regs, func(w io.Writer) { printRegisters(w, regs, fields) })
		},
	}
	cmd.Flags().BoolVarP(&fields, "fields", "f", false, "show the fields of each register, too")
	return cmd
}

// block keeps the registers whose names start with name and an underscore.
func block(regs []hwregs.Value, name string) []hwregs.Value {
	var kept []hwregs.Value
	for _, r := range regs {
		if strings.HasPrefix(r.Name, strings.ToUpper(name)+"_") {
			kept = append(kept, r)
		}
	}
	return kept
}

func printRegisters(w io.Writer, regs []hwregs.Value, fields bool) {
	for _, r := range regs {
		fmt.Fprintf(w, "0x%04x\t%s\t%s\t%s\t%s\n", r.Addr, r.Name, r.Text, r.Access, r.Doc)
		for _, f := range r.Fields {
			if fields {
				fmt.Fprintf(w, "\t  %s\t%s\t%s\t%s\n", f.Name, f.Text, f.Access, f.Doc)
			}
		}
	}
}
