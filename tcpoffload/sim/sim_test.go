package sim_test

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/sim"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "run only this seed, with a trace under -v")
	seedsFlag = flag.Uint64("seeds", 0, "how many seeds TestSim runs")
	fromFlag  = flag.Uint64("from", 1, "first seed of TestSim")
	onlyFlag  = flag.String("only", "", "features that scenarios may have, joined by commas; none for none")
	pcapFlag  = flag.String("pcap", "", "with -seed: file for the packets")
)

// runSeed runs one seed. A panic of the engine is a failure like any other.
func runSeed(seed uint64, allowed sim.Feature, watch func(*sim.Scenario)) (hash uint64, has sim.Feature, words string, err error) {
	var sc *sim.Scenario
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, stack())
		}
		if sc != nil {
			hash, has, words = sc.World.Hash(), sc.Has, sc.String()
		}
	}()
	sc, err = sim.Draw(seed, allowed)
	if err != nil {
		return
	}
	if watch != nil {
		watch(sc)
	}
	err = sc.Run()
	return
}

// stack returns the frames of the engine and the simulation below a panic.
func stack() string {
	b := make([]byte, 16<<10)
	b = b[:runtime.Stack(b, false)]
	var out []string
	for l := range strings.SplitSeq(string(b), "\n") {
		if strings.HasPrefix(l, "opentoe/") {
			out = append(out, l)
		}
	}
	return strings.Join(out[:min(len(out), 12)], "\n")
}

// shrink returns the few features with which seed still fails, and its failure then.
func shrink(seed uint64, allowed, has sim.Feature) (sim.Feature, error) {
	_, _, _, last := runSeed(seed, allowed, nil)
	for f := sim.Feature(1); f < sim.AllFeatures; f <<= 1 {
		if has&f == 0 {
			allowed &^= f
			continue
		}
		if _, _, _, err := runSeed(seed, allowed&^f, nil); err != nil {
			allowed, last = allowed&^f, err
		}
	}
	return allowed, last
}

// report fails t for seed with all that is needed to see the failure again.
func report(t *testing.T, seed uint64, allowed, has sim.Feature, err error) {
	few, least := shrink(seed, allowed, has)
	_, _, words, _ := runSeed(seed, few, nil)
	t.Errorf("seed %d (commit %s): %v\nwith only [%v]: %v\n%s\ngo test ./tcpoffload/sim -tags invariants -run 'TestSim$' -v -seed=%d -only=%v",
		seed, commit(), err, few, least, words, seed, few)
}

// commit returns the commit that the working tree stands at.
func commit() string {
	head, err := os.ReadFile("../../.git/HEAD")
	if err != nil {
		return "unknown"
	}
	s := strings.TrimSpace(string(head))
	if ref, ok := strings.CutPrefix(s, "ref: "); ok {
		b, err := os.ReadFile("../../.git/" + ref)
		if err != nil {
			return ref
		}
		s = strings.TrimSpace(string(b))
	}
	return s
}

// TestSim runs scenarios drawn from seeds.
func TestSim(t *testing.T) {
	allowed, err := sim.ParseFeatures(*onlyFlag)
	require.NoError(t, err)
	if *seedFlag != 0 {
		one(t, *seedFlag, allowed)
		return
	}
	n := *seedsFlag
	if n == 0 {
		n = 200 // make sim runs more
	}
	var next atomic.Uint64
	next.Store(*fromFlag)
	var count sync.Map
	var wg sync.WaitGroup
	var failed atomic.Int32
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for failed.Load() < 3 {
				seed := next.Add(1) - 1
				if seed >= *fromFlag+n {
					return
				}
				_, has, _, err := runSeed(seed, allowed, nil)
				for f := sim.Feature(1); f < sim.AllFeatures; f <<= 1 {
					if has&f != 0 {
						c, _ := count.LoadOrStore(f, new(atomic.Int64))
						c.(*atomic.Int64).Add(1)
					}
				}
				if err != nil {
					failed.Add(1)
					report(t, seed, allowed, has, err)
				}
			}
		})
	}
	wg.Wait()
	if n >= 2000 && allowed == sim.AllFeatures && failed.Load() == 0 {
		for f := sim.Feature(1); f < sim.AllFeatures; f <<= 1 {
			c, ok := count.Load(f)
			require.True(t, ok && c.(*atomic.Int64).Load() >= 20, "feature %v is hardly ever drawn", f)
		}
	}
}

// one runs seed with its words and its trace.
func one(t *testing.T, seed uint64, allowed sim.Feature) {
	var p *pcap
	if *pcapFlag != "" {
		var err error
		p, err = newPcap(*pcapFlag)
		require.NoError(t, err)
		defer p.close()
	}
	_, has, _, err := runSeed(seed, allowed, func(sc *sim.Scenario) {
		if testing.Verbose() {
			fmt.Println(sc)
		}
		sc.World.OnTrace(func(e sim.Trace) {
			if testing.Verbose() {
				fmt.Println(e)
			}
			if p != nil {
				p.write(e)
			}
		})
	})
	t.Logf("features: %v", has)
	require.NoError(t, err)
}

// TestSeedsOfOld runs the seeds that once failed.
func TestSeedsOfOld(t *testing.T) {
	f, err := os.Open("testdata/seeds.txt")
	require.NoError(t, err)
	defer f.Close()
	for in := bufio.NewScanner(f); in.Scan(); {
		line, _, _ := strings.Cut(in.Text(), "#")
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		seed, err := strconv.ParseUint(fields[0], 10, 64)
		require.NoError(t, err)
		only := ""
		if len(fields) > 1 {
			only = fields[1]
		}
		allowed, err := sim.ParseFeatures(only)
		require.NoError(t, err)
		t.Run(fields[0], func(t *testing.T) {
			_, _, _, err := runSeed(seed, allowed, nil)
			require.NoError(t, err)
		})
	}
}

// TestSimRepeats demands that a seed gives the same run every time.
func TestSimRepeats(t *testing.T) {
	for seed := uint64(1); seed <= 40; seed++ {
		a, _, _, _ := runSeed(seed, sim.AllFeatures, nil)
		b, _, _, _ := runSeed(seed, sim.AllFeatures, nil)
		require.Equal(t, a, b, "seed %d", seed)
		c, _, _, _ := runSeed(seed+1000, sim.AllFeatures, nil)
		require.NotEqual(t, a, c, "seed %d", seed)
	}
}
