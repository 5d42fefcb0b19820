//go:build !invariants

package sim_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"sort"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload"
	"opentoe/tcpoffload/cc"
	"opentoe/tcpoffload/sim"
	"opentoe/tcpoffload/vtime"
)

var updateFlag = flag.Bool("update", false, "measure everything and write docs/BEHAVIOUR.md")

const (
	behaviourDoc  = "../../docs/BEHAVIOUR.md"
	behaviourGold = "testdata/behaviour.json"
)

// figures are measured values by name: a rate in Mb/s, an index, or a time in milliseconds.
type figures map[string]float64

// The bottleneck of all tables but the long fat one.
const (
	benchRate = 100_000_000
	benchMSS  = 1448
)

// bdp returns the octets that a round trip of the bottleneck holds.
func bdp(rtt vtime.Duration) int {
	return int(int64(benchRate/8) * int64(rtt) / int64(vtime.Second))
}

// bottleneck is the link of the tables: a queue of one round trip, for DCTCP with a marking threshold.
func bottleneck(a cc.Algorithm, rtt vtime.Duration) sim.LinkConfig {
	l := sim.LinkConfig{RateBps: benchRate, Delay: rtt / 2, Queue: max(bdp(rtt), 64_000)}
	if a == cc.DCTCP {
		l.MarkAt = max(bdp(rtt)/5, 30_000) // RFC 8257 §4.1 and the DCTCP paper: above BDP/7
	}
	return l
}

// measureGoodput returns the Mb/s of one flow that loses loss of its segments.
func measureGoodput(t *testing.T, a cc.Algorithm, loss float64, rtt vtime.Duration) float64 {
	l := bottleneck(a, rtt)
	l.Loss = sim.PPM(math.Round(loss * 1e6))
	b := newBench(t, 3, l, sim.LinkConfig{Delay: rtt / 2}, nil, []*bulkFlow{{algo: a}}, nil)
	skip := 5*vtime.Second + 20*rtt
	return b.rates(t, skip, 40*vtime.Second)[0] / 1e6
}

// expectGoodput returns what the textbook says, in Mb/s.
func expectGoodput(a cc.Algorithm, loss float64, rtt vtime.Duration) float64 {
	line := benchRate * goodShare / 1e6
	if loss == 0 || a == cc.BBR {
		return line * (1 - loss)
	}
	r := float64(rtt) / float64(vtime.Second)
	// Padhye et al., with one ACK a segment and the smallest timeout of 200 ms.
	rto := max(0.2+r, 2*r)
	reno := 1 / (r*math.Sqrt(2*loss/3) + rto*min(1, 3*math.Sqrt(3*loss/8))*loss*(1+32*loss*loss))
	if a == cc.Cubic {
		// RFC 9438 §5.1, not below what Reno has (§4.3).
		w := math.Pow(0.4*(3+0.7)/(4*(1-0.7)), 0.25) * math.Pow(r/loss, 0.75)
		reno = max(reno, w/r)
	}
	return min(line, reno*benchMSS*8/1e6)
}

var (
	tableLosses = []float64{0, 1e-5, 1e-4, 1e-3, 1e-2, 5e-2}
	tableRTTs   = []vtime.Duration{vtime.Millisecond, 10 * vtime.Millisecond, 50 * vtime.Millisecond, 100 * vtime.Millisecond, 200 * vtime.Millisecond}
)

func goodputTable(t *testing.T, g figures, d *strings.Builder) {
	fmt.Fprintf(d, "## Goodput over loss and round trip\n\nOne flow, 100 Mb/s, queue of one round trip (DCTCP: marking beyond a fifth of it), 40 s after the start-up; measured / expected, Mb/s.\n"+
		"Expected: line rate is %.1f (1448 octets of each 1538 on the wire); Reno and DCTCP by Padhye's formula; CUBIC by RFC 9438 §5.1; BBR line rate.\n\n", benchRate*goodShare/1e6)
	for _, a := range algorithms {
		fmt.Fprintf(d, "### %v\n\n| loss |", a)
		for _, rtt := range tableRTTs {
			fmt.Fprintf(d, " %v |", rtt)
		}
		fmt.Fprintf(d, "\n|---|%s\n", strings.Repeat("---|", len(tableRTTs)))
		for _, loss := range tableLosses {
			fmt.Fprintf(d, "| %g |", loss)
			for _, rtt := range tableRTTs {
				v := measureGoodput(t, a, loss, rtt)
				g[fmt.Sprintf("goodput %v %g %v", a, loss, rtt)] = v
				fmt.Fprintf(d, " %.3g / %.3g |", v, expectGoodput(a, loss, rtt))
			}
			d.WriteString("\n")
		}
		d.WriteString("\n")
	}
}

