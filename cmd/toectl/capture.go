package main

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

func captureCommand(o *operator) *cobra.Command {
	var file string
	var snapLen int
	cmd := &cobra.Command{
		Use:     "capture -w FILE|- [FILTER]...",
		Short:   "frames as pcapng until interrupted, filter as for tcpdump",
		Example: "  toectl capture -w - | wireshark -k -i -\n  toectl capture -w syn.pcapng 'tcp[tcpflags] & tcp-syn != 0'",
		RunE: func(cmd *cobra.Command, filter []string) error {
			stream, err := o.client().Capture(cmd.Context(), strings.Join(filter, " "), snapLen)
			if err != nil {
				return err
			}
			defer stream.Close()
			return save(cmd.Context(), file, stream)
		},
	}
	cmd.Flags().StringVarP(&file, "write", "w", "-", "file to write, - for standard output")
	cmd.Flags().IntVarP(&snapLen, "snaplen", "s", 0, "octets kept of each frame (default: mirror.snaplen of the configuration)")
	return cmd
}

// save copies the stream until it ends or ctx does, which is how a capture ends in order.
func save(ctx context.Context, file string, stream io.Reader) error {
	out := os.Stdout
	if file != "-" {
		f, err := os.Create(file)
		if err != nil {
			return err
		}
		defer f.Close()
		out = f
	}
	_, err := io.Copy(out, stream)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = nil
	}
	if err == nil && out != os.Stdout {
		err = out.Close()
	}
	return err
}
