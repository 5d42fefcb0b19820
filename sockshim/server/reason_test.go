package server

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/sockshim/shm"
	"opentoe/toe"
)

// The client acts on this reason, and knows it by the header alone.
func TestReasonInUseIsTheHeaders(t *testing.T) {
	require.EqualValues(t, toe.ReasonInUse, shm.ReasonInUse)
	require.Less(t, int(toe.NumReasons), shm.ReasonSteer)
}
