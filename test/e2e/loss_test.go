//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestLoss moves streams both ways over a wire that loses, duplicates and reorders segments.
func TestLoss(t *testing.T) {
	ctx, l, d := toed(t, "af_xdp", "")
	toe, kernel := ends(t, l, d)
	impair(t, l)
	for _, c := range []struct {
		permille int
		size     int64
	}{{1, 48 * megabyte}, {10, 24 * megabyte}, {50, 6 * megabyte}} {
		impairment{lose: c.permille, duplicate: 5, reorder: 20}.apply(t, l)
		for _, version := range []int{4, 6} {
			for _, active := range []bool{false, true} {
				t.Run(fmt.Sprintf("%.1f%% v%d %s", float64(c.permille)/10, version, role(active)), func(t *testing.T) {
					a, b := connectAs(ctx, t, toe, kernel, version, active)
					out, in := exchange(ctx, t, a, b, c.size)
					t.Logf("out %.0f Mb/s, in %.0f Mb/s", mbits(c.size, out), mbits(c.size, in))
				})
			}
		}
	}
	s, err := d.Stats(ctx)
	require.NoError(t, err)
	t.Log(interesting(s.TCP))
	offloadedOnly(ctx, t, d)
}

// TestLossKernel is the kernel on the wire of TestLoss, for the figures.
func TestLossKernel(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	l, near, far := kernelWire(t)
	impair(t, l)
	for _, c := range []struct {
		permille int
		size     int64
	}{{1, 24 * megabyte}, {10, 8 * megabyte}, {50, 2 * megabyte}} {
		impairment{lose: c.permille, duplicate: 5, reorder: 20}.apply(t, l)
		a, b := connect(ctx, t, near, far, 4)
		out, in := exchange(ctx, t, a, b, c.size)
		t.Logf("%.1f%%: out %.0f Mb/s, in %.0f Mb/s", float64(c.permille)/10, mbits(c.size, out), mbits(c.size, in))
	}
}

func mbits(n int64, d time.Duration) float64 { return float64(n) * 8 / 1e6 / d.Seconds() }

// interesting returns the counters of loss that are not zero.
func interesting(tcp map[string]uint64) string {
	var b strings.Builder
	for _, name := range []string{"RetransSegs", "FastRetrans", "LostRetrans", "Timeouts", "LossProbes", "SpuriousRTOs", "DSACKsIn", "DSACKsOut",
		"OutOfOrder", "Duplicates", "ZeroWindowProbes", "ChallengeAcks", "SynRetrans"} {
		if n := tcp[name]; n > 0 {
			fmt.Fprintf(&b, "%s %d ", name, n)
		}
	}
	return b.String()
}
