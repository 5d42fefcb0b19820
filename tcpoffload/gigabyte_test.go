//go:build !invariants

package tcpoffload

import "testing"

// The largest window of all: more than 700,000 segments in flight, each sent at an instant of its own. With
// invariants on the list would be checked at every step, which takes too long.
func TestGigabyteWindow(t *testing.T) { thousandsOfHoles(t, 1<<30/mss-1) }
