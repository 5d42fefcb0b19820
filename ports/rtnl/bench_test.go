package rtnl

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// benchLab has an address and a default route.
func benchLab(b *testing.B) *lab {
	l := newLab(b, nil)
	l.address(l.near, "toe", "10.99.0.1/24")
	l.route(nil, "0.0.0.0/0", "10.99.0.254")
	l.leads("192.0.2.1", "10.99.0.254")
	return l
}

// BenchmarkExit is the way of a packet from a stranger by the port's copy of the routes.
func BenchmarkExit(b *testing.B) {
	l := benchLab(b)
	h, local, remote := l.port.Host(0), addr("10.99.0.1"), addr("192.0.2.1")
	b.ReportAllocs()
	for b.Loop() {
		if _, _, ok := h.Exit(0, local, remote, true); !ok {
			b.Fatal("no route")
		}
	}
}

// BenchmarkKnown is the same by an answer of the kernel that is known.
func BenchmarkKnown(b *testing.B) {
	l := benchLab(b)
	v := l.port.View()
	v.Complete = false
	require.NoError(b, l.port.Apply(v))
	h, local, remote := l.port.Host(0), addr("10.99.0.1"), addr("192.0.2.1")
	b.ReportAllocs()
	for b.Loop() {
		if _, _, ok := h.Exit(0, local, remote, true); !ok {
			b.Fatal("no route")
		}
	}
}

// BenchmarkAsk is a question to the kernel.
func BenchmarkAsk(b *testing.B) {
	l := benchLab(b)
	local, remote := addr("10.99.0.1"), addr("192.0.2.1")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := l.k.ask(remote, local); err != nil {
			b.Fatal(err)
		}
	}
}
