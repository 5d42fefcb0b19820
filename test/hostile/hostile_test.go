// Package hostile has programs that mean harm attached to a toed, beside honest ones: they write garbage into
// the memory that they share with it and into its control socket, and die at any moment. toed must neither
// fall nor leak, must lead nobody to another's octets, and the honest ones' transfers must arrive as they were
// sent. Each program is a process; where the test runs as root, each kind runs as users of its own.
package hostile

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	mrand "math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"opentoe/sockshim/server"
	"opentoe/toe"
	"opentoe/toe/loopdev"
)

var (
	duration = flag.Duration("for", 3*time.Second, "how long the hostile programs are let loose")
	seed     = flag.Uint64("seed", 0, "what they do; 0: drawn")
)

const (
	attackers  = 4
	honest     = 2
	address    = "10.98.0.1"      // known to the TOE only
	patience   = 30 * time.Second // for what comes when nobody is hostile any more
	standstill = 60 * time.Second // an honest program without a transfer for so long is starved
	honestUID  = 4100
	hostileUID = 4200 // and the next
	tick       = 20 * time.Millisecond
	noGrowth   = 64 << 20 // octets of memory
)

// What a child process is told by its environment.
const (
	envRole   = "HOSTILE_ROLE"
	envSocket = "HOSTILE_SOCKET"
	envSecret = "HOSTILE_SECRET"
	envSeed   = "HOSTILE_SEED"
	envPort   = "HOSTILE_PORT" // attackers: where an honest listener is
)

func TestMain(m *testing.M) {
	switch os.Getenv(envRole) {
	case "honest":
		os.Exit(beHonest())
	case "hostile":
		os.Exit(beHostile())
	}
	flag.Parse()
	os.Exit(m.Run())
}

// arena is a toed in this process, and what is known of the programs around it.
type arena struct {
	t      *testing.T
	srv    *server.Server
	secret string

	mu       sync.Mutex
	done     map[string]uint64 // what attackers did, by name
	breaches []string
	crashes  []string
	violated map[string]int // violations by the name of the program
	port     string         // of an honest listener
	first    []*program     // the honest ones
}

// program is a child process.
type program struct {
	cmd      *exec.Cmd
	stdin    interface{ Close() error }
	ended    chan error
	transfer time.Time // of the last one; under arena.mu
	count    uint64
	octets   uint64
	gap      time.Duration // longest between two transfers
	stderr   strings.Builder
}

func newArena(t *testing.T) *arena {
	text := make([]byte, 32)
	_, _ = rand.Read(text)
	a := &arena{t: t, secret: hex.EncodeToString(text), done: map[string]uint64{}, violated: map[string]int{}}
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && len(d) > 1; d = filepath.Dir(d) {
		require.NoError(t, os.Chmod(d, 0o755))
	}
	reg := toe.NewRegistry()
	var err error
	a.srv, err = server.New(server.Config{
		Dir: dir, Registry: reg, Slots: 256, Memory: 8 << 20, Clients: 32, UserClients: 10, Log: slog.New(a),
	})
	require.NoError(t, err)
	dev, err := loopdev.New(loopdev.Config{Name: "loop", Workers: 2, Prefixes: []netip.Prefix{netip.MustParsePrefix(address + "/24")}})
	require.NoError(t, err)
	require.NoError(t, reg.RegisterSocketLayer(a.srv))
	require.NoError(t, reg.Register(dev))
	require.NoError(t, reg.Activate("loop"))
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- a.srv.Serve(ctx) }()
	t.Cleanup(func() {
		_ = reg.Deactivate("loop")
		cancel()
		require.NoError(t, a.srv.Close())
		require.NoError(t, <-served)
	})
	return a
}

// arena is the server's log handler: it counts who is detached for a violation.

func (a *arena) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }
func (a *arena) WithAttrs([]slog.Attr) slog.Handler           { return a }
func (a *arena) WithGroup(string) slog.Handler                { return a }
func (a *arena) Handle(_ context.Context, r slog.Record) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	r.Attrs(func(at slog.Attr) bool {
		if at.Key == "program" && strings.HasPrefix(r.Message, "client broke") {
			a.violated[at.Value.String()]++
		}
		return true
	})
	return nil
}

