package sockets

import (
	"errors"
	"hash/fnv"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opentoe/sockshim/server"
)

// fewest is how many cases there are at least: none may get lost.
const fewest = 400

// program is a file of cases.
type program struct {
	name  string
	argv  []string
	cases []socketCase
}

// slow says that an interpreter has to start.
func (p *program) slow() bool { return len(p.argv) > 1 }

type socketCase struct {
	name     string
	families string
}

// side is a way to run a case.
type side struct {
	name    string
	address string
	family  string
	workers int  // of toed; 0 for none
	library bool // preloaded
}

// reference returns the kernel's way for the family of s.
func (s side) reference() side {
	if s.family == "6" {
		return side{name: "kernel, IPv6", address: kernelAddr6, family: "6"}
	}
	return side{name: "kernel, IPv4", address: kernelAddr, family: "4"}
}

func (s side) onTOE() bool { return s.address == toeAddr || s.address == toeAddr6 }

// sides are the ways that have to give what the kernel gives. Without toed the library is not to be noticed,
// nor with toed when the address is the kernel's. Half of the cases has IPv4 on three workers and IPv6 on one, the
// other half the reverse; with ALL=1 every case is run in every way. Who looks for mistakes in the library or in toed
// by special means, sanitized or with -race -short, needs those only where both are at work.
func sides(id, families string) (list []side) {
	all := []side{
		{"TOE, 3 workers, IPv4", toeAddr, "4", 3, true},
		{"TOE, 1 worker, IPv6", toeAddr6, "6", 1, true},
		{"library without toed, IPv4", kernelAddr, "4", 0, true},
		{"library, kernel's IPv6 address", kernelAddr6, "6", 1, true},
		{"TOE, 1 worker, IPv4", toeAddr, "4", 1, true},
		{"TOE, 3 workers, IPv6", toeAddr6, "6", 3, true},
		{"library without toed, IPv6", kernelAddr6, "6", 0, true},
		{"library, kernel's IPv4 address", kernelAddr, "4", 1, true},
	}
	h := fnv.New32a()
	h.Write([]byte(id))
	half := all[4*(h.Sum32()&1):][:4]
	if families != "4 6" || os.Getenv("ALL") == "1" {
		half = all
	}
	for _, s := range half {
		if strings.Contains(families, s.family) && (s.onTOE() || !sanitized() && !testing.Short()) {
			list = append(list, s)
		}
	}
	return list
}

// lane is what one case at a time has for itself: a toed for each number of workers, so that what a case
// leaves behind is that case's.
type lane struct {
	toed map[int]*server.Server
	dir  string
}

func newLane(t *testing.T) *lane {
	l := &lane{toed: map[int]*server.Server{}, dir: t.TempDir()}
	for _, workers := range []int{1, 3} {
		l.toed[workers] = toedOf(t, t.TempDir(), workers)
	}
	return l
}

// programs compiles every file of cases and asks it what it has.
func programs(t *testing.T) []*program {
	sources, err := filepath.Glob("cases/*.c")
	require.NoError(t, err)
	list, errs := make([]*program, len(sources)), make([]error, len(sources))
	var compilers sync.WaitGroup
	next := make(chan int)
	for range runtime.NumCPU() {
		compilers.Go(func() {
			for i := range next {
				bin, err := compile(sources[i])
				list[i], errs[i] = &program{name: filepath.Base(bin), argv: []string{bin}}, err
			}
		})
	}
	for i := range sources {
		next <- i
	}
	close(next)
	compilers.Wait()
	require.NoError(t, errors.Join(errs...))
	scripts, err := filepath.Glob("cases/*.py")
	require.NoError(t, err)
	for _, script := range scripts {
		if name := strings.TrimSuffix(filepath.Base(script), ".py"); name != "cases" {
			list = append(list, &program{name: name, argv: []string{"python3", "-B", script}})
		}
	}
	for _, p := range list {
		out, err := exec.Command(p.argv[0], slices.Concat(p.argv[1:], []string{"--list"})...).Output()
		require.NoError(t, err, p.name)
		for line := range strings.Lines(string(out)) {
			name, families, _ := strings.Cut(strings.TrimSpace(line), " ")
			p.cases = append(p.cases, socketCase{name, families})
		}
		require.NotEmpty(t, p.cases, p.name)
	}
	return list
}

