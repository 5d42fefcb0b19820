package xdp

import (
	"crypto/sha256"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// The object is built by hand where there is clang, so the source might run ahead of it.
func TestObjectIsOfTheSource(t *testing.T) {
	source, err := os.ReadFile("steer.c")
	require.NoError(t, err)
	sum, err := os.ReadFile("steer.c.sum")
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf("%x  steer.c\n", sha256.Sum256(source)), string(sum),
		"steer.c was changed: make generate compiles it")
}
