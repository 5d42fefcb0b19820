package main

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/hwregs"
)

func TestGeneratedFilesAreCurrent(t *testing.T) {
	want, err := constants(hwregs.Blocks())
	require.NoError(t, err)
	got, err := os.ReadFile("../" + constantsFile)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got), "run go generate ./hwregs")
	got, err = os.ReadFile("../" + docsFile)
	require.NoError(t, err)
	require.Equal(t, string(docs(hwregs.Blocks())), string(got), "run go generate ./hwregs")
}
