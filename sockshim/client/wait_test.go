package client_test

import "time"

// Bounds of require.Eventually: how long something that must happen may take, and how often to look.
const (
	waitFor = time.Minute
	tick    = 2 * time.Millisecond
)
