package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"opentoe/cmd/internal/ctl"
)

func policyCommand(o *operator) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy show|stats|load|test",
		Short: "who is offloaded, and with what settings",
	}
	cmd.AddCommand(
		&cobra.Command{
			Use: "show", Short: "the rules in force", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return o.showPolicy(cmd, printPolicy) },
		},
		&cobra.Command{
			Use: "stats", Short: "how often each rule was the first that matched", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return o.showPolicy(cmd, printHits) },
		},
		policyLoadCommand(o), policyTestCommand(o))
	return cmd
}

func (o *operator) showPolicy(cmd *cobra.Command, table func(io.Writer, *ctl.Policy)) error {
	p, err := o.client().Policy(cmd.Context())
	if err != nil {
		return err
	}
	return o.print(p, func(w io.Writer) { table(w, &p) })
}

func policyLoadCommand(o *operator) *cobra.Command {
	var dry bool
	cmd := &cobra.Command{
		Use:   "load FILE",
		Short: "put the rules of FILE in force, - for standard input",
		Long: `Put the rules of FILE in force, all at once: a list of rules, or a file with the key "policy", as a
configuration is. A file with a mistake changes nothing. Connections keep what they have; listeners stay
where they are, and give their next connections the new settings.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := policyFile(args[0])
			if err != nil {
				return err
			}
			f.DryRun = dry
			p, err := o.client().LoadPolicy(cmd.Context(), f)
			if err != nil {
				return err
			}
			return o.print(p, func(w io.Writer) { printPolicy(w, &p) })
		},
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only say what would be in force")
	return cmd
}

func policyFile(name string) (f ctl.PolicyFile, err error) {
	var text []byte
	if name == "-" {
		name = "standard input"
		text, err = io.ReadAll(os.Stdin)
	} else {
		text, err = os.ReadFile(name)
	}
	return ctl.PolicyFile{Name: name, Text: string(text)}, err
}

func policyTestCommand(o *operator) *cobra.Command {
	var q ctl.PolicyQuestion
	var file string
	cmd := &cobra.Command{
		Use:   "test connect PEER:PORT | test listen [ADDRESS:]PORT",
		Short: "which rule a socket would meet, and what would become of it",
		Example: "  toectl policy test connect 192.0.2.1:443 --program /usr/bin/curl --uid 1000\n" +
			"  toectl policy test listen 80 --program nginx --from 198.51.100.7:5000",
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch args[0] {
			case "connect":
				q.Role, q.Remote = "active", args[1]
			case "listen":
				q.Role, q.Local = "passive", args[1]
			default:
				return fmt.Errorf("%s: choose connect or listen", args[0])
			}
			if file != "" {
				f, err := policyFile(file)
				if err != nil {
					return err
				}
				q.Policy = &f
			}
			a, err := o.client().TestPolicy(cmd.Context(), q)
			if err != nil {
				return err
			}
			return o.print(a, func(w io.Writer) { printAnswer(w, &a) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&q.Program, "program", "", "path of the executable, or its name")
	f.Uint32Var(&q.UID, "uid", 0, "user; root if not given")
	f.Uint32Var(&q.GID, "gid", 0, "group; root's if not given")
	f.StringVar(&q.Cgroup, "cgroup", "", "control group")
	f.StringVar(&q.Local, "local", "", "local ADDRESS:PORT of a connect")
	f.StringVar(&q.Remote, "from", "", "peer's ADDRESS:PORT of a connection to a listener")
	f.StringVar(&file, "policy", "", "ask this file instead of the rules in force")
	return cmd
}

func printPolicy(w io.Writer, p *ctl.Policy) {
	if p.DryRun {
		fmt.Fprintf(w, "%d rules in %s, not loaded\n", len(p.Rules), p.Source)
	} else {
		fmt.Fprintf(w, "%d rules from %s, in force since %s\n", len(p.Rules), p.Source, p.LoadedAt.Format(time.DateTime))
	}
	for i := range p.Rules {
		r := &p.Rules[i]
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\n", r.Index, r.Name, keys(r.Match, "everything"), keys(r.Set, "offload as it is"))
	}
	if p.ListenersChanged > 0 {
		fmt.Fprintf(w, "%d listeners have other settings for their next connections\n", p.ListenersChanged)
	}
}

func printHits(w io.Writer, p *ctl.Policy) {
	fmt.Fprintf(w, "Rule\tHits\tName\tMatch\n")
	for i := range p.Rules {
		r := &p.Rules[i]
		fmt.Fprintf(w, "%d\t%d\t%s\t%s\n", r.Index, r.Hits, r.Name, keys(r.Match, "everything"))
	}
	fmt.Fprintf(w, "earlier\t%d\t\trules that are not loaded any more\n", p.PastHits)
}

func printAnswer(w io.Writer, a *ctl.PolicyAnswer) {
	if a.Rule == nil {
		fmt.Fprintln(w, "rule\tnone matches")
	} else {
		fmt.Fprintf(w, "rule\t%d %s\t%s\n", a.Rule.Index, a.Rule.Name, keys(a.Rule.Match, "everything"))
		fmt.Fprintf(w, "settings\t%s\n", keys(a.Rule.Set, "none"))
	}
	if a.Offload {
		fmt.Fprintln(w, "result\toffloaded")
	} else {
		fmt.Fprintf(w, "result\tleft to the kernel: %s\t%s\n", a.Reason, a.Meaning)
	}
}

// keys writes "a: 1, b: 2", or what stands for nothing.
func keys(m map[string]string, nothing string) string {
	if len(m) == 0 {
		return nothing
	}
	var list []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		list = append(list, k+": "+m[k])
	}
	return strings.Join(list, ", ")
}
