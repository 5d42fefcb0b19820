package sockets

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// toerun builds the command, once.
var toerun = sync.OnceValues(func() (string, error) {
	bin, err := filepath.Abs("../../build/cases-toerun")
	if err != nil {
		return "", err
	}
	if out, err := exec.Command("go", "build", "-o", bin, "../../cmd/toerun").CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return bin, nil
})

// series is a script that runs cases of one program, one after another, in one family each: its arguments are the
// program, then an address and a name for each case.
const series = `program=$1; shift
while [ $# -gt 0 ]; do
	echo "=== $2 $1"
	"$program" "$1" "$2" || echo "status $?"
	shift 2
done`

// stuck is how long a case gets that is known to wait for what does not come.
const stuck = 3 * time.Second

// together is how many cases of a topic have one supervisor, one after another.
const together = 8

// TestSupervised runs the cases in C as toerun runs static programs: under a supervisor. Half of them has IPv4, the other half
// IPv6; ALL=1 runs each in both, and those that are known to wait for ever.
func TestSupervised(t *testing.T) {
	if sanitized() {
		t.Skip("the library is not in it")
	}
	command, err := toerun()
	require.NoError(t, err)
	free := make(chan *lane, lanes)
	for range lanes {
		free <- newLane(t)
	}
	unlike := map[string]*supervisedDifference{}
	for i := range supervisedDifferences {
		for _, id := range supervisedDifferences[i].cases {
			require.NotContains(t, unlike, id, "twice")
			unlike[id] = &supervisedDifferences[i]
		}
	}
	for _, p := range programs(t) {
		if p.slow() {
			continue // an interpreter's calls are C's
		}
		var list []socketCase
		for _, c := range p.cases {
			id := p.name + "/" + c.name
			d := unlike[id]
			delete(unlike, id)
			switch {
			case d == nil || d.how == prints:
				list = append(list, c)
			case d.how == waits && os.Getenv("ALL") == "1":
				t.Run(id, func(t *testing.T) {
					t.Parallel()
					l := <-free
					defer func() { free <- l }()
					l.waits(t, command, p, c)
				})
			}
		}
		for some := range slices.Chunk(list, together) {
			t.Run(p.name+"/"+some[0].name, func(t *testing.T) {
				t.Parallel()
				l := <-free
				defer func() { free <- l }()
				l.supervised(t, command, p, some)
			})
		}
	}
	require.Empty(t, slices.Collect(maps.Keys(unlike)), "known to be different, but no cases")
}

// supervised runs cases on the kernel and under a supervisor.
func (l *lane) supervised(t *testing.T, command string, p *program, list []socketCase) {
	args, reference := []string{"-c", series, "series", p.argv[0]}, []string{"-c", series, "series", p.argv[0]}
	for _, c := range list {
		for _, s := range familiesOf(p, c) {
			args, reference = append(args, s.address, c.name), append(reference, s.reference().address, c.name)
		}
	}
	kernel, err := run(t, nil, "sh", reference...)
	require.NoError(t, err, "kernel")
	srv := l.toed[1]
	got, err := run(t, nil, command, slices.Concat([]string{"--require", "--supervise", "--socket", srv.SocketPath(), "--", "sh"}, args)...)
	if err != nil {
		t.Errorf("supervised: %v", err)
		return
	}
	want, toe := parts(kernel), parts(got)
	for _, c := range list {
		id, differs := p.name+"/"+c.name, false
		d := supervisedDifference{}
		if i := slices.IndexFunc(supervisedDifferences, func(d supervisedDifference) bool {
			return slices.Contains(d.cases, id)
		}); i >= 0 {
			d = supervisedDifferences[i]
		}
		for _, s := range familiesOf(p, c) {
			w, g := want[c.name+" "+s.reference().address], toe[c.name+" "+s.address]
			g = strings.ReplaceAll(g, " WRBAND", "") // of a unix socket; see docs/SOCKETS.md
			switch {
			case w == g:
			case d.cases != nil && (d.lines == nil || g == changed(w, d.lines)):
				differs = true
			default:
				s.name = "supervised, IPv" + s.family
				t.Errorf("%s, %s, differs:\n%s", id, s.name, diff(t, s, changed(w, d.lines), g))
			}
		}
		if d.cases != nil && !differs {
			t.Errorf("%s: no difference any more: take it out of the table", id)
		}
	}
	idle(t, srv, "supervised")
}

// familiesOf returns the sides on which a case is run under a supervisor.
func familiesOf(p *program, c socketCase) (list []side) {
	for _, s := range sides(p.name+"/"+c.name, c.families) {
		if s.onTOE() && (s.workers == 3 || c.families != "4 6" || os.Getenv("ALL") == "1") {
			list = append(list, s)
		}
	}
	slices.SortFunc(list, func(a, b side) int { return cmp.Compare(a.family, b.family) })
	return slices.CompactFunc(list, func(a, b side) bool { return a.family == b.family })
}

// waits runs a case that is known to wait for ever, for a while.
func (l *lane) waits(t *testing.T, command string, p *program, c socketCase) {
	s := familiesOf(p, c)[0]
	want := l.run(t, s.reference(), p, c)
	ctx, cancel := context.WithTimeout(t.Context(), stuck)
	defer cancel()
	got, err := runFor(ctx, nil, nil, command, "--require", "--supervise", "--socket", l.toed[1].SocketPath(), "--",
		p.argv[0], s.address, c.name)
	if err == nil && got == want {
		t.Error("no difference any more: take it out of the table")
	}
	idle(t, l.toed[1], "supervised")
}

// parts takes apart what a series of cases has printed: by name and address.
func parts(output string) map[string]string {
	m := map[string]string{}
	for _, s := range strings.Split("\n"+output, "\n=== ")[1:] {
		head, body, _ := strings.Cut(s, "\n")
		m[head] = strings.TrimSuffix(body, "\n") + "\n"
	}
	return m
}
