package sockets

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the generated parts of docs/SOCKETS.md")

const (
	document    = "../../docs/SOCKETS.md"
	optionTable = "../../sockshim/preload/shim_options.h"
)

// honours says in the document's words who honours an option, by the name of its row in the library's table.
var honours = map[string]string{
	"TOED": "toed", "PASS": "toed", "SHIM": "the library", "TOLD": "toed, to be read", "SAME": "the kernel",
	"IDLE": "no effect", "KERNEL": "the kernel alone", "NEVER": "the kernel alone, not even to be read",
}

var (
	optionRow = regexp.MustCompile(`(?m)^([A-Z]+)\((\w+), (\w+),.*"(.*)"\)$`)
	anyRow    = regexp.MustCompile(`(?m)^[A-Z]+\(`)
	generated = regexp.MustCompile(`(?s)(<!-- generated: (\w+) -->\n).*?(<!-- end -->)`)
)

// optionsTable is the library's table of options for readers.
func optionsTable(t *testing.T) string {
	source, err := os.ReadFile(optionTable)
	require.NoError(t, err)
	rows := optionRow.FindAllStringSubmatch(string(source), -1)
	require.Len(t, rows, len(anyRow.FindAllString(string(source), -1)), "a row of %s is not understood", optionTable)
	var b strings.Builder
	level, seen := "", map[string]bool{}
	for _, r := range rows {
		how := honours[r[1]]
		require.NotEmpty(t, how, r[0])
		require.False(t, seen[r[2]+r[3]], "%s twice", r[3])
		seen[r[2]+r[3]] = true
		if r[2] != level {
			level = r[2]
			fmt.Fprintf(&b, "\n| %s | honoured by | |\n|---|---|---|\n", level)
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", r[3], how, r[4])
	}
	return b.String()
}

func differencesTable() string {
	var b strings.Builder
	b.WriteString("\n| what is different | shown by |\n|---|---|\n")
	for _, d := range differences {
		fmt.Fprintf(&b, "| %s | `%s` |\n", d.reason, strings.Join(d.cases, "`, `"))
	}
	return b.String()
}

// supervisedTable lists each reason once, with up to so many cases that show it.
func supervisedTable() string {
	const shown = 4
	var b strings.Builder
	b.WriteString("\n| what is different | shown by |\n|---|---|\n")
	cases, reasons := map[string][]string{}, []string(nil)
	for _, d := range supervisedDifferences {
		if cases[d.reason] == nil {
			reasons = append(reasons, d.reason)
		}
		cases[d.reason] = append(cases[d.reason], d.cases...)
	}
	for _, r := range reasons {
		list, more := cases[r], ""
		if n := len(list) - shown; n > 0 {
			list, more = list[:shown], fmt.Sprintf(" and %d more", n)
		}
		fmt.Fprintf(&b, "| %s | `%s`%s |\n", r, strings.Join(list, "`, `"), more)
	}
	return b.String()
}

// TestDocument demands that docs/SOCKETS.md has the options that the library has, and the differences that
// the cases show.
func TestDocument(t *testing.T) {
	text, err := os.ReadFile(document)
	require.NoError(t, err)
	parts := map[string]string{"options": optionsTable(t), "differences": differencesTable(), "supervised": supervisedTable()}
	want := generated.ReplaceAllStringFunc(string(text), func(s string) string {
		m := generated.FindStringSubmatch(s)
		require.Contains(t, parts, m[2])
		part := parts[m[2]]
		delete(parts, m[2])
		return m[1] + part + "\n" + m[3]
	})
	require.Empty(t, parts, "parts that the document has no place for")
	if *update {
		require.NoError(t, os.WriteFile(document, []byte(want), 0o644))
		return
	}
	require.Equal(t, want, string(text), "go test ./test/sockets -run TestDocument -update writes it")
}