func fairnessTable(t *testing.T, g figures, d *strings.Builder) {
	const rtt = 20 * vtime.Millisecond
	fmt.Fprintf(d, "## Fairness\n\nFlows over one 100 Mb/s bottleneck, 20 ms, queue of one round trip, started 100 ms apart, 60 s after 10 s. Jain's index, and the utilisation of the line.\n\n| flows | 2 | 4 | 8 | 16 |\n|---|---|---|---|---|\n")
	index := func(algos []cc.Algorithm) (float64, float64, []float64) {
		var f []*bulkFlow
		link := bottleneck(algos[0], rtt)
		for i, a := range algos {
			f = append(f, &bulkFlow{algo: a, at: vtime.Duration(i) * 100 * vtime.Millisecond})
			if a == cc.DCTCP {
				link = bottleneck(a, rtt)
			}
		}
		r := newBench(t, 5, link, sim.LinkConfig{Delay: rtt / 2}, nil, f, nil).rates(t, 10*vtime.Second, 60*vtime.Second)
		var sum float64
		for _, v := range r {
			sum += v
		}
		return jain(r), sum / benchRate / goodShare, r
	}
	for _, a := range algorithms {
		fmt.Fprintf(d, "| %v |", a)
		for n := 2; n <= 16; n *= 2 {
			algos := make([]cc.Algorithm, n)
			for i := range algos {
				algos[i] = a
			}
			j, u, _ := index(algos)
			g[fmt.Sprintf("fairness %v %d", a, n)] = j
			fmt.Fprintf(d, " %.3f (%.0f %%) |", j, u*100)
		}
		d.WriteString("\n")
	}
	d.WriteString("\nOne flow of each of two algorithms, Mb/s:\n\n| first | second | Mb/s | Mb/s |\n|---|---|---|---|\n")
	for _, p := range [][]cc.Algorithm{{cc.Reno, cc.Cubic}, {cc.Cubic, cc.BBR}, {cc.Reno, cc.BBR}} {
		_, _, r := index(p)
		fmt.Fprintf(d, "| %v | %v | %.1f | %.1f |\n", p[0], p[1], r[0]/1e6, r[1]/1e6)
	}
	d.WriteString("\n")
}

// complete returns how long a flow of octets takes from its open to its last octet, in ms, and what was sent
// again; edit may change the bench.
func complete(t *testing.T, a cc.Algorithm, octets uint64, link sim.LinkConfig, edit func(b *bench)) (ms float64, rxt uint64) {
	f := &bulkFlow{algo: a, octets: octets}
	b := newBench(t, 9, link, sim.LinkConfig{Delay: link.Delay}, nil, []*bulkFlow{f}, nil)
	if edit != nil {
		edit(b)
	}
	require.NoError(t, b.w.Run(10*vtime.Minute, func() bool { return f.end != 0 }))
	return float64(f.end.Sub(f.begin)) / 1e6, f.src.Host.Engine.MIB().RetransSegs
}

