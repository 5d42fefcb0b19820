package shm

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestLayoutIsGenerated fails when toe_shm.h or godefs.go was changed without go generate.
func TestLayoutIsGenerated(t *testing.T) {
	out, err := exec.Command("./generate.sh").Output()
	require.NoError(t, err)
	have, err := os.ReadFile("layout.go")
	require.NoError(t, err)
	require.Equal(t, string(out), string(have), "run: go generate ./sockshim/shm")
}
