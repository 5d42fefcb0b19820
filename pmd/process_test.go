package pmd_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/pmd"
	"opentoe/pmd/frame"
)

// childVar makes the test binary run childMain instead of the tests: EAL starts once in a process,
// so what needs another EAL needs another process.
const (
	childVar = "PMD_TEST_CHILD" // the device to open
	hugeVar  = "PMD_TEST_HUGE"  // the huge-page mode
)

// childMain starts EAL, opens the device it is told, sends a burst, says "ready", and either waits
// to be killed or, when its standard input ends, closes everything.
func childMain(device string) error {
	mode, ok := pmd.ParseHugePageMode(os.Getenv(hugeVar))
	if !ok {
		return fmt.Errorf("%s is wrong", hugeVar)
	}
	e, err := pmd.Start(pmd.EALConfig{HugePages: mode, MemoryMB: 64})
	if err != nil {
		return err
	}
	if (mode == pmd.HugePagesRequire) != e.HugePages() {
		return fmt.Errorf("huge pages: %v", e.HugePages())
	}
	p, err := e.OpenPort(pmd.PortConfig{Device: device})
	if err != nil {
		return err
	}
	var b frame.Burst
	q := p.Queue(0)
	q.Alloc(&b, 8)
	for i := range b.Frames() {
		b.At(i).Data = b.At(i).Data[:60]
	}
	if n := q.Transmit(&b); n != 8 {
		return fmt.Errorf("%d frames went", n)
	}
	fmt.Println("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
	}
	if err := p.Close(); err != nil {
		return err
	}
	return e.Close()
}

type child struct {
	*exec.Cmd
	stdin interface{ Close() error }
	errs  strings.Builder
}

func startChild(t *testing.T, device, huge string, attr *syscall.SysProcAttr) *child {
	t.Helper()
	c := &child{Cmd: exec.Command("/proc/self/exe")}
	c.Env = append(os.Environ(), childVar+"="+device, hugeVar+"="+huge)
	c.SysProcAttr = attr
	c.Stderr = &c.errs
	stdin, err := c.StdinPipe()
	require.NoError(t, err)
	c.stdin = stdin
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	t.Cleanup(func() { c.Process.Kill() })
	line, _ := bufio.NewReader(out).ReadString('\n')
	if line != "ready\n" {
		c.Process.Kill()
		c.Wait()
		t.Fatalf("child did not get ready: %s", c.errs.String())
	}
	return c
}

// leftovers lists what DPDK processes could leave behind.
func leftovers(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"/var/run/dpdk/*/*", "/tmp/dpdk/*/*", "/var/run/dpdk/*", "/tmp/dpdk/*", "/dev/hugepages/*", "/dev/shm/*rte*", "/sys/fs/bpf/*"} {
		names, err := filepath.Glob(pattern)
		require.NoError(t, err)
		all = append(all, names...)
	}
	return all
}

func TestUnprivileged(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("all the other tests are unprivileged already")
	}
	before := leftovers(t)
	c := startChild(t, "net_ring0", "off", &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}})
	require.NoError(t, c.stdin.Close())
	require.NoError(t, c.Wait(), c.errs.String())
	require.Empty(t, c.errs.String())
	require.Equal(t, before, leftovers(t))
}

// TestKilledProcessLeavesNothing kills a process that owns an AF_XDP port. No file stays, and the
// next process can take the port over, although the kernel keeps the XDP program attached.
func TestKilledProcessLeavesNothing(t *testing.T) {
	w := newWire(t)
	before := leftovers(t)
	device := fmt.Sprintf(drivers[1], w.dut)
	for range 2 {
		c := startChild(t, device, "off", nil)
		require.Equal(t, before, leftovers(t), "while it runs")
		require.NoError(t, c.Process.Kill())
		c.Wait()
		require.Equal(t, before, leftovers(t))
	}
	c := startChild(t, device, "off", nil)
	require.NoError(t, c.stdin.Close())
	require.NoError(t, c.Wait(), c.errs.String())
	require.Empty(t, c.errs.String())
	out, err := exec.Command("ip", "link", "show", w.dut).CombinedOutput()
	require.NoError(t, err)
	require.NotContains(t, string(out), "xdp", "an orderly end takes the XDP program along")
}

// TestHugePages moves frames through memory in huge pages, where the machine has some to spare.
func TestHugePages(t *testing.T) {
	text, err := os.ReadFile("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")
	if err != nil || os.Geteuid() != 0 {
		t.Skip("no huge pages, or not allowed")
	}
	if n, _ := strconv.Atoi(strings.TrimSpace(string(text))); n < 32 {
		t.Skip("needs 32 free huge pages: sysctl vm.nr_hugepages=32")
	}
	w := newWire(t)
	before := leftovers(t)
	c := startChild(t, fmt.Sprintf(drivers[1], w.dut), "require", nil)
	require.Equal(t, before, leftovers(t), "while it runs")
	require.NoError(t, c.stdin.Close())
	require.NoError(t, c.Wait(), c.errs.String())
	require.Empty(t, c.errs.String())
	require.GreaterOrEqual(t, w.peerReceived(t), 8)
}