// start runs a child in a role.
func (a *arena) start(role string, uid uint32, env []string, files []*os.File) *program {
	p := &program{cmd: exec.Command("/proc/self/exe"), ended: make(chan error, 1), transfer: time.Now()}
	p.cmd.Env = append(os.Environ(), append(env, envRole+"="+role, envSocket+"="+a.srv.SocketPath(), "GOMAXPROCS=2")...)
	p.cmd.Stderr = &p.stderr
	p.cmd.ExtraFiles = files
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() == 0 {
		p.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uid, Gid: uid}
	}
	stdin, err := p.cmd.StdinPipe()
	require.NoError(a.t, err)
	p.stdin = stdin
	out, err := p.cmd.StdoutPipe()
	require.NoError(a.t, err)
	runtime.LockOSThread() // the death signal is sent when the thread that has forked ends
	defer runtime.UnlockOSThread()
	require.NoError(a.t, p.cmd.Start())
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			a.heard(p, lines.Text())
		}
		p.ended <- p.cmd.Wait()
	}()
	return p
}

// heard takes a line of a child's output: a name and a number, or what no child should have to say.
func (a *arena) heard(p *program, line string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	word, rest, _ := strings.Cut(line, " ")
	switch word {
	case "port":
		a.port = rest
	case "transfer":
		n, _ := strconv.ParseUint(rest, 10, 64)
		now := time.Now()
		p.count++
		p.octets += n
		p.gap = max(p.gap, now.Sub(p.transfer))
		p.transfer = now
	case "breach":
		a.breaches = append(a.breaches, rest)
	default:
		n, _ := strconv.ParseUint(rest, 10, 64)
		a.done[word] += n
	}
}

// loot returns descriptors of honest programs' sockets for an attacker: what somebody passed on who should not
// have.
func (a *arena) loot() (files []*os.File) {
	for _, s := range a.srv.Sockets() {
		for _, p := range a.first {
			if int(s.PID) != p.cmd.Process.Pid || len(files) == 2 {
				continue
			}
			for _, h := range a.srv.Holders()[s.Cookie] {
				if f := borrow(h); f != nil {
					files = append(files, f)
					break
				}
			}
		}
	}
	return files
}

func borrow(h server.Holder) *os.File {
	process, err := unix.PidfdOpen(int(h.PID), 0)
	if err != nil {
		return nil
	}
	defer unix.Close(process)
	fd, err := unix.PidfdGetfd(process, h.FD, 0)
	if err != nil {
		return nil
	}
	return os.NewFile(uintptr(fd), "borrowed")
}

// state is what must not grow.
type state struct {
	descriptors, goroutines int
	resident                int64 // octets
}

func measure(t *testing.T) state {
	t.Helper()
	runtime.GC()
	list, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	text, err := os.ReadFile("/proc/self/statm")
	require.NoError(t, err)
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	require.NoError(t, err)
	return state{len(list), runtime.NumGoroutine(), pages * int64(os.Getpagesize())}
}

// TestHostile lets attackers loose on a toed for the duration of the flag -for.
func TestHostile(t *testing.T) {
	if testing.Short() && *duration > time.Second {
		*duration = time.Second
	}
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed=%d", *seed)
	a := newArena(t)
	before := measure(t)
	for range honest {
		a.first = append(a.first, a.start("honest", honestUID, []string{envSecret + "=" + a.secret}, nil))
	}
	require.Eventually(t, func() bool { a.mu.Lock(); defer a.mu.Unlock(); return a.port != "" }, patience, time.Millisecond)
	require.Eventually(t, func() bool { return a.transfers() >= honest }, patience, time.Millisecond)

	a.siege()
	t.Log(a.report(before))

	// When the attackers have gone nothing of them is left, and the others go on.
	a.await("attackers stay", func() bool { return a.srv.Usage().Clients == honest })
	reached := a.transfers()
	require.Eventually(t, func() bool { return a.transfers() >= reached+4*honest }, patience, time.Millisecond)
	for _, p := range a.first {
		require.NoError(t, p.stdin.Close())
		require.NoError(t, <-p.ended, p.stderr.String())
	}
	a.await("clients have left something", func() bool { return a.srv.Usage() == server.Usage{} })
	var after state
	a.await("something is left", func() bool {
		after = measure(t)
		return after.descriptors <= before.descriptors && after.goroutines <= before.goroutines
	})
	t.Logf("before %+v, after %+v", before, after)
	require.Less(t, after.resident-before.resident, int64(noGrowth))

	require.Empty(t, a.breaches)
	require.Empty(t, a.crashes)
	require.Zero(t, a.violated["honest"], "an honest program was detached")
	require.NotZero(t, a.violated["hostile"])
}

