package tcpoffload

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/cc"
)

// setCC asks engine i for algorithm a.
func (d *duo) setCC(i int, a cc.Algorithm) CallResult {
	c := Call{Kind: CallSetOption, Handle: d.h[i], Option: OptionCC, Value: int64(a)}
	return d.e[i].Call(d.now, &c, d.out[i])
}

func (d *duo) cc(i int) cc.Algorithm { return d.e[i].conns[d.h[i].Index()].cc.Algorithm() }

// withModels gives both engines room for n models.
func withModels(n int) func(*Config) {
	return func(c *Config) { c.Memory = NewMemoryOf(Sizes{Conns: 16, Listeners: 4, Models: n}) }
}

// TestModelComesAndGoes: a connection has a model while it uses BBR, and no longer.
func TestModelComesAndGoes(t *testing.T) {
	d := newDuo(t, withModels(1))
	e := d.e[1]
	require.Zero(t, e.Usage().Models)
	for range 3 {
		require.Equal(t, CallOK, d.setCC(1, cc.BBR))
		require.Equal(t, CallOK, d.setCC(1, cc.BBR))
		require.Equal(t, 1, e.Usage().Models)
		d.send(1, 100_000)
		for d.seen[0] < d.sent[1] {
			d.step()
			d.read(0)
		}
		require.Equal(t, CallOK, d.setCC(1, cc.Cubic))
		require.Zero(t, e.Usage().Models)
	}
	require.Equal(t, CallOK, d.setCC(1, cc.BBR))
	c := Call{Kind: CallAbort, Handle: d.h[1]}
	require.Equal(t, CallOK, e.Call(d.now, &c, d.out[1]))
	require.Equal(t, Usage{}, e.Usage())
	require.Zero(t, e.MIB().ModelPoolEmpty)
}

// TestModelPoolEmpty: without room for a model an open connection stays with what it has, and a new one
// begins with CUBIC.
func TestModelPoolEmpty(t *testing.T) {
	d := newDuo(t, withModels(1))
	d.e[1].root.freshModel++ // somebody else has it
	require.Equal(t, CallTableFull, d.setCC(1, cc.BBR))
	require.Equal(t, cc.Cubic, d.cc(1))
	require.Equal(t, uint64(1), d.e[1].MIB().ModelPoolEmpty)

	d = newDuo(t, func(c *Config) {
		withModels(1)(c)
		c.Tunables.CC = cc.BBR
	})
	require.Equal(t, cc.BBR, d.cc(0))
	require.Equal(t, cc.BBR, d.cc(1))
	require.Zero(t, d.e[1].MIB().ModelPoolEmpty)
	c := Call{Kind: CallOpen, Flow: d.e[1].conns[d.h[1].Index()].flow, Cookie: 10}
	c.Flow.LocalPort++
	require.Equal(t, CallOK, d.e[1].Call(d.now, &c, d.out[1]))
	d.h[1] = c.Handle
	for i := range 8 {
		require.Less(t, i, 7)
		d.step()
		if d.e[1].conns[c.Handle.Index()].state == StateEstablished {
			break
		}
	}
	require.Equal(t, cc.Cubic, d.cc(1))
	require.Equal(t, uint64(1), d.e[1].MIB().ModelPoolEmpty)
	require.Equal(t, uint64(1), d.e[0].MIB().ModelPoolEmpty)
}