// TestCases runs every case on the kernel and on the TOE.
func TestCases(t *testing.T) {
	_, err := library()
	require.NoError(t, err)
	list := programs(t)
	ids := map[string]bool{}
	for _, p := range list {
		for _, c := range p.cases {
			ids[p.name+"/"+c.name] = true
		}
	}
	t.Logf("%d cases", len(ids))
	require.GreaterOrEqual(t, len(ids), fewest, "cases got lost")
	for _, d := range differences {
		for _, id := range d.cases {
			require.True(t, ids[id], "%s is a known difference, but no case", id)
		}
	}

	free := make(chan *lane, lanes)
	for range lanes {
		free <- newLane(t)
	}
	for _, p := range list {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			for _, c := range p.cases {
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					l := <-free
					defer func() { free <- l }()
					l.compare(t, p, c)
				})
			}
		})
	}
}

// compare runs a case on every side.
func (l *lane) compare(t *testing.T, p *program, c socketCase) {
	want := map[string]string{} // by family
	id := p.name + "/" + c.name
	lines, different := known(id)
	differs := false
	for _, s := range sides(id, c.families) {
		if p.slow() && !s.onTOE() {
			continue // what the library does without toed is the same for every language
		}
		if _, ok := want[s.family]; !ok {
			want[s.family] = l.run(t, s.reference(), p, c)
		}
		got := l.run(t, s, p, c)
		switch {
		case got == want[s.family]:
		case different && s.onTOE() && (lines == nil || got == changed(want[s.family], lines)):
			differs = true
		default:
			as := want[s.family]
			if s.onTOE() {
				as = changed(as, lines)
			}
			t.Errorf("%s differs:\n%s", s.name, diff(t, s, as, got))
		}
	}
	if different && !differs && !t.Failed() {
		t.Error("no difference any more: take it out of the table")
	}
}

// run returns what a case prints on one side. What it takes of toed it has to give back.
func (l *lane) run(t *testing.T, s side, p *program, c socketCase) string {
	var env []string
	srv := l.toed[s.workers]
	var violations uint64
	if s.library {
		socket := filepath.Join(l.dir, "nobody")
		if srv != nil {
			socket = srv.SocketPath()
			counters := srv.Counters()
			violations = sum(counters.Violations[:])
		}
		env = preloaded(t, socket)
	}
	if p.slow() {
		env = append(env, "ASAN_OPTIONS=detect_leaks=0") // an interpreter's are not ours
	}
	out, err := run(t, env, p.argv[0], slices.Concat(p.argv[1:], []string{s.address, c.name})...)
	if err != nil && srv != nil {
		t.Logf("toed has counted: %+v", srv.Counters())
	}
	require.NoError(t, err, s.name)
	require.True(t, strings.HasSuffix(out, "done\n"), "%s: it did not come to its end:\n%s", s.name, out)
	if srv == nil {
		return out
	}
	counters := srv.Counters()
	require.Equal(t, violations, sum(counters.Violations[:]), "%s: the library broke the contract", s.name)
	idle(t, srv, s.name)
	return out
}

// idle waits until all that was taken of toed is given back.
func idle(t *testing.T, srv *server.Server, side string) {
	for end := time.Now().Add(patience); srv.Usage() != (server.Usage{}); time.Sleep(200 * time.Microsecond) {
		if time.Now().After(end) {
			require.Equal(t, server.Usage{}, srv.Usage(), "%s: memory, sockets and places are given back", side)
		}
	}
}

// diff tells how what a side printed differs from what the kernel's sockets gave.
func diff(t *testing.T, s side, want, got string) string {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "kernel"), filepath.Join(dir, "toe")
	require.NoError(t, os.WriteFile(a, []byte(want), 0o644))
	require.NoError(t, os.WriteFile(b, []byte(got), 0o644))
	out, _ := exec.Command("diff", "-U", "5", "--label", s.reference().name, "--label", s.name, a, b).Output()
	return string(out)
}