func completionTable(t *testing.T, g figures, d *strings.Builder) {
	const rtt = 50 * vtime.Millisecond
	d.WriteString("## Flow completion times\n\nFrom the open to the last octet, 100 Mb/s, 50 ms, milliseconds. Ideal: handshake, slow start from ten segments that doubles each round trip, then the line.\n\n| octets | ideal |")
	for _, a := range algorithms {
		fmt.Fprintf(d, " %v |", a)
	}
	d.WriteString("\n|---|---|---|---|---|---|\n")
	for _, n := range []uint64{10_000, 100_000, 1_000_000, 10_000_000} {
		ideal, left, w := 1.5*50, float64(n), 10.0*benchMSS
		line := benchRate / 8 * goodShare
		for left > w && w < line*0.05 {
			ideal, left, w = ideal+50, left-w, 2*w
		}
		ideal += left / line * 1000
		fmt.Fprintf(d, "| %d | %.0f |", n, ideal)
		for _, a := range algorithms {
			ms, _ := complete(t, a, n, bottleneck(a, rtt), nil)
			g[fmt.Sprintf("completion %v %d", a, n)] = ms
			fmt.Fprintf(d, " %.0f |", ms)
		}
		d.WriteString("\n")
	}
	d.WriteString("\n")
}

func recoveryTable(t *testing.T, g figures, d *strings.Builder) {
	const rtt = 50 * vtime.Millisecond
	const octets = 2_000_000
	d.WriteString("## Recovery\n\nWhat a disturbance adds to the time of a transfer of 2 MB over 100 Mb/s, 50 ms (ms), and segments sent again.\n\n| disturbance |")
	for _, a := range algorithms {
		fmt.Fprintf(d, " %v |", a)
	}
	d.WriteString("\n|---|---|---|---|---|\n")
	loseFrom := func(from, n uint64) func(b *bench) {
		return func(b *bench) {
			b.w.After(0, func() {
				var seen uint64
				first := map[uint64]bool{}
				b.lose(func(s *tcpoffload.TxSegment) bool {
					if s.Len == 0 || first[s.Pos] {
						return false
					}
					first[s.Pos] = true
					seen++
					return seen > from && seen <= from+n
				})
			})
		}
	}
	last := uint64((octets + benchMSS - 1) / benchMSS)
	reorder := func(n int) func(l *sim.LinkConfig) {
		return func(l *sim.LinkConfig) { l.Displace, l.DisplaceBy = 10_000, n }
	}
	for _, c := range []struct {
		name string
		edit func(b *bench)
		link func(l *sim.LinkConfig)
	}{
		{"one segment lost", loseFrom(700, 1), nil},
		{"30 in a row lost", loseFrom(700, 30), nil},
		{"the last segment lost", loseFrom(last-1, 1), nil},
		{"the last five lost", loseFrom(last-5, 5), nil},
		{"1 % overtaken by up to 3", nil, reorder(3)},
		{"1 % overtaken by up to 10", nil, reorder(10)},
		{"1 % overtaken by up to 50", nil, reorder(50)},
	} {
		fmt.Fprintf(d, "| %s |", c.name)
		for _, a := range algorithms {
			l := bottleneck(a, rtt)
			base, _ := complete(t, a, octets, l, nil)
			if c.link != nil {
				c.link(&l)
			}
			ms, rxt := complete(t, a, octets, l, c.edit)
			g[fmt.Sprintf("recovery %v %s", a, c.name)] = ms
			fmt.Fprintf(d, " %+.0f (%d) |", ms-base, rxt)
		}
		d.WriteString("\n")
	}
	d.WriteString("\n")
}

func queueTable(t *testing.T, g figures, d *strings.Builder) {
	const rtt = 40 * vtime.Millisecond
	d.WriteString("## Queue delay\n\nOne flow, 100 Mb/s, 40 ms, 30 s after 10 s: mean wait in the queue (ms) and utilisation, by the buffer in round trips.\n\n| buffer |")
	for _, a := range algorithms {
		fmt.Fprintf(d, " %v |", a)
	}
	d.WriteString("\n|---|---|---|---|---|\n")
	for _, c := range []struct {
		name  string
		share float64
		codel bool
	}{{"0.25", 0.25, false}, {"1", 1, false}, {"4", 4, false}, {"4, CoDel", 4, true}} {
		fmt.Fprintf(d, "| %s |", c.name)
		for _, a := range algorithms {
			l := bottleneck(a, rtt)
			l.Queue, l.CoDel = int(c.share*float64(bdp(rtt))), c.codel
			if c.codel {
				l.MarkAt = 0
			}
			b := newBench(t, 11, l, sim.LinkConfig{Delay: rtt / 2}, nil, []*bulkFlow{{algo: a}}, nil)
			require.NoError(t, b.w.Pass(10*vtime.Second))
			b.there.QueueSum, b.there.Queued = 0, 0
			u := b.rates(t, 0, 30*vtime.Second)[0] / benchRate / goodShare
			wait := float64(b.there.QueueSum) / float64(b.there.Queued) / 1e6
			g[fmt.Sprintf("utilisation %v %s", a, c.name)] = u
			fmt.Fprintf(d, " %.1f (%.0f %%) |", wait, u*100)
		}
		d.WriteString("\n")
	}
	d.WriteString("\n")
}

