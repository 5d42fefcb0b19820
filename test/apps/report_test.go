//go:build apps

package apps

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
)

// result is what came of a row that did not fail.
type result struct {
	app      *app
	versions []string // of app.packages
	steps    []string
	share    int // per cent of the connections that the TOE carried
}

// report collects results; rows run in parallel.
type report struct {
	mu   sync.Mutex
	rows []result
}

func (r *report) add(row result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rows = append(r.rows, row)
}

const preface = `# Applications

Programs of Debian's packages, unmodified: servers on the TOE with clients on the kernel of another host, and clients on
the TOE where the step says so. toed shares the interface with the kernel, as in [the quickstart](../configs/quickstart.yaml).
` + "`make apps`" + ` runs all of it and writes this page; ` + "`make apps APP=nginx`" + ` runs some. Every step checks what the
program answers or stores. After each row toed must be empty: no client, connection, listener or octet of memory is left.
Offloaded is the share of the connections over the wire, as the far kernel counts them, that were the TOE's.

| program | version | what was run | result | offloaded | remarks |
|---|---|---|---|---|---|
`

// write makes the page, in the order of the table. A row that was not run stays as the page has it; one that has failed
// is not there.
func (r *report) write(file string, ran func(*app) bool) error {
	former, _ := os.ReadFile(file) // there may be none yet
	var page strings.Builder
	page.WriteString(preface)
	for _, a := range table() {
		if !ran(&a) {
			page.WriteString(lineOf(string(former), a.name))
		}
		for _, row := range r.rows {
			if row.app.name == a.name {
				row.format(&page)
			}
		}
	}
	return os.WriteFile(file, []byte(page.String()), 0o644)
}

// lineOf returns a program's row of the page.
func lineOf(page, name string) string {
	for line := range strings.Lines(page) {
		if strings.HasPrefix(line, "| "+name+" |") {
			return line
		}
	}
	return ""
}

func (r result) format(page *strings.Builder) {
	var packages []string
	for i, p := range r.app.packages {
		packages = append(packages, p+" "+r.versions[i])
	}
	if len(packages) == 0 {
		packages = []string{runtime.Version()}
	}
	remark := r.app.remark
	if r.app.kernel != "" {
		remark = strings.TrimSpace(remark + " On the kernel: " + r.app.kernel + ".")
	}
	fmt.Fprintf(page, "| %s | %s | %s | works | %d %% | %s |\n",
		r.app.name, strings.Join(packages, ", "), strings.Join(r.steps, "; "), r.share, remark)
}
