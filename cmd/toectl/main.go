// Command toectl asks a running toed, and changes its registers.
//
//	toectl status                     toed in a few lines
//	toectl ss [-tanip] [FILTER]       offloaded sockets, as ss shows them
//	toectl ss --kernel                sockets that were left to the kernel, and why
//	toectl policy show|stats          the offload policy, and how often each rule matched
//	toectl policy load FILE           another policy
//	toectl policy test connect|listen what becomes of a socket
//	toectl drain [--wait|--off]       offload nothing new, and say what remains
//	toectl neigh                      next hops that the TOE uses, as ip neigh shows them
//	toectl route                      routes that it goes by
//	toectl stats                      counters, drop reasons among them
//	toectl reg NAME[=VALUE]           one register: read or change it
//	toectl regdump [BLOCK]            all registers
//	toectl capture -w FILE|- [FILTER] frames as pcapng, filter as for tcpdump
//
// Every command but capture takes --json.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"opentoe/cmd/internal/config"
	"opentoe/cmd/internal/ctl"
	"opentoe/cmd/internal/version"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := root().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "toectl:", err)
		os.Exit(1)
	}
}

// operator is what every command needs.
type operator struct {
	socket string
	json   bool
}

func (o *operator) client() *ctl.Client { return ctl.NewClient(o.socket) }

func root() *cobra.Command {
	var o operator
	cmd := &cobra.Command{
		Use:     "toectl",
		Short:   "Ask a running toed, and change its registers",
		Version: version.String(),

		SilenceErrors: true,
		SilenceUsage:  true,
	}
	socket := filepath.Join(config.Default().RuntimeDir, config.OperatorSocket)
	cmd.PersistentFlags().StringVar(&o.socket, "socket", socket, "toed's operator socket")
	cmd.PersistentFlags().BoolVar(&o.json, "json", false, "answer in JSON")
	cmd.AddCommand(statusCommand(&o), ssCommand(&o), statsCommand(&o), regCommand(&o), regdumpCommand(&o), captureCommand(&o),
		policyCommand(&o), drainCommand(&o), neighCommand(&o), routeCommand(&o))
	return cmd
}
