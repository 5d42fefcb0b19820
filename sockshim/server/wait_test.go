package server

import (
	"time"

	"opentoe/tcpoffload/vtime"
)

// Bounds of require.Eventually: how long something that must happen may take, and how often to look.
const (
	waitFor = 20 * time.Second
	tick    = time.Millisecond
)

func nop(vtime.Time) {}
