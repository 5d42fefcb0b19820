package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"opentoe/cmd/internal/ctl"
)

func regCommand(o *operator) *cobra.Command {
	return &cobra.Command{
		Use:     "reg NAME[=VALUE]",
		Short:   "read a register or change it",
		Example: "  toectl reg TP_RXT_MIN\n  toectl reg TP_RXT_MIN=200ms",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var regs []ctl.Register
			if strings.Contains(args[0], "=") {
				r, err := o.client().Assign(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				regs = []ctl.Register{r}
			} else {
				var err error
				if regs, err = o.client().Registers(cmd.Context(), args[0]); err != nil {
					return err
				}
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
func block(regs []ctl.Register, name string) []ctl.Register {
	var kept []ctl.Register
	for _, r := range regs {
		if strings.HasPrefix(r.Name, strings.ToUpper(name)+"_") {
			kept = append(kept, r)
		}
	}
	return kept
}

func printRegisters(w io.Writer, regs []ctl.Register, fields bool) {
	for _, r := range regs {
		fmt.Fprintf(w, "%#06x\t%s\t%#x\t%d\t%s\t%s\t%s\n", r.Addr, r.Name, r.Value, r.Value, r.Unit, r.Access, r.Doc)
		for _, f := range r.Fields {
			if fields {
				fmt.Fprintf(w, "\t  %s\t%#x\t%d\t\t\t%s\n", f.Name, f.Value, f.Value, f.Doc)
			}
		}
	}
}
