//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opentoe/test/lab"
)

// footprint is the memory of those who may not grow, after so many connections.
type footprint struct {
	connections          uint64
	toed, server, client int // resident, KiB
	heap                 int // of toed after its last collection, MiB
	regions              uint64
	inTable              int
	collections          int
}

func (f footprint) String() string {
	return fmt.Sprintf("| %d | %d | %d | %d | %d | %d | %d |", f.connections, f.toed, f.heap, f.regions>>10, f.inTable, f.server, f.client)
}

// resident returns the memory of a process in KiB.
func resident(t *testing.T, p *lab.Process) int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if errors.Is(err, os.ErrNotExist) {
		return 0 // it has ended
	}
	require.NoError(t, err)
	found := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(text)
	if found == nil {
		return 0 // so it has, and waits for us
	}
	n, err := strconv.Atoi(string(found[1]))
	require.NoError(t, err)
	return n
}

// collected returns what the last garbage collection of toed left, in MiB, and how many there were.
func collected(d *lab.Toed) (heap, n int) {
	for _, gc := range regexp.MustCompile(`gc \d+ @.* \d+->\d+->(\d+) MB`).FindAllStringSubmatch(d.Text(), -1) {
		heap, _ = strconv.Atoi(gc[1]) // digits only
		n++
	}
	return heap, n
}

// TestEndure makes CONNECTIONS short connections through one toed, half of them to a server on the TOE, half from
// a client on the TOE, and looks at the memory of all after each tenth. Nothing may grow, and in the end nothing is
// left of the connections.
func TestEndure(t *testing.T) {
	total := 20_000
	if text := os.Getenv("CONNECTIONS"); text != "" {
		var err error
		total, err = strconv.Atoi(text)
		require.NoError(t, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit+time.Duration(total)*3*time.Millisecond)
	defer cancel()
	t.Setenv("GODEBUG", "gctrace=1")
	t.Setenv("GOGC", "10") // so that there are collections to look at
	l := wire(t)
	file, runDir, err := l.WriteConfig(config("af_xdp", "tcp: {msl: 1s}\n"))
	require.NoError(t, err)
	d, err := l.StartToed(ctx, file, runDir)
	require.NoError(t, err)
	program := dials(t, l)
	// TIME-WAIT is the kernel's for those that it dials, the TOE's for those that it serves.
	require.NoError(t, l.FarHost.Run("sysctl", "-qw", "net.ipv4.tcp_tw_reuse=1"))
	server := serveDials(ctx, t, l, l.NearHost, toeAddr, 7000, "last", l.Toerun(d.Socket())...)
	serveDials(ctx, t, l, l.FarHost, peerAddr, 7001, "last")
	const dialers = 4 // at each end
	var running []*lab.Process
	dial := func(h lab.Host, addr string, port int, words ...string) (p *lab.Process) {
		words = append(words, program, "connect", addr, strconv.Itoa(port), strconv.Itoa(total/2/dialers), "first")
		for range dialers {
			p, err = l.Start(h, words[0], words[1:]...)
			require.NoError(t, err)
			running = append(running, p)
		}
		return p
	}
	began := time.Now()
	dial(l.FarHost, toeAddr, 7000)
	near := dial(l.NearHost, peerAddr, 7001, l.Toerun(d.Socket())...)

	var seen []footprint
	look := func(s lab.Status) footprint {
		heap, n := collected(d)
		return footprint{s.Offloaded, resident(t, d.Process), resident(t, server), resident(t, near), heap, s.MemoryBytes,
			s.Connections, n}
	}
	for over := false; !over; {
		select {
		case <-ctx.Done():
			require.NoError(t, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
		s, err := d.Status(ctx)
		require.NoError(t, err)
		if next := uint64(len(seen)+1) * uint64(total) / 10; s.Offloaded >= next {
			seen = append(seen, look(s))
		}
		over = !slices.ContainsFunc(running, func(p *lab.Process) bool {
			select {
			case <-p.Done():
				return false
			default:
				return true
			}
		})
	}
	took := time.Since(began)
	for _, p := range running {
		require.Contains(t, p.Text(), fmt.Sprintf("%d connections\n", total/2/dialers))
	}
	t.Logf("%d connections, %.0f a second; %d garbage collections", total, float64(total)/took.Seconds(), seen[len(seen)-1].collections)
	t.Log("| connections | toed, KiB | its heap, MiB | memory files, KiB | in the table | server, KiB | client, KiB |")
	for _, f := range seen {
		t.Log(f)
	}
	offloadedOnly(ctx, t, d)

	// When the programs have gone and TIME-WAIT is over, nothing of them is left.
	require.Error(t, server.Stop()) // by a signal
	eventually(ctx, t, func() error {
		s, err := d.Status(ctx)
		if err == nil && (s.Connections != 0 || s.Clients != 0 || s.MemoryBytes != 0) {
			err = fmt.Errorf("left: %+v", s)
		}
		return err
	})
	stats, err := d.Stats(ctx)
	require.NoError(t, err)
	for name, n := range stats.Clients {
		if strings.Contains(strings.ToLower(name), "violation") {
			require.Zero(t, n, name)
		}
	}

	// The first two samples are of tables that are filled for the first time.
	const slack = 4 << 10
	first, last := seen[1], seen[len(seen)-1]
	require.LessOrEqual(t, last.toed, first.toed+slack, "toed grows")
	require.LessOrEqual(t, last.server, first.server+slack, "the server grows")
	require.LessOrEqual(t, last.regions, first.regions, "memory files grow")
	require.LessOrEqual(t, last.heap, first.heap+slack>>10, "toed's heap grows")
}
