package wire_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/wire"
)

// TestFlowIs: a flow is itself and no other, whichever of its octets differs.
func TestFlowIs(t *testing.T) {
	f := wire.Flow{LocalPort: 0x1234, RemotePort: 0x5678}
	for i := range f.Local {
		f.Local[i], f.Remote[i] = byte(i), byte(100+i)
	}
	same := f
	require.True(t, f.Is(&same))
	for i := range f.Local {
		g := f
		g.Local[i] ^= 1
		require.False(t, f.Is(&g), "local octet %d", i)
		g = f
		g.Remote[i] ^= 0x80
		require.False(t, f.Is(&g), "remote octet %d", i)
	}
	g := f
	g.LocalPort ^= 1
	require.False(t, f.Is(&g))
	g = f
	g.RemotePort ^= 0x8000
	require.False(t, f.Is(&g))
}