// await waits for a condition, and shows what goes on where it does not come.
func (a *arena) await(what string, done func() bool) {
	a.t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(tick) {
		if time.Now().Before(end) {
			continue
		}
		var stacks strings.Builder
		_ = pprof.Lookup("goroutine").WriteTo(&stacks, 1)
		list, _ := exec.Command("ls", "-l", fmt.Sprintf("/proc/%d/fd", os.Getpid())).Output()
		require.Fail(a.t, what, "%+v\n%s\n%s\n%+v", a.srv.Usage(), stacks.String(), list, a.srv.Sockets())
	}
}

// transfers returns how many the honest programs have finished.
func (a *arena) transfers() (n uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range a.first {
		n += p.count
	}
	return n
}

// siege keeps attackers running, and kills each after a while, until the time is up.
func (a *arena) siege() {
	draw := mrand.New(mrand.NewPCG(*seed, 0))
	end := time.Now().Add(*duration)
	said := time.Now()
	var wg sync.WaitGroup
	lives := make(chan uint64)
	for i := range uint32(attackers) {
		wg.Go(func() {
			for s := range lives {
				a.assault(hostileUID+i%2, s, min(time.Duration(100+s%3000)*time.Millisecond, time.Until(end)))
			}
		})
	}
	for time.Now().Before(end) {
		lives <- draw.Uint64()
		a.mu.Lock()
		for _, p := range a.first {
			require.Less(a.t, time.Since(p.transfer), standstill, "an honest program is starved")
		}
		a.mu.Unlock()
		if time.Since(said) > 5*time.Minute {
			said = time.Now()
			a.t.Log(a.report(state{}))
		}
	}
	close(lives)
	wg.Wait()
}

// assault runs one attacker for a while.
func (a *arena) assault(uid uint32, seed uint64, while time.Duration) {
	files := a.loot()
	a.mu.Lock()
	port := a.port
	a.mu.Unlock()
	p := a.start("hostile", uid, []string{
		envSecret + "=" + a.secret, envSeed + "=" + strconv.FormatUint(seed, 10), envPort + "=" + port,
	}, files)
	for _, f := range files {
		f.Close()
	}
	select {
	case <-time.After(while):
		_ = p.cmd.Process.Kill()
		<-p.ended
	case err := <-p.ended:
		a.mu.Lock()
		a.crashes = append(a.crashes, fmt.Sprintf("seed %d: %v: %.2000s", seed, err, p.stderr.String()))
		a.mu.Unlock()
	}
	_ = p.stdin.Close()
}

// report describes what was done and found.
func (a *arena) report(before state) string {
	c := a.srv.Counters()
	a.mu.Lock()
	defer a.mu.Unlock()
	var b strings.Builder
	total := uint64(0)
	for _, name := range slices.Sorted(maps.Keys(a.done)) {
		fmt.Fprintf(&b, " %s %d", name, a.done[name])
		total += a.done[name]
	}
	fmt.Fprintf(&b, "\nacts %d; clients %d, turned away %d, died %d, probes refused %d\nviolations:", total, c.Clients, c.Turned, c.Died, c.ProbesRefused)
	for i, n := range c.Violations {
		fmt.Fprintf(&b, " %s %d", server.ViolationName(i), n)
	}
	fmt.Fprintf(&b, "; detached %v\n", a.violated)
	for _, p := range a.first {
		fmt.Fprintf(&b, "honest: %d transfers, %d octets, longest gap %v\n", p.count, p.octets, p.gap.Round(time.Millisecond))
	}
	fmt.Fprintf(&b, "before %+v, now %+v, usage %+v", before, measure(a.t), a.srv.Usage())
	return b.String()
}
