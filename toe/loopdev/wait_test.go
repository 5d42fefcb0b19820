package loopdev

import "time"

// Bounds of require.Eventually: how long something that must happen may take, and how often to look.
const (
	waitFor = time.Minute
	tick    = time.Millisecond
)
