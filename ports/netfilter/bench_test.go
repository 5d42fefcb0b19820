package netfilter

import (
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/pmd/frame"
	"opentoe/tcpoffload/wire"
)

// BenchmarkArriving is what a SYN costs from the exception path to the device, by the kernel.
func BenchmarkArriving(b *testing.B) {
	h := newHost(b)
	j, err := New(Config{Interface: iface, Workers: 1})
	require.NoError(b, err)
	defer j.Close()
	j.SetStation([]wire.Addr{wire.AddrFrom(own4.Addr())})
	j.Listen(wire.Addr{}, true, true, aPort, true)
	var back atomic.Int64
	j.Start(func([]byte) bool { back.Add(1); return true })
	f := &frame.Frame{Data: h.segment(flow(true, aPort, 1000), wire.SYN, 1)}
	n := int64(0)
	for b.Loop() {
		h.tap.End(0).Up(0, f)
		for n++; n-back.Load() > 256; {
			runtime.Gosched()
		}
	}
}

// BenchmarkLeaves is what an active open costs.
func BenchmarkLeaves(b *testing.B) {
	newHost(b)
	j, err := New(Config{Interface: iface, Workers: 1})
	require.NoError(b, err)
	defer j.Close()
	f := flow(true, 5000, 80)
	for b.Loop() {
		require.True(b, j.Leaves(0, &f, 0, 0))
	}
}
