package server

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/sockshim/shm"
	"opentoe/toe"
)

// The client acts on these reasons, and knows them by the header alone.
func TestReasonsAreTheHeaders(t *testing.T) {
	require.EqualValues(t, toe.ReasonInUse, shm.ReasonInUse)
	require.EqualValues(t, toe.ReasonLoopback, shm.ReasonLoopback)
	require.Less(t, int(toe.NumReasons), shm.ReasonSteer)
}
