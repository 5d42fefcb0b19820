package pmd

import (
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestChooseHugePages(t *testing.T) {
	for _, c := range []struct {
		mode       HugePageMode
		want, free int
		huge, fail bool
	}{
		{HugePagesAuto, 256, 0, false, false},
		{HugePagesAuto, 256, 255, false, false},
		{HugePagesAuto, 256, 256, true, false},
		{HugePagesRequire, 256, 256, true, false},
		{HugePagesRequire, 256, 255, false, true},
		{HugePagesOff, 256, 1024, false, false},
	} {
		huge, err := chooseHugePages(c.mode, c.want, c.free)
		require.Equal(t, c.huge, huge, c)
		if c.fail {
			require.ErrorIs(t, err, syscall.ENOMEM)
			require.ErrorContains(t, err, "vm.nr_hugepages=128")
		} else {
			require.NoError(t, err)
		}
	}
}

func TestEALArgs(t *testing.T) {
	line := func(cfg EALConfig, huge bool) string {
		args, err := ealArgs(&cfg, huge)
		require.NoError(t, err)
		return strings.Join(args, " ")
	}
	plain := line(EALConfig{MemoryMB: 64}, false)
	require.Contains(t, plain, "-m 64 ")
	require.Contains(t, plain, "--no-huge --no-shconf")
	require.Contains(t, plain, "--no-pci")
	require.NotContains(t, plain, "--in-memory")
	full := line(EALConfig{CPUs: []int{1, 3}, PCI: []string{"0000:01:00.0"}, ExtraArgs: []string{"--legacy-mem"}}, true)
	require.Contains(t, full, "--lcores 0@(1,3)")
	require.Contains(t, full, "--in-memory -a 0000:01:00.0 --legacy-mem")
	require.NotContains(t, full, "--no-pci")
}

func TestParseDevice(t *testing.T) {
	for s, want := range map[string]device{
		"net_af_xdp0,iface=toe0,start_queue=0": {bus: "vdev", name: "net_af_xdp0", args: "iface=toe0,start_queue=0", iface: "toe0"},
		"net_af_packet1,iface=x,framesz=4096":  {bus: "vdev", name: "net_af_packet1", args: "iface=x,framesz=4096", iface: "x", frameSize: 4096},
		"net_null0":                            {bus: "vdev", name: "net_null0"},
		"0000:01:00.1":                         {bus: "pci", name: "0000:01:00.1"},
		"01:00.1":                              {bus: "pci", name: "0000:01:00.1"},
	} {
		d, err := parseDevice(s)
		require.NoError(t, err, s)
		require.Equal(t, want, *d, s)
	}
	for _, s := range []string{"", "toe0", "0000:01:00.9", "af_xdp:toe0"} {
		_, err := parseDevice(s)
		require.Error(t, err, s)
	}
}

func TestSummaryKeepsTheCause(t *testing.T) {
	require.Equal(t, "cause; consequence", summary("\n cause \nconsequence\nrepeated\n"))
	require.Empty(t, summary(""))
}
