package server

import "time"

// Bounds of require.Eventually: how long something that must happen may take, and how often to look.
const (
	waitFor = 20 * time.Second
	tick    = time.Millisecond
)
