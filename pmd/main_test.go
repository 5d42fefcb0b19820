package pmd_test

import (
	"fmt"
	"os"
	"testing"

	"opentoe/pmd"
)

// eal is shared by all tests: DPDK starts once in a process.
var eal *pmd.EAL

func TestMain(m *testing.M) {
	if device := os.Getenv(childVar); device != "" {
		if err := childMain(device); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	var err error
	eal, err = pmd.Start(pmd.EALConfig{HugePages: pmd.HugePagesOff, MemoryMB: 256})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if err := eal.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// open opens a port for the test's duration.
func open(t testing.TB, cfg pmd.PortConfig) *pmd.Port {
	t.Helper()
	p, err := eal.OpenPort(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}
