package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"text/tabwriter"
)

// print writes v as JSON if that was asked for, and else lets table write to aligned columns.
func (o *operator) print(v any, table func(w io.Writer)) error {
	if o.json {
		enc := json.NewEncoder(os.Stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	table(w)
	return w.Flush()
}

// printCounters writes the counters of a group that are not zero, or all of them.
func printCounters(w io.Writer, group string, counters map[string]uint64, all bool) {
	for _, name := range slices.Sorted(maps.Keys(counters)) {
		if v := counters[name]; v != 0 || all {
			fmt.Fprintf(w, "%s\t%s\t%d\n", group, name, v)
		}
	}
}
