package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// report prints the table and judges it: every connection that the peer's kernel saw, but for those to the
// kernel's own server, must have been offloaded at our end.
func (d *demo) report(ctx context.Context) error {
	status, err := d.toed.Status(ctx)
	if err != nil {
		return err
	}
	stats, err := d.toed.Stats(ctx)
	if err != nil {
		return err
	}
	peer, err := d.peerCounters(ctx)
	if err != nil {
		return err
	}
	seen := peer["TcpActiveOpens"] + peer["TcpPassiveOpens"]
	kernels := 1 + d.kernel.opens.answered.Load()
	left := int64(seen) - int64(status.Offloaded) - int64(kernels)
	for _, n := range status.Refused {
		left += int64(n)
	}

	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintf(w, "   \toctets\tGb/s\n")
	for _, r := range d.rows {
		fmt.Fprintf(w, "   %s\t%d\t%.2f\n", r.what, r.octets, gbps(r.octets, r.seconds))
	}
	for _, line := range d.beside {
		fmt.Fprintf(w, "   kernel, %s\n", line)
	}
	fmt.Fprintf(w, "   connections offloaded\t%d\n", status.Offloaded)
	fmt.Fprintf(w, "   connections to the kernel's own server\t%d\n", kernels)
	fmt.Fprintf(w, "   connections of the TOE left to the kernel\t%d\n", left)
	port := stats.Ports[nearIf]
	fmt.Fprintf(w, "   frames to the TOE, to the kernel\t%d / %d\n", port["xdp-to-toe"],
		port["xdp-pass-socket"]+port["xdp-pass-port"]+port["xdp-pass-other"])
	fmt.Fprintf(w, "   segments retransmitted, TOE / peer\t%d / %d\n", stats.TCP["RetransSegs"], peer["TcpRetransSegs"])
	fmt.Fprintf(w, "   drops\t%s\n", listed(stats.Drops))
	fmt.Fprintf(w, "   frames mirrored, lost by a sniffer\t%d / %d\n", stats.Mirror["frames"], stats.Mirror["dropped"])
	if err := w.Flush(); err != nil {
		return err
	}
	if left != 0 {
		return fmt.Errorf("%d connections of the TOE were left to the kernel", left)
	}
	return nil
}

// peerCounters are the TCP counters of the peer's kernel since its namespace was made.
func (d *demo) peerCounters(ctx context.Context) (map[string]uint64, error) {
	out, err := d.lab.FarHost.Output(ctx, "nstat", "-a", "-z", "-s")
	if err != nil {
		return nil, err
	}
	counters := map[string]uint64{}
	for _, line := range strings.Split(out, "\n") {
		if f := strings.Fields(line); len(f) >= 2 {
			if v, err := strconv.ParseUint(f[1], 10, 64); err == nil {
				counters[f[0]] = v
			}
		}
	}
	return counters, nil
}

// listed names the counters that are not zero.
func listed(counters map[string]uint64) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(counters)) {
		if v := counters[name]; v > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", name, v))
		}
	}
	if len(parts) == 0 {
		return "0"
	}
	return strings.Join(parts, ", ")
}
