package seq

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOrderOnTheCircle(t *testing.T) {
	for _, c := range []struct {
		name string
		n, m Num
		d    int32
	}{
		{"equal", 5, 5, 0},
		{"plain", 10, 3, 7},
		{"across the wrap", 4, 0xfffffffe, 6},
		{"back across the wrap", 0xfffffffe, 4, -6},
		{"almost half the circle", 0x7fffffff, 0, 0x7fffffff},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.d, c.n.Sub(c.m))
			require.Equal(t, c.d < 0, c.n.LT(c.m))
			require.Equal(t, c.d <= 0, c.n.LEQ(c.m))
			require.Equal(t, c.d > 0, c.n.GT(c.m))
			require.Equal(t, c.d >= 0, c.n.GEQ(c.m))
			later, earlier := c.n, c.m
			if c.d < 0 {
				later, earlier = c.m, c.n
			}
			require.Equal(t, later, Max(c.n, c.m))
			require.Equal(t, earlier, Min(c.n, c.m))
		})
	}
	require.Equal(t, Num(3), Num(0xfffffffe).Add(5))
}

func TestInWindow(t *testing.T) {
	lo := Num(0xfffffff0)
	require.True(t, lo.InWindow(lo, 1))
	require.False(t, lo.InWindow(lo, 0))
	require.True(t, lo.Add(31).InWindow(lo, 32))
	require.False(t, lo.Add(32).InWindow(lo, 32))
	require.False(t, (lo-1).InWindow(lo, 32))
}
