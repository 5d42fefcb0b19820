package softdev

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload"
	"opentoe/toe"
)

// TestInfoOfRecovery: what the engine tells of reordering and losses reaches the program.
func TestInfoOfRecovery(t *testing.T) {
	var c toe.ConnInfo
	fillInfo(&c, &tcpoffload.Info{Reordering: 4, ReordSeen: 5, DSACKDups: 6, TotalRTO: 7, Delivered: 8, DeliveryRate: 9})
	require.Equal(t, [5]uint32{4, 5, 6, 7, 8}, [5]uint32{c.Reordering, c.ReordSeen, c.DSACKDups, c.TotalRTO, uint32(c.Delivered)})
	require.Equal(t, uint64(9), c.DeliveryRate)
}
