package toe

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every reason is named and explained, in the manual as in the program.
func TestReasonsAreExplained(t *testing.T) {
	page, err := os.ReadFile("../docs/COEXISTENCE.md")
	require.NoError(t, err)
	names := map[string]bool{}
	for r := range NumReasons {
		require.NotEmpty(t, r.Meaning())
		require.False(t, names[r.String()], "%s twice", r)
		names[r.String()] = true
		if r != Offloaded {
			require.Contains(t, string(page), fmt.Sprintf("| `%s` | %s |", r, r.Meaning()))
		}
	}
	require.Equal(t, "unknown", NumReasons.String())
	require.Equal(t, "unknown", NumReasons.Meaning())
}
