package pmd_test

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/pmd"
)

// TestOpenErrors demands that a failure names the device, the cause and, where there is one, the
// mend, and that it leaves the name free.
func TestOpenErrors(t *testing.T) {
	for _, c := range []struct {
		name string
		cfg  pmd.PortConfig
		says []string
	}{
		{"no device", pmd.PortConfig{Device: "eth0"}, []string{`"eth0"`, "PCI address"}},
		{"no interface", pmd.PortConfig{Device: "net_af_xdp7,iface=nosuch"}, []string{`"nosuch"`, "ip link"}},
		{"no driver", pmd.PortConfig{Device: "net_bogus0"}, []string{"net_bogus0"}},
		{"no file", pmd.PortConfig{Device: "net_pcap7,rx_pcap=/nosuch"}, []string{"/nosuch", "No such file"}},
		{"missing argument", pmd.PortConfig{Device: "net_af_packet7"}, []string{"net_af_packet7"}},
		{"no PCI", pmd.PortConfig{Device: "0000:ff:1f.7"}, []string{"0000:ff:1f.7", "vfio-pci"}},
		{"queues", pmd.PortConfig{Device: "net_ring7", RxQueues: 17}, []string{"17 queues", "16"}},
		{"unpaired", pmd.PortConfig{Device: "net_ring7", RxQueues: 2, TxQueues: 1}, []string{"do not pair"}},
		{"MTU", pmd.PortConfig{Device: "net_ring7", MTU: 20}, []string{"MTU", "20", "68"}},
		{"memory", pmd.PortConfig{Device: "net_ring7", Mbufs: 1 << 20}, []string{"net_ring7", "more memory"}},
		{"buffers", pmd.PortConfig{Device: "net_ring7", Mbufs: 5}, []string{"buffers", "5"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for range 2 {
				_, err := eal.OpenPort(c.cfg)
				require.Error(t, err)
				t.Log(err)
				for _, s := range c.says {
					require.ErrorContains(t, err, s)
				}
				require.NotContains(t, err.Error(), "\n")
			}
		})
	}
	open(t, pmd.PortConfig{Device: "net_ring7"}) // nothing was left plugged in
}

func TestNameInUse(t *testing.T) {
	open(t, pmd.PortConfig{Device: "net_ring0"})
	_, err := eal.OpenPort(pmd.PortConfig{Device: "net_ring0"})
	require.ErrorIs(t, err, syscall.EEXIST)
}

func TestStartedOnce(t *testing.T) {
	_, err := pmd.Start(pmd.EALConfig{HugePages: pmd.HugePagesOff})
	require.ErrorIs(t, err, pmd.ErrStarted)
	var b pmd.Offloads
	require.Equal(t, "none", b.String())
	loop(t, "net_ring0") // the first one goes on
}