func longFatTable(t *testing.T, g figures, d *strings.Builder) {
	fmt.Fprintf(d, "## Long fat pipe\n\nOne stream, 433 ms, windows up to 1 GiB, 1500-octet packets with timestamps, 60 s; goodput in the second half as a share of what the line can carry (%.2f %% of its rate), and when 95 %% of it was first reached.\n\n"+
		"| rate | loss | cubic | bbr |\n|---|---|---|---|\n", goodShare*100)
	for _, rate := range []int64{10e9, 16e9} {
		for _, loss := range []sim.PPB{0, 100, 1000} {
			fmt.Fprintf(d, "| %d Gb/s | %g |", rate/1e9, float64(loss)/1e9)
			for _, a := range []cc.Algorithm{cc.Cubic, cc.BBR} {
				l := &longFat{rate: rate, loss: loss, algo: a}
				l.run(t, vtime.Minute)
				g[fmt.Sprintf("longfat %v %d %d", a, rate/1e9, loss)] = l.share
				when := "never"
				if l.ready > 0 {
					when = fmt.Sprintf("%.1f s", float64(l.ready)/1e9)
				}
				fmt.Fprintf(d, " %.2f %% (%s) |", l.share*100, when)
			}
			d.WriteString("\n")
		}
	}
	d.WriteString("\n")
}

// TestBehaviour writes docs/BEHAVIOUR.md with -update. Otherwise it measures a few of its figures again: none
// may have become worse by more than a fifth.
func TestBehaviour(t *testing.T) {
	if *updateFlag {
		g := figures{}
		var d strings.Builder
		d.WriteString("# Behaviour\n\nWhat the engine makes of networks, measured in simulation on virtual time: the same on every machine.\n`make behaviour` writes this page; `TestBehaviour` measures some of it again and fails when it became worse.\n\n")
		notes, err := os.ReadFile("testdata/behaviour-notes.txt")
		require.NoError(t, err)
		for i, table := range []func(*testing.T, figures, *strings.Builder){goodputTable, fairnessTable, completionTable, recoveryTable, queueTable, longFatTable} {
			table(t, g, &d)
			if lines := strings.Split(strings.TrimSpace(string(notes)), "\n"); i < len(lines) {
				fmt.Fprintf(&d, "%s\n\n", lines[i])
			}
		}
		names := make([]string, 0, len(g))
		for n := range g {
			names = append(names, n)
			g[n] = math.Round(g[n]*1000) / 1000
		}
		sort.Strings(names)
		b, err := json.MarshalIndent(g, "", " ")
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(behaviourGold, append(b, '\n'), 0o644))
		require.NoError(t, os.WriteFile(behaviourDoc, []byte(strings.TrimRight(d.String(), "\n")+"\n"), 0o644))
		return
	}
	b, err := os.ReadFile(behaviourGold)
	require.NoError(t, err)
	var g figures
	require.NoError(t, json.Unmarshal(b, &g))
	for _, a := range algorithms {
		for _, loss := range []float64{0, 1e-3, 1e-2} {
			const rtt = 10 * vtime.Millisecond
			name := fmt.Sprintf("goodput %v %g %v", a, loss, rtt)
			require.Contains(t, g, name)
			require.GreaterOrEqual(t, measureGoodput(t, a, loss, rtt), 0.8*g[name], name)
		}
		name := fmt.Sprintf("completion %v %d", a, 1_000_000)
		ms, _ := complete(t, a, 1_000_000, bottleneck(a, 50*vtime.Millisecond), nil)
		require.LessOrEqual(t, ms, 1.2*g[name], name)
	}
}
